"""Live explorers: the same JavaScript in the rendered book, where it needs no Python, and in Jupyter, where Python sees its sliders.

In the book an explorer is a custom element, such as `<mpq-boltzmann lam="0.3">`; here it is a widget with a trait
for every slider and every number it reads out.
"""

from html import escape
from importlib.resources import files
from pathlib import Path

import anywidget
import traitlets

from mpqlib import data_dir

PARTS = ("core", "panel", "boltzmann", "update")


def bundle() -> str:
    """The JavaScript of all explorers as one ES module without imports."""
    folder = files("mpqlib") / "static" / "explorers"
    return "\n".join((folder / f"{part}.js").read_text(encoding="utf-8") for part in PARTS)


def data_files() -> dict[str, Path]:
    """Files that explorers in the book read, by the name they have beside the module."""
    return {}


class Explorer(anywidget.AnyWidget):
    """A widget; its HTML is the book's element, its traits are sliders (read and write) and readouts (read)."""

    _esm = bundle()
    kind = traitlets.Unicode().tag(sync=True)
    sliders: tuple[str, ...] = ()

    def _repr_mimebundle_(self, **kwargs):
        attributes = "".join(f' {name}="{escape(str(getattr(self, name)))}"' for name in self.sliders)
        found = super()._repr_mimebundle_(**kwargs)
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        called = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.sliders)
        data |= {"text/plain": f"{type(self).__name__}({called})", "text/html": f"<mpq-{self.kind}{attributes}></mpq-{self.kind}>"}
        return data, metadata


class Boltzmann(Explorer):
    """Costs of N sampled actions and their weights at temperature `lam` (chapter 4).

    Traits: lam (unit of cost, 0.01 to 100) and samples (2 to 256) are sliders; ess and free_energy are read out.
    """

    kind = traitlets.Unicode("boltzmann").tag(sync=True)
    sliders = ("lam", "samples")
    lam = traitlets.Float(0.3, min=0.01, max=100.0).tag(sync=True)
    samples = traitlets.Int(24, min=2, max=256).tag(sync=True)
    ess = traitlets.Float(0.0).tag(sync=True)
    free_energy = traitlets.Float(0.0).tag(sync=True)


class Update(Explorer):
    """The MPPI update (Eq. 16) on the pendulum with its true mass and length, one iteration at a time (chapter 5).

    Traits: start ("hanging", "half", "upright") and control_cost ("yes", "no": the log ratio in the weights or not) are
    choices; lam (unit of cost, 0.01 to 100), sigma (N m, 0.25 to 4), samples (4 to 256), horizon (2 to 64), step_size
    (0.05 to 1) and beta (0 to 0.95) are sliders; ess, free_energy, cost_before and cost_after (of executing the old and
    the new mean) and iterations are read out.
    """

    kind = traitlets.Unicode("update").tag(sync=True)
    sliders = ("start", "control_cost", "lam", "sigma", "samples", "horizon", "step_size", "beta")
    start = traitlets.Enum(["hanging", "half", "upright"], "hanging").tag(sync=True)
    control_cost = traitlets.Enum(["yes", "no"], "yes").tag(sync=True)
    lam = traitlets.Float(1.0, min=0.01, max=100.0).tag(sync=True)
    sigma = traitlets.Float(2.0, min=0.25, max=4.0).tag(sync=True)
    samples = traitlets.Int(100, min=4, max=256).tag(sync=True)
    horizon = traitlets.Int(50, min=2, max=64).tag(sync=True)
    step_size = traitlets.Float(0.5, min=0.05, max=1.0).tag(sync=True)
    beta = traitlets.Float(0.8, min=0.0, max=0.95).tag(sync=True)
    ess = traitlets.Float(0.0).tag(sync=True)
    free_energy = traitlets.Float(0.0).tag(sync=True)
    cost_before = traitlets.Float(0.0).tag(sync=True)
    cost_after = traitlets.Float(0.0).tag(sync=True)
    iterations = traitlets.Int(0).tag(sync=True)
