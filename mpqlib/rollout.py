"""Batched simulation behind one call.

The planner and the learner see a simulator only as
`simulate(states (B, ns), actions (B, H, du), rng) -> states (B, H + 1, ns)`.
Row b of the batch is one world: its parameters are drawn anew at each call, once per row,
and held along the rollout.
"""

import numpy as np


class Simulator:
    """A task's equations of motion under a distribution over their parameters.

    A distribution of width zero at the true values is the true system;
    one with a biased centre is the biased simulator (P-hat of the paper).

    Args:
        step: `step(states (B, ns), actions (B, du), parameters) -> states (B, ns)`,
            one control step; `parameters` maps names to scalars or (B,) arrays.
        distribution: an object with `sample(size, rng) -> parameters`, such as
            `mpqlib.randomization.Uniform`.
    """

    def __init__(self, step, distribution):
        self.step, self.distribution = step, distribution

    def __call__(self, states, actions, rng):
        """Roll out each action sequence from its start state.

        Args:
            states: (B, ns) start states.
            actions: (B, H, du) actions, already within the actuator range.
            rng: numpy Generator for the parameters of each row.

        Returns:
            (B, H + 1, ns) states; index 0 holds the start states.
        """
        B, horizon, _ = actions.shape
        # Time first, and each component of the state contiguous over the batch: twice as fast.
        trajectory = np.empty((horizon + 1, states.shape[1], B)).swapaxes(1, 2)
        trajectory[0] = states
        parameters = self.distribution.sample(B, rng)
        for t, action in enumerate(np.ascontiguousarray(actions.transpose(1, 2, 0)).swapaxes(1, 2)):
            trajectory[t + 1] = self.step(trajectory[t], action, parameters)
        return trajectory.swapaxes(0, 1)
