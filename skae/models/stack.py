"""The classifier's network: normalised layers, one on the other.

A `Layer` is h = s(gain * (z + shift)) of the normalised pre-activation
z = (pre(x) - mean) / sqrt(var). While a layer is trained, mean and var are those of the
batch (Ioffe and Szegedy 2015, arXiv 1502.03167) and noise is added to z; at prediction
they are the layer's own, set by ``settle``. A `Stack` is layers in a row; `Stack.above`
leaves the first of them out, which is how frozen layers stay untouched.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from skae.parts.activations import ACTIVATIONS
from skae.parts.layers import product

__all__ = ["Layer", "Pass", "Product", "Stack", "normalised"]

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
        weight = torch.randn(n_in, n_out, generator=generator)
        return cls(weight * (gain / n_in) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """The product; in evaluation mode, each row alike wherever in x it stands."""
        return x @ self.weight if self.training else product(x, self.weight)


class Layer(nn.Module):
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
    >>> from skae.models.stack import Layer, Product
    >>> layer = Layer(Product(torch.eye(3)), 3, 3, "relu")
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
        self.gain = nn.Parameter(torch.ones(n_out))
        self.shift = nn.Parameter(
            torch.zeros(n_out) if shift is None else shift.clone()
        )
        self.register_buffer("mean", torch.zeros(n_out))
        self.register_buffer("var", torch.ones(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """The layer as it predicts."""
        return self.activate(self.normalised(x, is_settled=True))

    def normalised(self, x: Tensor, *, is_settled: bool = False) -> Tensor:
        """z by the batch's own mean and variance, or by the layer's."""
        pre = self.pre(x)
        return (pre - self.mean) * self.var.rsqrt() if is_settled else normalised(pre)

    def activate(self, z: Tensor) -> Tensor:
        """h for z."""
        return ACTIVATIONS[self.activation].forward(self.gain * (z + self.shift))

    @torch.no_grad()
    def settle(self, x: Tensor, *, alike: bool = False) -> Tensor:
        """Take mean and variance of these rows as the layer's own.

        Parameters
        ----------
        x : Tensor of shape (batch, n_in)
        alike : bool, default=False
            Change gain and shift too, so that the layer computes what it did before.

        Returns
        -------
        h : Tensor of shape (batch, n_out)
        """
        pre = self.pre(x)
        var, mean = torch.var_mean(pre, 0, unbiased=False)
        var = var + _EPSILON
        if alike:
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
    var, mean = torch.var_mean(x, 0, unbiased=False)
    return (x - mean) * (var + _EPSILON).rsqrt()


class Pass(NamedTuple):
    """What a pass computed on the way.

    Attributes
    ----------
    x : Tensor of shape (batch, n_in)
        What the first layer saw.
    z : list of Tensor of shape (batch, n_out)
        Normalised pre-activations of each layer, noise included.
    logits : Tensor of shape (batch, n_classes)
        The last layer's output.
    """

    x: Tensor
    z: list[Tensor]
    logits: Tensor


class Stack(nn.Module):
    """Layers in a row.

    Parameters
    ----------
    layers : sequence of Layer
        Shared, not copied.

    Shape
    -----
    ``(batch, n_in)`` of the first layer to ``(batch, n_out)`` of the last.
    """

    def __init__(self, layers: Sequence[Layer]):
        super().__init__()
        self.layers: Any = nn.ModuleList(layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @property
    def sizes(self) -> list[int]:
        """Widths from the input to the output."""
        return [self.layers[0].n_in, *(layer.n_out for layer in self.layers)]

    def forward(self, x: Tensor) -> Tensor:
        """The last layer's output, as it predicts."""
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
        is_settled: bool = False,
    ) -> Pass:
        """A training pass, with noise of this size on each z.

        Statistics are the batch's own, or the layers' where those are settled.
        """
        h, zs = x, []
        for layer in self.layers:
            z = layer.normalised(h, is_settled=is_settled)
            if noise:
                z = z + noise * torch.randn(
                    z.shape, generator=generator, device=z.device
                )
            zs.append(z)
            h = layer.activate(z)
        return Pass(x, zs, h)

    def settle(self, x: Tensor, *, alike: bool = False) -> None:
        """Give every layer the statistics of these rows, see `Layer.settle`."""
        for layer in self.layers:
            x = layer.settle(x, alike=alike)
