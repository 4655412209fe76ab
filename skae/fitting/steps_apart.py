"""How a group of processes trains a small model: on batches of their own, for a while.

A step of a small network takes less time than the network needs to add up gradients.
Each process then takes its steps on whole batches of its rows, and weights are averaged
every few steps. `skae.fitting.autoencoder_fit` asks; `skae.training.spread` does it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from skae.fitting.defaults import DEFAULTS, Defaults
from skae.training.schedule import Schedule

__all__ = ["schedule_of_group"]

# So few steps are not made fewer: all of them count.
_FEWEST_STEPS = 1500
# Most steps between two averages, multiplications in them, and fewest averages: with
# less the processes drift apart, and the model is worse than that of one process.
_MOST_APART, _WORK_APART, _FEWEST_AVERAGES = 32, 2.4e8, 120


def schedule_of_group(
    schedule_of: Callable[[Defaults], Schedule],
    defaults: Defaults,
    n_processes: int,
    parts: Any,
    shape: tuple[int, int],
) -> Schedule:
    """A schedule with larger batches in fewer steps, for as many passes over the rows.

    Parameters
    ----------
    schedule_of : callable
        The schedule of one process with such defaults.
    defaults : Defaults
    n_processes : int
    parts : Parts
        Only networks for tables have larger batches.
    shape : (n_samples, n_features)
    """
    schedule = schedule_of(defaults)
    growth = min(n_processes, schedule.n_steps // _FEWEST_STEPS)
    if growth < 2 or parts.defaults is not DEFAULTS["tables"]:
        return schedule
    larger = replace(
        defaults,
        batch_size=defaults.batch_size * growth,
        n_steps=defaults.n_steps // growth,
    )
    schedule = schedule_of(larger)
    by_work = _WORK_APART // parts.work("auto", *shape)
    n_apart = min(_MOST_APART, by_work, schedule.n_steps // _FEWEST_AVERAGES)
    return replace(schedule, n_apart=int(max(1, n_apart)))
