"""Grading: right verdicts for submissions of every kind, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from mpqlib import grading
from mpqlib.__main__ import main
from mpqlib.exercises import exercises
from mpqlib.grading import _cells, _names, _needed, expected, grade, grade_one, gradescope, overview, text

IMPORTS = "import numpy as np\nfrom mpqlib.exercises import check"
RATIO = """def control_cost(a, u, sigma, lam):
    return lam * np.sum(u * a - 0.5 * u**2) / sigma**2

check("ex5-ratio", control_cost)"""
UPDATE = """def new_mean(A, costs, log_ratio, lam):
    w = weights(-costs / lam - log_ratio)
    return np.einsum("n,nhd->hd", w, A)

assert check("ex5-update", new_mean)"""
HELPER = "%matplotlib inline\ndef weights(x):\n    e = np.exp(x - x.max())\n    return e / e.sum()"
CHAPTER = ["ex5-ratio", "ex5-update", "ex5-control-cost", "ex5-temperature", "ex5-swing-up"]
MAX = sum(exercises()[name].points for name in CHAPTER)


def notebook(path, *sources, **metadata):
    made = new_notebook(cells=[new_code_cell(source) for source in sources])
    made.metadata.update(metadata)
    nbformat.write(made, path)
    return path


def by_name(graded):
    return {row["name"]: (row["status"], row["text"]) for row in graded["exercises"]}


def test_right_wrong_unfinished_and_failing_answers(tmp_path):
    found = grade_one(notebook(
        tmp_path / "mixed.ipynb", IMPORTS, "raise RuntimeError('a cell that nobody needs')", HELPER, RATIO, UPDATE,
        "def right(letter):\n    return (..., ...)\n\ncheck('ex5-control-cost', right)",
        "1 / 0\ncheck('ex5-temperature', print)",
        "check('ex5-swing-up', lambda U, S, rng: U)"))
    assert by_name(found) == {
        "ex5-ratio": ("correct", "correct"),
        "ex5-update": ("correct", "correct"),  # with a helper of its own, found in another cell
        "ex5-control-cost": ("unanswered", "not answered yet: there is still a `...` in what your function gives"),
        "ex5-temperature": ("error", "the cell with your answer stopped before its check: ZeroDivisionError: division by zero"),
        "ex5-swing-up": ("wrong", "S was never called: what the samples cost must decide.")}
    assert (found["points"], found["max_points"], found["problem"]) == (3, MAX, None)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_endless_crashing_hungry_and_loud_answers_harm_no_other(tmp_path):
    found = grade_one(notebook(
        tmp_path / "bad.ipynb", IMPORTS,
        'def endless(*arguments):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass\n\n'
        'check("ex5-ratio", endless)',
        'import os\ncheck("ex5-update", lambda *arguments: os._exit(0))',
        'def hungry(letter):\n    kept = []\n    while True: kept.append(bytearray(10**8))\n\ncheck("ex5-control-cost", hungry)',
        'while True: print("x" * 100_000)\ncheck("ex5-swing-up", None)',
        'from scipy.optimize import brentq\nfrom scipy.special import softmax\n'
        'def temperature(costs, wanted):\n    ess = lambda x: 1 / np.sum(softmax(-costs / np.exp(x))**2) - wanted\n'
        '    return np.exp(brentq(ess, -9, 9))\n\ncheck("ex5-temperature", temperature)'), seconds=8)
    verdicts = by_name(found)
    assert {name: status for name, (status, _) in verdicts.items()} == {
        "ex5-ratio": "time", "ex5-update": "crash", "ex5-control-cost": "memory", "ex5-swing-up": "output", "ex5-temperature": "correct"}
    assert verdicts["ex5-ratio"][1] == "your answer: it ran longer than 8 s and was stopped"
    assert verdicts["ex5-update"][1] == "your answer: it ended the Python process"
    assert verdicts["ex5-control-cost"][1].startswith("your function raised MemoryError")
    assert verdicts["ex5-swing-up"][1] == "the cell with your answer: it printed more than 1000 kB and was stopped"
    assert found["points"] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="starts a POSIX program")
def test_nothing_is_left_behind(tmp_path, monkeypatch):
    """Files in the working folder, at home and among temporary files; a process that outlives the notebook in a session of its own."""
    monkeypatch.chdir(tmp_path)
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir(), temporary.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    path = notebook(tmp_path / "litter.ipynb", IMPORTS, """
import subprocess, tempfile
from pathlib import Path
for folder in (Path.cwd(), Path.home(), Path(tempfile.gettempdir())):
    assert not list(folder.glob("*.ipynb")), "the submissions are not here"
    (folder / "litter.txt").write_text("litter" * 1000)
(Path.cwd() / "locked").mkdir(mode=0o500)
subprocess.Popen(["sleep", "98765"], start_new_session=True)
try:
    Path("huge").write_bytes(bytes(100 * 2**20))
except OSError:
    small = True
""", f"small\n{RATIO}", "from pathlib import Path\nassert Path('litter.txt').exists()")
    found = grade_one(path)
    assert by_name(found)["ex5-ratio"] == ("correct", "correct"), found  # a file of 100 MB could not be written
    assert set(tmp_path.iterdir()) == {path, home, temporary} and not [*home.iterdir(), *temporary.iterdir()]
    assert not [p for p in psutil.process_iter(["cmdline"]) if "98765" in (p.info["cmdline"] or ())]


def test_a_submission_that_takes_too_long_altogether_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "STARTING", 0.2 - 30 * (len(CHAPTER) + 1))
    start = time.monotonic()
    found = grade_one(notebook(tmp_path / "slow.ipynb", IMPORTS, RATIO))
    assert time.monotonic() - start < 30
    assert by_name(found)["ex5-ratio"][0] == "crash" and "stopped before this exercise" in by_name(found)["ex5-ratio"][1]


def test_a_kernel_that_dies_while_starting_is_replaced(tmp_path):
    """As when the kernels of two submissions take the same free port at the same moment: here the first two fail."""
    path = notebook(tmp_path / "a.ipynb", IMPORTS, RATIO)
    code = f"""
import sys
from mpqlib import grading
real, starts = grading._client, []
def client(job):
    made = real(job)
    starts.append(made)
    if len(starts) <= int(sys.argv[1]):
        made.create_kernel_manager().kernel_spec.argv[:] = [sys.executable, "-c", "raise SystemExit(1)"]
    return made
grading._client = client
grading._work({{"notebook": {str(path)!r}, "names": ["ex5-ratio"], "seconds": 30, "memory_mb": 4096, "output_kb": 1000}})
"""
    said = {n: subprocess.run([sys.executable, "-c", code, str(n)], capture_output=True, text=True) for n in (2, 3)}
    assert json.loads(said[2].stdout)["status"] == "correct", said[2].stderr
    assert not said[3].stdout and "RuntimeError" in said[3].stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that can be caught")
def test_sigterm_ends_grading_and_leaves_nothing(tmp_path):
    """Of three submissions two run when it comes; both are stopped, with what they started, and the third never begins."""
    temporary, began = tmp_path / "temporary", tmp_path / "began"
    temporary.mkdir(), began.mkdir()
    paths = [notebook(tmp_path / f"{i}.ipynb", IMPORTS, f"""
import subprocess, time
subprocess.Popen(["sleep", "87654"], start_new_session=True)
open({str(began / str(i))!r}, "w").close()
time.sleep(600)
{RATIO}""") for i in range(3)]

    def submissions():  # their processes, by a variable that all of them inherit
        return [p for p in psutil.process_iter(["environ"]) if {"TMPDIR", grading.TOKEN} <= set(p.info["environ"] or ())
                and p.info["environ"]["TMPDIR"].startswith(str(temporary))]

    grader = psutil.Popen([sys.executable, "-m", "mpqlib", "grade", *map(str, paths), "--seconds", "600", "--out", str(tmp_path / "out")],
                          env={**os.environ, "TMPDIR": str(temporary)}, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 240
        while len([*began.iterdir()]) < 2 and time.monotonic() < deadline and grader.poll() is None:
            time.sleep(0.1)
        assert sorted(path.name for path in began.iterdir()) == ["0", "1"] and len([*temporary.glob("grade-*")]) == 2
        assert len(submissions()) >= 6
        grader.terminate()
        assert grader.wait(60) == 128 + signal.SIGTERM
        assert not [*temporary.glob("grade-*")] and len([*began.iterdir()]) == 2 and not (tmp_path / "out").exists()
        assert not submissions()
    finally:
        for process in [grader, *submissions()]:
            with suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.mark.parametrize("content, problem", [
    ("", "not a notebook that can be read"),
    ("print('hello')", "not a notebook that can be read"),
    ('{"cells": [{"cell_type": "co', "not a notebook that can be read"),
    (json.dumps(new_notebook()), "no exercise found"),
    (json.dumps(new_notebook(cells=[new_code_cell("print('hello')")])), "no exercise found"),
])
def test_what_is_no_exercise_notebook_gets_no_points(tmp_path, content, problem):
    path = tmp_path / "empty.ipynb"
    path.write_text(content)
    found = grade_one(path)
    assert found["problem"].startswith(problem) and (found["points"], found["max_points"]) == (0, 0)
    assert found["problem"] in text(found)
    found = grade_one(path, ["ex5-ratio", "ex5-update"])
    assert (found["points"], found["max_points"]) == (0, 3)
    assert {row["status"] for row in found["exercises"]} == {"unanswered"}


def test_which_exercises_count(tmp_path):
    one = _cells(notebook(tmp_path / "one.ipynb", IMPORTS, RATIO))
    assert expected(one) == CHAPTER  # a deleted cell still counts
    named = _cells(notebook(tmp_path / "named.ipynb", IMPORTS, RATIO, mpqlib={"exercises": ["ex5-ratio"]}))
    assert expected(named) == ["ex5-ratio"]
    for spoilt in (["ex5-nothing"], "ex5-ratio", [], [["ex5-ratio"]]):
        assert expected(_cells(notebook(tmp_path / "bad.ipynb", RATIO, mpqlib={"exercises": spoilt}))) == CHAPTER
    with pytest.raises(ValueError, match="has no exercise with a check"):
        grade((tmp_path / "one.ipynb",), handed_out=notebook(tmp_path / "none.ipynb", IMPORTS))


def test_only_what_an_answer_needs_is_run(tmp_path):
    cells = _cells(notebook(
        tmp_path / "needs.ipynb", "import numpy as np", "slow = [x for x in range(10)]", "lam = 1.0", "lam = 2.0", "lam += scale(1)",
        "def scale(S):\n    return S / lam", "A = 1", "found = {}", "found['a'] = lam", "this is no Python",
        "def f(A):\n    return scale(A) + found['a']\ncheck('ex5-ratio', f)", "lam = 7", "f('ex5-update')")).sources
    assert _needed(cells, "ex5-ratio") == {3, 4, 5, 7, 8, 10}  # A is an argument; what comes after does not count
    assert _needed(cells, "ex5-update") == set()


@pytest.mark.parametrize("source, names", [
    ("import a.b, c as d\nfrom e import f", ({"a", "d", "f"}, set(), set())),
    ("x = y\ny = x", ({"x", "y"}, {"y"}, set())),
    ("x = 1\nprint(x)", ({"x"}, {"print"}, set())),
    ("x += 1", ({"x"}, {"x"}, set())),
    ("x.y[0] = z", ({"x"}, {"x", "z"}, set())),
    ("def f(a, b=c):\n    d = a + g\n    return f(d)", ({"f"}, {"c"}, {"g"})),
    ("class C(B):\n    def m(self):\n        return h", ({"C"}, {"B"}, {"h"})),
    ("def f():\n    global n\n    n = 1", ({"f", "n"}, set(), set())),
    ("for i in r:\n    q = i\nelse:\n    t", ({"i", "q"}, {"r", "t"}, set())),
    ("with o() as (u, v):\n    if u: w = v\nwith k: pass", ({"u", "v", "w"}, {"o", "k"}, set())),
    ("try:\n    import m\nexcept E:\n    m = n\nfinally:\n    m", ({"m"}, {"n"}, set())),
    ("no python", (set(), set(), set())),
])
def test_names_of_a_cell(source, names):
    assert tuple(map(set, _names(source))) == names


def test_printed_and_written_results(tmp_path, capsys):
    right = notebook(tmp_path / "anna.ipynb", IMPORTS, RATIO, mpqlib={"exercises": ["ex5-ratio", "ex5-update"]})
    empty = tmp_path / "bela.ipynb"
    empty.write_text("")
    out = tmp_path / "out"
    assert main(["grade", str(right), str(empty), "--handed-out", str(right), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "anna.ipynb: 1 of 3 points" in said and "bela.ipynb: 0 of 3 points" in said
    assert "2 notebooks, 0.5 points on average" in said and "ex5-ratio: 1 of 2 correct" in said
    rows = (out / "grades.csv").read_text().splitlines()
    assert rows[:2] == ["notebook,points,max_points,ex5-ratio,ex5-update,problem", "anna.ipynb,1,3,1,0,"]
    assert (out / "anna.txt").read_text().startswith("anna.ipynb: 1 of 3 points")
    graded = json.loads((out / "grades.json").read_text())
    assert [one["points"] for one in graded] == [1, 0]

    results = gradescope(graded[:1])
    assert results["score"] == 1 and results["execution_time"] >= 0
    assert results["tests"][0] == {"name": "ex5-ratio", "score": 1, "max_score": 1, "output": "correct", "status": "passed",
                                   "visibility": "visible"}
    assert [test["status"] for test in results["tests"]] == ["passed", "failed"]
    assert "bela.ipynb: not a notebook" in gradescope(graded)["output"]


def test_the_overview_names_the_most_frequent_mistake():
    def one(text, status):
        return {"points": 0, "exercises": [{"name": "ex5-ratio", "status": status, "text": text}]}

    said = overview([one("No half. (for a = 1)", "wrong"), one("No half. (for a = 2)", "wrong"), one("a", "error"), one("b", "unanswered")])
    assert "ex5-ratio: 0 of 4 correct; most often (2): No half." in said


@pytest.mark.parametrize("arguments, said", [
    ([], "no notebook to grade"), (["nowhere.ipynb"], "nowhere.ipynb is not a file"),
    ([__file__, "--seconds", "0"], "seconds is 0.0; it must be > 0"), ([__file__, "--jobs", "-1"], "jobs is -1"),
])
def test_bad_arguments_are_named(arguments, said, capsys):
    assert main(["grade", *arguments]) == 2
    assert said in capsys.readouterr().err
