"""Critics of generated rows: how real does a row look?

`DenseCritic` and `ConvCritic` hold hyperparameters and build a `Critic`, which holds
weights: one number a row, higher for rows that look more real, whatever the loss.
`MinibatchDiscrimination` shows it how similar the rows of a batch are, so that the
generator cannot win with copies of a single row.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from sklearn.base import BaseEstimator
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from skae.parts.image_windows import images
from skae.parts.layers import Affine, Down, Layer, Windows, strided
from skae.rows.tensors import SINGLE

__all__ = [
    "GROUP",
    "LEAK",
    "ConvCritic",
    "Critic",
    "DenseCritic",
    "MinibatchDiscrimination",
    "in_groups",
]

LEAK = 0.2
# Rows that are compared with one another.
GROUP = 32
_GAIN = 2 / (1 + LEAK**2)


class CriticPart(BaseEstimator):
    """Hyperparameters of a critic; subclasses give ``_layers``."""

    minibatch_discrimination: bool

    def build(
        self, n_features: int, *, n_context: int = 0, generator: Generator
    ) -> "Critic":
        """Draw the weights of a critic.

        Parameters
        ----------
        n_features : int
        n_context : int, default=0
            Width of the context.
        generator : torch.Generator
            On the CPU.

        Raises
        ------
        ValueError
            When images are too small for the layers.
        """
        layers, shape, n_hidden = self._layers(n_features)
        critic = Critic(
            layers, shape, n_hidden, n_context, self.minibatch_discrimination
        )
        return critic.reset(generator)

    def _layers(self, n_features: int) -> tuple[list[Layer], tuple | None, int]:
        """Layers, shape of the images they take or None, and their last width."""
        raise NotImplementedError


@dataclass(eq=False, repr=False)
class DenseCritic(CriticPart):
    """Perceptron with leaky rectifiers.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(128, 128, 128)
    minibatch_discrimination : bool, default=False

    Examples
    --------
    >>> import torch
    >>> from skae.parts.critics import DenseCritic
    >>> critic = DenseCritic((8,)).build(3, generator=torch.Generator())
    >>> critic(torch.zeros(5, 3)).shape
    torch.Size([5])
    """

    hidden_layer_sizes: tuple = (128, 128, 128)
    minibatch_discrimination: bool = False

    def _layers(self, n_features):
        widths = [n_features, *self.hidden_layer_sizes]
        return affine_layers(widths), None, widths[-1]


@dataclass(eq=False, repr=False)
class StridedLayers(BaseEstimator):
    """Hyperparameters of the strided layers of a critic, which a generator mirrors."""

    sample_shape: Any
    channels: tuple = (32, 64)
    kernel_size: int = 4
    stride: int = 2

    def windows(self) -> tuple[list[Windows], list[int]]:
        """Windows of each layer from the image on, and the last feature map's sizes."""
        sizes, n_layers = self.sample_shape[1:], len(self.channels)
        return strided(sizes, n_layers, self.kernel_size, self.stride)


@dataclass(eq=False, repr=False)
class ConvCritic(StridedLayers, CriticPart):
    """Strided convolutions with leaky rectifiers, without normalisation.

    As in DCGAN (Radford et al. 2016, arXiv 1511.06434), but for batch normalisation,
    which would make the value of a row depend on its batch.

    Parameters
    ----------
    sample_shape : tuple (n_channels, height, width)
    channels : tuple of int, default=(32, 64)
        Channels of the strided layers, from the image on.
    kernel_size : int, default=4
    stride : int, default=2
    n_hidden : int, default=128
        Width of the layer on the flattened feature map.
    minibatch_discrimination : bool, default=False
    """

    n_hidden: int = 128
    minibatch_discrimination: bool = False

    def _layers(self, n_features):
        widths = [self.sample_shape[0], *self.channels]
        windows, sizes = self.windows()
        pairs = zip(pairwise(widths), windows, strict=True)
        layers = [Down(*pair, window) for pair, window in pairs]
        layers.append(Affine(widths[-1] * math.prod(sizes), self.n_hidden))
        return layers, tuple(self.sample_shape), self.n_hidden


class Critic(nn.Module):
    """One number for each row, higher where it looks real.

    f(x, c) = w phi(x) + b + <V c, phi(x)>: a context c enters by projection on the
    features phi (Miyato and Koyama 2018, arXiv 1802.05637, eq. 3). The last term is
    zero without a context and for one of zeros.

    Shape
    -----
    x : ``(batch, n_features)``; context : ``(batch, n_context)``; returned ``(batch,)``

    Parameters
    ----------
    layers : list of Layer
        A leaky rectifier follows each.
    shape : tuple or None
        Of the images, where layers are convolutions.

    Attributes
    ----------
    row_group : int
        Rows that lie side by side and are compared with one another; one where rows
        are independent.
    n_hidden, n_context : int
    has_minibatch : bool
    """

    def __init__(self, layers, shape, n_hidden, n_context, has_minibatch):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.shape = shape
        self.minibatch = MinibatchDiscrimination(n_hidden) if has_minibatch else None
        n_added = self.minibatch.n_kernels if self.minibatch is not None else 0
        self.head = Affine(n_hidden + n_added, 1)
        self.projection = Affine(n_context, n_hidden, bias=False) if n_context else None

    @property
    def row_group(self) -> int:
        return 1 if self.minibatch is None else GROUP

    def reset(self, generator: Generator) -> "Critic":
        """Draw the weights."""
        for layer in layers_of(self):
            layer.reset(generator, _GAIN)
        # Without a rectifier after them.
        for module in (self.head, self.projection, self.minibatch):
            for layer in [] if module is None else layers_of(module):
                layer.reset(generator, 1.0)
        return self

    def load_level(self) -> None:
        """Work at the level in the buffers: there is one only."""

    def finish_growth(self) -> None:
        """Judge whole images: there are no others."""

    def decayed_parameters(self) -> list[nn.Parameter]:
        """The weights; biases are not decayed."""
        return [layer.weight for layer in layers_of(self)]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        features = self.features(x, context)
        h = features if self.minibatch is None else self.minibatch(features)
        value = self.head(h).squeeze(-1)
        if context is None or self.projection is None:
            return value
        return value + (self.projection(context) * features).sum(-1)

    def features(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Phi, of shape ``(batch, n_hidden)``; here without the context."""
        h = x if self.shape is None else images(x, self.shape)
        for layer in self.layers:
            h = h.flatten(1) if isinstance(layer, Affine) else h
            h = F.leaky_relu(layer(h), LEAK)
        return h

    @torch.no_grad()
    def set_reference(self, x: Tensor, context: Tensor | None = None) -> None:
        """Keep rows that others are compared with outside training."""
        if self.minibatch is not None:
            self.minibatch.set_reference(self.features(x, context))


class MinibatchDiscrimination(nn.Module):
    """Similarity of each row to the others (Salimans et al. 2016, arXiv 1606.03498).

    With M_i = T h_i, a matrix of ``n_kernels`` rows, row i gets for each kernel b the
    mean over the other rows j of exp(-|M_ib - M_jb|_1), eq. 3.2 but for the mean, which
    does not grow with the batch. Rows are compared within groups of at most 32, so that
    the cost is linear. Outside training they are compared with the rows of
    `set_reference`, so that no row depends on its batch.

    Shape
    -----
    h : ``(batch, n_in)``; returned ``(batch, n_in + n_kernels)``

    Parameters
    ----------
    n_in : int
    n_kernels : int, default=8
    kernel_width : int, default=4
        Columns of M.
    """

    def __init__(self, n_in: int, n_kernels: int = 8, kernel_width: int = 4):
        super().__init__()
        self.n_kernels, self.kernel_width = n_kernels, kernel_width
        self.kernels = Affine(n_in, n_kernels * kernel_width, bias=False)
        none = torch.zeros(0, n_kernels, kernel_width, **SINGLE)
        self.register_buffer("reference", none)

    def forward(self, h: Tensor) -> Tensor:
        m = self._matrices(h)
        if self.training:
            near = _similarity_in_groups(m)
        elif len(self.reference):
            near = _similarity(m, self.reference).mean(-1)
        else:
            near = torch.zeros_like(m[..., 0])
        return torch.cat([h, near], dim=1)

    def set_reference(self, h: Tensor) -> None:
        """Keep the rows with these features for comparison."""
        self.reference = self._matrices(h).detach().clone()

    def _matrices(self, h: Tensor) -> Tensor:
        return self.kernels(h).view(-1, self.n_kernels, self.kernel_width)


def affine_layers(widths) -> list[Layer]:
    return [Affine(*pair) for pair in pairwise(widths)]


def layers_of(module: nn.Module) -> list[Layer]:
    return [layer for layer in module.modules() if isinstance(layer, Layer)]


def _similarity(m: Tensor, others: Tensor) -> Tensor:
    """exp(-|.|_1) of all pairs, shape ``(..., n, n_kernels, n_others)``."""
    # Others come last, where memory is contiguous, which is several times faster.
    columns = zip(m.unbind(-1), others.transpose(-3, -2).unbind(-1), strict=True)
    parts = [
        (one.unsqueeze(-1) - other.unsqueeze(-3).contiguous()).abs()
        for one, other in columns
    ]
    return torch.exp(-torch.stack(parts).sum(0))


def in_groups(values: Tensor) -> list[Tensor]:
    """Rows that are compared: ``(n_groups, n_rows, ...)``, and a smaller group."""
    whole = len(values) // GROUP * GROUP
    groups = [values[:whole].unflatten(0, (-1, GROUP))] if whole else []
    return groups + ([values[None, whole:]] if whole < len(values) else [])


def _similarity_in_groups(m: Tensor) -> Tensor:
    """Mean similarity of each row to the others of its group."""
    near = [
        (_similarity(group, group).sum(-1) - 1) / max(1, group.shape[1] - 1)
        for group in in_groups(m)
    ]
    return torch.cat([part.flatten(0, 1) for part in near])
