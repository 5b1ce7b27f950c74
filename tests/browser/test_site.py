"""The book as it is published: addresses, descriptions, card, map, 404 page, version."""
import http.server
import re
import subprocess
import threading
import xml.etree.ElementTree as xml
from functools import partial
from urllib.parse import urlsplit

import house
import mpq_site
import pytest
from conftest import toc_pages
from PIL import Image

import mpqlib

PAGES = toc_pages(house.ROOT)


@pytest.fixture(scope="session")
def base(config):
    return mpq_site.pages_address(config["repository"]["url"])


@pytest.mark.parametrize("repository, address", [
    ("https://github.com/example/mpq-book", "https://example.github.io/mpq-book/"),
    ("https://github.com/Some-One/Book.git", "https://some-one.github.io/Book/"),
    ("https://github.com/someone/someone.github.io/", "https://someone.github.io/"),
    ("https://gitlab.com/example/mpq-book", ""),
    ("", "")])
def test_the_address_of_the_pages_follows_from_the_repositorys(repository, address):
    assert mpq_site.pages_address(repository) == address


def test_every_page_knows_its_address_and_no_other(soups, base):
    for page in PAGES:
        (link,) = soups[f"{page}.html"].select("link[rel=canonical]")
        assert link["href"] == base + ("" if page == "index" else f"{page}.html")
        assert soups[f"{page}.html"].select_one("meta[property='og:url']")["content"] == link["href"]


def test_every_page_has_a_title_and_a_description_of_its_own(soups):
    found = {}
    for page in PAGES:
        soup = soups[f"{page}.html"]
        heading = re.sub("#$", "", soup.select_one("article h1").get_text(strip=True))
        assert soup.title.get_text().startswith(heading), page
        text = soup.select_one("meta[name=description]")["content"]
        assert 40 < len(text) <= 300 and text[-1] in ".?)" and "\\" not in text and "$" not in text, (page, text)
        assert text == soup.select_one("meta[property='og:description']")["content"]
        found.setdefault(text, []).append(page)
    assert all(len(pages) == 1 for pages in found.values()), found


def test_the_card_is_there_in_the_size_that_is_stated(soups, html, base):
    for page in PAGES:
        tags = {tag["property"]: tag["content"] for tag in soups[f"{page}.html"].select("meta[property^='og:']")}
        picture = Image.open(html / tags["og:image"].removeprefix(base))
        assert picture.size == (int(tags["og:image:width"]), int(tags["og:image:height"])) == (1200, 630)


def test_the_map_lists_each_page_once_and_nothing_else(html, base):
    listed = [place.text for place in xml.parse(html / "sitemap.xml").getroot().iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")]
    assert sorted(listed) == sorted(base + ("" if page == "index" else f"{page}.html") for page in PAGES)
    assert f"Sitemap: {base}sitemap.xml" in (html / "robots.txt").read_text()


def test_every_page_tells_version_and_commit(root, soups, config):
    for page in soups:
        text = soups[page].select_one("footer .version").get_text()
        assert f"Version {mpqlib.__version__}" in text, page
        if (root / ".git").exists():
            found = re.search(r"commit ([0-9a-f]{7,})", text)[1]
            assert subprocess.run(["git", "cat-file", "-e", found], cwd=root).returncode == 0, f"{page}: no commit {found}"
            assert soups[page].select_one("footer .version a")["href"] == f"{config['repository']['url']}/commit/{found}"


def test_outside_a_repository_there_is_no_commit(tmp_path, root):
    assert mpq_site.commit(tmp_path) is None
    if (root / ".git").exists():
        assert mpq_site.commit(root / "book") is None, "a folder in a repository is not its root"


class Pages(http.server.SimpleHTTPRequestHandler):
    """GitHub Pages: the site below /<repository>/, 404.html in place of what is not there."""

    prefix = "/"

    def translate_path(self, path):
        return super().translate_path(path.removeprefix(self.prefix.rstrip("/"))) if path.startswith(self.prefix) else "/nowhere"

    def send_error(self, code, message=None, explain=None):
        body = open(f"{self.directory}/404.html", "rb").read()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.mark.browser
@pytest.mark.parametrize("place", ["nothing.html", "reference/nothing.html", "a/b/c/"])
def test_the_404_page_is_whole_at_any_depth(browser, html, base, place):
    class Here(Pages):
        prefix = urlsplit(base).path

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Here, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site = f"http://127.0.0.1:{server.server_port}"
    page, answers = browser.new_page(), {}
    page.on("response", lambda r: answers.update({r.url: r.status}))
    page.on("request", lambda r: answers.update({r.url: "another origin"}) if not r.url.startswith((site, "data:")) else None)
    address = site + Here.prefix + place
    page.goto(address, wait_until="networkidle")
    assert answers.pop(address) == 404
    assert answers and set(answers.values()) == {200}, answers
    page.locator("article a", has_text="first page").click()
    page.wait_for_url(f"{site}{Here.prefix}index.html")
    assert "step by step" in page.title()
    page.close()
    server.shutdown()
