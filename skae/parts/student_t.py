"""The Student t likelihood, for entries with outliers."""

import math

import torch
from torch import Generator, Tensor, nn

from skae.parts.base import EntryLikelihood, Features
from skae.parts.random_numbers import uniform
from skae.rows.tensors import SINGLE

__all__ = ["BoundStudentT", "StudentT"]

# Of log sigma: features without noise have no density.
_FLOOR = -7.0


class StudentT(EntryLikelihood):
    """Student's t with a scale that is learned (Lange et al. 1989, JASA 84).

    Parameters
    ----------
    df : float, default=4.0
        Degrees of freedom, positive; the fewer, the less an outlier weighs.
    """

    name = "student_t"
    is_rowwise = True

    def __init__(self, df=4.0):
        self.df = df

    def bind(self, features: Features) -> "BoundStudentT":
        """With a scale to learn, one until then.

        Raises
        ------
        ValueError
            When ``df`` is not positive.
        """
        if not self.df > 0:
            raise ValueError(f"df must be positive; got {self.df!r}.")
        return BoundStudentT(self.df)

    def scale(self) -> Tensor:
        """sigma of all entries."""
        return torch.ones(1, **SINGLE)

    def entry_nll(self, raw: Tensor, x: Tensor) -> Tensor:
        half, sigma = self.df / 2, self.scale()
        norm = math.lgamma(half) - math.lgamma(half + 0.5)
        norm += 0.5 * math.log(self.df * math.pi)
        tail = torch.log1p(((raw - x) / sigma) ** 2 / self.df)
        return (half + 0.5) * tail + sigma.log() + norm

    def mean(self, raw: Tensor) -> Tensor:
        """The location, the raw output itself."""
        return raw

    def within(self, raw: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return raw.clamp(low, high)

    def draw(self, raw: Tensor, generator: Generator) -> Tensor:
        """The location with noise, by the polar method of Bailey (1994)."""
        angle, radius = uniform(torch.stack([raw, raw], -1), generator).unbind(-1)
        power = radius.clamp_min(1e-7) ** (-2 / self.df)
        radius = (self.df * (power - 1)).sqrt()
        return raw + self.scale() * radius * torch.cos(2 * math.pi * angle)

    def network(self) -> dict:
        return {"likelihood": "StudentT", "df": self.df}


class BoundStudentT(nn.Module, StudentT):
    """`StudentT` with its scale as a parameter."""

    name = "student_t"
    is_rowwise = True

    def __init__(self, df: float):
        super().__init__()
        self.df = df
        self.log_scale = nn.Parameter(torch.zeros(1, **SINGLE))

    def scale(self) -> Tensor:
        return self.log_scale.clamp_min(_FLOOR).exp()
