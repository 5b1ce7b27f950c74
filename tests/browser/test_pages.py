"""The built book: counted, its links and anchors followed, and opened in Chromium served from localhost."""
from urllib.parse import unquote, urlsplit

import house
import numpy as np
import pytest
from conftest import toc_pages
from PIL import Image

PAGES = toc_pages(house.ROOT)
EXTRA = {"genindex", "search"}  # pages that Sphinx adds


# --- without a browser ---------------------------------------------------------------------------

def test_every_page_of_the_toc_is_built_and_no_other(soups):
    assert set(soups) - {f"{page}.html" for page in EXTRA} - {"404.html"} == {f"{page}.html" for page in PAGES}, "stale page: make clean"


def test_every_page_has_content(soups):
    for page in PAGES:
        article = soups[f"{page}.html"].select_one("article")
        assert len(article.get_text(" ", strip=True)) > 200, page
        assert article.select_one("h1"), page


def test_every_chapter_shows_its_outputs(soups):
    for page in PAGES:
        if (house.ROOT / "book" / f"{page}.ipynb").exists():
            assert len(soups[f"{page}.html"].select(".cell_output")) >= 3, page


def test_ids_are_unique_per_page(soups):
    for page, soup in soups.items():
        ids = [tag["id"] for tag in soup.select("main [id]")]
        assert len(ids) == len(set(ids)), (page, {i for i in ids if ids.count(i) > 1})


def test_no_broken_internal_link_or_anchor(soups, html):
    broken = set()
    for page, soup in soups.items():
        for tag, attribute in [("a", "href"), ("link", "href"), ("img", "src"), ("script", "src"), ("video", "src"), ("source", "src")]:
            for element in soup.select(f"{tag}[{attribute}]"):
                address = urlsplit(element[attribute])
                if address.scheme or address.netloc:
                    continue
                target = (html / page).parent / unquote(address.path) if address.path else html / page
                name = target.resolve().relative_to(html.resolve()).as_posix()
                if not target.exists():
                    broken.add((page, element[attribute]))
                elif address.fragment and name in soups and not soups[name].find(id=unquote(address.fragment)):
                    broken.add((page, element[attribute]))
    assert not broken


def test_every_picture_has_a_text(soups):
    for page, soup in soups.items():
        for picture in soup.select("article img, article video"):
            text = picture.get("alt") or picture.get("aria-label") or ""
            figure = picture.find_parent("figure")
            assert (text and not text.endswith((".png", ".svg"))) or (figure and figure.find("figcaption")), (
                f'{page}: no text for {str(picture)[:200]}; cell metadata {{"mystnb": {{"image": {{"alt": "..."}}}}}}')


def test_figures_read_well_on_white_and_on_black(soups, html):
    """Transparent background; text and axes in a grey that shows on both (drawings, not renderings and photographs)."""
    for page, soup in soups.items():
        for tag in soup.select(".cell_output img[src$='.png']"):
            rgba = np.asarray(Image.open(html / tag["src"]).convert("RGBA")).astype(int)
            brightest, opaque = rgba[..., :3].max(-1), rgba[..., 3] > 200
            assert not (opaque[0, 0] and rgba[0, 0, :3].min() > 240), f"{page}: white background, a bright box in dark mode"
            if not opaque[0, 0]:
                share = (brightest[opaque] < 60).mean()
                assert share < 0.05, f"{page}: {share:.0%} of the ink is nearly black and vanishes in dark mode"


def test_pages_load_within_reason(html):
    for page in PAGES:
        assert (html / f"{page}.html").stat().st_size < 4_000_000, page


# --- in the browser ------------------------------------------------------------------------------

@pytest.mark.browser
@pytest.mark.parametrize("name", [*PAGES, *sorted(EXTRA)])
def test_page_asks_nobody_else_and_has_no_error(visit, soups, name):
    page = visit(name)
    assert page.complaints == []
    if soups[f"{name}.html"].select("article .math"):
        assert page.locator("mjx-container").count() >= len(soups[f"{name}.html"].select("article .math"))
        assert page.locator("mjx-merror, [data-mjx-error]").count() == 0


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_page_fits_a_phone(visit, name):
    page = visit(name, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    too_wide = page.evaluate("""() => document.documentElement.scrollWidth <= innerWidth && innerWidth <= 390 ? [] :
        [`${document.documentElement.scrollWidth} px`, ...[...document.querySelectorAll('article *')]
            .filter(e => e.getBoundingClientRect().right > 390).slice(0, 5).map(e => e.outerHTML.slice(0, 120))]""")
    assert too_wide == []
    cut = page.evaluate("""() => {
        const beyond = e => e.getBoundingClientRect().right - (e.closest('p, li, dd, div.math')?.getBoundingClientRect().right ?? innerWidth);
        return [...document.querySelectorAll('article mjx-container')].filter(e => !e.closest('table') && beyond(e) > 2 && e.style.getPropertyValue('--fit') !== '0.72')
            .map(e => e.closest('p, li, dd, div.math').innerText.replace(/\\s+/g, ' ').slice(0, 120));
    }""")
    assert cut == [], "formulas that end beyond the screen, and are not display equations in their smallest size, which scroll"


@pytest.mark.browser
def test_the_buttons_above_the_text_open_the_contents(visit):
    page = visit(PAGES[1], viewport={"width": 390, "height": 844})
    for side, link in [("primary", f'a[href="{PAGES[2]}.html"]'), ("secondary", 'a[href^="#"]')]:
        link = page.locator(f"#pst-{side}-sidebar-modal {link}").first
        page.locator(f".bd-header-article .{side}-toggle").click()
        link.wait_for(state="visible")
        page.keyboard.press("Escape")
        link.wait_for(state="detached")
    page = visit(PAGES[1], viewport={"width": 1280, "height": 900})
    sidebar = page.locator("#pst-primary-sidebar")
    for right in (0, sidebar.bounding_box()["width"]):
        page.locator(".bd-header-article .primary-toggle").click()
        page.wait_for_function("right => document.getElementById('pst-primary-sidebar').getBoundingClientRect().right === right", arg=right)
    assert page.complaints == []


@pytest.mark.browser
def test_a_film_comes_when_it_is_seen_and_plays_unless_less_motion_is_asked_for(visit, soups):
    films = {name: soups[f"{name}.html"].select(".cell_output video") for name in PAGES}
    assert all(film["preload"] == "none" and film["poster"] and not film["src"].startswith("data:") for found in films.values() for film in found)
    name = next(name for name, found in films.items() if found)
    for motion in ("no-preference", "reduce"):
        page = visit(name, reduced_motion=motion, viewport={"width": 1280, "height": 900})
        film = page.locator(".cell_output video").first
        size = film.bounding_box()
        assert film.evaluate("film => film.readyState") == 0 and size["y"] > 1800 and size["height"] > 100
        film.scroll_into_view_if_needed()
        page.wait_for_function("film => film.readyState >= 2", arg=film.element_handle())
        page.wait_for_timeout(300)
        assert film.evaluate("film => film.paused") == (motion == "reduce")
        assert film.bounding_box()["height"] == size["height"]
        assert page.complaints == []


@pytest.mark.browser
def test_dark_mode(visit):
    shade = "() => getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"
    page = visit(PAGES[1], color_scheme="light")
    assert page.evaluate(shade) > 600
    seen = []
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        seen.append((page.evaluate("document.documentElement.dataset.theme"), page.evaluate(shade)))
    assert any(theme == "dark" and brightness < 200 for theme, brightness in seen), seen
    assert visit(PAGES[1], color_scheme="dark").evaluate(shade) < 200, "the reader's own setting is not followed"


@pytest.mark.browser
def test_search_finds(visit):
    page = visit("search")
    page.goto(page.url + "?q=temperature", wait_until="load")
    page.wait_for_selector("#search-results li a[href*='glossary']")  # the results come in one by one
    assert page.complaints == []


@pytest.mark.browser
def test_glossary_term_leads_to_its_definition(visit, soups):
    for name in PAGES:
        if link := soups[f"{name}.html"].select_one('article a[href^="glossary.html#term-"]'):
            page = visit(name)
            page.goto(page.url.rsplit("/", 1)[0] + "/" + link["href"])
            assert page.locator(f"[id='{link['href'].split('#')[1]}']").is_visible()
            return
    pytest.fail("no page links to the glossary")
