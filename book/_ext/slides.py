"""Slides from book/slides/*.md: one HTML file each, complete in itself. Usage: python book/_ext/slides.py [FOLDER]

A source is Markdown, slides separated by `---`, what follows a line `Note:` for the speaker.
`![](fig-horizons)` on a line of its own is that figure of a chapter, as its notebook stores it, and `[](eq-17)` that equation.
Figures are data, formulas SVG and reveal.js is inlined, so that a file opens without network, alone on a stick.
In the browser: S for the speaker's view, `?print-pdf` behind the address to print.
"""
import base64
import html
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from functools import cache
from pathlib import Path
from string import Template

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from sphinx.util import logging

BOOK = Path(__file__).resolve().parents[1]
SOURCES = BOOK / "slides"
VENDOR = BOOK.parent / "_build" / "vendor"
REVEAL = VENDOR / "node_modules" / "reveal.js" / "dist"
EQUATION = re.compile(r"^\((eq-[\w-]+)\)=\n(.*?)\$\$(.*?)\$\$", re.M | re.S)


@cache
def chapters():
    """{name: (page, figure as HTML)} and {name: (page, TeX)} of all figures and equations of the book."""
    figures, equations = {}, {}
    for path in sorted([*BOOK.glob("*.ipynb"), *BOOK.glob("*.md")]):
        cells = json.loads(path.read_text())["cells"] if path.suffix == ".ipynb" else [{"cell_type": "markdown", "source": [path.read_text()]}]
        for cell in cells:
            if cell["cell_type"] == "markdown":
                for name, between, tex in EQUATION.findall("".join(cell["source"])):
                    if "\n(eq-" not in between:
                        equations[name] = path.stem, tex.strip()
                continue
            about = cell["metadata"].get("mystnb", {})
            for output in cell.get("outputs", ()):
                if "figure" in about and (found := as_html(output.get("data", {}), about)):
                    figures[about["figure"]["name"]] = path.stem, found
    return figures, equations


def as_html(data, about):
    """A stored output as HTML: a film, or a picture with its text; None of what is neither."""
    if "<video" in "".join(data.get("text/html", "")):
        return "".join(data["text/html"])
    if "image/png" in data:
        text = html.escape(about.get("image", {}).get("alt", about["figure"].get("caption", "")))
        return f'<img alt="{text}" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    return None


def look_up(kind, name, known):
    if name not in known:
        raise ValueError(f"no {kind} {name!r} in the book; there are {', '.join(sorted(known))}")
    return known[name]


def origin(page):
    return f"chapter {int(page[:2])}" if page[:2].isdigit() else page.replace("-", " ")


def figure(match):
    page, found = look_up("figure", match[1], chapters()[0])
    png = re.search(r'data:image/png;base64,([^"]{40})', found) if found.startswith("<img") else None
    width, height = struct.unpack(">II", base64.b64decode(png[1])[16:24]) if png else (16, 9)
    kind = ' class="tall"' if width < 1.3 * height else ""  # its text stands beside it
    return f"\n<figure{kind}>{found}<figcaption>{origin(page)}</figcaption></figure>\n"


def equation(match):
    return f"$$\n{look_up('equation', match[1], chapters()[1])[1]}\n$$"


class Formulas(list):
    """Collects TeX while Markdown is rendered, and puts the SVG in afterwards."""

    def keep(self, tex, display):
        number = re.search(r"\\tag\{([^}]*)\}", tex)
        self.append((tex.replace(number[0], "") if number else tex, display))
        mark = f"\0{len(self) - 1}\0"
        if not display:
            return f'<span class="math">{mark}</span>'
        return f'<div class="equation">{mark}<span>{f"({number[1]})" if number else ""}</span></div>\n'

    def fill(self, text):
        node = shutil.which("node", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
        done = subprocess.run([node, Path(__file__).with_name("tex.mjs"), VENDOR], input=json.dumps(self), capture_output=True, text=True, check=True)
        svg = json.loads(done.stdout)
        if wrong := [tex for (tex, _), one in zip(self, svg) if "data-mjx-error" in one]:
            raise ValueError(f"TeX that MathJax does not read: {wrong}")
        return re.sub("\0(\\d+)\0", lambda m: svg[int(m[1])], text)


def render(source):
    """The slides of a source, as HTML sections, and its title."""
    formulas = Formulas()
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table").use(dollarmath_plugin)
    markdown.add_render_rule("math_inline", lambda self, tokens, i, *_: formulas.keep(tokens[i].content, False))
    markdown.add_render_rule("math_block", lambda self, tokens, i, *_: formulas.keep(tokens[i].content, True))
    sections = []
    for slide in re.split(r"^---$", source, flags=re.M):
        shown, _, note = slide.partition("\nNote:\n")
        shown = re.sub(r"^!\[\]\((fig-[\w-]+)\)$", figure, shown, flags=re.M)
        shown = re.sub(r"^\[\]\((eq-[\w-]+)\)$", equation, shown, flags=re.M)
        kind = ' class="title"' if re.search(r"^# ", shown, re.M) else ""
        notes = f'<aside class="notes">{markdown.render(note)}</aside>' if note.strip() else ""
        sections.append(f'<section{kind}><div class="slide">\n{markdown.render(shown)}</div>{notes}</section>')
    return formulas.fill("\n".join(sections)), re.search(r"^# (.*)", source, re.M)[1]


def build(folder):
    """Write one HTML file per source into `folder`; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    style, script, notes = (path.read_text(encoding="utf-8") for path in (REVEAL / "reveal.css", REVEAL / "reveal.js", REVEAL / "plugin/notes.js"))
    page = Template((SOURCES / "page.html").read_text(encoding="utf-8"))
    written = []
    for source in sorted(SOURCES.glob("*.md")):
        sections, title = render(source.read_text(encoding="utf-8"))
        written.append(folder / f"{source.stem}.html")
        written[-1].write_text(page.substitute(title=html.escape(title), sections=sections, reveal_style=style,
                                               reveal=script.replace("</script", r"<\/script"), notes=notes.replace("</script", r"<\/script")), encoding="utf-8")
    return written


def with_the_book(app, exception):
    """The same slides in the built book, as _static/slides."""
    if exception is None and app.builder.name == "html":
        if (REVEAL / "reveal.js").exists():
            build(Path(app.outdir) / "_static" / "slides")
        else:
            logging.getLogger(__name__).info("reveal.js was not fetched: the book has no slides")


def setup(app):
    app.connect("build-finished", with_the_book)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    for path in build(Path(sys.argv[1]) if len(sys.argv) > 1 else BOOK.parent / "_build" / "slides"):
        print(path)
