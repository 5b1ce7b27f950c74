"""The slides in Chromium, opened as files and printed; and the demos of the course pages: what a page says is to be seen is seen."""
import math
import re
import time
from html import unescape
from urllib.parse import parse_qsl, urlsplit

import pytest
import slides

DECKS = sorted(path.stem for path in slides.SOURCES.glob("*.md"))
SHOWN = """() => { const slide = document.querySelector('section.present .slide'), box = slide.getBoundingClientRect(), out = [];
    if (slide.scrollHeight > slide.clientHeight + 1 || slide.scrollWidth > slide.clientWidth + 1) out.push('overflows');
    for (const e of slide.querySelectorAll('*')) { const r = e.getBoundingClientRect();
        if (r.width && e.namespaceURI.endsWith('xhtml') && (r.right > box.right - 30 || r.bottom > box.bottom - 20)) out.push(`${e.tagName} reaches the edge`); }
    for (const e of slide.querySelectorAll('img')) if (Math.min(e.clientWidth / e.naturalWidth, e.clientHeight / e.naturalHeight) < 0.92) out.push('small figure');
    for (const e of slide.querySelectorAll('.equation > svg')) if (e.getBoundingClientRect().height < 20) out.push('small equation');
    return [box.width, box.height, out.join()]; }"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return slides.build(tmp_path_factory.mktemp("slides"))[0].parent


@pytest.fixture
def deck(browser, folder):
    """deck(name, query="") -> the page, from a file; requests other than for that file and errors collect in .complaints."""
    contexts = []

    def deck(name, query=""):
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 720}, reduced_motion="reduce"))
        page = contexts[-1].new_page()
        page.complaints = []
        page.on("console", lambda m: page.complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: page.complaints.append(str(e)))
        address = (folder / f"{name}.html").as_uri() + query
        page.on("request", lambda r: page.complaints.append(r.url) if not r.url.startswith((address, "data:", "blob:")) else None)
        page.goto(address)
        page.wait_for_function("window.Reveal && Reveal.isReady()")
        return page

    yield deck
    for context in contexts:
        context.close()


@pytest.mark.browser
@pytest.mark.parametrize("name", DECKS)
def test_every_slide_fits_and_asks_nobody(deck, name):
    page = deck(name)
    total = page.evaluate("Reveal.getTotalSlides()")
    assert total == (slides.SOURCES / f"{name}.md").read_text().count("\n---\n") + 1
    for number in range(total):
        page.evaluate("number => Reveal.slide(number)", number)
        assert page.evaluate(SHOWN) == [1280, 720, ""], number + 1
        assert page.evaluate("[...document.querySelectorAll('section.present img')].every(e => e.complete && e.alt.length > 20)"), number + 1
    assert page.complaints == []


@pytest.mark.browser
@pytest.mark.parametrize("name", DECKS)
def test_prints_a_page_per_slide(deck, name):
    page = deck(name, "?print-pdf")
    total = (slides.SOURCES / f"{name}.md").read_text().count("\n---\n") + 1
    page.wait_for_function("total => document.querySelectorAll('.pdf-page').length === total", arg=total)
    printed = page.pdf(prefer_css_page_size=True, print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == total


def test_the_book_has_the_slides(html):
    assert {path.stem for path in (html / "_static/slides").glob("*.html")} == set(DECKS)


# --- demos ---------------------------------------------------------------------------------------

class Demo:
    """An explorer on a page of the built book: its sliders set by name, its readout once it has settled."""

    def __init__(self, visit, page, kind, says=""):
        self.says = says  # what a complete readout has
        self.page = visit(page, reduced_motion="reduce")
        self.page.wait_for_function("kind => document.querySelector(`mpq-${kind} .mpq-x`)?.dataset.draws", arg=kind)
        self.host = self.page.query_selector(f"mpq-{kind}")
        self.host.scroll_into_view_if_needed()  # out of sight it does not compute

    def set(self, **values):
        for name, value in values.items():
            element = self.host.query_selector(f"[data-name={name}]")
            if name == "lam":  # the slider has the exponent
                value = round(math.log10(value), 2)
            text, before = value if isinstance(value, str) else f"{value:g}", self.text()
            if element.input_value() != text:
                element.select_option(text) if element.evaluate("e => e.tagName") == "SELECT" else element.fill(text)
                self.wait(lambda: self.text() != before)
        return self.read()

    def press(self, text, times=1):
        for _ in range(times):
            before = self.text()
            next(b for b in self.host.query_selector_all("button") if text in b.text_content()).click()
            self.wait(lambda: self.text() != before, 3)
        return self.read()

    def text(self):
        return self.host.evaluate("e => e.querySelector('.readout').textContent")

    def wait(self, done, patience=40):
        deadline = time.monotonic() + patience
        while not done() and time.monotonic() < deadline:
            self.page.wait_for_timeout(20)

    def read(self):
        last = [None, self.text()]
        def settled():
            self.page.wait_for_timeout(150)
            last[:] = last[1], self.text()
            return last[0] == last[1] and not re.search("Computing|Loading", last[1]) and self.says in last[1]
        self.wait(settled)
        return last[1]


def runs(text):
    """(MPPI, MPQ): success and cost of the pendulum explorer's readout."""
    return [("a success" in one, int(re.search(r"cost (\d+)", one)[1])) for one in re.split("MPQ:", text)]


def number(pattern, text):
    return float(re.search(pattern + r" (\d+(?:\.\d+)?)", text)[1])


@pytest.mark.browser
def test_demo_look_ahead_or_know(visit):
    demo = Demo(visit, "16-playground", "pendulum", says="MPQ: cost")

    def starts(count=4, **values):
        found = [runs(demo.set(**values))]
        return found + [runs(demo.press("New start")) for _ in range(count - 1)]

    assert all(not mppi[0] and mpq[0] for mppi, mpq in starts(horizon=8, mean=1.2, spread=0.3))
    short = runs(demo.read())[1][1]
    assert sum(mppi[0] and mppi[1] > short for mppi, _ in starts(horizon=32)) >= 2
    assert all(mppi[0] for mppi, _ in starts(horizon=32, mean=1, spread=0))
    assert not any(mppi[0] for mppi, _ in starts(horizon=8))
    light, heavy = (sum(mpq[0] for _, mpq in starts(horizon=8, spread=0.3, mean=mean)) for mean in (0.6, 1.6))
    assert light <= 2 < heavy


@pytest.mark.browser
def test_demo_how_few_samples_count(visit):
    demo = Demo(visit, "04-h-step-boltzmann", "boltzmann")
    assert 8 < number("Effective sample size", demo.set(lam=1.0, samples=24)) < 16
    cold = demo.set(lam=0.1)
    assert number("Effective sample size", cold) < 3 and 1 / 40 < number(r"std\(S\) is", cold) < 1 / 15
    estimates = [number("estimate", demo.press("New samples")) for _ in range(5)]
    assert max(estimates) - min(estimates) > 0.03
    many = demo.set(samples=256)
    assert 20 < number("Effective sample size", many) < 40
    assert abs(number("estimate", many) - number("exact", many)) < 0.05


@pytest.mark.browser
def test_demo_one_update_at_a_time(visit):
    demo = Demo(visit, "05-mppi-update", "update")
    first = number(r"executing the old mean \(grey, dotted\) for 2.5 s costs", demo.set(lam=1.0))

    def after_twenty(**values):
        demo.set(**values)
        began = number("effective sample size", demo.press("Start again"))
        end = demo.press("One iteration", 20)
        return began, number(r"the new one \(green, dashed\)", end), number("effective sample size", end)

    _, cost, ess = after_twenty(lam=1.0)
    assert cost < 0.6 * first and ess < 10
    began, cost, ess = after_twenty(lam=30.0)
    assert 30 < began < 65 and cost > 0.85 * first
    _, free, as_many = after_twenty(control_cost="no")
    assert free < 0.7 * first and as_many > 0.9 * ess


@pytest.mark.browser
def test_demo_what_q_comes_to_know(visit):
    demo = Demo(visit, "06-free-energy-targets", "landscape")
    told = {episodes: demo.set(episodes=place) for place, episodes in enumerate((0, 2, 5, 10, 20, 40, 60))}
    assert "a success" in told[40] and len(set(told.values())) == 7, told


LINKS = sorted({unescape(link) for path in slides.BOOK.glob("course*.md") for link in re.findall(r'href="([\w-]+\.html\?[^"]*)"', path.read_text())})


@pytest.mark.browser
def test_links_of_the_demos_set_the_sliders(visit, site):
    assert len(LINKS) > 10
    page = visit("course")
    for link in LINKS:
        page.goto(f"{site}/{link}")
        wanted = dict(parse_qsl(urlsplit(link).query))
        (kind,) = {name.partition("-")[0] for name in wanted}
        page.wait_for_function("kind => document.querySelector(`mpq-${kind} .mpq-x`)?.dataset.draws", arg=kind)
        for name, value in wanted.items():
            found = page.eval_on_selector(f"mpq-{kind} [data-name={name.partition('-')[2]}]", "e => e.value")
            assert found == (f"{math.log10(float(value)):.3g}" if name.endswith("lam") else value), (link, name)
        assert page.evaluate("document.getElementById(location.hash.slice(1))?.tagName") == "SECTION", link
