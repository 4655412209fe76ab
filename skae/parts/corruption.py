"""Corruptions: what is done to a row before the encoder sees it.

A corruption is called as ``corruption(x, generator) -> x_tilde`` with samples in their
shape, such as ``(batch, n_channels, height, width)``, and returns that shape; the
target of the reconstruction stays clean. The objective calls it once a training step
and never at prediction time. The parts here hold hyperparameters in the user's units;
``bind`` turns one into a module for samples in model units.
"""

import torch
from torch import Generator, Tensor, nn

from skae.parts.base import Corruption, Features
from skae.parts.random_numbers import normal, uniform
from skae.rows.tensors import SINGLE, as_double

__all__ = [
    "CORRUPTIONS",
    "GaussianNoise",
    "KeepMissing",
    "MaskingNoise",
    "NoCorruption",
    "SaltAndPepperNoise",
]


class NoCorruption(Corruption):
    """The identity: the encoder sees the row itself."""

    is_rowwise = True
    is_identity = True

    def __call__(self, x: Tensor, generator: Generator | None) -> Tensor:
        """Return ``x``, the same tensor."""
        return x


class GaussianNoise(Corruption):
    """Independent Gaussian noise on every entry (Vincent et al. 2010).

    Parameters
    ----------
    level : float, default=0.3
        Standard deviation of the noise.
    relative : bool, default=True
        Whether ``level`` is in standard deviations of each feature, or in X's units.
    clip : (low, high), optional
        Noisy values are clipped to this range of X's units.

    Examples
    --------
    >>> import torch
    >>> from skae.parts.corruption import GaussianNoise
    >>> noise = GaussianNoise(0.5)
    >>> x_tilde = noise(torch.zeros(10_000, 1), torch.Generator().manual_seed(0))
    >>> round(float(x_tilde.std()), 1)
    0.5
    """

    def __init__(self, level=0.3, *, relative=True, clip=None):
        self.level = level
        self.relative = relative
        self.clip = clip

    def __call__(self, x: Tensor, generator: Generator | None) -> Tensor:
        """Return x plus noise; ``level`` and ``clip`` are in the units of x."""
        return noisy(x, generator, self.level, *(self.clip or ()))

    def bind(self, features: Features) -> nn.Module:
        """The noise for rows in model units.

        Raises
        ------
        ValueError
            When ``level`` is negative or ``clip`` is no range.
        """
        if not self.level >= 0:
            raise ValueError(f"The noise level must not be negative; got {self.level}.")
        clip = {}
        if self.clip is not None:
            low, high = map(features.to_model, _range("clip", self.clip))
            clip = {"low": low, "high": high}
        std = features.std if self.relative else torch.ones_like(features.std)
        std = features.shaped(self.level * std / features.scale)
        return BoundCorruption(noisy, std=std, **clip)


class MaskingNoise(Corruption):
    """Entries are erased at random (Vincent et al. 2010, section 3.3).

    Parameters
    ----------
    level : float, default=0.25
        Share of the entries, in [0, 1].
    fill_value : float or "mean", default=0.0
        What takes their place, in X's units; "mean" is each feature's.
    """

    def __init__(self, level=0.25, *, fill_value=0.0):
        self.level = level
        self.fill_value = fill_value

    def __call__(self, x: Tensor, generator: Generator | None) -> Tensor:
        """Return x with entries erased; ``fill_value`` is in the units of x.

        The mean is that of this batch.
        """
        mean = isinstance(self.fill_value, str)
        fill = x.mean(-2, keepdim=True) if mean else self.fill_value
        return masked(x, generator, self.level, fill)

    def bind(self, features: Features) -> nn.Module:
        mean = isinstance(self.fill_value, str)
        if mean and self.fill_value != "mean":
            raise ValueError(
                f"fill_value must be a number or 'mean', got {self.fill_value!r}."
            )
        fill = features.center if mean else self.fill_value
        fill = features.to_model(fill)
        return BoundCorruption(masked, level=_share(self.level), fill=fill)


class SaltAndPepperNoise(Corruption):
    """Entries jump to the lowest or the highest value (Vincent et al. 2010).

    Parameters
    ----------
    level : float, default=0.25
        Share of the entries, in [0, 1], half of them each way.
    low, high : float, optional
        The extremes in X's units; each feature's smallest and largest training value
        where left out.
    """

    def __init__(self, level=0.25, *, low=None, high=None):
        self.level = level
        self.low = low
        self.high = high

    def __call__(self, x: Tensor, generator: Generator | None) -> Tensor:
        """Return x with entries replaced; the extremes are in the units of x.

        Those that were left out are taken from this batch.
        """
        low = x.amin(-2, keepdim=True) if self.low is None else self.low
        high = x.amax(-2, keepdim=True) if self.high is None else self.high
        return peppered(x, generator, self.level, low, high)

    def bind(self, features: Features) -> nn.Module:
        low = features.range[0] if self.low is None else self.low
        high = features.range[1] if self.high is None else self.high
        if not (as_double(low) <= as_double(high)).all():
            raise ValueError(f"low={self.low} must not exceed high={self.high}.")
        low, high = map(features.to_model, (low, high))
        return BoundCorruption(peppered, level=_share(self.level), low=low, high=high)


class KeepMissing(nn.Module):
    """A corruption that leaves NaN, entries that are not there, as they are.

    Parameters
    ----------
    corruption : corruption part
    """

    is_identity = False

    def __init__(self, corruption):
        super().__init__()
        self.corruption = corruption

    @property
    def is_rowwise(self) -> bool:
        """Whether the corruption is."""
        return self.corruption.is_rowwise

    def forward(self, x: Tensor, generator: Generator | None) -> Tensor:
        return torch.where(x.isnan(), x, self.corruption(x, generator))


CORRUPTIONS = {
    "gaussian": GaussianNoise,
    "masking": MaskingNoise,
    "salt_and_pepper": SaltAndPepperNoise,
}


class BoundCorruption(nn.Module):
    """A corruption in model units, whose settings move to a device with the model."""

    is_identity = False
    is_rowwise = True

    def __init__(self, corrupt, **settings):
        super().__init__()
        self.corrupt = corrupt
        for name, setting in settings.items():
            if not isinstance(setting, Tensor):
                setting = torch.tensor(setting, **SINGLE)
            self.register_buffer(name, setting)

    def forward(self, x: Tensor, generator: Generator | None) -> Tensor:
        return self.corrupt(x, generator, **self._buffers)


def noisy(x: Tensor, generator, std, low=None, high=None) -> Tensor:
    # A number is filled in on the device, not uploaded.
    std = std.to(x) if isinstance(std, Tensor) else x.new_full((), std)
    x_tilde = torch.addcmul(x, normal(x, generator), std)
    return x_tilde if low is None else x_tilde.clamp_(low, high)


def masked(x: Tensor, generator, level, fill) -> Tensor:
    return torch.where(uniform(x, generator) < level, fill, x)


def peppered(x: Tensor, generator, level, low, high) -> Tensor:
    draw = uniform(x, generator)
    x_tilde = torch.where(draw < level / 2, low, x)
    return torch.where(draw >= 1 - level / 2, high, x_tilde)


def _share(level: float) -> float:
    if not 0 <= level <= 1:
        raise ValueError(f"The noise level is a share in [0, 1]; got {level!r}.")
    return level


def _range(name: str, value) -> tuple[float, float]:
    try:
        low, high = value
    except (TypeError, ValueError):
        low, high = 1, 0
    if not low < high:
        raise ValueError(f"{name} must be a pair (low, high) or None; got {value!r}.")
    return low, high
