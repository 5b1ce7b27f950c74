"""Uniform distributions over named physical parameters, with a bias and a width."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc


@dataclass(frozen=True)
class Uniform:
    """Independent uniform distributions over named parameters.

    Args:
        low: name -> lower end, in the parameter's own unit.
        high: name -> upper end; equal to `low` where the parameter is known.

    Raises:
        ValueError: if the names differ, an end is not finite, or low > high.
    """

    low: Mapping[str, float]
    high: Mapping[str, float]

    def __post_init__(self):
        if self.low.keys() != self.high.keys():
            raise ValueError(f"low names {sorted(self.low)} but high names {sorted(self.high)}; "
                             "both must name the same parameters")
        for name in self.low:
            if not -np.inf < self.low[name] <= self.high[name] < np.inf:
                raise ValueError(f"{name} in [{self.low[name]}, {self.high[name]}] is not an interval; "
                                 "it must be finite with low <= high")

    @classmethod
    def around(cls, true: Mapping[str, float], bias: float = 0.0, width: float = 0.0):
        """Uniform distribution centred at true * (1 + bias), reaching width * true to either side.

        Args:
            true: name -> true value.
            bias: relative displacement of the centre; 0.2 is 20 % too large.
            width: relative half-width, >= 0; 0 with bias 0 is the true system itself.

        Raises:
            ValueError: if width < 0 or not finite.
        """
        if not 0 <= width < np.inf:
            raise ValueError(f"width is {width}; it must be a finite number >= 0")
        reach = {name: width * abs(value) for name, value in true.items()}
        return cls({name: value * (1 + bias) - reach[name] for name, value in true.items()},
                   {name: value * (1 + bias) + reach[name] for name, value in true.items()})

    def sample(self, size: int, rng) -> dict:
        """Draw `size` independent parameter sets.

        Returns:
            name -> (size,) array, or the scalar itself where low == high (no number is drawn).
        """
        return {name: self.low[name] if self.low[name] == self.high[name]
                else rng.uniform(self.low[name], self.high[name], size)
                for name in self.low}

    def spread(self, size: int) -> dict:
        """`size` parameter sets that cover the distribution evenly: points of Sobol's sequence.

        The same ones each time; a power of two covers best.

        Returns:
            as `sample`.
        """
        names = [name for name in self.low if self.low[name] != self.high[name]]
        spread = dict(self.low)
        if names:
            points = qmc.Sobol(len(names), scramble=False).random(size) + 0.5 / size  # off the corner
            spread |= {name: self.low[name] + (self.high[name] - self.low[name]) * column
                       for name, column in zip(names, points.T)}
        return spread
