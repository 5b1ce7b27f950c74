"""Sphinx extension: the library's reference from its docstrings, with links from equations and text to functions and back."""
import inspect
import pkgutil
import re
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from types import FunctionType

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

import mpqlib

MEMBERS = (FunctionType, classmethod, staticmethod, property, cached_property)
EQUATIONS = re.compile(r"Eq\. \d+(?:(?:, | and |-)\d+)*")


@cache
def documented():
    """Full names of the library's public modules, functions, classes and members that have a docstring of their own."""
    found = set()
    for module in pkgutil.walk_packages(mpqlib.__path__, "mpqlib."):
        if module.name.endswith("__main__"):
            continue
        found.add(module.name)
        for name, value in vars(import_module(module.name)).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.name or not value.__doc__:
                continue
            found.add(f"{module.name}.{name}")
            if inspect.isclass(value):
                found |= {f"{module.name}.{name}.{member}" for member, thing in vars(value).items()
                          if not member.startswith("_") and isinstance(thing, MEMBERS) and thing.__doc__}
    return found


def full_name(text, module="", parent=""):
    """What a name in text means, as a documented full name, or None; an inherited member stands where it is described."""
    for candidate in (text, f"mpqlib.{text}", f"{parent}.{text}", f"{module}.{text}"):
        if candidate in documented():
            return candidate
    if "." not in text.removeprefix("mpqlib."):
        same = [name for name in documented() if name.rsplit(".", 1)[-1] == text and text != text.lower()]
        return same[0] if len(same) == 1 else None
    for name in (text, f"mpqlib.{text}"):  # mpqlib.tasks.Task, which is mpqlib.tasks.base.Task
        try:
            value = pkgutil.resolve_name(name)
        except (ImportError, AttributeError, ValueError):
            continue
        found = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
        return found if found in documented() else full_name(name.rsplit(".", 1)[0])
    return None


@cache
def equations_of(page):
    """Full name of a function -> numbers of the equations it computes, as the page of equations lists them."""
    found = {}
    for number, section in re.findall(r"^\(check-(\d\d)\)=\n(.*?)(?=^\(check-|\Z)", page.read_text(encoding="utf-8"), re.M | re.S):
        for name in re.findall(r"`([\w.]+)`", re.search(r"^- Library: (.*)$", section, re.M)[1]):
            found.setdefault(f"mpqlib.{name}", []).append(int(number))
    return found


def equation(number, text):
    return f":ref:`{text} <eq-{int(number):02d}>`"


def linked_equations(match):
    first, *others = re.findall(r"\d+", match[0])
    text = match[0].replace(f"Eq. {first}", equation(first, f"Eq. {first}"), 1)
    for number in others:
        text = re.sub(rf"(?<=, |d |.-){number}(?!\d)", equation(number, number), text, count=1)
    return text


def as_rst(text, module="", parent=""):
    """A docstring's line as reStructuredText: names in backticks linked, other code literal, no character special."""
    parts = re.split(r"(`[^`]+`)", text)
    for i, part in enumerate(parts):
        if i % 2:
            name = full_name(part.strip("`").removesuffix("()"), module, parent)
            parts[i] = f":py:obj:`{part.strip('`')} <{name}>`" if name else f"`{part}`"
        else:
            plain = re.sub(r"([\\*|]|_(?!\w))", r"\\\1", part)
            parts[i] = re.sub(r"\btcp://[\w.:]*\w", r"``\g<0>``", EQUATIONS.sub(linked_equations, plain))  # an example, no link
    return "".join(parts)


def docstring(app, what, name, thing, options, lines):
    """Before napoleon: our docstrings are plain text with Google's sections."""
    module = name if what == "module" else getattr(thing, "__module__", None) or ""
    parent = name if what == "class" else name.rsplit(".", 1)[0]
    text = "\n".join(as_rst(line, module, parent) for line in lines)
    # "(N,) weights: ..." would be read as a type; a field of our own is left alone
    text = re.sub(r"^(Returns|Yields):$", r":\1:", text, flags=re.M)
    if numbers := equations_of(Path(app.srcdir) / "equations.md").get(name):
        text += "\n\n:Equations: " + ", ".join(equation(n, f"Eq. {n}") for n in numbers)
    lines[:] = text.splitlines()


class LinkNames(SphinxPostTransform):
    """`mpqlib.mppi.MPPI.plan` or `boltzmann.free_energy` in any page leads to the reference."""

    default_priority = 5  # before references are resolved

    def run(self, **kwargs):
        domain = self.env.get_domain("py")
        for literal in list(self.document.findall(nodes.literal)):
            text = literal.astext().removesuffix("()")
            if not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", text) or isinstance(literal.parent, (nodes.reference, nodes.title)):
                continue
            name = full_name(text)
            if not name or name not in domain.objects or self.env.docname == domain.objects[name].docname:
                continue
            entry = domain.objects[name]
            link = nodes.reference("", "", internal=True, reftitle=name, classes=["reference", "internal"],
                                   refuri=self.app.builder.get_relative_uri(self.env.docname, entry.docname) + "#" + entry.node_id)
            literal.replace_self(link)
            link += literal


def setup(app):
    for extension in ("sphinx.ext.autodoc", "sphinx.ext.napoleon"):
        app.setup_extension(extension)
    app.config.autodoc_default_options = {"members": True, "member-order": "bysource"}
    app.config.autodoc_inherit_docstrings = False
    app.config.autodoc_preserve_defaults = True
    app.config.napoleon_use_param = False
    app.config.napoleon_custom_sections = [("Attributes", "params_style")]
    app.config.add_module_names = False
    app.config.html_domain_indices = False  # the general index has all names
    app.config.python_maximum_signature_line_length = 88
    app.config.nitpick_ignore_regex = [(r"py:.*", r"(?!mpqlib).*")]  # what other packages document
    app.connect("autodoc-process-docstring", docstring, priority=400)
    app.add_post_transform(LinkNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
