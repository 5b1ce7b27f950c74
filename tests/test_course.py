"""The course pages and the sources of the slides: minutes, points and reading times agree with what they are about, and the code runs."""
import io
import re
from contextlib import redirect_stdout

import house
import nbformat
import pytest
import slides

from mpqlib.exercises import exercises

BOOK = house.ROOT / "book"
PAGES = {path.stem: path.read_text() for path in sorted(BOOK.glob("course*.md"))}
PLANS = {"course-session-1": ("session-1", 90), "course-session-2": ("session-2", 90), "course-session-3": ("session-3", 90),
         "course-session-4": ("session-4", 90), "course-guest": ("guest", 120)}
CHAPTERS = [path for path in sorted(BOOK.glob("*.ipynb")) if path.stem not in ("16-playground", "implementation-details", "settings")]
CODE = [(page, number, code) for page, text in PAGES.items() for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S))]


def rows(text, columns):
    """Cells of the tables with so many columns."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [row for row in found if len(row) == columns and not set(row[0]) <= set("-")]


def markdown(path):
    return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")


def in_chapter(path):
    """Labels of the exercises of a chapter, in its order."""
    return re.findall(r"\{exercise(?:-start)?\}[^\n]*\n(?::[^\n]*\n)*?:label: (ex[\w-]+)", markdown(path))


@pytest.fixture(scope="module")
def marking():
    """Label -> (points, who marks) of all marking tables; a label twice is an error."""
    found = {}
    for page, text in PAGES.items():
        for label, points, by, what in rows(text, 4):
            if match := re.fullmatch(r"\{ref\}`(ex[\w-]+) <\1>`", label):
                assert match[1] not in found, f"{match[1]} is marked twice"
                assert what, match[1]
                found[match[1]] = int(points), by
    return found


@pytest.mark.parametrize("page", PLANS)
def test_plan_of_a_session(page):
    """Minutes add up, each block begins when the one before ends, all slides are used in order, and each block has its section and its note."""
    deck, minutes = PLANS[page]
    plan = [row for row in rows(PAGES[page], 4) if re.fullmatch(r"\d:\d\d", row[0])]
    shown = re.split(r"^---$", (slides.SOURCES / f"{deck}.md").read_text(), flags=re.M)
    clock, slide = 0, 1
    for start, length, block, used in plan:
        assert start == f"{clock // 60}:{clock % 60:02d}", block
        clock += int(length)
        if used:
            first, _, last = used.partition("–")
            assert int(first) == slide, block
            slide = int(last or first) + 1
            assert re.search(rf"^Note:\n{start}\.", shown[int(first) - 1], re.M), f"{deck}, slide {first}: its note begins with {start}"
        if block != "Break" and not (block.startswith("Homework") and clock == minutes) and not block.startswith("What to take"):
            assert re.search(rf"^#+ {start} ", PAGES[page], re.M), f"no section for {start} {block}"
    assert clock == minutes and slide == len(shown) + 1
    times = re.findall(r"^#+ (\d:\d\d) ", PAGES[page], re.M)
    assert set(times) <= {row[0] for row in plan} and times == sorted(times)


def test_reading_times_and_points_of_the_syllabus(marking):
    table = {re.fullmatch(r"\{doc\}`([\w-]+)`", row[0])[1]: row[1:] for row in rows(PAGES["course"], 5) if row[0].startswith("{doc}")}
    assert set(table) == {path.stem for path in CHAPTERS}
    for path in CHAPTERS:
        session, read, checked, opened = table[path.stem]
        said = re.search(r"\*\*Time:?\*\*:? (?:about )?(\d+) minutes to read", markdown(path))
        assert int(read) == int(said[1]), path.stem
        labels = in_chapter(path)
        assert labels and int(checked) == sum(exercises()[one].points for one in labels if one in exercises()), path.stem
        mine = [marking[one][0] for one in labels if one in marking and one not in exercises()]
        assert int(opened) == sum(mine), f"{path.stem}: {sum(mine)}"
        assert session == "projects" or f"`{path.stem}" in PAGES[f"course-session-{session}"] or f"<{path.stem}>" in PAGES[f"course-session-{session}"]


def test_every_exercise_has_its_marks(marking):
    wanted = [label for path in CHAPTERS for label in in_chapter(path)]
    assert set(marking) == set(wanted)
    for label, (points, by) in marking.items():
        if label in exercises():
            assert by == "check" and points == exercises()[label].points, label
        else:
            assert by == "reading" and points >= 1, label


def test_criteria_of_open_exercises_add_up():
    for page, text in PAGES.items():
        for label, points, by, what in rows(text, 4):
            if by == "reading":
                assert sum(map(int, re.findall(r"(?:^|, )(\d) for", what))) == int(points), (page, label)


@pytest.mark.parametrize("page, number, code", CODE, ids=[f"{page}-{number}" for page, number, _ in CODE])
def test_code_runs_as_it_stands(page, number, code):
    assert max(map(len, code.splitlines())) <= 84
    with redirect_stdout(io.StringIO()) as said:
        exec(compile(code, f"{page} {number}", "exec"), {"__name__": "__main__"})
    assert said.getvalue().strip()


# --- slides --------------------------------------------------------------------------------------

@pytest.mark.parametrize("path", sorted(slides.SOURCES.glob("*.md")), ids=lambda path: path.stem)
def test_references_of_slides(path):
    """Each names a figure or an equation that is there, on a line of its own; nothing is copied that could be named."""
    figures, equations = slides.chapters()
    text = path.read_text()
    for name in re.findall(r"\]\(((?:fig|eq)-[\w-]+)\)", text):
        assert name in (figures if name.startswith("fig") else equations), name
    assert len(re.findall(r"^!?\[\]\((?:fig|eq)-[\w-]+\)$", text, re.M)) == len(re.findall(r"\]\((?:fig|eq)-", text))
    assert "$$" not in text, "an equation of a chapter is named, not copied"
    assert all(re.search(r"^##? ", one, re.M) for one in re.split(r"^---$", text, flags=re.M)), "a slide without title"


def test_equations_are_found_by_their_number():
    """The formula behind a target carries its tag: eq-05 is (5), eq-5-4 is (5.4), eq-d-10 is (D.10)."""
    numbered = 0
    for name, (page, tex) in slides.chapters()[1].items():
        if match := re.fullmatch(r"eq-(\d\d)", name):
            expected = str(int(match[1]))
        elif match := re.fullmatch(r"eq-(\d+|d)-(\d+)", name):
            expected = f"{match[1].upper()}.{match[2]}"
        else:
            continue
        if r"\tag{" in tex:
            assert expected in re.findall(r"\\tag\{([^}]*)\}", tex), (page, name)
            numbered += 1
    assert numbered > 60


def test_wrong_references_are_named():
    with pytest.raises(ValueError, match="no figure 'fig-nowhere' in the book; there are fig-"):
        slides.render("# A\n\n![](fig-nowhere)\n")
    with pytest.raises(ValueError, match="no equation 'eq-nowhere'"):
        slides.render("# A\n\n[](eq-nowhere)\n")
    with pytest.raises(ValueError, match="MathJax does not read.*nothing"):
        slides.render("# A\n\n$\\nothing{x}$\n")


def test_a_slide_as_html():
    sections, title = slides.render("# One\n\n---\n## Two $x$\n\n[](eq-06)\n\n![](fig-q)\n\nNote:\nsay *this*\n")
    assert title == "One" and sections.count("<section") == 2 and sections.count('<section class="title"') == 1
    assert '<aside class="notes"><p>say <em>this</em></p>' in sections
    assert "<span>(6)</span>" in sections and "<figcaption>chapter 1</figcaption>" in sections
    assert sections.count("<svg") >= 2 and '<img alt="' in sections and "\0" not in sections
