"""Are a generator's samples like rows that it has not seen, and all kinds of them?

`HeldOutSamples` judges a `Game` during its training; `findings` says what is wrong with
one, in words that an estimator can warn with.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skae.models.gan import Game
from skae.statistics.energy import Modes, energy_distance

__all__ = ["Evidence", "HeldOutSamples", "findings"]

_FEWEST_SAMPLES = 200
_MOST_SAMPLES = 1000
_SPREAD = 0.1
_STEADY = 1e-6
_SEED = 0


class HeldOutSamples:
    """Energy distance between held-out rows and samples for the same noise each time.

    Rows and samples are compared along with their context, for which samples are drawn:
    a generator that pays no heed to it is far from the rows. A sample counts as much as
    the row whose context it was drawn for.

    Parameters
    ----------
    x : Tensor of shape (n_held_out, n_features), in model units
    weight : Tensor of shape (n_held_out,), optional
    context : Tensor of shape (n_held_out, n_context), optional

    Attributes
    ----------
    slack : float
        How far apart two samples of these sizes are by chance: differences below it
        say nothing.
    """

    def __init__(
        self, x: Tensor, weight: Tensor | None = None, context: Tensor | None = None
    ):
        self.weight, self.context = weight, context
        self.rows = _known(x, context)
        n_repeats = max(1, _FEWEST_SAMPLES // len(x))
        self.n_samples = n_repeats * len(x)
        mean_distance = _mean_distance(self.rows)
        self.slack = (1 / len(x) + 1 / self.n_samples) * mean_distance
        self.weight_of_samples = None
        if weight is not None and context is not None:
            self.weight_of_samples = weight.repeat(n_repeats)

    def __call__(self, game: Game) -> float:
        """The distance, with the weights as they are."""
        context = self.context
        if context is not None:
            context = context.repeat(self.n_samples // len(context), 1)
        made = samples(game, self.n_samples, context)
        if not torch.isfinite(made).all():
            return float("nan")
        return energy_distance(
            self.rows, _known(made, context), self.weight, self.weight_of_samples
        )


class Evidence(NamedTuple):
    """What samples and the critic say of a game.

    Attributes
    ----------
    spread : float
        Mean distance between two samples over that between two rows.
    critic_deviation : float
        Standard deviation of the critic's value over rows and samples.
    coverage : float or None
        Share of the modes that are covered, where modes were asked for.
    """

    spread: float
    critic_deviation: float
    coverage: float | None

    @classmethod
    def of(
        cls, game: Game, x: Tensor, context: Tensor | None, modes: Modes | None
    ) -> "Evidence":
        """From training rows x, in model units and in random order."""
        n_samples = max(len(x), 50 * len(modes.centers)) if modes else len(x)
        told = None
        if context is not None:
            told = context.repeat(-(-n_samples // len(x)), 1)[:n_samples]
        made = samples(game, n_samples, told)
        few = made[: len(x)]
        of_rows = _mean_distance(x)
        spread = _mean_distance(few) / of_rows if of_rows > 0 else 1.0
        with torch.no_grad():
            values = torch.cat([game.critic(x, context), game.critic(few, context)])
        coverage = None if modes is None else modes.coverage(made)
        return cls(spread, float(values.std(correction=0)), coverage)


def findings(evidence: Evidence) -> list[str]:
    """What is wrong, a sentence each."""
    found = []
    if evidence.coverage is not None and evidence.coverage < 1:
        found.append(
            f"Mode collapse: samples cover {evidence.coverage:.0%} of the modes."
        )
    elif evidence.spread < _SPREAD:
        found.append(
            "Mode collapse: two samples are "
            f"{evidence.spread:.2g} times as far apart as two rows."
        )
    if not evidence.critic_deviation > _STEADY:
        found.append(
            "The discriminator has collapsed: it gives all rows and samples the same "
            "value, from which the generator learns nothing."
        )
    return found


@torch.no_grad()
def samples(game: Game, n_samples: int, context: Tensor | None = None) -> Tensor:
    """Samples for the same noise in every call."""
    device = next(game.parameters()).device
    generator = torch.Generator(device).manual_seed(_SEED)
    made = []
    for start in range(0, n_samples, _MOST_SAMPLES):
        stop = min(n_samples, start + _MOST_SAMPLES)
        told = None if context is None else context[start:stop]
        made.append(game.generate(stop - start, told, generator))
    return torch.cat(made)


def _known(x: Tensor, context: Tensor | None) -> Tensor:
    """Rows and their context, in which two classes are as far apart as two rows."""
    if context is None:
        return x
    return torch.cat([x, context * np.sqrt(x.shape[1])], dim=1)


def _mean_distance(x: Tensor) -> float:
    if len(x) < 2:
        return 0.0
    x = x[:_MOST_SAMPLES].cpu().double()
    return float(torch.pdist(x).mean())
