"""From the strings and numbers that users write to parts.

Estimators fill in `Parts` in ``_parts``; `Fit` makes a model of it. Parameters are
strings, numbers, tuples or None; objects are accepted wherever strings are.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from sklearn.base import clone

from skae.checks.integers import is_integer
from skae.fitting.defaults import Defaults
from skae.parts.base import Corruption, Penalty, as_part
from skae.parts.corruption import CORRUPTIONS, NoCorruption
from skae.parts.dense import Dense
from skae.parts.likelihoods import Gaussian
from skae.parts.penalties import PENALTIES
from skae.parts.priors import NoPrior

__all__ = [
    "Parts",
    "hidden_widths",
    "noise_of",
    "part_of",
    "penalties_of",
    "stack_work",
]

# Rows of a classifier's step, to estimate its work.
_STACK_BATCH = 100


@dataclass(frozen=True)
class Parts:
    """The model that an estimator's parameters describe.

    Attributes
    ----------
    architecture : part
        With ``build``. Hidden widths of "auto" in a `Dense` one are those of
        ``defaults``.
    n_components : int, float or None
        None where the architecture decides.
    defaults : callable
        ``defaults(n_samples, n_features, n_components)``: what "auto" means.
    likelihood, corruption, prior : parts
    penalties : tuple of parts
    init : {"pca", "random"}
        PCA needs n_components, or an architecture that decides it.
    columns_apart : bool
        Whether columns that are measured in different units get one each, where the
        model does not start as PCA.
    kl_warmup : float
        Share of the training over which the divergence's weight rises to one.
    hidden_context : float
        Share of the rows whose context the encoder does not see in training.
    value_range : (float, float) or None
        In which values of reconstructions lie, in X's units; None for any.
    """

    architecture: Any
    n_components: Any
    defaults: Callable[[int, int, int], Defaults]
    likelihood: Any = Gaussian()
    corruption: Any = NoCorruption()
    prior: Any = NoPrior()
    penalties: tuple = ()
    init: str = "random"
    columns_apart: bool = False
    kl_warmup: float = 0.0
    hidden_context: float = 0.0
    value_range: tuple[float, float] | None = None

    def work(self, batch_size, n_samples: int, n_features: int) -> float:
        """Multiplications of a training step's rows on their way through the model."""
        is_number = isinstance(self.n_components, Integral)
        n_components = int(self.n_components) if is_number else 1
        defaults = self.defaults(n_samples, n_features, n_components)
        size = defaults.batch_size if isinstance(batch_size, str) else batch_size
        architecture = self.architecture.resolved(defaults)
        return min(size, n_samples) * architecture.row_work(n_features, n_components)


def stack_work(estimator, n_features: int, n_classes: int) -> float:
    """What `Parts.work` is of a classifier; many with an encoder of any kind."""
    if estimator.encoder is not None:
        return math.inf
    widths = hidden_widths(estimator.hidden_layer_sizes, "relu")
    size = estimator.batch_size
    size = _STACK_BATCH if isinstance(size, str) else size
    return size * Dense(widths).row_work(n_features, n_classes)


def part_of(value, base, names=None, default=None):
    """A part by name, a copy of the user's object as such a part, or the default."""
    if isinstance(value, str) and names is not None:
        if value not in names:
            raise ValueError(
                f"A {base.__name__.lower()} must be one of {sorted(names)} or a part; "
                f"got {value!r}."
            )
        return names[value]()
    if value is None:
        return default()
    if isinstance(value, type | str):
        name = value if isinstance(value, str) else value.__name__
        raise ValueError(f"A part must be an object, such as {name}(); got {value!r}.")
    return as_part(clone(value, safe=False), base)


def penalties_of(penalty) -> tuple:
    """Penalty parts of a name, an object, a list of them or None."""
    several = penalty if isinstance(penalty, list | tuple) else [penalty]
    return tuple(
        part_of(each, Penalty, PENALTIES) for each in several if each is not None
    )


def noise_of(noise, level):
    """The corruption of a name at a level, a copy of the user's object, or none."""
    if not isinstance(noise, str):
        return part_of(noise, Corruption, default=NoCorruption)
    if noise != "gaussian" and level > 1:
        raise ValueError(
            f"noise_level of noise={noise!r} is a share of the features and must be in "
            f"[0, 1]; got {level!r}."
        )
    return CORRUPTIONS[noise](level)


def hidden_widths(
    sizes, activation, name="hidden_layer_sizes"
) -> tuple[int, ...] | str:
    """Widths as a tuple of int; "auto" is left to the defaults of non-linear models."""
    if isinstance(sizes, str):
        return () if activation == "identity" else "auto"
    sizes = (sizes,) if isinstance(sizes, Integral) else tuple(sizes)
    if not all(is_integer(size) and size >= 1 for size in sizes):
        raise ValueError(f"{name} must be positive integers, got {sizes!r}.")
    return tuple(int(size) for size in sizes)
