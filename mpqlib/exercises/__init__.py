"""Automatic checks of the book's exercises: `check("ex6-half", my_function)`.

A chapter's exercises are the `EXERCISES` of `mpqlib.exercises.chapterNN`, those of another page of a module named after it.
Each holds the right answer, the inputs to compare on, and the usual mistakes as functions,
so that a wrong answer is recognised by what it computes and met with a hint.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from inspect import signature
from numbers import Integral
from pkgutil import iter_modules
from re import sub
from textwrap import fill

import numpy as np


@dataclass(frozen=True)
class Exercise:
    """One exercise with an automatic check.

    Args:
        name: its label in the book, such as "ex6-half".
        reference: the right answer: a function, or one without arguments that returns the value asked for.
            It returns a number, an array, a string, or a tuple of these.
        inputs: argument tuples to compare on; ((),) where a value is asked for.  Each call gets a copy,
            so a numpy Generator among the arguments gives every answer the same random numbers.
        mistakes: diagnostic sentence -> the wrong function that shows this mistake, with the reference's arguments.
        trial: judges what the answer does where many answers are right, as a planner that has to reach its goal:
            takes the answer, a function, returns None if it does as asked, else what it does instead.
            The inputs then serve to see that it runs and returns the right shape.
        points: what the exercise counts, >= 1.
        rtol, atol: relative and absolute error that still counts as right, as in numpy.isclose.

    Raises:
        ValueError: naming the exercise, the argument and what is allowed.
    """

    name: str
    reference: Callable
    inputs: tuple
    mistakes: Mapping[str, Callable]
    points: int = 1
    rtol: float = 1e-6
    atol: float = 1e-9
    trial: Callable[[Callable], str | None] | None = None

    def __post_init__(self):
        if not (isinstance(self.name, str) and self.name.startswith("ex")):
            raise ValueError(f"name is {self.name!r}; it must be the exercise's label in the book, such as 'ex6-half'")
        if not (isinstance(self.inputs, tuple) and self.inputs and all(isinstance(one, tuple) for one in self.inputs)):
            raise ValueError(f"{self.name}: inputs are {self.inputs!r}; they must be a tuple of argument tuples, "
                             "((),) for a value")
        for text, function in {"the reference": self.reference, **self.mistakes}.items():
            if not callable(function):
                raise ValueError(f"{self.name}: {text!r} has {function!r}; it must be a function")
        if self.trial is not None and (self.asks_for_value or not callable(self.trial)):
            raise ValueError(f"{self.name}: trial is {self.trial!r}; it must be a function, and the answer one too")
        if isinstance(self.points, bool) or not isinstance(self.points, Integral) or self.points < 1:
            raise ValueError(f"{self.name}: points is {self.points!r}; it must be an integer >= 1")
        if not (0 <= self.rtol < 1 and 0 <= self.atol < np.inf):
            raise ValueError(f"{self.name}: rtol, atol are {self.rtol!r}, {self.atol!r}; "
                             "both must be >= 0, and rtol < 1")

    @property
    def asks_for_value(self) -> bool:
        return self.inputs == ((),)


@dataclass(frozen=True, repr=False)
class Result:
    """What `check` found: true when the answer is right, and a text that says so or what is wrong."""

    name: str
    correct: bool
    text: str
    points: int

    def __bool__(self):
        return self.correct

    def __repr__(self):
        return fill(f"{self.name}: {self.text}", width=88, subsequent_indent="  ")


@cache
def exercises() -> dict[str, Exercise]:
    """Name -> exercise, of all chapters.

    Raises:
        ValueError: if two chapters use one name.
    """
    found = {}
    for module in sorted(one.name for one in iter_modules(__path__)):
        for exercise in import_module(f"{__name__}.{module}").EXERCISES:
            if exercise.name in found:
                raise ValueError(f"{module} has a second exercise named {exercise.name!r}; names must be unique")
            found[exercise.name] = exercise
    return found


def check(name: str, answer) -> Result:
    """Compare a learner's answer with the right one.

    Args:
        name: label of the exercise, such as "ex6-half".
        answer: the learner's function, or value where a value is asked for; None for no answer yet.

    Returns:
        A `Result`, true when the answer is right; shown, it is "ex6-half: correct" or what is wrong.

    Raises:
        ValueError: if there is no such exercise; the message lists those there are.
    """
    exercise = exercises().get(name)
    if exercise is None:
        raise ValueError(f"no exercise {name!r} with a check; there are {', '.join(exercises())}")
    text = verdict(exercise, answer)
    return Result(name, text == "correct", text, exercise.points if text == "correct" else 0)


def verdict(exercise: Exercise, answer) -> str:
    """"correct", or one sentence on what is wrong with the answer."""
    if _unfinished(answer):
        return "not answered yet"
    if exercise.asks_for_value == callable(answer):
        asked, given = ("value", "function") if callable(answer) else ("function", f"value, {_show(answer)}")
        return f"a {asked} is asked for, and this is a {given}"
    function = answer if callable(answer) else lambda: answer
    expected = [_call(exercise.reference, one) for one in exercise.inputs]
    found = []
    for one in exercise.inputs:
        try:
            found.append(_call(function, one))
        except Exception as error:
            return f"your function raised {type(error).__name__}: {error}{_where(exercise, one)}"
    if any(one is not None and _unfinished(one) for one in found):
        return "not answered yet: there is still a `...` in what your function gives"
    if exercise.trial and all(map(_fits, found, expected)):
        try:
            return exercise.trial(function) or "correct"
        except Exception as error:
            return f"your function raised {type(error).__name__} when it was tried out: {error}"
    if _same(exercise, found, expected):
        return "correct"
    for diagnostic, mistake in exercise.mistakes.items():
        if _same(exercise, found, [_call(mistake, one) for one in exercise.inputs]):
            return diagnostic
    for one, f, e in zip(exercise.inputs, found, expected):
        if not _same(exercise, f, e):
            return f"not yet: {_difference(exercise, f, e)}{_where(exercise, one)}"


def _call(function, arguments):
    with np.errstate(all="ignore"):
        return function(*deepcopy(arguments))


def _same(exercise, found, expected) -> bool:
    """Equal in structure, shape and, within the tolerance, values; NaN equals NaN, so that a mistake may give it."""
    if isinstance(expected, (tuple, list)):
        return (_length(found) == len(expected)
                and all(_same(exercise, f, e) for f, e in zip(found, expected)))
    if isinstance(expected, str):
        return isinstance(found, str) and found.strip().lower() == expected.strip().lower()
    f = _numbers(found)
    return (f is not None and f.shape == np.shape(expected)
            and np.allclose(f, expected, exercise.rtol, exercise.atol, equal_nan=True))


def _unfinished(value) -> bool:
    """None, `...`, or a tuple with `...` in it: what a stub gives that nobody has filled in."""
    return value is None or value is ... or isinstance(value, (tuple, list)) and any(one is ... for one in value)


def _fits(found, expected) -> bool:
    """Finite numbers in the shape asked for."""
    f = _numbers(found)
    return f is not None and f.shape == np.shape(expected) and bool(np.isfinite(f).all())


def _length(value):
    """Of a tuple, list or array; None of anything else."""
    return len(value) if isinstance(value, (tuple, list)) or isinstance(value, np.ndarray) and value.ndim else None


def _numbers(value):
    """The value as an array of numbers, or None."""
    try:
        array = np.asarray(value)
    except Exception:  # ragged, or an object that refuses
        return None
    return array if array.dtype.kind in "biufc" else None


def _difference(exercise, found, expected) -> str:
    """What tells `found` from `expected`, in words; where a value is asked for, without giving it away."""
    wanted = "" if exercise.asks_for_value else f"expected {_show(expected)}, and "
    if found is None:
        return "yours gives None: did you forget `return`?"
    if isinstance(expected, (tuple, list)):
        if _length(found) != len(expected):
            return f"{len(expected)} values are asked for, as a tuple, and yours gives {_show(found)}"
        wrong = [str(i) for i, pair in enumerate(zip(found, expected), start=1) if not _same(exercise, *pair)]
        if exercise.asks_for_value:
            return f"of the {len(expected)} values, number {' and '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} not right"
    elif not isinstance(expected, str):
        f = _numbers(found)
        if f is None:
            return f"{_kind(np.shape(expected))} is asked for, and yours gives {_show(found)}"
        if f.shape != np.shape(expected):
            return f"{_kind(np.shape(expected))} is asked for, and yours gives {_kind(f.shape)}"
        if np.isnan(f).any():
            return f"{wanted}yours gives NaN: {_show(found)}"
    return f"{wanted}yours gives {_show(found)}"


def _kind(shape) -> str:
    return f"an array of shape {shape}" if shape else "a number"


def _show(value) -> str:
    """A short text: arrays rounded, long ones cut."""
    if isinstance(value, (tuple, list)) and len(value) <= 8:
        return "(" + ", ".join(map(_show, value)) + ")"
    if (array := _numbers(value)) is not None:
        if array.ndim == 0:
            return f"{array:.6g}" if array.dtype.kind in "iuf" else str(value)
        if array.ndim > 1 and array.size > 12:
            return f"an array of shape {array.shape}"
        return np.array2string(array, precision=4, threshold=12, edgeitems=2).replace("\n", "")
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    text = sub(" at 0x[0-9A-Fa-f]+", "", repr(value))  # an address says nothing
    return text if len(text) <= 60 else f"{text[:57]}..."


def _where(exercise, arguments) -> str:
    """For which arguments, by the reference's names; nothing for a value."""
    if exercise.asks_for_value:
        return ""
    bound = signature(exercise.reference).bind(*arguments).arguments
    return " (for " + ", ".join(f"{name} = {_show(value)}" for name, value in bound.items()) + ")"
