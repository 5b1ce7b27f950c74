"""Sphinx extension of this book: pages that are valid, light and ask no other host for anything."""
import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pydata_sphinx_theme
from docutils import nodes
from fontTools import subset
from sphinx.util import logging

from mpqlib import explorers

logger = logging.getLogger(__name__)
UNUSED = re.compile(r'<script[^>]* src="[^"]*/?(?:fontawesome|searchtools|language_data|searchindex)\.js[^"]*"></script>\s*')
ICONS = {("solid-900", "Free", 900): """angle-down angle-left angle-right arrow-up bars bell bullseye check chevron-down circle-check
    circle-exclamation circle-half-stroke circle-info circle-xmark download expand file file-lines file-pdf lightbulb list magnifying-glass
    moon outdent pencil question rocket sun triangle-exclamation up-right-from-square xmark""",
         ("brands-400", "Brands", 400): "github"}


def use_vendored(app, config):
    """MathJax from `make book`'s copy; Sphinx's default, a CDN, where that could not be fetched."""
    vendored = Path(app.srcdir).parent / "_build/vendor/static"
    if (vendored / "mathjax/tex-chtml-full.js").exists():
        config.html_static_path.append(str(vendored))
        config.mathjax_path = "mathjax/tex-chtml-full.js"
    else:
        logger.info("MathJax was not fetched: the pages load it from %s", config.mathjax_path or "a CDN")


def add_explorers(app, config):
    """The explorers' module and the files they read, beside each other in _static/explorers."""
    folder = Path(app.outdir).parent / "explorers-static" / "explorers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mpq-explorers.js").write_text(explorers.bundle(), encoding="utf-8")
    found = {name: path.read_bytes() for name, path in explorers.data_files().items()} | explorers.made_files()
    for name, content in found.items():
        (folder / name).write_bytes(content)
    mujoco = [Path(app.srcdir).parent / "_build/vendor/static/mujoco" / name for name in ("mujoco.wasm", "mujoco.js")]
    there = all(path.exists() for path in mujoco)
    (folder / "mujoco.json").write_text(json.dumps(
        {"url": "../mujoco/mujoco.js", "bytes": sum(path.stat().st_size for path in mujoco)} if there else {}))
    config.html_static_path.append(str(folder.parent))


def add_icons(app, config):
    """The theme's icons that the book uses, as a font in a style sheet; for others the browser fetches the theme's own fonts, of 0.3 MB."""
    fonts = Path(pydata_sphinx_theme.__file__).parent / "theme/pydata_sphinx_theme/static/vendor/fontawesome/webfonts"
    style = ""
    for (file, family, weight), names in ICONS.items():
        options = subset.Options(flavor="woff", layout_features=[])
        font, smaller, written = subset.load_font(fonts / f"fa-{file}.ttf", options), subset.Subsetter(options), io.BytesIO()
        smaller.populate(glyphs=names.split())
        smaller.subset(font)
        subset.save_font(font, written, options)
        style += (f'@font-face {{ font-family: "Font Awesome 6 {family}"; font-weight: {weight}; font-display: block; '
                  f"unicode-range: {', '.join(f'U+{code:X}' for code in sorted(font.getBestCmap()))}; "
                  f'src: url("data:font/woff;base64,{base64.b64encode(written.getvalue()).decode()}") format("woff"); }}\n')
    folder = Path(app.outdir).parent / "icons-static"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "icons.css").write_text(style)
    config.html_static_path.append(str(folder))
    app.add_css_file("icons.css")


def clean_document(app, doctree):
    # sphinx-exercise gives every exercise of a page the id "exercise-content"; numfig needs one, HTML different ones.
    for number, section in enumerate(doctree.findall(nodes.section)):
        section["ids"] = [f"{i}-{number}" if i in ("exercise-content", "solution-content") else i for i in section["ids"]]
    # A browser would break the line between a formula and the comma after it.
    for formula in list(doctree.findall(nodes.math)):
        after = formula.next_node(descend=False, siblings=True)
        marks = isinstance(after, nodes.Text) and re.match(r"[.,;:?!)\]]+", after)
        if marks:
            formula.parent.replace(formula, nodes.inline("", "", formula.deepcopy(), nodes.Text(marks[0]), classes=["together"]))
            after.parent.replace(after, nodes.Text(after[marks.end():]))
    # Live figures are custom elements; stored widget state would put a copy of their code on the page.
    for metadata in getattr(app.env, "nb_metadata", {}).values():
        metadata.get("js_files", {}).pop("ipywidgets_state", None)


def clean_scripts(app, pagename, templatename, context, doctree):
    """Drop sphinx-thebe, which declares its (CDN) address twice and fails on every page."""
    def thebe(script):
        body = getattr(script, "attributes", {}).get("body") or ""
        return "THEBE_JS_URL" in body or "sphinx-thebe" in str(getattr(script, "filename", ""))

    context["without_unused"] = lambda head: UNUSED.sub("", head)
    scripts = context.get("script_files", [])
    scripts[:] = [script for script in scripts if not thebe(script)]
    if plain := context.get("generate_toctree_html"):
        context["generate_toctree_html"] = lambda kind, *args, **options: with_named_toggles(kind, plain(kind, *args, **options))
    if "data:video/mp4" in context.get("body", ""):
        app.add_js_file("films.js", defer="defer")
        context["body"] = with_films(app, context)
    if "<mpq-" in context.get("body", ""):
        app.add_js_file("explorers/mpq-explorers.js", type="module")
        context["body"] = with_stills(context["body"], Path(app.outdir).parent / "explorers-static/explorers/mpq-explorers.js")


def with_named_toggles(kind, toctree):
    """The theme's arrows that unfold a part of the navigation, with words for screen readers."""
    return toctree if kind == "raw" else str(toctree).replace("<summary><span", '<summary aria-label="Pages below this one"><span')


def with_films(app, context):
    """The page's text with its films as files, which films.js fetches when they come into view."""
    def beside(film):
        content = base64.b64decode(film[1])
        path = Path(app.outdir) / "_images" / f"{hashlib.sha256(content).hexdigest()}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return f'preload="none" src="{context["pathto"](f"_images/{path.name}", 1)}"'

    return re.sub(r'src="data:video/mp4;base64,([^"]+)"', beside, context["body"])


def with_stills(body, module):
    """Put into each explorer's element what it first shows, for pages whose scripts have not run yet or never will."""
    elements = re.findall(r"<(mpq-[\w-]+)([^>]*)></\1>", body)
    wanted = [(tag, attributes(tag + given)) for tag, given in elements]
    node = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if node is None:
        logger.info("Node was not found: explorers have no picture until their scripts run")
        return body
    done = subprocess.run([node, Path(__file__).with_name("still.mjs"), module], input=json.dumps(wanted), capture_output=True, text=True)
    if done.returncode or done.stderr:
        logger.info("explorers without a picture until their scripts run: %s", done.stderr)
    stills = iter(json.loads(done.stdout) if done.returncode == 0 else [""] * len(wanted))
    return re.sub(r"<(mpq-[\w-]+)([^>]*)></\1>", lambda m: f'<{m[1]} class="mpq-explorer"{m[2]}>{next(stills)}</{m[1]}>', body)


def attributes(text):
    """{name: value} of the attributes in a start tag without its brackets."""
    parser, found = HTMLParser(), {}
    parser.handle_starttag = lambda tag, pairs: found.update((name, value or "") for name, value in pairs)
    parser.feed(f"<{text}>")
    return found


def setup(app):
    for extension in ("mpq_reference", "mpq_site"):
        app.setup_extension(extension)
    app.connect("config-inited", use_vendored)
    app.connect("config-inited", add_explorers)
    app.connect("config-inited", add_icons)
    app.connect("config-inited", lambda app, config: config.templates_path.append(str(Path(__file__).parent)))  # layout.html
    app.connect("doctree-read", clean_document, priority=900)
    app.connect("html-page-context", clean_scripts, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
