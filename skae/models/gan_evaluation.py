"""How a generator's samples compare with real rows.

`HeldOutSamples` judges a `GANModule` in training by rows it is not trained on;
`CollapseCheck` finds mode collapse and a collapsed critic afterwards.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from skae.models.gan import GANModule
from skae.statistics.energy import Modes, energy_distance, mean_distance

__all__ = ["CollapseCheck", "HeldOutSamples", "fixed_samples"]

_MIN_SAMPLES = 200
_SAMPLES_PER_MODE = 50
_MAX_ROWS = 1000
# Of the distance between rows. At first, before some hundred steps, samples are near
# the mean, at 0.2 of it, which is no collapse.
_MIN_SPREAD = 0.1
_MIN_DEVIATION = 1e-6
_SEED = 0


class HeldOutSamples:
    """Energy distance between held-out rows and samples for the same noise each time.

    Samples are drawn for the rows' context, and rows and samples are compared together
    with it: a generator that ignores its context is far from the rows. A sample counts
    as much as the row whose context it was drawn for.

    Parameters
    ----------
    x : Tensor of shape (n_held_out, n_features), in model units
    weight : Tensor of shape (n_held_out,), optional
    context : Tensor of shape (n_held_out, n_context), optional

    Attributes
    ----------
    tolerance : float
        Mean distance of two samples of these sizes from one distribution; smaller
        differences are not significant.
    """

    def __init__(
        self, x: Tensor, weight: Tensor | None = None, context: Tensor | None = None
    ):
        n_rows, n_repeats = len(x), max(1, _MIN_SAMPLES // len(x))
        self.n_samples = n_repeats * n_rows
        self.weight = weight
        self.rows = _with_context(x, context)
        self.context = self.sample_weight = None
        if context is not None:
            self.context = context.repeat(n_repeats, 1)
            if weight is not None:
                self.sample_weight = weight.repeat(n_repeats)
        between = mean_distance(self.rows, self.rows) * n_rows / max(1, n_rows - 1)
        self.tolerance = (1 / n_rows + 1 / self.n_samples) * between

    def __call__(self, module: GANModule) -> float:
        samples = fixed_samples(module, self.n_samples, self.context)
        if not torch.isfinite(samples).all():
            return float("nan")
        joint = _with_context(samples, self.context)
        return energy_distance(self.rows, joint, self.weight, self.sample_weight)


class CollapseCheck(NamedTuple):
    """Whether samples vary like the rows, and the critic's value with them.

    Attributes
    ----------
    spread : float
        Mean distance between two samples over that between two rows.
    critic_deviation : float
        Standard deviation of the critic's value over rows and samples.
    coverage : float or None
        Share of the modes that are covered; None without modes.
    """

    spread: float
    critic_deviation: float
    coverage: float | None

    @classmethod
    def of(
        cls, module: GANModule, x: Tensor, context: Tensor | None, modes: Modes | None
    ) -> "CollapseCheck":
        """From training rows x, in model units and in random order."""
        n_rows = n_samples = len(x)
        sample_context = context
        if modes is not None:
            n_samples = max(n_rows, _SAMPLES_PER_MODE * modes.n_modes)
            if context is not None:
                n_repeats = -(-n_samples // n_rows)
                sample_context = context.repeat(n_repeats, 1)[:n_samples]
        samples = fixed_samples(module, n_samples, sample_context)
        rows, compared = x[:_MAX_ROWS], samples[:n_rows][:_MAX_ROWS]
        distance = mean_distance(rows, rows)
        spread = mean_distance(compared, compared) / distance if distance > 0 else 1.0
        with torch.no_grad():
            real, fake = (module.critic(r, context) for r in (x, samples[:n_rows]))
        deviation = torch.cat([real, fake]).std(correction=0)
        coverage = None if modes is None else modes.coverage(samples)
        return cls(spread, float(deviation), coverage)

    def messages(self) -> list[str]:
        """What is wrong, a sentence each."""
        messages = []
        if self.coverage is not None and self.coverage < 1:
            messages.append(
                f"Mode collapse: samples cover {self.coverage:.0%} of the modes."
            )
        elif self.spread < _MIN_SPREAD:
            messages.append(
                "Mode collapse: two samples are "
                f"{self.spread:.2g} times as far apart as two rows."
            )
        if not self.critic_deviation > _MIN_DEVIATION:
            messages.append(
                "The discriminator has collapsed: it gives all rows and samples the "
                "same value, from which the generator learns nothing."
            )
        return messages


@torch.no_grad()
def fixed_samples(
    module: GANModule, n_samples: int, context: Tensor | None = None
) -> Tensor:
    """Samples for the same noise in every call."""
    device = next(module.parameters()).device
    generator = torch.Generator(device).manual_seed(_SEED)
    parts = []
    for start in range(0, n_samples, _MAX_ROWS):
        rows = slice(start, min(n_samples, start + _MAX_ROWS))
        condition = None if context is None else context[rows]
        parts.append(module.generate(rows.stop - start, condition, generator))
    return torch.cat(parts)


def _with_context(x: Tensor, context: Tensor | None) -> Tensor:
    """Rows and their context, in which two classes are as far apart as two rows."""
    if context is None:
        return x
    return torch.cat([x, context * x.shape[1] ** 0.5], dim=1)
