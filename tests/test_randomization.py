import numpy as np
import pytest

from mpqlib.randomization import Uniform


def test_around_gives_centre_and_width():
    u = Uniform.around({"mass": 2.0, "length": 1.0}, bias=0.2, width=0.3)
    assert u.low == pytest.approx({"mass": 1.8, "length": 0.9})
    assert u.high == pytest.approx({"mass": 3.0, "length": 1.5})


def test_samples_fill_the_interval_independently():
    u = Uniform({"a": 1.0, "b": -1.0}, {"a": 3.0, "b": 1.0})
    drawn = u.sample(20_000, np.random.default_rng(0))
    for name in ("a", "b"):
        assert u.low[name] <= drawn[name].min() and drawn[name].max() <= u.high[name]
        assert abs(drawn[name].mean() - (u.low[name] + u.high[name]) / 2) < 0.02
        assert abs(drawn[name].std() - 2 / np.sqrt(12)) < 0.02
    assert abs(np.corrcoef(drawn["a"], drawn["b"])[0, 1]) < 0.03


def test_no_width_means_no_random_number_is_used():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert Uniform.around({"mass": 2.0}).sample(10, rng) == {"mass": 2.0}
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("low, high, message", [({"a": 1.0}, {"b": 1.0}, "same parameters"),
                                                ({"a": 2.0}, {"a": 1.0}, "low <= high"),
                                                ({"a": np.nan}, {"a": 1.0}, "finite"),
                                                ({"a": 0.0}, {"a": np.inf}, "finite")])
def test_bad_intervals_are_named(low, high, message):
    with pytest.raises(ValueError, match=message):
        Uniform(low, high)


def test_negative_width_is_named():
    with pytest.raises(ValueError, match=r"width is -0.1; it must be"):
        Uniform.around({"a": 1.0}, width=-0.1)


def test_spread_covers_the_distribution_evenly_and_repeats():
    distribution = Uniform({"a": -1.0, "b": 2.0, "c": 0.0}, {"a": 1.0, "b": 2.0, "c": 10.0})
    points = distribution.spread(256)
    assert points["b"] == 2.0
    for name, low, high in (("a", -1, 1), ("c", 0, 10)):
        counts, _ = np.histogram(points[name], bins=16, range=(low, high))
        assert (counts == 16).all()
    counts, *_ = np.histogram2d(points["a"], points["c"], bins=4, range=[[-1, 1], [0, 10]])
    assert (counts == 16).all()  # in the plane too
    np.testing.assert_array_equal(points["a"], distribution.spread(256)["a"])
