"""Every explorer in the built book, in Chromium: moved, pressed, checked by axe-core, on a phone, before and without its script.

`PYTHONPATH=book/_ext:tests python tests/browser/test_explorers.py` measures how long each takes to draw itself anew and writes
data/benchmarks/explorers.json.
"""
import gzip
import json
import statistics
import time
from urllib.parse import unquote, urlsplit

import house
import pytest

from mpqlib import explorers

KINDS = sorted(one.class_traits()["kind"].default_value for one in explorers.Explorer.__subclasses__())
AXE = house.VENDOR / "node_modules/axe-core/axe.min.js"
CALM = {"reduced_motion": "reduce"}  # nothing moves by itself
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}

STATE = """host => { const root = host.querySelector('.mpq-x'); return {
    drawing: [...root.querySelectorAll('svg, canvas')].map(e => e.tagName === 'CANVAS' ? e.toDataURL() : e.innerHTML).join(''),
    readout: root.querySelector('.readout').textContent, note: root.querySelector('.note').textContent,
    rest: [...root.querySelectorAll('button, output, details, select, input')].map(e => e.textContent + e.value + e.disabled + e.checked).join('|'),
    draws: +root.dataset.draws, milliseconds: +root.dataset.milliseconds }; }"""
UPGRADED = "kind => [...document.querySelectorAll(`mpq-${kind}`)].every(host => host.querySelector('.mpq-x')?.dataset.draws)"


@pytest.fixture(scope="session")
def places(soups):
    """Kind -> the pages it is on."""
    return {kind: [page.removesuffix(".html") for page, soup in sorted(soups.items()) if soup.select(f"mpq-{kind}")] for kind in KINDS}


@pytest.fixture
def elements(visit, places):
    """elements(kind, pages=None) -> (page, element) of each element of that kind, settled; what it loads on demand, loaded."""
    def elements(kind, pages=None, load=True, **options):
        for name in places[kind][:pages]:
            page = visit(name, **{**CALM, **options})
            page.set_default_timeout(10_000)
            page.wait_for_function(UPGRADED, arg=kind)
            for host in page.query_selector_all(f"mpq-{kind}"):
                settled(host)
                if load:
                    loaded(page, host)
                yield page, host

    return elements


def loaded(page, host):
    """Press the button that loads what the explorer needs, if it has one; True if it had."""
    button = host.query_selector("button[data-loads]")
    if button is None or not button.is_visible():
        return False
    button.click()
    page.wait_for_function("host => host.querySelector('input[type=range]').offsetParent", arg=host, timeout=120_000)
    settled(host)
    return True


def state(host):
    return host.evaluate(STATE)


def settled(host, patience=8.0):
    """State after two looks 120 ms apart have shown the same."""
    before, deadline = state(host), time.monotonic() + patience
    while time.monotonic() < deadline:
        time.sleep(0.12)
        now = state(host)
        if all(now[key] == before[key] for key in ("drawing", "readout", "draws")):
            return now
        before = now
    return before


def after(host, act, before):
    """State once `act` has changed something other than the count of drawings; fails where it does not."""
    act()
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        now = state(host)
        if any(now[key] != before[key] for key in ("drawing", "readout", "rest")):
            return settled(host)
        time.sleep(0.03)
    return None


def move(page, slider, place):
    """A slider to its low end, its high end (by key) or its middle."""
    slider.focus()
    if place == "middle":
        low, high, step = (float(slider.get_attribute(name)) for name in ("min", "max", "step"))
        slider.fill(f"{low + step * round((high - low) / 2 / step):.10g}")
    else:
        page.keyboard.press({"low": "Home", "high": "End"}[place])


def test_every_explorer_is_on_a_page(places):
    assert places and all(places.values()), places


def test_every_element_holds_a_picture_before_its_script_runs(soups, places):
    for kind, pages in places.items():
        for page in pages:
            for host in soups[f"{page}.html"].select(f"mpq-{kind}"):
                assert host.select("svg[aria-label], img[alt], video[poster]"), (page, kind)
                assert not host.select("input:not([disabled]), button:not([disabled]), select:not([disabled])"), (page, kind)


def test_pages_with_explorers_are_light(html, places):
    """Page, module and what the explorers load by themselves, compressed; MuJoCo and its recording come on a click."""
    beside = html / "_static/explorers"
    read = [path for path in beside.iterdir() if path.suffix in (".js", ".json", ".safetensors")]
    assert {"mpq-explorers.js", "results.json", "pendulum-q.safetensors"} <= {path.name for path in read}
    for page in {page for pages in places.values() for page in pages}:
        size = sum(len(gzip.compress(path.read_bytes())) for path in [html / f"{page}.html", *read])
        assert size < 1_500_000, f"{page}: {size / 1e6:.2f} MB"


@pytest.mark.browser
def test_a_first_visit_is_light(visit, site, html, places):
    """All that a page with explorers fetches with nothing kept from before, compressed as GitHub Pages does; films come when they are seen."""
    for name in sorted({page for pages in places.values() for page in pages}):
        answers = []
        page = visit(name, before=lambda page, answers=answers: page.on("response", lambda answer: answers.append(answer)), viewport={"width": 1280, "height": 900})
        page.evaluate("document.fonts.ready.then(() => 0)")
        page.wait_for_timeout(1000)  # explorers in view fetch their data
        paths = {unquote(urlsplit(answer.url).path).lstrip("/") for answer in answers if answer.url.startswith(site)}
        assert {f"{name}.html", "_static/explorers/mpq-explorers.js"} <= paths
        sizes = {path: len(content if (html / path).suffix not in (".html", ".css", ".js", ".json", ".svg") else gzip.compress(content))
                 for path in paths for content in [(html / path).read_bytes()]}
        largest = ", ".join(f"{path} {size / 1e6:.2f}" for path, size in sorted(sizes.items(), key=lambda one: -one[1])[:8])
        assert sum(sizes.values()) < 1_500_000, f"{name}: {sum(sizes.values()) / 1e6:.2f} MB, of which {largest}"
        assert not [path for path in paths if "webfonts" in path], f"{name}: an icon that is not among ICONS of mpq_book.py"


@pytest.mark.browser
@pytest.mark.parametrize("kind", KINDS)
def test_sliders(elements, kind):
    for page, host in elements(kind):
        for slider in host.query_selector_all("input[type=range]"):
            name, first = slider.get_attribute("data-name"), slider.input_value()
            seen = []
            for place in ("low", "high", "middle"):
                move(page, slider, place)
                seen.append(settled(host) | {"value": slider.evaluate("e => e.parentNode.querySelector('output').textContent")})
            for what in ("value", "drawing"):
                assert len({one[what] for one in seen}) == 3, f"{what} is the same at two of the places of {name}"
            # Where all samples cost the same, neither temperature nor horizon matters yet.
            same = name in ("lam", "horizon") and all("all samples cost the same" in one["readout"] for one in seen)
            assert same or len({one["readout"] for one in seen}) > 1, f"the readout does not follow {name}"
            assert not any(one["note"] for one in seen), seen
            assert max(one["milliseconds"] for one in seen) < 2000
            slider.fill(first)
            settled(host)
        assert page.complaints == []


@pytest.mark.browser
@pytest.mark.parametrize("kind", KINDS)
def test_choices_and_buttons(elements, kind):
    for page, host in elements(kind):
        for select in host.query_selector_all("select"):
            if not select.is_visible():
                continue
            first, before = select.input_value(), settled(host)
            others = [v for v in select.evaluate("e => [...e.options].map(o => o.value)") if v != first]
            for value in [*others, first]:
                now = after(host, lambda value=value: select.select_option(value), before)
                assert now and (now["drawing"], now["readout"]) != (before["drawing"], before["readout"]), f"choosing {value!r} changes nothing"
                before = now
        for box in host.query_selector_all("input[type=checkbox]"):
            if box.is_visible() and box.is_enabled():
                before = settled(host)
                now = after(host, box.click, before)
                assert now and now["drawing"] != before["drawing"], "a box changes nothing"
                box.click()
        for button in host.query_selector_all("button"):
            if button.is_visible() and button.is_enabled():
                label, before = button.inner_text(), settled(host)
                assert after(host, button.click, before), f"pressing {label!r} changes nothing"
        assert page.complaints == [] and state(host)["note"] == ""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing_serious(elements, kind, scheme):
    assert AXE.exists(), "axe-core is missing: python book/_ext/house.py vendor"
    for page, host in elements(kind, load=False, color_scheme=scheme):
        if not page.evaluate("!!window.axe"):
            page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
        for _ in range(2):
            found = host.evaluate("host => axe.run(host, {resultTypes: ['violations']})")
            assert len(found["passes"]) > 5
            serious = [f"{one['id']}: {one['help']}: {[node['html'][:150] for node in one['nodes']]}"
                       for one in found["violations"] if one["impact"] in ("serious", "critical")]
            assert serious == []
            if not loaded(page, host):
                break


SHIFTS = """window.shifts = [];
new PerformanceObserver(list => { for (const e of list.getEntries()) shifts.push(e.value); }).observe({type: 'layout-shift', buffered: true});"""


@pytest.mark.browser
@pytest.mark.parametrize("options", [{"viewport": {"width": 1280, "height": 900}}, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_shifts_when_the_script_arrives(browser, site, places, kind, options):
    """The module comes when the page stands; then nothing below an explorer may jump (CLS < 0.02)."""
    for name in places[kind]:
        context = browser.new_context(**options, **CALM)
        try:
            page = context.new_page()
            page.add_init_script(SHIFTS)
            page.route("**/mpq-explorers.js", lambda route: route.continue_())
            page.route("**/mpq-explorers.js?*", lambda route: route.abort())
            page.goto(f"{site}/{name}.html", wait_until="networkidle")
            host = page.query_selector(f"mpq-{kind}")
            host.scroll_into_view_if_needed()
            page.wait_for_timeout(300)
            tall = [one.bounding_box()["height"] for one in page.query_selector_all(f"mpq-{kind}")]
            assert min(tall) > 200
            page.evaluate("window.shifts.length = 0")
            page.evaluate("import(new URL('_static/explorers/mpq-explorers.js', location.href))")
            page.wait_for_function(UPGRADED, arg=kind)
            settled(host)
            page.wait_for_timeout(200)
            assert sum(page.evaluate("window.shifts")) < 0.02
            now = [one.bounding_box()["height"] for one in page.query_selector_all(f"mpq-{kind}")]
            assert now == pytest.approx(tall, abs=4), name
        finally:
            context.close()


@pytest.mark.browser
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_phone(elements, kind):
    """Nothing is wider than the page at either end of a slider, and a finger moves it."""
    wide = "() => document.documentElement.scrollWidth"
    for page, host in elements(kind, **PHONE):
        for slider in host.query_selector_all("input[type=range]"):
            slider.scroll_into_view_if_needed()
            box, before = slider.bounding_box(), slider.input_value()
            assert box["height"] >= 24 and box["width"] >= 80
            share = (float(before) - float(slider.get_attribute("min"))) / (float(slider.get_attribute("max")) - float(slider.get_attribute("min")))
            page.touchscreen.tap(box["x"] + box["width"] * (0.25 if share > 0.5 else 0.75), box["y"] + box["height"] / 2)
            assert slider.input_value() != before
            for place in ("low", "high"):
                move(page, slider, place)
                settled(host)
                assert page.evaluate(wide) <= 390
            slider.fill(before)
        for small in host.query_selector_all("button, select"):
            if small.is_visible():
                assert small.bounding_box()["height"] >= 24


@pytest.mark.browser
@pytest.mark.parametrize("kind", KINDS)
def test_without_scripts_there_is_a_picture(browser, site, places, kind):
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(f"{site}/{places[kind][0]}.html")
        host = page.locator(f"mpq-{kind}").first
        picture = host.locator("svg, img, video").locator("visible=true").first
        assert picture.bounding_box()["height"] > 100
        assert host.locator("input, button, select").locator("visible=true").count() == 0
    finally:
        context.close()


@pytest.mark.browser
@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_is_named_in_place(visit, places, kind):
    """Numbers out of range, words for numbers and missing files give a sentence; the page goes on."""
    for bad in ("-1e9", "much"):
        page = visit(places[kind][0], **CALM)
        page.wait_for_function(UPGRADED, arg=kind)
        page.evaluate("""([kind, bad]) => {
            const old = document.querySelector(`mpq-${kind}`), again = document.createElement(`mpq-${kind}`);
            const sliders = [...old.querySelectorAll('input[type=range], select')].map(e => e.dataset.name);
            for (const name of old.getAttributeNames()) {
                if (name !== 'class' && !sliders.includes(name)) again.setAttribute(name, bad === 'much' ? 'missing.bin' : old.getAttribute(name));
            }
            for (const name of sliders) again.setAttribute(name, bad);
            old.replaceWith(again); }""", [kind, bad])
        page.wait_for_function(UPGRADED, arg=kind)
        host = page.query_selector(f"mpq-{kind}")
        assert settled(host)["note"].endswith((".", ")")), "no sentence"
        assert "stopped" not in state(host)["note"]
        assert [one for one in page.complaints if "404" not in one] == []


DAMAGED = {"pendulum": "*-q.safetensors", "landscape": "landscape-*.safetensors", "results": "results.json", "ball": "ball.json"}


@pytest.mark.browser
@pytest.mark.parametrize("content", [b"<html>not this</html>", "half"], ids=["another file", "half a file"])
@pytest.mark.parametrize("kind", sorted(DAMAGED))
def test_a_damaged_file_is_named_in_place(visit, html, places, kind, content):
    def damage(route):
        whole = (html / "_static/explorers" / route.request.url.split("/")[-1].split("?")[0]).read_bytes()
        route.fulfill(body=whole[:len(whole) // 2] if content == "half" else content)

    page = visit("16-playground", before=lambda page: page.route(f"**/{DAMAGED[kind]}", damage), **CALM)
    assert "16-playground" in places[kind]
    page.wait_for_function("kind => document.querySelector(`mpq-${kind} .note`)?.textContent.includes('damaged')", arg=kind)
    for other in KINDS:
        host = page.query_selector(f"mpq-{other}")
        assert settled(host)["note"] == "" or other == kind
    assert page.complaints == []


@pytest.mark.browser
def test_settings_in_the_pages_address(visit):
    """?NAME-slider=value goes before the attribute; what is out of range is named in place, and the rest of the page goes on."""
    def reads(page, kind, name):
        return page.locator(f"mpq-{kind} label:has([data-name={name}]) output").inner_text()

    page = visit("16-playground", query="?boltzmann-lam=2&pendulum-horizon=500&update-samples=many", **CALM)
    for kind in ("boltzmann", "pendulum", "update"):
        page.wait_for_function(UPGRADED, arg=kind)
    assert (reads(page, "boltzmann", "lam"), reads(page, "pendulum", "horizon"), reads(page, "update", "samples")) == ("2", "64", "100")
    notes = {kind: state(page.query_selector(f"mpq-{kind}"))["note"] for kind in ("boltzmann", "pendulum", "update")}
    assert notes == {"boltzmann": "", "pendulum": "Horizon H is 500; it must lie in 1 to 64, and 64 is used.",
                     "update": "Samples N is many; it must lie in 4 to 256, and 100 is used."}
    page.locator("mpq-pendulum [data-name=horizon]").fill("9")
    page.wait_for_function("document.querySelector('mpq-pendulum .note').textContent === ''")
    assert page.complaints == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_whole_pages_with_the_network_cut(visit, site, places, scheme):
    """All but the page's own origin out of reach, and no canvas or WebGL to draw on: every explorer stands, axe-core finds nothing serious on the page."""
    def cut(page):
        page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null;")
        page.route(lambda url: not url.startswith(site), lambda route: route.abort())

    for name in sorted({page for pages in places.values() for page in pages}):
        page = visit(name, before=cut, color_scheme=scheme, **CALM)
        for kind in [kind for kind in KINDS if name in places[kind]]:
            page.wait_for_function(UPGRADED, arg=kind)
            for host in page.query_selector_all(f"mpq-{kind}"):
                assert settled(host)["note"] == ""
                assert not loaded(page, host) or state(host)["note"] == ""
        assert page.complaints == [], name
        page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
        found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        serious = [f"{one['id']}: {one['help']}: {[node['html'][:150] for node in one['nodes']][:3]}"
                   for one in found["violations"] if one["impact"] in ("serious", "critical")]
        assert serious == [], name


@pytest.mark.browser
@pytest.mark.parametrize("kind", KINDS)
def test_by_keyboard_alone(elements, kind):
    """Tab comes to every slider, choice, box and button in the order in which they stand, shows where it is, and keys move them."""
    outline = "() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle === 'none' ? 0 : parseFloat(s.outlineWidth); }"
    for page, host in elements(kind, pages=1):
        wanted = host.evaluate("""host => {
            const before = Object.assign(document.createElement('a'), {href: '#', textContent: 'before'});
            host.before(before);
            before.focus();
            return [...host.querySelectorAll('input, select, button, summary')].filter(e => e.checkVisibility() && !e.disabled).length; }""")
        came = []
        while len(came) <= wanted + 2:
            page.keyboard.press("Tab")
            if not host.evaluate("host => host.contains(document.activeElement)"):
                break
            here = page.evaluate_handle("document.activeElement").as_element()
            came.append(here)
            assert page.evaluate(outline) >= 2, here.evaluate("e => e.outerHTML")
            kept = here.evaluate("e => e.type === 'checkbox' ? e.checked : e.value")
            keys = {"range": ("ArrowLeft", "ArrowRight"), "checkbox": ("Space", "Space"), "select-one": ("ArrowDown", "ArrowUp")}.get(here.evaluate("e => e.type"), ())
            seen = set()
            for key in keys:
                page.keyboard.press(key)
                seen.add(here.evaluate("e => e.type === 'checkbox' ? e.checked : e.value"))
            assert not keys or seen - {kept}, here.evaluate("e => e.outerHTML")
        assert len(came) == wanted, f"{len(came)} of {wanted}"
        assert host.evaluate("host => document.activeElement !== document.body && !host.contains(document.activeElement)")
        before = settled(host)
        button = host.query_selector("button:not([disabled]):not([hidden])")
        if button:
            button.focus()
            assert after(host, lambda: page.keyboard.press("Enter"), before)
        assert page.complaints == []


def frame_times(page, host, moves=9):
    """Milliseconds in which the explorer drew itself anew after each of some moves of each slider."""
    found = []
    for slider in host.query_selector_all("input[type=range]"):
        first = slider.input_value()
        low, high, step = (float(slider.get_attribute(name)) for name in ("min", "max", "step"))
        for i in range(moves):
            slider.fill(f"{low + step * round((high - low) * (i * 5 % moves) / (moves - 1) / step):.10g}")
            found.append(settled(host)["milliseconds"])
        slider.fill(first)
    return found


@pytest.mark.browser
@pytest.mark.parametrize("kind", KINDS)
def test_a_move_is_drawn_soon(elements, kind):
    """Generously: data/benchmarks/explorers.json holds what is usual."""
    times = [one for page, host in elements(kind, pages=1) for one in frame_times(page, host, moves=3)]
    assert not times or statistics.median(times) < 500


def bench():
    """Write data/benchmarks/explorers.json."""
    import http.server
    import threading
    from functools import partial

    from conftest import QuietHandler
    from playwright.sync_api import sync_playwright

    from mpqlib.experiments import provenance

    folder, rows = house.ROOT / "_build/html", []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=house.chromium(), args=["--no-sandbox", "--disable-gpu"])
        for kind in KINDS:
            place = next(path for path in sorted(folder.glob("*.html")) if f"<mpq-{kind}" in path.read_text(encoding="utf-8"))
            page = browser.new_page(**CALM)
            page.goto(f"http://127.0.0.1:{server.server_port}/{place.name}", wait_until="networkidle")
            page.wait_for_function(UPGRADED, arg=kind)
            host = page.query_selector(f"mpq-{kind}")
            loaded(page, host)
            times = frame_times(page, host)
            if times:
                rows.append({"explorer": kind, "moves": len(times), "median_ms": round(statistics.median(times), 1), "largest_ms": max(times)})
            page.close()
        version = browser.version
        browser.close()
    server.shutdown()
    written = {"rows": rows, "chromium": version, **provenance()}
    (house.ROOT / "data/benchmarks/explorers.json").write_text(json.dumps(written, indent=1) + "\n")
    return rows


if __name__ == "__main__":
    print(*bench(), sep="\n")
