"""The editions for courses: every solution passes its check, every stub fails it with a reason, and no solution is handed out."""

import re
import zipfile
from concurrent.futures import ThreadPoolExecutor

import editions
import nbformat
import pytest
from editions import EDITIONS, Chapters, Exercise, expected_minutes, solved, stub_of, without_checks, without_code

from mpqlib.exercises import exercises
from mpqlib.grading import grade_one


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("editions")
    editions.write(folder)
    return folder


@pytest.fixture(scope="module")
def chapters():
    return Chapters()


def notebooks(built, edition, checked=False):
    found = {path.stem: nbformat.read(path, as_version=4) for path in sorted((built / edition).glob("*.ipynb"))}
    return {stem: nb for stem, nb in found.items() if nb.metadata["mpqlib"]["exercises"] or not checked}


def graded(built, edition):
    """name -> (status, text), of all exercises of an edition."""
    paths = [built / edition / f"{stem}.ipynb" for stem in notebooks(built, edition, checked=True)]
    with ThreadPoolExecutor(2) as pool:
        return {row["name"]: (row["status"], row["text"])
                for one in pool.map(lambda path: grade_one(path, seconds=60), paths) for row in one["exercises"]}


def test_every_solution_passes_its_check(built):
    found = graded(built, "teacher")
    assert set(found) == set(exercises())
    assert {name: said for name, said in found.items() if said[0] != "correct"} == {}


def test_every_stub_fails_its_check_with_a_reason(built):
    found = graded(built, "student")
    assert set(found) == set(exercises())
    told = {"not answered yet", "not answered yet: there is still a `...` in what your function gives"}
    assert {name: said for name, said in found.items() if said[0] != "unanswered" or said[1] not in told} == {
        "ex17-signs": ("wrong", "not yet: of the 5 values, number 1 and 2 and 3 and 4 and 5 are not right")}


def test_all_chapters_are_in_all_editions_and_in_their_zip_files(built, root):
    stems = {path.stem for path in (root / "book").glob("*.ipynb")}
    for edition in EDITIONS:
        assert set(notebooks(built, edition)) == stems
        names = set(zipfile.ZipFile(built / f"mpq-book-{edition}.zip").namelist())
        assert names >= {f"{edition}/{stem}.ipynb" for stem in stems}


@pytest.mark.parametrize("edition", EDITIONS)
def test_they_are_ordinary_notebooks(built, edition):
    """No directive or role of the book's is left, and every link within the editions has its target."""
    found = notebooks(built, edition)
    anchors = {stem: set(re.findall(r'<a id="([^"]*)"></a>', "\n".join(cell.source for cell in nb.cells))) for stem, nb in found.items()}
    for stem, nb in found.items():
        nbformat.validate(nb)
        assert len({cell.id for cell in nb.cells}) == len(nb.cells)
        text = "\n\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
        assert not re.search(r"\{[\w:]+\}`|^[`:]{3,}\{|^\([\w-]+\)=$", text, re.M), stem
        for name, anchor in re.findall(r"\]\(([\w-]*(?:\.ipynb)?)#([\w-]+)\)", text):
            assert anchor in anchors[name.removesuffix(".ipynb") or stem], f"{stem}: {name}#{anchor}"
        for name in re.findall(r"\]\(([\w-]+\.\w+)", text):
            assert name.removesuffix(".ipynb") in found, f"{stem}: {name}"


def test_students_get_stubs_and_no_solution(built, chapters):
    found = notebooks(built, "student")
    for path in chapters.paths:
        nb = found[path.stem]
        text = "\n".join(cell.source for cell in nb.cells)
        own = [part for part in chapters.parts(path) if isinstance(part, Exercise)]
        for one in own:
            assert text.count(f'<a id="{one.label}"></a>') == 1
            for cell in one.solution:
                lines = [chapters.plain(line, path.name).strip() for line in cell.source.splitlines()]
                given = [line for line in lines if len(line) > 25 and line in text]
                book = "\n".join(part.source for part in chapters.parts(path) if not isinstance(part, Exercise))
                assert all(line in book + one.text for line in given), (one.label, given)
        stubs = [cell for cell in nb.cells if "exercise" in cell.metadata.get("tags", [])]
        assert [re.search(r'check\("(.*?)"', cell.source)[1] for cell in stubs] == [one.label for one in own if one.stub]
        assert nb.metadata["mpqlib"]["exercises"] == [one.label for one in own if one.stub]
    assert "boltzmann_weights(costs, lam, log_ratio), A)" not in "\n".join(cell.source for cell in found["05-mppi-update"].cells[-30:])


def test_students_can_run_all_cells_that_are_left(built, chapters):
    """A cell that uses what only a solution defines is left out as well."""
    text = "\n".join(cell.source for cell in notebooks(built, "student")["03-information-theoretic-mpc"].cells)
    assert "ours = right(" not in text and editions.LEFT_OUT in text


def test_teachers_get_solutions_misunderstandings_and_minutes(built):
    for stem, nb in notebooks(built, "teacher", checked=True).items():
        text = "\n".join(cell.source for cell in nb.cells)
        assert "## For the teacher" in nb.cells[1].source and "| exercise | effort | minutes | points |" in nb.cells[1].source
        minutes = [int(m) for m in re.findall(r"^\| .* \| (\d+) \|$", nb.cells[1].source.split("Exercises, in")[0], re.M)]
        stated = int(re.search(r"takes about (\d+) minutes", nb.cells[1].source)[1])
        assert abs(sum(minutes) - stated) <= 5, stem
        for name in nb.metadata["mpqlib"]["exercises"]:
            assert all(f"- {mistake}" in text for mistake in exercises()[name].mistakes), name
        assert "def wrong_soft_min" not in text, "a cell that only served a check"


VALUE = Exercise("ex1-a", "", "", stub_of("ex1-a", 'Say it: `check("ex1-a", number)`.'))
BODY = Exercise("ex1-b", "", "*Ten lines.*\n", stub_of("ex1-b", '```python\ndef f(x):\n    ...  # x (N,)\n    return y\n```\n`check("ex1-b", f)`'))


def markdown(text):
    return nbformat.v4.new_markdown_cell(text)


@pytest.mark.parametrize("exercise, solution, code", [
    (VALUE, "`number = 3`, since.", 'number = 3\ncheck("ex1-a", number)'),
    (VALUE, "So `3 * 4`, not `5`.", 'number = 3 * 4\ncheck("ex1-a", number)'),
    (BODY, "`return x + 1`, or so.", 'def f(x):\n    return x + 1\n\n\ncheck("ex1-b", f)'),
    (BODY, "Not `y`:\n\n    y = x\n    return y\n\nEnd.", 'def f(x):\n    y = x\n    return y\n\n\ncheck("ex1-b", f)'),
    (BODY, "```python\ndef f(x):\n    return 2\n\nprint(f(1))\n```", 'def f(x):\n    return 2\n\n\ncheck("ex1-b", f)'),
    (BODY, "```python\nimport m\ndef f(x):\n    return m\n```", 'import m\n\n\ndef f(x):\n    return m\n\n\ncheck("ex1-b", f)'),
])
def test_solutions_become_cells(exercise, solution, code):
    assert solved(Exercise(**{**vars(exercise), "solution": [markdown(solution)]})) == code


def test_stubs():
    assert VALUE.stub == 'number = None  # your answer\ncheck("ex1-a", number)'
    assert BODY.stub == 'def f(x):\n    y = ...  # x (N,)\n    return y\n\n\ncheck("ex1-b", f)'
    assert stub_of("ex1-c", 'Look at `check("ex1-a", number)`.') is None
    assert expected_minutes(Exercise("a", "", "*Ten lines.*\nText")) == 35
    assert expected_minutes(Exercise("a", "", "*Research-sized.*\nText")) == "open"
    assert without_code("A:\n\n    x = 1\n\nB:\n\n    y = 2\n", "x = 1") == "A.\n\nB:\n\n    y = 2"
    assert without_checks("def f():\n    return 1\n\n\nprint(check('ex1-a', f))") == "def f():\n    return 1"
    assert without_checks("from mpqlib.exercises import check\nprint(check('ex1-a',\n            1))") == ""
