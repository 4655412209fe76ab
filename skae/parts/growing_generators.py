"""Generators of images that grow from 4 pixels: progressive, and by styles.

`ProgressiveGenerator` and `StyleGenerator` hold hyperparameters and build a network.
Both work at the levels of `skae.parts.growing`, whose critic judges their images. The
style-based network is in two halves, noise to styles and styles to images, because
users look at styles.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from skae.parts.critics import layers_of
from skae.parts.equalized import (
    LEAK,
    EqualAffine,
    EqualConv,
    ModulatedConv,
    doubled,
    pixel_normalised,
    rectified,
)
from skae.parts.generators import GeneratorNet
from skae.parts.growing import Growing, GrowingImages, Levels
from skae.parts.layers import joined
from skae.parts.random_numbers import normal_numbers
from skae.rows.tensors import SINGLE

__all__ = [
    "ProgressiveGenerator",
    "ProgressiveGeneratorNet",
    "StyleGenerator",
    "StyleGeneratorNet",
]

_GAIN = 2 / (1 + LEAK**2)
_AVERAGED = 1024
_SEED = 0


class ProgressiveGenerator(GrowingImages):
    """Generator with one layer for each size, grown from the smallest.

    As Karras et al. 2018 (arXiv 1710.10196, table 2), with one layer for each size
    instead of two, whose windows of 4 x 4 take the place of resampling.

    Parameters
    ----------
    sample_shape : tuple (n_channels, height, width)
    channels : tuple of int, optional
        As of `Levels.of`.

    Examples
    --------
    >>> import torch
    >>> from skae.parts.growing_generators import ProgressiveGenerator
    >>> part = ProgressiveGenerator((1, 8, 8), (4,))
    >>> net = part.build(64, 3, generator=torch.Generator())
    >>> net(torch.zeros(5, 3)).shape
    torch.Size([5, 64])
    """

    def build(
        self,
        n_features: int,
        n_components: int,
        *,
        n_context: int = 0,
        generator: Generator,
    ) -> "ProgressiveGeneratorNet":
        """Draw the weights, as `ConvGenerator.build`."""
        n_in, n_channels = n_components + n_context, self.sample_shape[0]
        net = ProgressiveGeneratorNet(self.levels, n_channels, n_in)
        net.reset(generator)
        return net


class GrowingGeneratorNet(Growing, GeneratorNet):
    """Images at one of several levels, which come out whole."""

    n_levels: int

    def _whole(self, image: Tensor) -> Tensor:
        """Flat rows of images of the level."""
        for _ in range(self.n_levels - 1 - self.level):
            image = doubled(image)
        return image.flatten(1)


class ProgressiveGeneratorNet(GrowingGeneratorNet):
    """Noise and context to a map of the smallest size, which every layer doubles.

    Parameters
    ----------
    levels : Levels
    n_channels : int
        Of images.
    n_in : int
        Width of noise and context.
    """

    def __init__(self, levels: Levels, n_channels: int, n_in: int):
        super().__init__([], None)
        sizes, channels = levels.sizes, levels.channels
        self.n_levels = len(sizes)
        self.smallest_shape = channels[0], *sizes[0]
        self.first = EqualAffine(n_in, math.prod(self.smallest_shape))
        self.smallest = EqualConv(channels[0], channels[0], sizes[0])
        self.up = nn.ModuleList(_doubling(levels))
        self.to_image = nn.ModuleList(_to_image(levels, n_channels))
        self._begin_at(levels.last)

    def reset(self, generator: Generator) -> "ProgressiveGeneratorNet":
        for layer in layers_of(self):
            layer.reset(generator, _GAIN)
        for layer in layers_of(self.to_image):
            layer.reset(generator, 1.0)
        return self

    def values(self, z: Tensor, context: Tensor | None, noise: Tensor | None) -> Tensor:
        h = rectified(self.first(joined(pixel_normalised(z), context)))
        h = h.view(-1, *self.smallest_shape)
        # Convolutions prefer channels last.
        h = pixel_normalised(h.contiguous(memory_format=torch.channels_last))
        h = pixel_normalised(rectified(self.smallest(h)))
        below = h
        for layer in self.up[: max(0, self.level - 1)]:
            below, h = h, pixel_normalised(rectified(layer(h)))
        image = self.to_image[self.level](h)
        if self.is_fading:
            lower = doubled(self.to_image[self.level - 1](below))
            image = lower + self.alpha * (image - lower)
        return self._whole(image)


@dataclass(eq=False, repr=False)
class StyleGenerator(GrowingImages):
    """Generator whose layers are modulated by styles.

    As Karras et al. 2020 (arXiv 1912.04958): a mapping network, modulated and
    demodulated convolutions, noise inputs, and images that are sums over sizes. One
    convolution for each size, whose windows of 4 x 4 take the place of resampling. The
    mapping learns as fast as all else: trainings are short.

    Parameters
    ----------
    sample_shape : tuple (n_channels, height, width)
    channels : tuple of int, optional
        As of `Levels.of`.
    n_mapping_layers : int, default=2

    Examples
    --------
    >>> import torch
    >>> from skae.parts.growing_generators import StyleGenerator
    >>> part = StyleGenerator((1, 8, 8), (4,))
    >>> net = part.build(64, 3, generator=torch.Generator())
    >>> net.images(net.styles(torch.ones(5, 3))).shape
    torch.Size([5, 64])
    """

    n_mapping_layers: int = 2

    def build(
        self,
        n_features: int,
        n_components: int,
        *,
        n_context: int = 0,
        generator: Generator,
    ) -> "StyleGeneratorNet":
        """Draw the weights, as `ConvGenerator.build`."""
        net = StyleGeneratorNet(
            self.levels,
            self.sample_shape[0],
            n_components,
            n_context,
            self.n_mapping_layers,
        )
        net.reset(generator)
        return net


class StyleLayer(nn.Module):
    """A modulated convolution, noise of a learned strength and a rectifier."""

    def __init__(self, conv: EqualConv, sizes, n_style: int):
        super().__init__()
        self.conv = ModulatedConv(conv, n_style)
        self.sizes = sizes
        self.strength = nn.Parameter(torch.zeros((), **SINGLE))

    def forward(self, h: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        # The gain of the rectifier costs nothing before it.
        gain = _GAIN**0.5
        noise = noise.view(-1, 1, *self.sizes) * (self.strength * gain)
        return rectified(self.conv(h, w, gain) + noise)


class ImageLayer(nn.Module):
    """A modulated convolution to images."""

    def __init__(self, conv: EqualConv, n_style: int):
        super().__init__()
        self.conv = ModulatedConv(conv, n_style, demodulates=False)

    def forward(self, h: Tensor, w: Tensor) -> Tensor:
        return self.conv(h, w)


class StyleGeneratorNet(GrowingGeneratorNet):
    """Noise and context to a style, and styles to images.

    Parameters
    ----------
    levels : Levels
    n_channels : int
        Of images.
    n_components : int
        Width of the noise and of a style.
    n_context, n_mapping_layers : int

    Attributes
    ----------
    n_layers : int
        Layers that a style modulates, each with the image it adds.
    texture : Tensor of shape (n_noise,)
        The noise inputs where none are passed.
    """

    texture: Tensor

    def __init__(
        self,
        levels: Levels,
        n_channels: int,
        n_components: int,
        n_context: int,
        n_mapping_layers: int,
    ):
        super().__init__([], None)
        sizes, channels = levels.sizes, levels.channels
        self.n_levels = self.n_layers = len(sizes)
        self.n_components = n_components
        self.embedding = EqualAffine(n_context, n_components) if n_context else None
        widths = [n_components * (2 if n_context else 1)]
        widths += [n_components] * n_mapping_layers
        self.mapping = nn.ModuleList(
            EqualAffine(n_in, n_out) for n_in, n_out in pairwise(widths)
        )
        smallest = channels[0], *sizes[0]
        self.constant = nn.Parameter(torch.zeros(smallest, **SINGLE))
        convs = [EqualConv(channels[0], channels[0], sizes[0]), *_doubling(levels)]
        self.styled = nn.ModuleList(
            StyleLayer(conv, size, n_components)
            for conv, size in zip(convs, sizes[:-1], strict=True)
        )
        self.to_image = nn.ModuleList(
            ImageLayer(conv, n_components) for conv in _to_image(levels, n_channels)
        )
        self.places = [math.prod(size) for size in sizes[:-1]]
        self.register_buffer("texture", torch.zeros(sum(self.places), **SINGLE))
        self._begin_at(levels.last)

    @property
    def n_noise(self) -> int:
        return len(self.texture)

    @torch.no_grad()
    def reset(self, generator: Generator) -> "StyleGeneratorNet":
        for layer in layers_of(self):
            layer.reset(generator, 1.0)
        for layer in layers_of(self.mapping):
            layer.reset(generator, _GAIN)
        for parameter in (self.constant, self.texture):
            parameter.copy_(normal_numbers(parameter.shape, generator))
        return self

    def values(self, z: Tensor, context: Tensor | None, noise: Tensor | None) -> Tensor:
        return self.values_of(self.styles(z, context), noise)

    def styles(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Styles, ``(batch, n_components)``."""
        h = pixel_normalised(z)
        if self.embedding is not None and context is not None:
            h = joined(h, pixel_normalised(self.embedding(context)))
        for layer in self.mapping:
            h = rectified(layer(h))
        return h

    def images(self, w: Tensor, noise: Tensor | None = None) -> Tensor:
        """Rows of styles.

        Shape
        -----
        w : ``(batch, n_components)``, or ``(batch, n_layers, n_components)`` with a
        style for each layer; noise : ``(batch, n_noise)``; returned ``(batch,
        n_features)``
        """
        return self.bounded(self.values_of(w, noise))

    def mixed(self, w: Tensor, share: float, generator: Generator | None) -> Tensor:
        """Styles of every layer, of which a share changes to the next row's.

        Layers from a random one on follow it (Karras et al. 2019, arXiv 1812.04948,
        section 3.1).

        Shape
        -----
        w : ``(batch, n_components)``; returned ``(batch, n_layers, n_components)``
        """
        shape, device = (len(w), 1), w.device
        first = torch.randint(
            1, self.n_layers, shape, generator=generator, device=device
        )
        drawn = torch.rand(shape, generator=generator, device=device, dtype=w.dtype)
        first = torch.where(drawn < share, first, self.n_layers)
        is_fine = torch.arange(self.n_layers, device=device) >= first
        return torch.where(is_fine[:, :, None], w.roll(1, 0)[:, None], w[:, None])

    def average(self, context: Tensor | None, n_styles: int = _AVERAGED) -> Tensor:
        """The mean style, of each context: ``(batch, n_components)``, or one row."""
        generator = Generator("cpu").manual_seed(_SEED)
        z = normal_numbers((n_styles, self.n_components), generator)
        z = z.to(self.texture)
        if context is None:
            return self.styles(z).mean(0, keepdim=True)
        each, places = context.unique(dim=0, return_inverse=True)
        means = [self.styles(z, c.expand(n_styles, -1)).mean(0) for c in each]
        return torch.stack(means)[places]

    def values_of(self, w: Tensor, noise: Tensor | None) -> Tensor:
        """Flat rows of styles before the bounds."""
        noise = self.texture[None] if noise is None else noise
        parts = noise.split(self.places, 1)
        w = w[:, None].expand(-1, self.n_layers, -1) if w.ndim == 2 else w
        h = self.constant.expand(w.shape[0], -1, -1, -1)
        # Which convolutions prefer.
        image = h = h.contiguous(memory_format=torch.channels_last)
        for level in range(self.level + 1):
            if level != 1:
                # Images of the first two levels are made of the smallest maps.
                place = max(0, level - 1)
                h = self.styled[place](h, w[:, level], parts[place])
            added = self.to_image[level](h, w[:, level])
            if self.is_fading and level == self.level:
                added = added * self.alpha
            image = doubled(image) + added if level else added
        return self._whole(image)


def _doubling(levels: Levels) -> list[EqualConv]:
    """Layers from each feature map to the next."""
    pairs = list(zip(levels.channels, levels.sizes[:-1], strict=True))
    return [
        EqualConv(n, larger[0], size, "double") for (n, size), larger in pairwise(pairs)
    ]


def _to_image(levels: Levels, n_channels: int) -> list[EqualConv]:
    """Layers from feature maps to the images of each level."""
    sizes, channels = levels.sizes, levels.channels
    smallest = EqualConv(channels[0], n_channels, sizes[0], kernel=1)
    pairs = zip(channels, sizes[:-1], strict=True)
    return [smallest, *(EqualConv(n, n_channels, size, "double") for n, size in pairs)]
