"""Critics of generated rows: how real does a row look?

`DenseCritic` and `ConvCritic` hold hyperparameters and build a `Critic`, which holds
weights. A critic knows no loss: it gives one number a row, higher for rows that look
more real. `MinibatchDiscrimination` lets it see how like each other the rows of a batch
are, so that a generator can not win with copies of a single row.
"""

import math

import torch
from sklearn.base import BaseEstimator
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from skae.parts.layers import Affine, Down, Layer, Window, images

__all__ = ["ConvCritic", "Critic", "DenseCritic", "MinibatchDiscrimination"]

_LEAK = 0.2
_GAIN = 2 / (1 + _LEAK**2)
_GROUP = 32


class DenseCritic(BaseEstimator):
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

    def __init__(
        self, hidden_layer_sizes=(128, 128, 128), minibatch_discrimination=False
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.minibatch_discrimination = minibatch_discrimination

    def build(
        self, n_features: int, *, n_context: int = 0, generator: Generator
    ) -> "Critic":
        """Draw the weights of a critic.

        Parameters
        ----------
        n_features : int
        n_context : int, default=0
            Columns that say what each row is to be.
        generator : torch.Generator
            On the CPU.
        """
        widths = [n_features, *self.hidden_layer_sizes]
        layers = [Affine(*pair) for pair in zip(widths[:-1], widths[1:], strict=True)]
        return _drawn(self, layers, None, widths[-1], n_context, generator)


class ConvCritic(BaseEstimator):
    """Strided convolutions with leaky rectifiers, without normalisation.

    As in DCGAN (Radford et al. 2016, arXiv 1511.06434), but for batch normalisation: a
    row would be judged by those that it came with.

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

    def __init__(
        self,
        sample_shape,
        channels=(32, 64),
        kernel_size=4,
        stride=2,
        n_hidden=128,
        minibatch_discrimination=False,
    ):
        self.sample_shape = sample_shape
        self.channels = channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.n_hidden = n_hidden
        self.minibatch_discrimination = minibatch_discrimination

    def build(
        self, n_features: int, *, n_context: int = 0, generator: Generator
    ) -> "Critic":
        """Draw the weights of a critic.

        Parameters
        ----------
        n_features : int
            The product of ``sample_shape``.
        n_context : int, default=0
            Columns that say what each row is to be.
        generator : torch.Generator
            On the CPU.

        Raises
        ------
        ValueError
            When the image is too small for the layers.
        """
        before, *sizes = self.sample_shape
        layers: list[Layer] = []
        for after in self.channels:
            windows = [Window.over(n, self.kernel_size, self.stride) for n in sizes]
            layers.append(Down(before, after, windows))
            before, sizes = after, [window.output for window in windows]
        layers.append(Affine(before * math.prod(sizes), self.n_hidden))
        shape = tuple(self.sample_shape)
        return _drawn(self, layers, shape, self.n_hidden, n_context, generator)


class Critic(nn.Module):
    """One number for each row, higher where it looks real.

    f(x, c) = w phi(x) + b + <V c, phi(x)>: a context c enters by projection on the
    features phi (Miyato and Koyama 2018, arXiv 1802.05637, eq. 3). Without a context,
    or for one of zeros, the last term is none.

    Shape
    -----
    x : ``(batch, n_features)``; context : ``(batch, n_context)``; returned ``(batch,)``

    Parameters
    ----------
    layers : list of Layer
        A leaky rectifier follows each.
    shape : tuple or None
        Of the images, where layers are convolutions.
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
        self.projection = Linear(n_context, n_hidden) if n_context else None

    def decayed_parameters(self) -> list[nn.Parameter]:
        """The weights; biases are not decayed."""
        return [layer.weight for layer in self.modules() if isinstance(layer, Layer)]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = self.features(x)
        seen = h if self.minibatch is None else self.minibatch(h)
        value = self.head(seen).squeeze(-1)
        if context is None or self.projection is None:
            return value
        return value + (self.projection(context) * h).sum(-1)

    def features(self, x: Tensor) -> Tensor:
        """Phi, of shape ``(batch, n_hidden)``."""
        h = x if self.shape is None else images(x, self.shape)
        for layer in self.layers:
            h = h.flatten(1) if isinstance(layer, Affine) else h
            h = F.leaky_relu(layer(h), _LEAK)
        return h

    @torch.no_grad()
    def settle(self, x: Tensor) -> None:
        """Keep rows with which others are compared outside training."""
        if self.minibatch is not None:
            self.minibatch.settle(self.features(x))


class MinibatchDiscrimination(nn.Module):
    """How like the other rows each row is (Salimans et al. 2016, arXiv 1606.03498).

    With M_i = T h_i, a matrix of ``n_kernels`` rows, row i gets for each kernel b the
    mean over the other rows j of exp(-|M_ib - M_jb|_1), eq. 3.2 but for the mean, which
    does not grow with the batch. Rows are compared within groups of at most 32, which
    keeps the cost linear. Outside training they are compared with rows that `settle`
    has kept, so that no row depends on those that it came with.

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
        self.kernels = Linear(n_in, n_kernels * kernel_width)
        self.register_buffer("kept", torch.zeros(0, n_kernels, kernel_width))

    def forward(self, h: Tensor) -> Tensor:
        m = self._compared(h)
        if self.training:
            near = _nearness(m)
        elif len(self.kept):
            near = _likeness(m, self.kept).mean(-1)
        else:
            near = torch.zeros_like(m[..., 0])
        return torch.cat([h, near], dim=1)

    def settle(self, h: Tensor) -> None:
        """Keep the rows of these features for comparison."""
        self.kept = self._compared(h).detach().clone()

    def _compared(self, h: Tensor) -> Tensor:
        return self.kernels(h).view(-1, self.n_kernels, self.kernel_width)


class Linear(Affine):
    """Fully connected layer with a bias that stays zero."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__(n_in, n_out)
        self.bias.requires_grad_(False)


def _likeness(m: Tensor, others: Tensor) -> Tensor:
    """exp(-|.|_1) of all pairs.

    Shape
    -----
    m, others : ``(..., n, n_kernels, kernel_width)``; returned
    ``(..., n, n_kernels, n_others)``
    """
    # Others come last, where memory is contiguous, which is several times faster.
    columns = zip(m.unbind(-1), others.transpose(-3, -2).unbind(-1), strict=True)
    parts = [
        (one.unsqueeze(-1) - other.unsqueeze(-3).contiguous()).abs()
        for one, other in columns
    ]
    return torch.exp(-torch.stack(parts).sum(0))


def _nearness(m: Tensor) -> Tensor:
    """Mean likeness of each row to the others of its group."""
    whole = len(m) // _GROUP * _GROUP
    groups = [m[:whole].unflatten(0, (-1, _GROUP))] if whole else []
    groups += [m[None, whole:]] if whole < len(m) else []
    near = [
        (_likeness(group, group).sum(-1) - 1) / max(1, group.shape[1] - 1)
        for group in groups
    ]
    return torch.cat([part.flatten(0, 1) for part in near])


def _drawn(part, layers, shape, n_hidden, n_context, generator) -> Critic:
    critic = Critic(layers, shape, n_hidden, n_context, part.minibatch_discrimination)
    for layer in critic.modules():
        if isinstance(layer, Layer):
            layer.reset(generator, _GAIN)
    for linear in (critic.head, critic.projection):
        if linear is not None:
            linear.reset(generator, 1.0)
    if critic.minibatch is not None:
        critic.minibatch.kernels.reset(generator, 1.0)
    return critic
