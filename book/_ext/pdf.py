"""The whole book as one PDF: the built pages in the order of _toc.yml, printed by Chromium. Usage: python book/_ext/pdf.py [HTML [PDF [TOC]]]"""
import mimetypes
import re
import sys
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote, urlsplit

import house
import yaml
from bs4 import BeautifulSoup
from pypdf import PdfReader, PdfWriter
from pypdf.generic import NameObject, TextStringObject

HOST = "http://book.invalid/"  # answered from the built pages; nothing else is
TITLE = "Model Predictive Q-Learning"


def parts(toc):
    """[(caption, [(page, depth)])] of _toc.yml, the first page first."""
    def under(chapters, depth=0):
        for chapter in chapters:
            yield chapter["file"], depth
            yield from under(chapter.get("sections", ()), depth + 1)

    return [("", [(toc["root"], 0)])] + [(part["caption"], list(under(part["chapters"]))) for part in toc["parts"]]


def place(page, fragment=""):
    """Id in the one document of a page, or of something on it."""
    return "page-" + re.sub(r"[^\w-]", "-", page) + (f"--{fragment}" if fragment else "")


def article(html, page, pages):
    """A page's text, its ids and links made those of the one document."""
    text = BeautifulSoup((html / f"{page}.html").read_bytes(), "lxml").select_one("article")
    text["id"], text["class"] = place(page), [*text["class"], "book-page"]
    for tag in text.select("script, .headerlink, .prev-next-footer, mpq-ball .mpq-x ~ *"):
        tag.decompose()
    for tag in text.select("[id]"):
        tag["id"] = place(page, tag["id"])
    for tag in text.select("[for], [aria-labelledby], [aria-describedby], [headers]"):
        for name in {"for", "aria-labelledby", "aria-describedby", "headers"} & set(tag.attrs):
            del tag[name]
    for tag in text.select("[src], [poster]"):
        for name in {"src", "poster"} & set(tag.attrs):
            if not urlsplit(tag[name]).scheme:
                tag[name] = HOST + normpath(join(dirname(page), tag[name]))
    for link in text.select("a[href]"):
        address = urlsplit(link["href"])
        if address.scheme or address.netloc:
            continue
        target = normpath(join(dirname(page), unquote(address.path))).removesuffix(".html") if address.path else page
        if target in pages:
            link["href"] = "#" + place(target, unquote(address.fragment))
        else:  # a download, the index of names
            del link["href"]
    for video in text.select("video[poster]"):
        still = BeautifulSoup("<img>", "lxml").img
        still["src"], still["alt"] = video["poster"], video.get("aria-label", "")
        video.replace_with(still)
    return text


def gather_solutions(document, articles, titles):
    """Move the solutions to a chapter of their own at the end, so that an exercise can be tried first."""
    chapter = document.new_tag("article", attrs={"class": "bd-article book-page", "id": "solutions"})
    chapter.append(heading := document.new_tag("h1"))
    heading.string = "Solutions"
    for page, text in articles.items():
        if not (solutions := text.select(".admonition.solution")):
            continue
        chapter.append(heading := document.new_tag("h2"))
        heading.string = titles[page]
        for solution in solutions:
            chapter.append(solution.extract())
    return chapter


def assemble(html, toc):
    """The book as one HTML document; the contents have places for the numbers of sheets, marked data-of=<id>."""
    first = BeautifulSoup((html / "index.html").read_bytes(), "lxml")
    listed = parts(toc)
    pages = [page for _, chapters in listed for page, _ in chapters]
    articles = {page: article(html, page, set(pages)) for page in pages}
    titles = {page: text.select_one("h1").get_text().strip() for page, text in articles.items()}
    document = BeautifulSoup("<!DOCTYPE html><html lang='en' data-theme='light'><head><meta charset='utf-8'></head><body></body></html>", "lxml")
    document.head.append(title := document.new_tag("title"))
    title.string = first.title.get_text()
    for tag in first.select("head link[rel=stylesheet]"):
        tag["href"] = HOST + tag["href"]
        document.head.append(tag)
    maths = next(BeautifulSoup((html / f"{page}.html").read_bytes(), "lxml") for page in pages if articles[page].select_one(".math"))
    for script in maths.select("head script, body > script"):
        if "mathjax" in (script.get("src", "") + (script.string or "")).lower():
            if script.get("src"):
                script["src"] = HOST + script["src"] if not urlsplit(script["src"]).scheme else script["src"]
            document.head.append(script)
    document.head.append(document.new_tag("script", attrs={"src": HOST + "_static/equations.js"}))
    style = ["@page :first { @bottom-right { content: none } }"]
    for page in pages:
        style.append(f'#{place(page)} {{ page: p{pages.index(page)} }} @page p{pages.index(page)} '
                     f'{{ @top-right {{ content: "{titles[page]}"; font: 9pt system-ui, sans-serif; color: #555 }} }}')
    document.head.append(tag := document.new_tag("style"))
    tag.string = "\n".join(style)
    version = first.select_one("footer .version").get_text()
    cover = BeautifulSoup(f"""<section class="book-cover"><p class="title">{TITLE}</p><p class="subtitle">step by step</p>
        <img src="{HOST}_static/swingup.png" alt="Two pendulums: MPPI hangs, MPQ stands upright.">
        <p>{first.select_one(".component-author").get_text().strip().removeprefix("By ")}</p><p class="version">{version}</p></section>""", "lxml").section
    document.body.append(cover)
    solutions = gather_solutions(document, articles, titles)
    contents = document.new_tag("nav", attrs={"class": "book-contents"})
    contents.append(line := document.new_tag("p", attrs={"class": "heading"}))
    line.string = "Contents"

    def entry(target, text, depth):
        contents.append(link := document.new_tag("a", attrs={"href": f"#{target}", "class": "inner" if depth else ""}))
        link.append(span := document.new_tag("span"))
        span.string = text
        link.append(document.new_tag("span", attrs={"data-of": target}))

    for caption, chapters in listed:
        if caption:
            contents.append(line := document.new_tag("p", attrs={"class": "part"}))
            line.string = caption
        for page, depth in chapters:
            entry(place(page), titles[page], depth)
    entry("solutions", "Solutions", 0)
    document.body.append(contents)
    document.body.append(BeautifulSoup('<main class="bd-main"><div class="bd-content"><div class="bd-article-container"></div></div></main>', "lxml").main)
    inside = document.select_one(".bd-article-container")
    for text in (*articles.values(), solutions):
        inside.append(text)
    known = {tag["id"] for tag in document.select("[id]")}
    for link in inside.select("a[href^='#']"):
        if link["href"][1:] not in known:
            link["href"] = "#" + link["href"][1:].split("--")[0]
    return document


def print_pdf(document, html, path):
    """Print with headings as bookmarks and a structure for screen readers; twice, since the contents need the first's numbers."""
    from playwright.sync_api import sync_playwright

    def answer(route):
        file = html / unquote(urlsplit(route.request.url).path).lstrip("/")
        if route.request.url == HOST:
            route.fulfill(body=str(document), content_type="text/html; charset=utf-8")
        elif route.request.url.startswith(HOST) and file.is_file():
            route.fulfill(body=file.read_bytes(), content_type=mimetypes.guess_type(file)[0] or "application/octet-stream")
        else:
            missing.append(route.request.url)
            route.abort()

    missing = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=house.chromium(), args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        page = browser.new_page(viewport={"width": 720, "height": 1000})
        page.set_default_timeout(1_800_000)
        page.route("**/*", answer)
        page.goto(HOST, wait_until="load")
        page.wait_for_function("!window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)")
        page.evaluate("Promise.all([document.fonts.ready, ...[...document.images].map(image => image.decode().catch(() => 0))]).then(() => 0)")
        page.emulate_media(media="print")
        for tagged in (False, True):
            page.pdf(path=path, format="A4", outline=True, tagged=tagged, print_background=True)
            page.evaluate("""found => document.querySelectorAll("[data-of]").forEach(place => { place.textContent = found[place.dataset.of]; })""", starts(path))
        browser.close()
    if missing:
        sys.exit(f"not in the built book: {', '.join(missing)}")


def starts(path):
    """Id of a place that is linked to -> number of its sheet."""
    reader = PdfReader(path)
    return {unquote(name.lstrip("/")): reader.get_destination_page_number(where) + 1 for name, where in reader.named_destinations.items()}


def name_bookmarks(path, titles):
    """Give the bookmarks their headings' text; Chromium loses the space at a wrapped line and doubles a heading that it moved to the next sheet."""
    def under(parent):
        bookmark = parent.get("/First")
        while bookmark:
            bookmark = bookmark.get_object()
            yield bookmark
            yield from under(bookmark)
            bookmark = bookmark.get("/Next")

    writer = PdfWriter(path, incremental=True)  # rewritten, the file would be twice as large
    bookmarks = list(under(writer.root_object["/Outlines"].get_object()))
    if len(bookmarks) != len(titles):
        sys.exit(f"{len(bookmarks)} bookmarks for {len(titles)} headings")
    for bookmark, title in zip(bookmarks, titles):
        bookmark[NameObject("/Title")] = TextStringObject(title)
    writer.write(path)


def main(html=house.ROOT / "_build/html", path=house.ROOT / "dist/mpq-book.pdf", toc=house.ROOT / "_toc.yml"):
    html, path = Path(html), Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    document = assemble(html, yaml.safe_load(Path(toc).read_text()))
    print_pdf(document, html, path)
    name_bookmarks(path, [" ".join(heading.get_text().split()) for heading in document.select("main :is(h1, h2, h3, h4, h5, h6)")])
    print(f"{path}: {len(PdfReader(path).pages)} pages, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
