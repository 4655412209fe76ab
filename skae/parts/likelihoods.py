"""Likelihoods: how a reconstruction is judged.

Each maps the decoder's raw output to a distribution of the row, see
`skae.parts.base.Likelihood`. Rows ``x`` have shape ``(..., n_features)``, and so has
``raw`` unless a class says otherwise; ``nll`` has shape ``(...,)``, in nats per sample.
One that has something to learn is bound to the columns of X, as a module, before
training.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from skae.parts.base import EntryLikelihood, Features, Likelihood
from skae.parts.random_numbers import normal, uniform
from skae.parts.student_t import StudentT
from skae.rows.devices import as_double_on
from skae.rows.tensors import SINGLE

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "BoundGaussian",
    "Gaussian",
    "LearnedGaussian",
    "Masked",
]

_LOG_2_PI = math.log(2 * math.pi)
# Of the standard deviation, in model units: features without noise have no density.
_FLOOR = 1e-3


class Gaussian(Likelihood):
    """Normal distribution with unit variance: minimising it is least squares.

    Examples
    --------
    >>> import torch
    >>> from skae.parts.likelihoods import Gaussian
    >>> Gaussian().nll(torch.zeros(1, 2), torch.tensor([[1.0, 2.0]]))
    tensor([2.5000])
    """

    name = "gaussian"
    is_rowwise = True
    is_least_squares = True
    has_gradient = True

    def nll(self, raw: Tensor, x: Tensor) -> Tensor:
        """Half the squared error of each row, without the constant d/2 log(2 pi)."""
        error = raw - x
        return 0.5 * torch.linalg.vecdot(error, error)

    def mean(self, raw: Tensor) -> Tensor:
        return raw

    def within(self, raw: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return raw.clamp(low, high)

    def draw(self, raw: Tensor, generator: Generator) -> Tensor:
        """The mean with noise of unit variance."""
        return raw + normal(raw, generator)

    def gradient(self, raw: Tensor, x: Tensor) -> Tensor:
        """raw - x, in place."""
        return raw.sub_(x)

    def nll_and_gradient(self, raw: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The error is both the gradient and what is squared."""
        error = raw.sub_(x)
        return 0.5 * torch.linalg.vecdot(error, error), error

    def log_likelihood(self, raw: Tensor, x: Tensor, scale: Tensor) -> Tensor:
        """Minus half the squared error in X's units, without the constant."""
        error = as_double_on(raw) - as_double_on(x)
        error = error * scale.to(error.device)
        return -0.5 * torch.linalg.vecdot(error, error)


class Bernoulli(Likelihood):
    """Independent Bernoulli entries; the raw output is the logit.

    For x between 0 and 1 this is the usual cross-entropy of grey levels.

    Examples
    --------
    >>> import torch
    >>> from skae.parts.likelihoods import Bernoulli
    >>> Bernoulli().nll(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    tensor([1.3863])
    """

    name = "bernoulli"
    is_rowwise = True
    is_centred = False
    has_gradient = True
    # Pixels that are constant in training would get infinite logits.
    _margin = 0.01

    def nll(self, raw: Tensor, x: Tensor) -> Tensor:
        return F.softplus(raw).sum(-1) - torch.linalg.vecdot(raw, x)

    def mean(self, raw: Tensor) -> Tensor:
        """The probability of a one."""
        return torch.sigmoid(raw)

    def draw(self, raw: Tensor, generator: Generator) -> Tensor:
        """Zeros and ones."""
        return (uniform(raw, generator) < self.mean(raw)).to(raw)

    def gradient(self, raw: Tensor, x: Tensor) -> Tensor:
        """The probability minus x, in place."""
        return raw.sigmoid_().sub_(x)

    def check(self, ranges: Callable[[], tuple[np.ndarray, np.ndarray]]) -> None:
        """Values lie in [0, 1]."""
        lowest, highest = ranges()
        low, high = np.fmin.reduce(lowest), np.fmax.reduce(highest)
        if low < 0 or high > 1:
            raise ValueError(
                "likelihood='bernoulli' needs X within [0, 1], but X ranges from "
                f"{low:g} to {high:g}. Scale X, with MinMaxScaler for example, or use "
                "likelihood='gaussian'."
            )

    def link(self, mean: Tensor) -> Tensor:
        """The logit of the mean, kept within +-log(99)."""
        return torch.logit(mean, eps=self._margin)

    def link_derivative(self, mean: Tensor) -> Tensor:
        """d logit / d mean = 1 / (mean (1 - mean)), likewise bounded."""
        mean = mean.clamp(self._margin, 1 - self._margin)
        return 1 / (mean * (1 - mean))


class LearnedGaussian(Gaussian):
    """Normal distribution whose variance is learned, or fixed.

    Parameters
    ----------
    variance : {"shared", "per_feature"} or float, default="shared"
        One for all features, as in probabilistic PCA, one for each, as in factor
        analysis, or a fixed value in model units.

    Examples
    --------
    >>> import torch
    >>> from skae.parts.likelihoods import BoundGaussian
    >>> likelihood = BoundGaussian(1)
    >>> likelihood.nll(torch.zeros(1, 2), torch.zeros(1, 2))  # log(2 pi)
    tensor([1.8379], grad_fn=<SumBackward1>)
    """

    is_rowwise = True
    is_least_squares = False
    has_gradient = False

    def __init__(self, variance="shared"):
        self.variance = variance

    def bind(self, features: Features) -> "BoundGaussian":
        shape = len(features.center) if self.variance == "per_feature" else 1
        bound = BoundGaussian(shape)
        if not isinstance(self.variance, str):
            nn.init.constant_(bound.log_std, 0.5 * math.log(self.variance))
            bound.log_std.requires_grad_(False)
        return bound

    def network(self) -> dict:
        return {"likelihood": "LearnedGaussian", "variance": self.variance}


class BoundGaussian(nn.Module, EntryLikelihood):
    """`LearnedGaussian` with one variance as a parameter, or one for each feature.

    Its ``nll`` has all constants.
    """

    name = "gaussian"
    is_rowwise = True
    has_gradient = True

    def __init__(self, n_variances: int):
        super().__init__()
        self.log_std = nn.Parameter(torch.zeros(n_variances, **SINGLE))

    def noise_std(self) -> Tensor:
        return self.log_std.clamp_min(math.log(_FLOOR)).exp()

    def entry_nll(self, raw: Tensor, x: Tensor) -> Tensor:
        std = self.noise_std()
        return 0.5 * ((raw - x) / std) ** 2 + (std.log() + 0.5 * _LOG_2_PI)

    def nll_and_gradient(self, raw: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The error in standard deviations gives both, in raw's memory."""
        std = self.noise_std()
        error = raw.sub_(x).div_(std)
        constant = (std.log() + 0.5 * _LOG_2_PI).expand(x.shape[-1]).sum()
        nll = 0.5 * torch.linalg.vecdot(error, error) + constant
        return nll, error.div_(std)

    def gradient(self, raw: Tensor, x: Tensor) -> Tensor:
        return (raw - x) / self.noise_std() ** 2

    def learned_parameters(self) -> list[Tensor]:
        return [self.log_std]

    def parameter_gradients(
        self, gradient: Tensor, share: Tensor | float
    ) -> list[Tensor]:
        # d nll / d log std of an entry is 1 - ((raw - x) / std)^2.
        std = self.noise_std()
        if len(self.log_std) == 1:
            squares = torch.linalg.vecdot(gradient, gradient).unsqueeze(-1)
            total = ((gradient.shape[-1] - std**2 * squares) * share).sum().reshape(1)
        else:
            entry = (1 - (gradient * std) ** 2) * share
            total = entry.flatten(0, -2).sum(0)
        return [total * (self.log_std >= math.log(_FLOOR))]

    def mean(self, raw: Tensor) -> Tensor:
        return raw

    def within(self, raw: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return raw.clamp(low, high)

    def draw(self, raw: Tensor, generator: Generator) -> Tensor:
        """The mean with noise."""
        return raw + self.noise_std() * normal(raw, generator)


# What missing entries do not change.
_OF_ENTRIES = [
    "check",
    "check_rows",
    "draw",
    "is_centred",
    "is_least_squares",
    "is_rowwise",
    "link",
    "link_derivative",
    "mean",
    "n_outputs",
    "name",
    "network",
    "noise_std",
    "within",
]


class Masked(nn.Module, Likelihood):
    """A likelihood of independent entries that leaves out entries that are NaN.

    Those change neither ``nll`` nor its gradient, whatever ``raw`` is there.

    Parameters
    ----------
    likelihood : likelihood part
        Of entries that are independent given the raw output.

    Examples
    --------
    >>> import torch
    >>> from skae.parts.likelihoods import Gaussian, Masked
    >>> Masked(Gaussian()).nll(torch.zeros(1, 2), torch.tensor([[2.0, torch.nan]]))
    tensor([2.])
    """

    def __init__(self, likelihood):
        super().__init__()
        self.likelihood = likelihood
        self._take_over()

    def _take_over(self):
        for name in _OF_ENTRIES:
            setattr(self, name, getattr(self.likelihood, name))

    def __getstate__(self):
        return {k: v for k, v in vars(self).items() if k not in _OF_ENTRIES}

    def __setstate__(self, state):
        super().__setstate__(state)
        self._take_over()

    def nll(self, raw: Tensor, x: Tensor) -> Tensor:
        missing = x.isnan()
        # Any value within the likelihood's support would do.
        x = torch.where(missing, self.likelihood.mean(raw).detach(), x)
        return self.likelihood.entry_nll(raw, x).masked_fill(missing, 0).sum(-1)

    def log_likelihood(self, raw: Tensor, x: Tensor, scale: Tensor) -> Tensor:
        if not self.is_least_squares:
            return super().log_likelihood(raw, x, scale)
        # An entry as reconstructed has no error.
        x = torch.where(x.isnan(), raw, x)
        return self.likelihood.log_likelihood(raw, x, scale)


LIKELIHOODS = {"gaussian": Gaussian, "bernoulli": Bernoulli, "student_t": StudentT}
