"""The Student t likelihood, for entries with outliers."""

import math

import torch
from torch import Generator, Tensor, nn

from skae.parts.base import Features, Likelihood

__all__ = ["BoundStudentT", "StudentT"]


class StudentT(Likelihood):
    """Student's t with a scale that is learned (Lange et al. 1989, JASA 84).

    Parameters
    ----------
    df : float, default=4.0
        Degrees of freedom, positive; the fewer, the less an outlier weighs.

    Shape
    -----
    raw, x : ``(..., n_features)``; ``nll`` : ``(...,)``, nats per sample.
    """

    def __init__(self, df=4.0):
        self.df = df

    def bind(self, features: Features) -> "BoundStudentT":
        """With a scale to learn.

        Raises
        ------
        ValueError
            When ``df`` is not positive.
        """
        if not self.df > 0:
            raise ValueError(f"df must be positive; got {self.df!r}.")
        return BoundStudentT(self.df)

    def network(self) -> dict:
        """Its degrees of freedom."""
        return {"likelihood": "StudentT", "df": self.df}


class BoundStudentT(nn.Module, Likelihood):
    """`StudentT` with its parameter."""

    def __init__(self, df: float):
        super().__init__()
        self.df = df
        self.log_scale = nn.Parameter(torch.zeros(1))
        half = df / 2
        self._log_norm = math.lgamma(half) - math.lgamma(half + 0.5)
        self._log_norm += 0.5 * math.log(df * math.pi)

    def entry_nll(self, raw: Tensor, x: Tensor) -> Tensor:
        """Minus the log-density of each entry."""
        scale = self.log_scale.clamp_min(-7).exp()
        tail = torch.log1p(((raw - x) / scale) ** 2 / self.df)
        return 0.5 * (self.df + 1) * tail + scale.log() + self._log_norm

    def nll(self, raw: Tensor, x: Tensor) -> Tensor:
        """Minus the log-density of each row."""
        return self.entry_nll(raw, x).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """The location is the raw output itself."""
        return raw

    def draw(self, raw: Tensor, generator: Generator) -> Tensor:
        """A normal variable over the root of a mean of squares."""
        shape = (*raw.shape, 2)
        normal, uniform = torch.rand(shape, generator=generator).to(raw).unbind(-1)
        # Bailey 1994, Math. Comp. 62: the polar method in closed form.
        radius = (self.df * (uniform.clamp_min(1e-7) ** (-2 / self.df) - 1)).sqrt()
        return raw + self.log_scale.exp() * radius * torch.cos(2 * math.pi * normal)
