"""Layers of growing generators and critics: equalised rates, deviation in a batch.

Weights of equalised layers are standard normal and scaled where they are used, so that
an optimiser whose steps do not follow the size of gradients trains all layers equally
(Karras et al. 2018, arXiv 1710.10196, section 4.1). `ModulatedConv` scales the channels
that come in by a style. Nothing here knows the networks that are made of them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from skae.parts.critics import LEAK, in_groups
from skae.parts.image_windows import FEW_CHANNELS, doubling, halving
from skae.parts.layers import Affine, Layer, affine
from skae.parts.random_numbers import normal_numbers
from skae.rows.tensors import SINGLE

__all__ = [
    "EqualAffine",
    "EqualConv",
    "MinibatchDeviation",
    "ModulatedConv",
    "doubled",
    "halved",
    "pixel_normalised",
    "rectified",
]

_TINY = 1e-8


class EqualLayer(Layer):
    """Standard normal weights, which ``scaled`` multiplies by sqrt(gain / fan_in).

    Parameters
    ----------
    shape, n_out, fan_in
        As of `Layer`.
    """

    def __init__(self, shape, n_out: int, fan_in: float):
        super().__init__(shape, n_out, fan_in)
        self.scale = fan_in**-0.5

    @torch.no_grad()
    def reset(self, generator: Generator, gain: float) -> None:
        self.weight.copy_(normal_numbers(self.weight.shape, generator))
        self.bias.zero_()
        self.scale = (gain / self.fan_in) ** 0.5

    @property
    def scaled(self) -> Tensor:
        """The weights as they are used."""
        return self.weight * self.scale


class EqualAffine(Affine, EqualLayer):
    """Fully connected, ``(batch, n_in)`` to ``(batch, n_out)``."""

    def forward(self, x: Tensor) -> Tensor:
        return affine(x, self.scaled, self.bias)


class EqualConv(EqualLayer):
    """Convolution that keeps the sizes of images, halves or doubles them.

    Windows of 4 x 4 every two pixels halve sizes, and their transposes double them: at
    less than half the work of a convolution after resampling.

    Shape
    -----
    ``(batch, n_in, height, width)`` to ``(batch, n_out, ...)``.

    Parameters
    ----------
    n_in, n_out : int
    sizes : (int, int)
        Of the smaller of the images that come in and go out.
    change : {"none", "half", "double"}
    kernel : int, default=3
        Odd; of a convolution that keeps sizes.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        sizes: Sequence[int],
        change: str = "none",
        kernel: int = 3,
    ):
        kernel = kernel if change == "none" else 4
        is_up = change == "double"
        channels = (n_in, n_out) if is_up else (n_out, n_in)
        # A pixel sees a quarter of a transposed window.
        fan_in = n_in * kernel**2 / (4 if is_up else 1)
        super().__init__((*channels, kernel, kernel), n_out, fan_in)
        self.change = change
        self.n_uses = math.prod(sizes)
        self.n_values = n_out * self.n_uses * (4 if is_up else 1)

    @property
    def is_of_image(self) -> bool:
        """Whether one side has few channels, and the sizes change."""
        return self.change != "none" and min(self.weight.shape[:2]) <= FEW_CHANNELS

    @property
    def input_axis(self) -> int:
        """Of the weights."""
        return 0 if self.change == "double" else 1

    def forward(self, x: Tensor) -> Tensor:
        return self.convolved(x, self.bias)

    def convolved(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """The convolution with this bias."""
        if self.is_of_image and self.change == "half":
            return halving(x, self.scaled, bias)
        if self.is_of_image:
            image = doubling(x, self.scaled)
            return image if bias is None else image + bias[:, None, None]
        if self.change == "double":
            return F.conv_transpose2d(x, self.scaled, bias, 2, 1)
        stride = 2 if self.change == "half" else 1
        padding = (self.weight.shape[-1] - stride + 1) // 2
        return F.conv2d(x, self.scaled, bias, stride, padding)


class ModulatedConv(nn.Module):
    """A convolution whose incoming channels a style scales.

    s = w A + 1 multiplies the channels of the image, and each outgoing channel is
    divided by the norm of the weights scaled likewise, so that images of independent
    pixels of variance one stay such images (Karras et al. 2020, arXiv 1912.04958,
    section 2.2). There the weights of each sample are scaled instead, which is the
    same, and slower: it takes a convolution of as many groups as samples. Transposed
    windows have the norm of the mean over the places of a pixel in them.

    Shape
    -----
    x : ``(batch, n_in, height, width)``; w : ``(batch, n_style)``; ``gain`` multiplies
    demodulated channels and their biases.

    Parameters
    ----------
    conv : EqualConv
    n_style : int
    demodulates : bool, default=True
        False leaves the variance to the style.
    """

    def __init__(self, conv: EqualConv, n_style: int, *, demodulates: bool = True):
        super().__init__()
        self.conv = conv
        n_in = conv.weight.shape[conv.input_axis]
        self.style = EqualAffine(n_style, n_in)
        self.demodulates = demodulates

    def forward(self, x: Tensor, w: Tensor, gain: float = 1.0) -> Tensor:
        scale = self.style(w) + 1
        h = self.conv.convolved(x * scale[:, :, None, None])
        bias = self.conv.bias[:, None, None]
        if not self.demodulates:
            return h + bias
        factor = self.demodulation(scale) * gain
        return torch.addcmul(bias * gain, h, factor[:, :, None, None])

    def demodulation(self, scale: Tensor) -> Tensor:
        """What the outgoing channels are multiplied by, ``(batch, n_out)``."""
        conv = self.conv
        squares = conv.scaled.square().sum((2, 3))
        squares = squares if conv.input_axis == 0 else squares.mT
        if conv.change == "double":
            squares = squares / 4
        return (scale.square() @ squares + _TINY).rsqrt()


class MinibatchDeviation(nn.Module):
    """One more channel, or two with a condition: how much the rows of a batch differ.

    The first is the standard deviation of each value over the rows, averaged over
    values (Karras et al. 2018, section 3), in groups of at most 32 rows. The second is
    the deviation from the mean of rows of similar conditions, thus within classes:
    differences between classes keep the first large even where images of one class do
    not vary. Outside training both are those of the rows of `set_reference`, so that no
    row depends on its batch.

    Shape
    -----
    h : ``(batch, n_channels, height, width)``; context : ``(batch, n_context)``;
    returned ``(batch, n_channels + 1 or 2, height, width)``

    Parameters
    ----------
    is_conditional : bool, default=False
        Whether there is a second channel.
    """

    reference: Tensor

    def __init__(self, is_conditional: bool = False):
        super().__init__()
        self.is_conditional = is_conditional
        self.register_buffer("reference", torch.ones(1 + is_conditional, **SINGLE))

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        values = self._in_groups(h, context) if self.training else self.reference
        values = values.reshape(-1, 1 + self.is_conditional, 1, 1)
        h = torch.cat([h, values.expand(len(h), -1, *h.shape[2:])], dim=1)
        return h.contiguous(memory_format=torch.channels_last)

    def _in_groups(self, h: Tensor, context: Tensor | None) -> Tensor:
        """The values of each row."""
        if context is None:
            context = h.new_zeros(len(h), 1)
        pairs = zip(in_groups(h), in_groups(context), strict=True)
        parts = [
            self._values(rows, contexts).repeat_interleave(rows.shape[1], dim=0)
            for rows, contexts in pairs
        ]
        return torch.cat(parts)

    def _values(self, groups: Tensor, contexts: Tensor) -> Tensor:
        """One or two of each group; groups are ``(n_groups, n_rows, ...)``."""
        means = [groups.mean(1, keepdim=True)]
        if self.is_conditional:
            means.append(_conditional_means(groups, contexts))
        return torch.stack([_deviation(groups - mean) for mean in means], dim=-1)

    @torch.no_grad()
    def set_reference(self, h: Tensor, context: Tensor | None = None) -> None:
        """Keep the mean deviations of these rows."""
        self.reference.copy_(self._in_groups(h, context).mean(0))


def _conditional_means(groups: Tensor, contexts: Tensor) -> Tensor:
    """For each row the mean of the rows of its class, or of those with near numbers.

    Rows at distance d weigh exp(-16 d^2); of another class, where d^2 = 2, 1e-14.
    """
    squares = contexts.square().sum(-1)
    apart = squares[:, :, None] + squares[:, None] - 2 * contexts @ contexts.mT
    weight = torch.exp(-16 * apart.clamp(min=0))
    weight = weight / weight.sum(-1, keepdim=True)
    return (weight @ groups.flatten(2)).view_as(groups)


def _deviation(differences: Tensor) -> Tensor:
    """Root mean square over the rows of each group, averaged over values."""
    deviation = (differences.square().mean(1) + _TINY).sqrt()
    return deviation.flatten(1).mean(1)


def pixel_normalised(h: Tensor) -> Tensor:
    """A pixel's channels, or a row's values, divided by their root mean square."""
    return h * (h.square().mean(1, keepdim=True) + _TINY).rsqrt()


def rectified(h: Tensor) -> Tensor:
    """Leaky rectifier."""
    return F.leaky_relu(h, LEAK)


def doubled(image: Tensor) -> Tensor:
    """Images of twice the size: every pixel four times."""
    return F.interpolate(image, scale_factor=2.0, mode="nearest")


def halved(image: Tensor) -> Tensor:
    """Images of half the size: means of four pixels."""
    return F.avg_pool2d(image, 2)
