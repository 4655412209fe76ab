"""Generators: from noise, and optionally a context, to rows.

`DenseGenerator` and `ConvGenerator` hold hyperparameters and build a `GeneratorNet`,
which holds weights and knows nothing of its training.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from skae.parts.critics import StridedLayers, affine_layers, layers_of
from skae.parts.image_windows import images
from skae.parts.layers import Affine, Layer, Up, channel_groups, joined

__all__ = ["ConvGenerator", "DenseGenerator", "GeneratorNet"]

_MIN_SHARE = 0.02


class GeneratorPart(BaseEstimator):
    """Hyperparameters of a generator; subclasses give ``_layers``.

    Attributes
    ----------
    sample_shape : tuple (n_channels, height, width) or None
        Of images.
    grows : bool
        Whether images grow.
    """

    sample_shape: Any = None
    grows = False

    def unit_groups(self, n_features: int) -> np.ndarray | None:
        """Number of the unit that each column is scaled by; None: one for each."""
        return None

    def build(
        self,
        n_features: int,
        n_components: int,
        *,
        n_context: int = 0,
        generator: Generator,
    ) -> "GeneratorNet":
        """Draw the weights of a generator.

        Parameters
        ----------
        n_features, n_components : int
        n_context : int, default=0
            Width of the context.
        generator : torch.Generator
            On the CPU.

        Raises
        ------
        ValueError
            When images are too small for the layers.
        """
        layers, shape = self._layers(n_components + n_context, n_features)
        return GeneratorNet(layers, shape).reset(generator)

    def _layers(self, n_in: int, n_out: int) -> tuple[list[Layer], tuple | None]:
        """Layers, and the shape of the feature map after the first or None."""
        raise NotImplementedError


@dataclass(eq=False, repr=False)
class DenseGenerator(GeneratorPart):
    """Perceptron with rectifiers.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(128, 128, 128)

    Examples
    --------
    >>> import torch
    >>> from skae.parts.generators import DenseGenerator
    >>> net = DenseGenerator((8,)).build(3, 2, generator=torch.Generator())
    >>> net(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """

    hidden_layer_sizes: tuple = (128, 128, 128)

    def _layers(self, n_in, n_out):
        return affine_layers([n_in, *self.hidden_layer_sizes, n_out]), None


class ConvGenerator(StridedLayers, GeneratorPart):
    """Transposed convolutions with rectifiers, without normalisation.

    As in DCGAN (Radford et al. 2016, arXiv 1511.06434), but for batch normalisation,
    whose statistics would not fit averaged weights. Mirrors a `ConvCritic`.

    Parameters
    ----------
    sample_shape : tuple (n_channels, height, width)
    channels : tuple of int, default=(32, 64)
        Of the critic's strided layers, from the image on.
    kernel_size : int, default=4
    stride : int, default=2
    """

    def unit_groups(self, n_features: int) -> np.ndarray:
        """The pixels of a channel share one unit."""
        return channel_groups(self.sample_shape)

    def _layers(self, n_in, n_out):
        windows, sizes = self.windows()
        widths = [self.sample_shape[0], *self.channels][::-1]
        shape = (widths[0], *sizes)
        pairs = zip(pairwise(widths), reversed(windows), strict=True)
        layers = [Affine(n_in, math.prod(shape))]
        layers += [Up(*pair, window) for pair, window in pairs]
        return layers, shape


class GeneratorNet(nn.Module):
    """Rows for noise.

    Shape
    -----
    z : ``(batch, n_components)``; context : ``(batch, n_context)``; returned
    ``(batch, n_features)``

    Parameters
    ----------
    layers : list of Layer
        A rectifier follows each but the last.
    shape : tuple or None
        Of the feature map after the first layer, where the others are convolutions.

    Notes
    -----
    `confine` makes the output lie between bounds, low + span sigmoid(a + middle), for
    images.
    """

    low: Tensor | None
    span: Tensor
    middle: Tensor
    # Of networks that grow, see `skae.parts.growing`.
    n_levels = 1

    def __init__(self, layers, shape):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.shape = shape
        for name in ("low", "span", "middle"):
            self.register_buffer(name, None)

    def reset(self, generator: Generator) -> "GeneratorNet":
        """Draw the weights."""
        for layer in self.layers:
            layer.reset(generator, 1.0 if layer is self.layers[-1] else 2.0)
        return self

    def load_level(self) -> None:
        """Work at the level in the buffers: there is one only."""

    def finish_growth(self) -> None:
        """Make whole images: there are no others."""

    @property
    def is_confined(self) -> bool:
        """Whether the output lies between bounds."""
        return self.low is not None

    def confine(self, low: Tensor, span: Tensor, mean: Tensor) -> None:
        """Bound the output by ``low`` and ``low + span``, starting near ``mean``.

        All of them have, or broadcast to, the shape ``(n_features,)``.
        """
        self.low, self.span = low, span
        self.middle = torch.logit((mean - low) / span, eps=_MIN_SHARE)

    def decayed_parameters(self) -> list[nn.Parameter]:
        """The weights; biases are not decayed."""
        return [layer.weight for layer in layers_of(self)]

    @property
    def n_noise(self) -> int:
        """Width of what ``noise`` may be, beside z."""
        return 0

    def forward(
        self, z: Tensor, context: Tensor | None = None, noise: Tensor | None = None
    ) -> Tensor:
        return self.bounded(self.values(z, context, noise))

    def bounded(self, x: Tensor) -> Tensor:
        """Values between the bounds, where there are any."""
        if self.low is None:
            return x
        return self.low + self.span * torch.sigmoid(x + self.middle)

    def values(self, z: Tensor, context: Tensor | None, noise: Tensor | None) -> Tensor:
        """Flat rows before the bounds."""
        h = joined(z, context)
        for number, layer in enumerate(self.layers):
            if number:
                h = F.relu(h)
            if number == 1 and self.shape is not None:
                h = images(h, self.shape)
            h = layer(h)
        return h.flatten(1)
