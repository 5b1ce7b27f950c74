"""The automatic checks of the exercises: the engine, and every exercise of every chapter."""

import json
import re

import numpy as np
import pytest

from mpqlib import exercises as package
from mpqlib.exercises import Exercise, _call, _same, check, exercises, verdict

ALL = exercises()
MISTAKES = [(name, text) for name, exercise in ALL.items() for text in exercise.mistakes]


def as_answer(exercise, function):
    """A function, or the value where one is asked for."""
    return function() if exercise.asks_for_value else function


def like(exercise, change):
    """The reference with its result changed."""
    return as_answer(exercise, lambda *arguments: change(exercise.reference(*arguments)))


@pytest.mark.parametrize("name", ALL)
def test_the_reference_passes_its_own_check(name):
    result = check(name, as_answer(ALL[name], ALL[name].reference))
    assert result and result.points == ALL[name].points and repr(result) == f"{name}: correct"


@pytest.mark.parametrize("name, text", MISTAKES)
def test_a_mistake_gets_its_own_diagnostic_and_no_other(name, text):
    exercise = ALL[name]
    result = check(name, as_answer(exercise, exercise.mistakes[text]))
    assert not result and result.points == 0 and result.text == text
    found = [_call(exercise.mistakes[text], one) for one in exercise.inputs]
    also = [other for other, function in exercise.mistakes.items()
            if _same(exercise, found, [_call(function, one) for one in exercise.inputs])]
    assert also == [text]


@pytest.mark.parametrize("name", ALL)
def test_answers_of_the_wrong_kind_are_told_so(name):
    exercise = ALL[name]
    assert check(name, None).text == check(name, ...).text == "not answered yet"
    if exercise.asks_for_value:
        assert "a value is asked for, and this is a function" in check(name, exercise.reference).text
        return
    assert "a function is asked for, and this is a value" in check(name, 1.0).text

    def raises(*arguments):
        raise ZeroDivisionError("by nought")

    assert "your function raised ZeroDivisionError: by nought (for " in check(name, raises).text
    assert check(name, lambda *arguments: ...).text.startswith("not answered yet: there is still a `...`")
    assert check(name, lambda *arguments: (1.0, ...)).text.startswith("not answered yet")
    assert "did you forget `return`?" in check(name, lambda *arguments: None).text
    assert "takes" in check(name, lambda: 1.0).text  # too few arguments


@pytest.mark.parametrize("name", ALL)
def test_results_of_the_wrong_shape_and_nan_are_told_so(name):
    exercise = ALL[name]
    example = _call(exercise.reference, exercise.inputs[0])
    longer = check(name, like(exercise, lambda r: (*r, 0.0) if isinstance(r, tuple) else np.append(r, [0.0, 0.0])))
    assert not longer and re.search("values? (is|are) asked for|asked for, and yours gives", longer.text)
    if not isinstance(example, (tuple, str)):
        assert "NaN" in check(name, like(exercise, lambda r: r * np.nan)).text


# -- the engine, on exercises of its own --------------------------------------------------------

MEAN = Exercise("ex0-mean", lambda x, w: x @ w / w.sum(), inputs=((np.array([1.0, 2.0]), np.array([1.0, 3.0])),),
                mistakes={"Did you forget the weights?": lambda x, w: x.mean()})
DRAW = Exercise("ex0-draw", lambda rng: 2 * rng.standard_normal(3), inputs=((np.random.default_rng(0),),), mistakes={})
PAIR = Exercise("ex0-pair", lambda: (1.0, 2.0), inputs=((),), mistakes={})
TRIAL = Exercise("ex0-trial", lambda x: x / 2, inputs=((1.0,),), mistakes={},
                 trial=lambda f: None if f(8.0) < 8 else "it does not shrink")
SIDE = Exercise("ex0-side", lambda: "Upwards", inputs=((),),
                mistakes={"Jensen points the other way.": lambda: "downwards"})


@pytest.mark.parametrize("exercise, answer, said", [
    (MEAN, lambda x, w: (x * w).sum() / w.sum(), "correct"),
    (MEAN, lambda x, w: float(np.average(x, weights=w)), "correct"),
    (MEAN, lambda x, w: np.mean(x), "Did you forget the weights?"),
    (MEAN, lambda x, w: x @ w, "not yet: expected 1.75, and yours gives 7 (for x = [1. 2.], w = [1. 3.])"),
    (MEAN, lambda x, w: x * w, "not yet: a number is asked for, and yours gives an array of shape (2,) (for"),
    (MEAN, lambda x, w: "seven", "not yet: a number is asked for, and yours gives 'seven' (for"),
    (MEAN, lambda x, w: [1, [2, 3]], "not yet: a number is asked for, and yours gives (1, (2, 3)) (for"),
    (MEAN, lambda x, w: x[0] / 0, "not yet: expected 1.75, and yours gives inf"),
    (MEAN, lambda x, w: x[0] * np.nan, "not yet: expected 1.75, and yours gives NaN: nan"),
    (DRAW, lambda rng: rng.standard_normal(3) * 2, "correct"),
    (DRAW, lambda rng: rng.standard_normal(3), "not yet: expected ["),
    (TRIAL, lambda x: 0.9 * x, "correct"),
    (TRIAL, lambda x: 2 * x, "it does not shrink"),
    (TRIAL, lambda x: [x, x], "not yet: a number is asked for, and yours gives an array of shape (2,)"),
    (TRIAL, lambda x: "x", "not yet: a number is asked for"),
    (TRIAL, lambda x: np.nan, "not yet: expected 0.5, and yours gives NaN"),
    (TRIAL, lambda x: [0.5][int(x) // 8], "your function raised IndexError when it was tried out: list index"),
    (PAIR, [1, 2], "correct"),
    (PAIR, np.array([1.0, 2.0]), "correct"),
    (PAIR, np.array(1.0), "not yet: 2 values are asked for, as a tuple, and yours gives 1"),
    (SIDE, " upwards", "correct"),
    (SIDE, "Downwards", "Jensen points the other way."),
    (SIDE, 3.0, "not yet: yours gives 3"),
    (PAIR, (1, 3), "not yet: of the 2 values, number 2 is not right"),
    (PAIR, (2, 3), "not yet: of the 2 values, number 1 and 2 are not right"),
])
def test_what_a_learner_is_told(exercise, answer, said):
    text = verdict(exercise, answer)
    assert text.startswith(said) if said != "correct" else text == said


def test_an_answer_that_changes_its_arguments_harms_nobody():
    def careless(x, w):
        w /= w.sum()
        x *= w
        return x.sum()

    assert verdict(MEAN, careless) == "correct"
    assert verdict(MEAN, careless) == "correct"


@pytest.mark.parametrize("settings, said", [
    ({"N": 30, "sigma": 3.0}, "correct"),  # any planner that gets there
    ({"lam": 1e4}, "and 14 of 20 are asked for: try another number of samples, temperature or noise"),
    ({"N": 2}, "and 14 of 20 are asked for"),
    ({"sigma": 0.1}, "and 14 of 20 are asked for"),
])
def test_planners_are_judged_by_what_they_do(settings, said):
    from mpqlib.exercises.chapter05 import _improved, softmax

    assert said in check("ex5-swing-up", _improved(lambda x, ratio: softmax(-x), **settings)).text


def test_a_planner_that_stops_working_on_the_way_is_told_so():
    plan, calls = ALL["ex5-swing-up"].reference, []

    def tired(U, S, rng):
        calls.append(U)
        return plan(U, S, rng) * (np.nan if len(calls) > 50 else 1)

    assert "not a finite array of shape (32, 1) any more" in check("ex5-swing-up", tired).text
    assert "got (32, 1)" in check("ex5-swing-up", lambda U, S, rng: S(U) * U).text


def test_an_unknown_name_lists_the_names_there_are():
    with pytest.raises(ValueError) as error:
        check("ex6-nothing", 1.0)
    assert "'ex6-nothing'" in str(error.value) and all(name in str(error.value) for name in ALL)


@pytest.mark.parametrize("changes, message", [
    ({"name": "mean"}, "name is 'mean'"), ({"inputs": (1.0, 2.0)}, "tuple of argument tuples"),
    ({"inputs": ()}, "inputs are"), ({"reference": 3.0}, "it must be a function"),
    ({"mistakes": {"No.": 3.0}}, "'No.' has 3.0"),
    ({"trial": 3.0}, "trial is 3.0"), ({"trial": len, "inputs": ((),)}, "trial is"), ({"points": 0}, "points is 0"), ({"rtol": -1.0}, "both must be >= 0"),
])
def test_bad_exercises_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        Exercise(**{**vars(MEAN), **changes})


def test_two_exercises_with_one_name_are_refused(monkeypatch):
    from mpqlib.exercises import chapter06

    exercises.cache_clear()
    monkeypatch.setattr(chapter06, "EXERCISES", (MEAN, MEAN))
    with pytest.raises(ValueError, match="second exercise named 'ex0-mean'"):
        package.exercises()
    exercises.cache_clear()


# -- the book -----------------------------------------------------------------------------------

def labels_and_checks(path):
    """Labels of the exercises of a notebook, and the names given to check()."""
    cells = json.loads(path.read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
    labels = re.findall(r"\{exercise(?:-start)?\}[^\n]*\n:label: ([\w-]+)", text)
    return labels, re.findall(r"""\bcheck\(["']([\w-]+)["']""", text)


def chapters(root):
    return {path.stem: labels_and_checks(path) for path in sorted((root / "book").glob("*.ipynb"))}


def test_every_check_in_the_book_exists_and_belongs_to_an_exercise_there(root):
    for chapter, (labels, checks) in chapters(root).items():
        for name in checks:
            assert name in ALL, f"{chapter}: check({name!r})"
            assert name in labels, f"{chapter} has no exercise labelled {name}"


def test_every_exercise_with_a_check_is_in_the_book_and_offers_it(root):
    offered = {name for _, checks in chapters(root).values() for name in checks}
    assert offered >= set(ALL), f"not offered: {set(ALL) - offered}"


def test_chapters_have_enough_exercises(root):
    found = chapters(root)
    assert found
    for chapter, (labels, checks) in found.items():
        if chapter in ("16-playground", "implementation-details", "settings"):  # questions of its own; to look things up in
            continue
        assert len(labels) >= 4, f"{chapter}: {labels}"
        assert len(set(labels)) == len(labels), f"{chapter}: {labels}"
        if "02" <= chapter[:2] <= "07":
            assert len(set(checks)) >= 3, f"{chapter}: only {set(checks)} have an automatic check"
