"""On paper: a single page printed from the browser, and the whole book as one PDF."""
import re
import subprocess
import sys
from itertools import pairwise

import house
import pdf
import pytest
import yaml
from conftest import toc_pages
from pypdf import PdfReader

PAGES = toc_pages(house.ROOT)
CHAPTERS = [page for page in PAGES if page[:2].isdigit()]
PAPER = 640  # px of text, as book/assets/equations.js assumes
pytestmark = pytest.mark.browser


def squeezed(text):
    """Without white space, which a PDF does not keep, and hyphens, which the many kinds of line break turn into others."""
    return re.sub(r"[\s\u200b\u00ad-]+", "", text)


def printed(page, path):
    """The text of each sheet."""
    page.pdf(path=path, format="A4", outline=True)
    return [squeezed(sheet.extract_text()) for sheet in PdfReader(path).pages]


def on_paper(words, sheets):
    """Whether some sheet has the words, or one ends with their beginning and the next has the rest."""
    return any(words in sheet for sheet in sheets) or any(
        sheet.endswith(words[:cut]) and words[cut:] in after for sheet, after in pairwise(sheets) for cut in range(1, len(words)))


@pytest.fixture(scope="module")
def example(soups):
    """A chapter with folded code and solutions."""
    return next(page for page in CHAPTERS if soups[f"{page}.html"].select(".tag_hide-input") and soups[f"{page}.html"].select(".solution"))


def test_a_printed_page_is_its_text_all_of_it_and_nothing_to_click(visit, soups, example, tmp_path):
    page, soup = visit(example, color_scheme="dark"), soups[f"{example}.html"]
    theme = page.evaluate("document.documentElement.dataset.theme")
    sheets = printed(page, tmp_path / "page.pdf")
    text = "".join(sheets)
    for cell in soup.select(".cell:not(.tag_hide-cell) .cell_input pre"):
        for line in cell.get_text().splitlines():
            assert on_paper(squeezed(line), sheets), f"{example}: this line of code is not on paper: {line}"
    for solution in soup.select(".solution"):
        words = squeezed(solution.select_one("p:not(.admonition-title)").get_text())[:20]
        assert words in text or solution.select_one("p:not(.admonition-title) .math"), f"a solution stays folded: {solution.get_text()[:80]}"
    others = [soups[f"{name}.html"].select_one("article h1").get_text().rstrip("#") for name in PAGES if name not in CHAPTERS and name != "index"]
    for words in ["Show code cell", "Hide code cell", "Click to show", "Previous", "%pip install"]:
        assert squeezed(words) not in text, words
    assert sum(squeezed(title) in text for title in others) < len(others) / 2, "the list of pages is on paper"
    assert "Version" in text
    assert page.evaluate("document.documentElement.dataset.theme") == theme, "the reader's theme is gone after printing"
    page.emulate_media(media="print")
    clickable = page.locator("nav:visible, button:visible, input:visible, summary:visible, dialog:visible")
    assert clickable.count() == 0, clickable.first.evaluate("element => element.outerHTML")[:200]


@pytest.mark.parametrize("name", CHAPTERS)
def test_nothing_is_wider_than_the_paper(visit, name):
    page = visit(name, viewport={"width": 1280, "height": 900})
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.set_viewport_size({"width": PAPER, "height": 900})
    page.emulate_media(media="print")
    too_wide = page.evaluate("""paper => [...document.querySelectorAll("article :is(mjx-container[display=true], img, video, svg, pre, table)")]
        .filter(e => e.getClientRects().length && Math.max(e.scrollWidth || 0, e.getBoundingClientRect().width) > paper + 1)
        .map(e => `${Math.max(e.scrollWidth || 0, e.getBoundingClientRect().width)} ${(e.getAttribute("alt") || e.textContent || e.outerHTML).slice(0, 80)}`)""", PAPER)
    assert too_wide == []
    small = page.evaluate("[...document.querySelectorAll('mjx-container')].filter(e => parseFloat(e.style.getPropertyValue('--shrink')) < 0.6).length")
    assert small == 0, "an equation so wide that it becomes too small to read"


def outline(reader, entries=None, depth=0):
    """(depth, title, number of the sheet) of each bookmark."""
    for entry in reader.outline if entries is None else entries:
        if isinstance(entry, list):
            yield from outline(reader, entry, depth + 1)
        else:
            yield depth, entry.title.strip(), reader.get_destination_page_number(entry) + 1


def check_book(path, soups, pages):
    reader = PdfReader(path)
    texts = [squeezed(sheet.extract_text()) for sheet in reader.pages]
    contents = [" ".join(line.split()) for sheet in reader.pages[1:4] for line in sheet.extract_text().splitlines()]
    titles = [soups[f"{page}.html"].select_one("article h1").get_text().rstrip("#").strip() for page in pages]
    found = list(outline(reader))
    chapters = [(title, sheet) for depth, title, sheet in found if depth == 0]
    assert [title for title, _ in chapters] == [*titles, "Solutions"]
    for (title, sheet), (_, after) in pairwise([*chapters, ("", len(texts) + 1)]):
        assert squeezed(title) in texts[sheet - 1], f"the bookmark of {title} leads elsewhere"
        assert sheet < after, f"{title} does not begin on a sheet of its own"
        assert f"{title} {sheet}" in contents, f"{title} has another number in the contents"
    for page, title in zip(pages, titles):
        sections = [squeezed(heading.get_text().rstrip("#")) for heading in soups[f"{page}.html"].select("article h2")]
        assert set(sections) <= {squeezed(section) for depth, section, _ in found if depth}, f"{title}: a section has no bookmark"
    for number, text in enumerate(texts[1:], 2):
        assert text.endswith(str(number)) or text.startswith(str(number)) or str(number) in text, f"sheet {number} has no number"
    cover = reader.pages[0].extract_text()
    assert "1" not in cover.split() and "Version" in cover  # the cover has no number; its commit may end in one
    assert reader.metadata.title and reader.trailer["/Root"].get("/MarkInfo", {}).get("/Marked"), "no title, or no structure for screen readers"
    assert reader.trailer["/Root"]["/Lang"] == "en"
    addresses = [link["/A"]["/URI"] for sheet in reader.pages for link in map(lambda a: a.get_object(), sheet.get("/Annots", ()))
                 if link.get("/Subtype") == "/Link" and "/A" in link and "/URI" in link["/A"]]
    assert not [a for a in addresses if not a.startswith("http") or a.startswith(pdf.HOST)], "a link into the book leads out of it"
    return reader


def make_book(html, path, toc):
    """In a process of its own: the tests' browser is in the way of a second one."""
    toc_file = path.with_suffix(".yml")
    toc_file.write_text(yaml.safe_dump(toc))
    done = subprocess.run([sys.executable, house.ROOT / "book/_ext/pdf.py", html, path, toc_file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_book_of_few_pages(html, soups, example, tmp_path):
    toc = {"root": "index", "parts": [{"caption": "One", "chapters": [{"file": example}]},
                                      {"caption": "Two", "chapters": [{"file": "reference", "sections": [{"file": "reference/theory"}]}]}]}
    make_book(html, tmp_path / "book.pdf", toc)
    reader = check_book(tmp_path / "book.pdf", soups, ["index", example, "reference", "reference/theory"])
    inside = [link.get_object() for sheet in reader.pages for link in sheet.get("/Annots", ())]
    assert sum("/Dest" in link for link in inside) > 30, "links within the book"


@pytest.mark.full
def test_the_whole_book(html, soups, tmp_path):
    make_book(html, tmp_path / "book.pdf", yaml.safe_load((house.ROOT / "_toc.yml").read_text()))
    check_book(tmp_path / "book.pdf", soups, toc_pages(house.ROOT))
    assert (tmp_path / "book.pdf").stat().st_size < 80e6


def test_parts_follow_the_toc():
    toc = yaml.safe_load((house.ROOT / "_toc.yml").read_text())
    assert [page for _, chapters in pdf.parts(toc) for page, _ in chapters] == PAGES
