"""Model Predictive Q-Learning, step by step: the library behind the book.

Read it in the order of the chapters: `boltzmann` and `softmdp` (the theory),
`rollout` and `mppi` (the planner), `qfunction` and `mpq` (Algorithm 1),
`randomization` and `tasks` (what it is run on), `experiments` and `plots`
(how the book's results are made and drawn).
Imports point downwards only: theory knows nothing of tasks, tasks nothing of learning.
"""

from pathlib import Path

__version__ = "0.1.0"


def data_dir() -> Path:
    """Where the stored results are: inside an installed wheel, or the repository's data/."""
    packaged = Path(__file__).parent / "data"
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "data"
