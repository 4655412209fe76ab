"""How a group of processes trains a small model: on batches of their own, for a while.

A step of a small network takes less time than the network needs to add up gradients.
Each process then takes its steps on whole batches of its rows, and weights are averaged
every few steps. `skae.fitting.autoencoder_fit` asks; `skae.training.spread` does it.
"""

from dataclasses import replace

from skae.fitting.defaults import Defaults

__all__ = ["defaults_of_group", "n_steps_apart"]

# So few steps are not made fewer.
_FEWEST_STEPS = 750
# Most steps between two averages, and multiplications in them.
_MOST_APART, _WORK_APART = 8, 6e7


def defaults_of_group(defaults: Defaults, n_processes: int) -> Defaults:
    """Defaults with larger batches in fewer steps: as many passes over the rows.

    Parameters
    ----------
    defaults : Defaults
        Of one process.
    n_processes : int
    """
    growth = min(n_processes, max(1, defaults.n_steps // _FEWEST_STEPS))
    return replace(
        defaults,
        batch_size=defaults.batch_size * growth,
        n_steps=defaults.n_steps // growth,
    )


def n_steps_apart(work: float) -> int:
    """Steps between two averages, for so many multiplications in a step of one process.

    One is no steps apart: gradients are added up in every step.
    """
    return int(max(1, min(_MOST_APART, _WORK_APART // work)))
