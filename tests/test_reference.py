"""The reference in the built book: complete, and tied to the equations in both directions."""
import inspect
import json
import pkgutil
import re
from importlib import import_module

import mpq_reference
import pytest

import mpqlib


@pytest.fixture(scope="module")
def entries(soups):
    """Full name -> (page, entry) of everything that the reference describes."""
    return {tag["id"]: (page, tag) for page, soup in soups.items() if page.startswith("reference/")
            for tag in soup.select("dl.py > dt[id]")}


def public_names():
    for module in pkgutil.walk_packages(mpqlib.__path__, "mpqlib."):
        if module.name.endswith("__main__") or ".chapter" in module.name:  # a chapter's exercises are data
            continue
        for name, value in vars(import_module(module.name)).items():
            if not name.startswith("_") and (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == module.name:
                yield f"{module.name}.{name}", value


def test_every_public_name_is_described(entries, soups):
    modules = {tag["id"].removeprefix("module-") for page, soup in soups.items() if page.startswith("reference/")
               for tag in soup.select("[id^=module-]")}
    for name, value in public_names():
        assert name in entries, f"{name} is in no page of the reference; has it a docstring?"
        assert value.__module__ in modules
        text = entries[name][1].find_next_sibling("dd").get_text(" ", strip=True)
        first = re.sub(r"\W+", "", inspect.getdoc(value).split("\n\n")[0])
        assert first in re.sub(r"\W+", "", text), name


def test_every_equation_leads_to_functions_and_they_lead_back(root, entries, soups):
    rows = json.loads((root / "data/equations.json").read_text())
    for row in rows:
        section = soups["equations.html"].find(id=f"check-{row['eq']:02d}").find_parent("section")
        line = next(item for item in section.select("li") if item.get_text().startswith("Library: "))
        functions = [link["href"] for link in line.select("a")]
        assert functions and len(functions) == len(line.select("code")), f"Eq. {row['eq']}: {line}"
        for address in functions:
            page, name = address.split("#")
            found, entry = entries[name]
            assert found == page
            back = {link["href"] for link in entry.find_next_sibling("dd").select("a")}
            assert f"../{row['chapter']}.html#{row['anchor']}" in back, f"{name} does not lead to Eq. {row['eq']}"


def test_names_in_chapters_lead_to_the_reference(soups):
    """Each full name of a class or function outside of code, in any page."""
    seen = 0
    for page, soup in soups.items():
        for code in soup.select("article :is(p, li, td) > code"):
            name = code.get_text()
            if name.startswith("mpqlib.") and name in mpq_reference.documented() and not page.startswith("reference"):
                pytest.fail(f"{page}: {name} is no link")
        seen += len(soup.select("article a[href*='reference/'] > code"))
    assert seen > 40


@pytest.mark.parametrize("text, expected", [
    ("of Eq. 17, or (Eq. 7, 17)", "of :ref:`Eq. 17 <eq-17>`, or (:ref:`Eq. 7 <eq-07>`, :ref:`17 <eq-17>`)"),
    ("Eq. 1-7", ":ref:`Eq. 1 <eq-01>`-:ref:`7 <eq-07>`"),
    ("Eq. 3 and 13, 3", ":ref:`Eq. 3 <eq-03>` and :ref:`13 <eq-13>`, :ref:`3 <eq-03>`"),
    ("|a| <= 1, *_last, pi_U", r"\|a\| <= 1, \*_last, pi_U"),
    ("such as tcp://10.0.0.1:8786.", "such as ``tcp://10.0.0.1:8786``."),
    ("a `Plan`, `x @ y`", "a :py:obj:`Plan <mpqlib.mppi.Plan>`, ``x @ y``"),
    ("`mpqlib.tasks.Task`", ":py:obj:`mpqlib.tasks.Task <mpqlib.tasks.base.Task>`"),
    ("`mpqlib.tasks.PendulumSwingup.step`", ":py:obj:`mpqlib.tasks.PendulumSwingup.step <mpqlib.tasks.pendulum.PendulumSwingup>`")])
def test_docstrings_become_restructured_text(text, expected):
    assert mpq_reference.as_rst(text, "mpqlib.mppi", "mpqlib.mppi.MPPI") == expected


def test_a_name_means_what_is_nearest():
    assert mpq_reference.full_name("shift", "mpqlib.mppi", "mpqlib.mppi.MPPI") == "mpqlib.mppi.MPPI.shift"
    assert mpq_reference.full_name("boltzmann.free_energy") == "mpqlib.boltzmann.free_energy"
    assert mpq_reference.full_name("numpy.exp") is None
    assert mpq_reference.full_name("mpqlib.nothing") is None
