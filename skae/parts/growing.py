"""Networks of images that grow: shared by progressive and style-based ones.

`Levels` are the sizes of images from the smallest to the whole, with the channels of
feature maps. `Growing` is the state of a network that works at one of them, or fades
from one to the next. `GrowingCritic` is the critic of both generators. When they grow
is said in `skae.models.growth`.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from sklearn.base import BaseEstimator
from torch import Generator, Tensor, nn

from skae.parts.critics import GROUP, Critic
from skae.parts.equalized import (
    EqualAffine,
    EqualConv,
    MinibatchDeviation,
    halved,
    rectified,
)
from skae.parts.image_windows import images
from skae.parts.layers import channel_groups
from skae.rows.tensors import SINGLE

__all__ = ["Growing", "GrowingCritic", "GrowingCriticNet", "GrowingImages", "Levels"]

_SMALLEST = 4
_MULTIPLE = 8
# Channels of the largest feature maps, and the most of smaller ones.
_FEWEST, _MOST = 32, 64


class Levels(NamedTuple):
    """Images of a network, from the smallest.

    Feature maps are half as large as the images that are made of them: maps of the
    image's own size take most of the time and add little.

    Attributes
    ----------
    sizes : list of (int, int)
        Height and width of images, each twice those before.
    channels : list of int
        Of the feature maps, which have all sizes but the last.
    """

    sizes: list[tuple[int, int]]
    channels: list[int]

    @classmethod
    def of(cls, sample_shape, channels=None) -> "Levels":
        """Levels of images ``(n_channels, height, width)``.

        Parameters
        ----------
        sample_shape : tuple of int
        channels : sequence of int, optional
            From the image on, or one number for all; by default 32 and twice as many
            for each smaller size, up to 64.

        Raises
        ------
        ValueError
            When images cannot be halved to 4 pixels, or channels are not as many as
            sizes.
        """
        _, *size = sample_shape
        if any(side % _MULTIPLE for side in size):
            padded = " x ".join(str(-(-side // _MULTIPLE) * _MULTIPLE) for side in size)
            raise ValueError(
                "Images that are grown from 4 pixels have a height and a width that "
                f"are multiples of {_MULTIPLE}; got {size[0]} x {size[1]}. Pad them to "
                f"{padded} with np.pad, or use architecture='conv'."
            )
        n_halvings = 0
        while all(
            side % 2 ** (n_halvings + 1) == 0
            and side // 2 ** (n_halvings + 1) >= _SMALLEST
            for side in size
        ):
            n_halvings += 1
        powers = range(n_halvings, -1, -1)
        sizes = [(size[0] // 2**k, size[1] // 2**k) for k in powers]
        if channels is None:
            channels = [min(_MOST, _FEWEST * 2**k) for k in range(n_halvings)]
        channels = list(channels) * (n_halvings if len(channels) == 1 else 1)
        if len(channels) != n_halvings:
            shown = ", ".join(f"{h} x {w}" for h, w in reversed(sizes[:-1]))
            raise ValueError(
                f"channels must be 'auto', one number, or {n_halvings} of them, for "
                f"maps of {shown} pixels; got {len(channels)}."
            )
        return cls(sizes, channels[::-1])

    @property
    def last(self) -> int:
        """Number of the level of whole images."""
        return len(self.sizes) - 1


@dataclass(eq=False, repr=False)
class GrowingImages(BaseEstimator):
    """Hyperparameters of networks that grow.

    Parameters
    ----------
    sample_shape : tuple (n_channels, height, width)
    channels : tuple of int, optional
        As of `Levels.of`.
    """

    sample_shape: Any
    channels: tuple | None = None

    grows = True

    @property
    def levels(self) -> Levels:
        return Levels.of(self.sample_shape, self.channels)

    def unit_groups(self, n_features: int):
        """The pixels of a channel share one unit."""
        return channel_groups(self.sample_shape)


class Growing(nn.Module):
    """State of a module that works at one of several levels.

    Attributes
    ----------
    level : int
        Of the images that it makes or takes.
    alpha : float or Tensor of shape ()
        How far the level has been faded in; at 0 the network is the one of the level
        below.
    is_fading : bool
        Whether ``alpha`` counts.
    reached : Tensor of shape ()
        ``level - 1 + alpha`` as a buffer, which is kept with the weights.
    """

    level: int
    n_levels: int
    alpha: Any
    is_fading: bool
    reached: Tensor

    def _begin_at(self, level: int) -> None:
        self.level, self.alpha, self.is_fading = level, 1.0, False
        self.register_buffer("reached", torch.full((), float(level), **SINGLE))

    def grow(self, level: int, alpha: Any, *, is_fading: bool) -> None:
        """Work at a level, which is faded in or not."""
        self.level, self.alpha, self.is_fading = level, alpha, is_fading
        self.reached.fill_(level)
        if is_fading:
            self.reached.add_(alpha).sub_(1)

    def finish_growth(self) -> None:
        """Work at the last level."""
        self.grow(self.n_levels - 1, 1.0, is_fading=False)

    def load_level(self) -> None:
        """Work at the level in the buffer."""
        reached = float(self.reached)
        level = math.ceil(reached)
        alpha = 1 - (level - reached)
        self.level, self.alpha, self.is_fading = level, alpha, alpha < 1


@dataclass(eq=False, repr=False)
class GrowingCritic(GrowingImages):
    """Critic with one strided layer for each size, and the deviation in the batch.

    As Karras et al. 2018 (arXiv 1710.10196, table 2), with one layer instead of two.

    Parameters
    ----------
    sample_shape : tuple (n_channels, height, width)
    channels : tuple of int, optional
        As of `Levels.of`.
    minibatch_discrimination : bool, default=False
        Beside the deviation.

    Examples
    --------
    >>> import torch
    >>> from skae.parts.growing import GrowingCritic
    >>> part = GrowingCritic((1, 8, 8), (4,))
    >>> critic = part.build(64, generator=torch.Generator())
    >>> critic(torch.zeros(5, 64)).shape
    torch.Size([5])
    """

    minibatch_discrimination: bool = False

    def build(
        self, n_features: int, *, n_context: int = 0, generator: Generator
    ) -> "GrowingCriticNet":
        """Draw the weights of a critic, as `ConvCritic.build`."""
        shape, minibatch = tuple(self.sample_shape), self.minibatch_discrimination
        critic = GrowingCriticNet(self.levels, shape, n_context, minibatch)
        critic.reset(generator)
        return critic


class GrowingCriticNet(Growing, Critic):
    """One number for each image, at one of several levels.

    Images come whole and are halved to the level. Deviations, and rows that are
    compared, stay in groups of 32.

    Parameters
    ----------
    levels : Levels
    shape : tuple (n_channels, height, width)
    n_context : int
    has_minibatch : bool
    """

    def __init__(self, levels: Levels, shape, n_context: int, has_minibatch: bool):
        sizes, channels = levels.sizes, levels.channels
        n_hidden = channels[0]
        super().__init__([], shape, n_hidden, n_context, has_minibatch)
        self.n_levels = len(sizes)
        pairs = list(zip(channels, sizes[:-1], strict=True))
        self.from_image = nn.ModuleList(
            [EqualConv(shape[0], channels[0], sizes[0], kernel=1)]
            + [EqualConv(shape[0], n, size, "half") for n, size in pairs]
        )
        self.down = nn.ModuleList(
            EqualConv(larger[0], n, size, "half")
            for (n, size), larger in pairwise(pairs)
        )
        self.deviation = MinibatchDeviation(n_context > 0)
        n_in = channels[0] + len(self.deviation.reference)
        self.smallest = EqualConv(n_in, channels[0], sizes[0])
        self.hidden = EqualAffine(channels[0] * math.prod(sizes[0]), n_hidden)
        self.head = EqualAffine(self.head.weight.shape[0], 1)
        if n_context:
            self.projection = EqualAffine(n_context, n_hidden, bias=False)
        self._begin_at(len(sizes) - 1)

    @property
    def row_group(self) -> int:
        return GROUP

    def features(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = self.deviation(self.maps(x), context)
        h = rectified(self.smallest(h))
        return rectified(self.hidden(h.flatten(1)))

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps of the smallest size."""
        image = images(x, self.shape)
        for _ in range(self.n_levels - 1 - self.level):
            image = halved(image)
        h = rectified(self.from_image[self.level](image))
        n_down = max(0, self.level - 1)
        for layer in self.down[n_down - 1 : n_down]:
            h = rectified(layer(h))
        if self.is_fading:
            below = rectified(self.from_image[self.level - 1](halved(image)))
            h = below + self.alpha * (h - below)
        for number in reversed(range(n_down - 1)):
            h = rectified(self.down[number](h))
        return h

    @torch.no_grad()
    def set_reference(self, x: Tensor, context: Tensor | None = None) -> None:
        self.deviation.set_reference(self.maps(x), context)
        super().set_reference(x, context)
