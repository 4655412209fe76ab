"""The classifier's network: a stack of layers with batch normalisation.

A `NormalisedLayer` is h = s(gain * (z + shift)) of the normalised pre-activation
z = (pre(x) - mean) / sqrt(var). In training, mean and var are those of the batch (Ioffe
and Szegedy 2015, arXiv 1502.03167) and noise is added to z; in prediction they are the
running statistics, which ``calibrate`` sets. `Stack.above` is a stack without its first
layers: those are frozen while it is trained.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from skae.models.scaling import scaled
from skae.parts.activations import ACTIVATIONS
from skae.parts.layers import product
from skae.parts.random_numbers import normal, normal_numbers
from skae.rows.tensors import SINGLE

__all__ = ["Drawn", "NormalisedLayer", "Pass", "Product", "Stack", "normalised"]

_EPSILON = 1e-5


class Product(nn.Module):
    """x @ weight, the pre-activation of a dense layer.

    Parameters
    ----------
    weight : Tensor of shape (n_in, n_out)

    Shape
    -----
    ``(batch, n_in)`` to ``(batch, n_out)``.
    """

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight.clone())

    @classmethod
    def random(cls, n_in: int, n_out: int, gain: float, generator: Generator):
        """Weights from N(0, gain / n_in)."""
        weight = normal_numbers((n_in, n_out), generator)
        return cls(weight * (gain / n_in) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """The product; in evaluation mode the same bits wherever in x a row stands."""
        return x @ self.weight if self.training else product(x, self.weight)


class NormalisedLayer(nn.Module):
    """A pre-activation, normalised, scaled, shifted and activated.

    Parameters
    ----------
    pre : Module
        Maps ``(batch, n_in)`` to ``(batch, n_out)``.
    n_in, n_out : int
    activation : str
        Key of `skae.parts.activations.ACTIVATIONS`.
    shift : Tensor of shape (n_out,), optional
        Zero where left out. The untrained layer is s(pre(x) + shift).

    Shape
    -----
    ``(batch, n_in)`` to ``(batch, n_out)``.

    Examples
    --------
    >>> import torch
    >>> from skae.models.stack import NormalisedLayer, Product
    >>> layer = NormalisedLayer(Product(torch.eye(3)), 3, 3, "relu")
    >>> layer(torch.tensor([[1.0, -2.0, 3.0]])).tolist()
    [[1.0, 0.0, 3.0]]
    """

    mean: Tensor
    var: Tensor

    def __init__(
        self,
        pre: nn.Module,
        n_in: int,
        n_out: int,
        activation: str,
        shift: Tensor | None = None,
    ):
        super().__init__()
        self.pre = pre
        self.n_in = n_in
        self.n_out = n_out
        self.activation = activation
        self.gain = nn.Parameter(torch.ones(n_out, **SINGLE))
        shift = torch.zeros(n_out, **SINGLE) if shift is None else shift.clone()
        self.shift = nn.Parameter(shift)
        self.register_buffer("mean", torch.zeros(n_out, **SINGLE))
        self.register_buffer("var", torch.ones(n_out, **SINGLE))

    def forward(self, x: Tensor) -> Tensor:
        """h with the running statistics."""
        return self.activate(self.normalised(x, uses_running_statistics=True))

    def normalised(self, x: Tensor, *, uses_running_statistics: bool = False) -> Tensor:
        """z by the mean and variance of the batch, or by the running statistics."""
        pre = self.pre(x)
        if uses_running_statistics:
            return (pre - self.mean) * self.var.rsqrt()
        return normalised(pre)

    def activate(self, z: Tensor) -> Tensor:
        a = scaled(z, self.gain, self.shift)
        return ACTIVATIONS[self.activation].forward(a)

    @torch.no_grad()
    def calibrate(self, x: Tensor, *, preserve_output: bool = False) -> Tensor:
        """Set the running statistics to the mean and variance of these rows.

        Parameters
        ----------
        x : Tensor of shape (batch, n_in)
        preserve_output : bool, default=False
            Change gain and shift too, so that the layer's output stays the same.

        Returns
        -------
        h : Tensor of shape (batch, n_out)
        """
        pre = self.pre(x)
        var, mean = torch.var_mean(pre, 0, unbiased=False)
        var = var + _EPSILON
        if preserve_output:
            ratio = (var / self.var).sqrt()
            self.shift.copy_(
                (self.shift + (mean - self.mean) * self.var.rsqrt()) / ratio
            )
            self.gain.mul_(ratio)
        self.mean.copy_(mean)
        self.var.copy_(var)
        return self.activate((pre - mean) * var.rsqrt())


def normalised(x: Tensor) -> Tensor:
    """Columns of mean zero and variance one over the batch."""
    # Mean and variance, and their gradients, in one pass each.
    return functional.batch_norm(x, None, None, training=True, eps=_EPSILON)


class Pass(NamedTuple):
    """Activations of a training pass.

    Attributes
    ----------
    x : Tensor of shape (batch, n_in)
        Input of the first layer.
    z : list of Tensor of shape (batch, n_out)
        Normalised pre-activations of each layer, noise included.
    logits : Tensor of shape (batch, n_classes)
        The last layer's output.
    """

    x: Tensor
    z: list[Tensor]
    logits: Tensor


class Drawn(NamedTuple):
    """A corrupted batch and the numbers for the noise on each of its z.

    Attributes
    ----------
    x : Tensor of shape (batch, n_in)
    numbers : list of Tensor of shape (batch, n_out)
        Independent standard normal numbers; empty without noise.
    """

    x: Tensor
    numbers: list[Tensor]


class Stack(nn.Module):
    """Layers, each on the output of the one before.

    Parameters
    ----------
    layers : sequence of NormalisedLayer
        Shared, not copied.

    Shape
    -----
    ``(batch, n_in)`` of the first layer to ``(batch, n_out)`` of the last.
    """

    def __init__(self, layers: Sequence[NormalisedLayer]):
        super().__init__()
        self.layers: Any = nn.ModuleList(layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[NormalisedLayer]:
        return iter(self.layers)

    @property
    def sizes(self) -> list[int]:
        """Widths from the input to the output."""
        return [self.layers[0].n_in, *(layer.n_out for layer in self.layers)]

    def forward(self, x: Tensor) -> Tensor:
        """The last layer's output, with the running statistics."""
        for layer in self.layers:
            x = layer(x)
        return x

    def above(self, n_layers: int) -> "Stack":
        """The same layers without the first ``n_layers``."""
        return Stack(self.layers[n_layers:])

    def below(self, n_layers: int) -> "Stack":
        """The first ``n_layers`` alone."""
        return Stack(self.layers[:n_layers])

    def run(
        self,
        x: Tensor,
        noise: float = 0.0,
        generator: Generator | None = None,
        *,
        uses_running_statistics: bool = False,
    ) -> Pass:
        """A training pass, with Gaussian noise of this standard deviation on each z."""
        h, zs = x, []
        for layer in self.layers:
            z = layer.normalised(h, uses_running_statistics=uses_running_statistics)
            if noise:
                z = torch.add(z, normal(z, generator), alpha=noise)
            zs.append(z)
            h = layer.activate(z)
        return Pass(x, zs, h)

    def draw(self, x: Tensor, noise: float, generator: Generator | None) -> Drawn:
        """What `run` draws for rows x."""
        shapes = [(len(x), layer.n_out) for layer in self.layers if noise]
        return Drawn(x, [normal(x.new_empty(shape), generator) for shape in shapes])

    def run_together(self, batches: Sequence[Drawn], noise: float) -> list[Pass]:
        """Training passes of several batches, each normalised apart from the others.

        Products and activations are those of all rows at once; ``noise`` is as in
        `run`.
        """
        sizes = [len(batch.x) for batch in batches]
        h = torch.cat([batch.x for batch in batches])
        zs: list[list[Tensor]] = [[] for _ in batches]
        for number, layer in enumerate(self.layers):
            parts = layer.pre(h).split(sizes)
            for batch, own, part in zip(batches, zs, parts, strict=True):
                z = normalised(part)
                if noise:
                    z = torch.add(z, batch.numbers[number], alpha=noise)
                own.append(z)
            h = layer.activate(torch.cat([own[-1] for own in zs]))
        logits = h.split(sizes)
        return [
            Pass(b.x, z, out) for b, z, out in zip(batches, zs, logits, strict=True)
        ]

    def calibrate(self, x: Tensor, *, preserve_output: bool = False) -> None:
        """Set the running statistics, see `NormalisedLayer.calibrate`."""
        for layer in self.layers:
            x = layer.calibrate(x, preserve_output=preserve_output)
