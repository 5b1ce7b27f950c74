"""Committed notebooks are executed, complete and normalised; nbval (see Makefile) re-executes and compares them."""
import copy
import re

import house
import nbformat
import pytest

NOTEBOOKS = sorted((house.ROOT / "book").glob("*.ipynb"))


def code_cells(nb):
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def test_the_book_has_notebooks():
    assert NOTEBOOKS


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def nb(path):
    return nbformat.read(path, as_version=4)


def test_valid_and_normalised(path, nb):
    nbformat.validate(nb)
    normal = house.normalise(copy.deepcopy(nb))
    assert nb == normal, f"run: make notebooks NB={path.relative_to(house.ROOT)}"


def test_executed_in_order(nb):
    counts = [cell.execution_count for cell in code_cells(nb)]
    assert counts == list(range(1, len(counts) + 1)), "not executed from top to bottom"


def test_outputs_are_stored(nb):
    """nbval compares nothing in a stripped notebook and passes."""
    with_output = [cell for cell in code_cells(nb) if cell.outputs]
    assert len(with_output) >= 3 and len(with_output) >= len(code_cells(nb)) / 3, (
        f"{len(with_output)} of {len(code_cells(nb))} code cells have outputs")


def test_no_errors_and_no_stderr(nb):
    for cell in code_cells(nb):
        for output in cell.outputs:
            assert output.output_type != "error", output.get("evalue")
            assert output.get("name") != "stderr", output.text


def test_few_cells_are_not_compared(nb):
    ignored = [cell for cell in code_cells(nb) if "nbval-ignore-output" in cell.metadata.get("tags", [])]
    assert len(ignored) <= len(code_cells(nb)) / 3, "nbval-ignore-output is for video, timing and training cells only"
    assert not any("nbval-skip" in cell.metadata.get("tags", []) for cell in nb.cells)


def test_first_code_cell_installs_in_colab(nb, config):
    first = code_cells(nb)[0]
    assert first.source.startswith("try:\n    import mpqlib\nexcept ModuleNotFoundError:")
    found = re.search(r'%pip install -q "mpqlib(?:\[[a-z,]+\])? @ git\+(\S+)@(\S+)"', first.source)
    assert found, first.source
    assert found.groups() == (config["repository"]["url"], config["repository"]["branch"])
    assert "hide-cell" in first.metadata.get("tags", [])


def test_a_link_opens_it_in_colab(nb, path, config):
    """The notebook at the release whose library its first cell installs."""
    links = re.findall(r"\[Open in Colab\]\((\S+)\)", nb.cells[0].source)
    assert links == [house.colab(config["repository"]["url"], config["repository"]["branch"]) + path.name]


def test_nothing_of_the_authors_machine(path):
    found = re.search(r"/(?:home|root|Users|tmp|work)/[\w./-]*", path.read_text())
    assert not found, found[0]


def test_small_enough_for_git(path):
    assert path.stat().st_size < 2_000_000, f"{path.stat().st_size / 1e6:.1f} MB: store videos under data/, not in outputs"
