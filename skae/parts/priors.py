"""Priors: how the code is drawn from the encoder's output, and what that costs.

`StandardNormal` has what the hand-written gradient and the importance-weighted bound
need besides the methods of `skae.parts.base.Prior`.
"""

import torch
from torch import Generator, Tensor

from skae.parts.base import Prior
from skae.parts.random_numbers import normal, normal_numbers

__all__ = ["PRIORS", "Deterministic", "NoPrior", "StandardNormal"]


class Deterministic(Prior):
    """A code that is not drawn: z = h, at no cost."""

    is_rowwise = True

    def draw(self, h: Tensor, generator: Generator | None) -> Tensor:
        return h

    def divergence(self, h: Tensor) -> Tensor:
        return h.new_zeros(h.shape[:-1])


class NoPrior(Deterministic):
    """The code has no distribution and may be in any units."""

    is_rowwise = True
    keeps_units = True
    has_gradient = True


class StandardNormal(Prior):
    """A standard normal code with a Gaussian posterior (Kingma and Welling 2014).

    The encoder gives mu and log sigma^2 of q(z | x) = N(mu, diag(sigma^2)), arXiv
    1312.6114; z is drawn as mu + sigma epsilon, so that gradients reach both.

    Parameters
    ----------
    beta : float, default=1.0
        Weight of the divergence (Higgins et al. 2017, ICLR); one makes the objective
        the negative evidence lower bound.

    Shape
    -----
    h : ``(..., 2 n_components)``, mu before log sigma^2; z : ``(..., n_components)``;
    divergence : ``(...,)``, nats per sample.

    Examples
    --------
    >>> import torch
    >>> from skae.parts.priors import StandardNormal
    >>> StandardNormal().divergence(torch.tensor([[1.0, 2.0, 0.0, 0.0]]))
    tensor([2.5000])
    """

    is_rowwise = True
    is_drawn = True
    has_gradient = True

    def __init__(self, beta=1.0):
        self.beta = beta

    def n_outputs(self, n_components: int) -> int:
        """A mean and a log-variance for each entry of the code."""
        return 2 * n_components

    def location(self, h: Tensor) -> Tensor:
        """mu."""
        return h.chunk(2, -1)[0]

    def shrinks(self) -> bool:
        """As probabilistic PCA does, the best linear model with this prior."""
        return True

    def start(self, shrinkage: Tensor) -> Tensor:
        """log sigma^2 of probabilistic PCA's posterior."""
        return (1 - shrinkage).log()

    def scale(self, h: Tensor) -> Tensor:
        """sigma."""
        return torch.exp(0.5 * h.chunk(2, -1)[1])

    def draw(self, h: Tensor, generator: Generator | None) -> Tensor:
        """mu + sigma epsilon."""
        mu = self.location(h)
        return torch.addcmul(mu, self.scale(h), self.noise(mu, generator))

    def noise(self, like: Tensor, generator: Generator | None) -> Tensor:
        """epsilon, standard normal."""
        return normal(like, generator)

    def divergence(self, h: Tensor) -> Tensor:
        """beta KL(q(z | x) || N(0, 1)), in closed form."""
        mu, log_var = h.chunk(2, -1)
        return self.beta * 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(-1)

    def divergence_gradient(self, h: Tensor) -> Tensor:
        """d divergence / d h, of h's shape."""
        mu, log_var = h.chunk(2, -1)
        return torch.cat([mu, 0.5 * (log_var.exp() - 1)], -1).mul_(self.beta)

    def log_ratio(self, z: Tensor, h: Tensor, epsilon: Tensor) -> Tensor:
        """log p(z) - log q(z | x) of z = mu + sigma epsilon, shape ``(...,)``."""
        _, log_var = h.chunk(2, -1)
        return 0.5 * (epsilon**2 + log_var - z**2).sum(-1)

    def sample(self, n_samples: int, n_components: int, generator: Generator) -> Tensor:
        shape = n_samples, n_components
        return normal_numbers(shape, generator)


PRIORS = {"normal": StandardNormal}
