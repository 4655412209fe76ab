"""Generators: from noise, and what a row is to be, to rows.

`DenseGenerator` and `ConvGenerator` hold hyperparameters and build a module that holds
weights; neither knows how it is trained.
"""

import math

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from skae.parts.critics import Affine
from skae.parts.layers import Layer, Up, Window, channel_groups, images, joined

__all__ = ["ConvGenerator", "DenseGenerator", "GeneratorNet"]

_LEAST_SHARE = 0.02


class DenseGenerator(BaseEstimator):
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

    def __init__(self, hidden_layer_sizes=(128, 128, 128)):
        self.hidden_layer_sizes = hidden_layer_sizes

    def unit_groups(self, n_features: int) -> np.ndarray | None:
        """Each column stands for itself."""
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
            Columns that say what each row is to be.
        generator : torch.Generator
            On the CPU.
        """
        widths = [n_components + n_context, *self.hidden_layer_sizes, n_features]
        layers = [Affine(*pair) for pair in zip(widths[:-1], widths[1:], strict=True)]
        return _drawn(layers, None, generator)


class ConvGenerator(BaseEstimator):
    """Transposed convolutions with rectifiers, without normalisation.

    As in DCGAN (Radford et al. 2016, arXiv 1511.06434), but for batch normalisation: a
    moving average of the weights would not fit moving statistics of the features.

    Parameters
    ----------
    sample_shape : tuple (n_channels, height, width)
    channels : tuple of int, default=(32, 64)
        Channels of the strided layers of a critic that the generator mirrors.
    kernel_size : int, default=4
    stride : int, default=2
    """

    def __init__(self, sample_shape, channels=(32, 64), kernel_size=4, stride=2):
        self.sample_shape = sample_shape
        self.channels = channels
        self.kernel_size = kernel_size
        self.stride = stride

    def unit_groups(self, n_features: int) -> np.ndarray:
        """The pixels of a channel are measured in one unit."""
        return channel_groups(self.sample_shape)

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
        n_features : int
            The product of ``sample_shape``.
        n_components : int
        n_context : int, default=0
            Columns that say what each row is to be.
        generator : torch.Generator
            On the CPU.

        Raises
        ------
        ValueError
            When the image is too small for the layers.
        """
        n_channels, *sizes = self.sample_shape
        stack = []
        for _ in self.channels:
            windows = [Window.over(n, self.kernel_size, self.stride) for n in sizes]
            stack.append(windows)
            sizes = [window.output for window in windows]
        widths = [n_channels, *self.channels]
        shape = (widths[-1], *sizes)
        layers: list[Layer] = [Affine(n_components + n_context, math.prod(shape))]
        pairs = zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True)
        for (before, after), windows in zip(pairs, reversed(stack), strict=True):
            layers.append(Up(before, after, windows))
        return _drawn(layers, shape, generator)


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
        Of the feature map between the first and the other layers, where those are
        convolutions.

    Notes
    -----
    `confine` makes the output lie between bounds, low + span sigmoid(a + middle), for
    images.
    """

    def __init__(self, layers, shape):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.shape = shape
        self.low: Tensor | None
        self.span: Tensor | None
        self.middle: Tensor | None
        for name in ("low", "span", "middle"):
            self.register_buffer(name, None)

    @property
    def is_confined(self) -> bool:
        """Whether the output lies between bounds."""
        return self.low is not None

    def confine(self, low: Tensor, span: Tensor, mean: Tensor) -> None:
        """Let the output lie between ``low`` and ``low + span``, first near ``mean``.

        Parameters
        ----------
        low, span : Tensor that broadcasts to ``(n_features,)``
        mean : Tensor of shape (n_features,)
        """
        self.low, self.span = low, span
        self.middle = torch.logit((mean - low) / span, eps=_LEAST_SHARE)

    def decayed_parameters(self) -> list[nn.Parameter]:
        """The weights; biases are not decayed."""
        return [layer.weight for layer in self.modules() if isinstance(layer, Layer)]

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        h = joined(z, context)
        for number, layer in enumerate(self.layers):
            if number:
                h = F.relu(h)
            if number == 1 and self.shape is not None:
                h = images(h, self.shape)
            h = layer(h)
        x = h.flatten(1)
        if self.low is None or self.span is None or self.middle is None:
            return x
        return self.low + self.span * torch.sigmoid(x + self.middle)


def _drawn(layers, shape, generator) -> GeneratorNet:
    net = GeneratorNet(layers, shape)
    for layer in layers[:-1]:
        layer.reset(generator, 2.0)
    layers[-1].reset(generator, 1.0)
    return net
