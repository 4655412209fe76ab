"""What fitted methods compute inside, between the ends: functions of model rows.

Each class is one formula, ``forward(x)`` or ``forward(x, context)``, and shares the
trained modules that it is made of. Nothing here knows units or conditions.
"""

import math

import torch
from torch import Tensor, nn

from skae.models.autoencoder import Autoencoder
from skae.models.elbo import importance_weighted_bound

__all__ = [
    "Bound",
    "Code",
    "CriticValue",
    "Decoded",
    "Likeliest",
    "LogLikelihood",
    "Probabilities",
    "Reconstruction",
    "without_training",
]

# Draws that are decoded together, whatever the number of rows.
_AT_ONCE = 64


def without_training(net: Autoencoder) -> Autoencoder:
    """The model without what only its training needs; weights are shared."""
    bare = Autoencoder(net.codec, net.likelihood, None, net.prior)
    bare.confine(net.limits)
    return bare.eval()


class _OfModel(nn.Module):
    def __init__(self, net: Autoencoder):
        super().__init__()
        self.net = net


class Code(_OfModel):
    """The code of rows; the mean of q(z | x) where codes are random."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.net.code(x, context)


class Decoded(_OfModel):
    """The mean of the likelihood given codes."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.net.likelihood.mean(self.net.decode(z, context))


class Reconstruction(_OfModel):
    """Rows, encoded and decoded; missing entries stay missing."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x_hat = self.net.likelihood.mean(self.net.reconstruct(x, context))
        if self.net.codec.allows_missing:
            x_hat = x_hat.masked_fill(x.isnan(), math.nan)
        return x_hat


class LogLikelihood(_OfModel):
    """Log-likelihood of rows given their codes, in units of these columns."""

    columns: Tensor

    def __init__(self, net: Autoencoder, columns: Tensor):
        super().__init__(net)
        self.register_buffer("columns", columns)

    def forward(self, x: Tensor) -> Tensor:
        return self.net.log_likelihood(x, self.columns)


class Bound(_OfModel):
    """Importance-weighted bound of the log-density of rows, with fixed draws.

    Parameters
    ----------
    net : Autoencoder
    epsilon : Tensor of shape (n_draws, n_components)
    columns : Tensor of shape (n_features,), float64
        Units of X's columns.
    """

    epsilon: Tensor
    change: Tensor

    def __init__(self, net: Autoencoder, epsilon: Tensor, columns: Tensor):
        super().__init__(net)
        self.register_buffer("epsilon", epsilon)
        self.register_buffer("change", columns.log().sum())

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        bound = importance_weighted_bound(
            self.net, x, self.epsilon, context, at_once=_AT_ONCE
        )
        return bound.double() - self.change


class CriticValue(nn.Module):
    """The critic's value of rows, or its probability that they are real."""

    def __init__(self, critic: nn.Module, *, is_probability: bool = False):
        super().__init__()
        self.critic = critic
        self.is_probability = is_probability

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        value = self.critic(x, context).double()
        return value.sigmoid() if self.is_probability else value


class Likeliest(nn.Module):
    """The number of the class with the largest logit."""

    def __init__(self, logits: nn.Module):
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x).argmax(-1)


class Probabilities(nn.Module):
    """Of each class, or their logarithms."""

    def __init__(self, logits: nn.Module, *, log: bool = False):
        super().__init__()
        self.logits = logits
        self.log = log

    def forward(self, x: Tensor) -> Tensor:
        log_probabilities = torch.log_softmax(self.logits(x).double(), -1)
        return log_probabilities if self.log else log_probabilities.exp()
