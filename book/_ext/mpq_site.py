"""Sphinx extension: what the published book has besides its text: its address, a description and a card for each page, a map, a 404 page, its version."""
import re
import subprocess
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

from docutils import nodes

import mpqlib

CARD = "_static/card.png"  # 1200 x 630, made by assets/swingup.py


def pages_address(repository):
    """Where GitHub Pages serves the book of a repository; "" for other hosts, of which that cannot be known."""
    found = re.fullmatch(r"https://github\.com/([\w.-]+)/([\w.-]+?)(?:\.git)?/?", repository)
    if not found:
        return ""
    owner, name = found[1].lower(), found[2]
    return f"https://{owner}.github.io/" + ("" if name.lower() == f"{owner}.github.io" else f"{name}/")


def commit(root):
    """(abbreviated commit, whether tracked files of the book differ from it), or None outside a repository."""
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != root:  # an unpacked archive inside somebody's repository
            return None
        return git("rev-parse", "--short=7", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no", "book", "mpqlib"))
    except (OSError, subprocess.CalledProcessError):
        return None


def configure(app, config):
    """Address and version from the places that hold them: the repository's in _config.yml, and mpqlib's version."""
    repository = config.html_theme_options.get("repository_url", "").rstrip("/")
    config.html_baseurl = config.html_baseurl or pages_address(repository)
    version, found = f"Version {mpqlib.__version__}", commit(Path(app.srcdir).parent)
    if found:
        version += f', commit <a href="{repository}/commit/{found[0]}">{found[0]}</a>' + (" with changes" if found[1] else "")
    config.html_theme_options["extra_footer"] = f'<p class="version">{version}</p>'


def description(doctree):
    """The first sentences of a page that can do without TeX, up to 200 characters, or a longer one where it is the first."""
    for paragraph in doctree.findall(nodes.paragraph):
        words = "".join("$" if isinstance(node, nodes.math) and not re.fullmatch(r"[\w\s=+,.()-]+", node.astext()) else node.astext()
                        for node in paragraph.children)
        text = ""
        for sentence in re.split(r"(?<=[.?:])\s+", words):
            if "$" in sentence or text and len(text + sentence) > 200:
                break
            text += " " * bool(text) + " ".join(sentence.split())
        if isinstance(paragraph.parent, nodes.section) and len(text) > 50 and not text.startswith("Prerequisites"):
            return re.sub(":$", ".", text)
    return ""


def add_to_head(app, pagename, templatename, context, doctree):
    base = app.config.html_baseurl
    if pagename == "404":  # it is served in place of any page, however deep: its links start at the root
        context["pageurl"] = None
        context["metatags"] = f'<base href="{urlsplit(base).path or "/"}"><meta name="robots" content="noindex">' + context.get("metatags", "")
        return
    if base:
        context["pageurl"] = address(app, pagename)
    text = description(doctree) if doctree else ""
    tags = {"og:type": "website" if pagename == "index" else "article", "og:site_name": app.config.html_title or app.config.project,
            "og:title": re.sub("<.*?>", "", context.get("title", "")), "og:description": text}
    if base:
        tags |= {"og:url": context["pageurl"], "og:image": base + CARD, "og:image:width": "1200", "og:image:height": "630",
                 "og:image:alt": "Two pendulums with wrong models: MPPI hangs, MPQ stands upright."}
    html = "".join(f'<meta property="{name}" content="{escape(value)}">\n' for name, value in tags.items() if value)
    if text:
        html += f'<meta name="description" content="{escape(text)}">\n'
    context["metatags"] = context.get("metatags", "") + "\n" + html + '<meta name="twitter:card" content="summary_large_image">\n'


def address(app, page):
    return app.config.html_baseurl + ("" if page == "index" else app.builder.get_target_uri(page))


def not_found(app):
    if app.builder.name != "html":
        return
    yield "404", {"title": "No such page", "body": """
<h1>No such page</h1>
<p>There is nothing at this address; perhaps a chapter has moved, or the link has a misprint.</p>
<p>The <a href="index.html">first page</a> lists all chapters, and the <a href="search.html">search</a> knows every word of them.</p>
"""}, "page.html"


def write_map(app, error):
    """sitemap.xml and robots.txt, which need full addresses."""
    if error or app.builder.name != "html" or not app.config.html_baseurl:
        return
    places = "".join(f"<url><loc>{escape(address(app, page))}</loc></url>\n" for page in sorted(app.env.found_docs))
    out = Path(app.outdir)
    (out / "sitemap.xml").write_text('<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
                                     f"{places}</urlset>\n", encoding="utf-8")
    (out / "robots.txt").write_text(f"User-agent: *\nAllow: /\nSitemap: {app.config.html_baseurl}sitemap.xml\n", encoding="utf-8")


def setup(app):
    app.connect("config-inited", configure)
    app.connect("html-collect-pages", not_found)
    app.connect("html-page-context", add_to_head)
    app.connect("build-finished", write_map)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
