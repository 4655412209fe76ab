"""How a group of processes trains a small model: on batches of their own, for a while.

A step of a small network takes less time than the network needs to add up gradients.
Each process then takes its steps on whole batches of its rows, and weights are averaged
every few steps. `skae.fitting.autoencoder_fit` asks; `skae.training.spread` does it.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from skae.fitting.defaults import DEFAULTS, Defaults

__all__ = ["of_group"]

# So few steps are not made fewer.
_FEWEST_STEPS = 750
# Most steps between two averages, and multiplications in them.
_MOST_APART, _WORK_APART = 8, 6e7


def of_group(
    defaults: Defaults, n_processes: int, parts: Any, shape: tuple[int, int]
) -> tuple[Defaults, int]:
    """Larger batches in fewer steps, for as many passes, and steps between averages.

    Parameters
    ----------
    defaults : Defaults
        Of one process.
    n_processes : int
    parts : AutoencoderParts
        Of networks that are not for tables, gradients are added up in every step.
    shape : tuple
        Of the rows.

    Returns
    -------
    defaults : Defaults
    n_apart : int
    """
    if n_processes == 1 or parts.defaults is not DEFAULTS["tables"]:
        return defaults, 1
    growth = min(n_processes, max(1, defaults.n_steps // _FEWEST_STEPS))
    larger = replace(
        defaults,
        batch_size=defaults.batch_size * growth,
        n_steps=defaults.n_steps // growth,
    )
    return larger, int(
        np.clip(_WORK_APART // parts.work("auto", *shape), 1, _MOST_APART)
    )
