"""The five choices of an autoencoder, as base classes.

Each has all methods that a fit calls, with defaults for the simple case: a new part is
a subclass that gives what its axis needs and overrides what does not suit it. Nothing
above ``parts/`` depends on the class of a part.

============  ============================  ===========================================
axis          a subclass gives              defaults
============  ============================  ===========================================
Architecture  ``build``                     flat rows of a table, a width that the user
                                            decides, no structure that has a short cut
Codec         ``encode``, ``decode``,       one model, weight decay on all parameters;
              ``n_components``              refuses ``init="pca"``
Likelihood    ``nll``, ``mean``             one raw output per feature, equal to the
                                            mean; centred rows; ``draw`` raises
Prior         ``draw``, ``divergence``      one encoder output per entry of the code,
                                            equal to it; ``sample`` raises
Corruption    ``__call__``                  the same for any columns
Penalty       ``__call__``                  the same for any columns
============  ============================  ===========================================

``as_part`` completes objects of other classes with these defaults.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Generator, Tensor

from skae.parts.codec import Architecture, Codec, Rowwise, are_rowwise, built
from skae.parts.records import Batch, Features, State
from skae.rows.devices import as_double_on

__all__ = [
    "COMPLETED",
    "Architecture",
    "Batch",
    "Codec",
    "Corruption",
    "EntryLikelihood",
    "Features",
    "Likelihood",
    "Penalty",
    "Prior",
    "Rowwise",
    "State",
    "are_rowwise",
    "as_part",
    "built",
]


class Likelihood(Rowwise, BaseEstimator):
    """How a reconstruction is judged.

    Attributes
    ----------
    is_centred : bool
        Whether rows are centred and divided by their units for it; False takes X as it
        is.
    is_least_squares : bool
        Whether ``nll`` is half the squared error and nothing else, as PCA minimises. A
        class says this, ``has_gradient`` and ``name`` for itself; its subclasses have
        to say them anew.
    starts_as_pca : bool
        Whether ``link`` and ``link_derivative`` carry a linear reconstruction to raw
        outputs.
    has_gradient : bool
        Whether ``gradient`` is written out, for the hand-written gradient.
    name : str or None
        As in ``likelihood="gaussian"``; None for likelihoods of users.
    """

    name: str | None = None
    is_centred = True
    is_least_squares = False
    starts_as_pca = True
    has_gradient = False

    def __init_subclass__(cls, **options) -> None:
        super().__init_subclass__(**options)
        # A subclass that changes ``nll`` must not be taken for its base class.
        for name in ("name", "has_gradient", "is_least_squares"):
            setattr(cls, name, cls.__dict__.get(name, getattr(Likelihood, name)))

    def n_outputs(self, n_features: int) -> int:
        """Raw outputs for rows of n_features."""
        return n_features

    def nll(self, raw: Tensor, x: Tensor) -> Tensor:
        """Minus the log-likelihood of each row, shape ``(..., batch)``, in nats."""
        raise NotImplementedError

    def mean(self, raw: Tensor) -> Tensor:
        """The reconstruction, of shape ``(..., batch, n_features)``."""
        raise NotImplementedError

    def entry_nll(self, raw: Tensor, x: Tensor) -> Tensor:
        """``nll`` of each entry: as if it were a row, for independent entries.

        The outputs of an entry lie side by side in ``raw``.
        """
        entries = raw.unflatten(-1, (x.shape[-1], -1))
        return self.nll(entries, x.unsqueeze(-1))

    def draw(self, raw: Tensor, generator: Generator) -> Tensor:
        """Rows drawn from the likelihood, which is refused by default."""
        raise ValueError(
            f"{type(self).__name__} has no draw, which noise=True needs; use "
            "noise=False."
        )

    def within(self, raw: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Raw outputs with means between two rows; as they are where none says how."""
        return raw

    def link(self, mean: Tensor) -> Tensor:
        """The raw output with this mean."""
        return mean

    def link_derivative(self, mean: Tensor) -> Tensor:
        """d raw / d mean."""
        return torch.ones_like(mean)

    def check(self, ranges: Callable[[], tuple[np.ndarray, np.ndarray]]) -> None:
        """Raise ValueError where X does not suit.

        ``ranges()`` returns the smallest and the largest value of each column of X.
        """

    def check_rows(self, X) -> None:
        """Raise ValueError where X does not suit, although its ranges do.

        X is an array or a CSR matrix, NaN where an entry is missing.
        """

    def bind(self, features: Features) -> Any:
        """Itself, or a module with parameters to learn, for these columns."""
        return self

    def log_likelihood(self, raw: Tensor, x: Tensor, scale: Tensor) -> Tensor:
        """Log-likelihood of each row in X's units, ``(..., batch)``, float64.

        By default minus ``nll`` and, as of any density, minus the logarithm of the
        units of the entries that are there. ``scale`` holds the units of X's columns,
        of shape ``(n_features,)`` in float64.
        """
        nll = as_double_on(self.nll(raw, x))
        there = (~x.isnan()).to(nll.device).double()
        return -nll - there @ scale.to(nll.device).log()

    def noise_std(self) -> Tensor | None:
        """Standard deviation of the noise, of each column or of all, if it has one."""
        return None

    def gradient(self, raw: Tensor, x: Tensor) -> Tensor:
        """d nll / d raw, of raw's shape; may overwrite raw."""
        raise NotImplementedError

    def nll_and_gradient(self, raw: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both at once; may overwrite raw."""
        return self.nll(raw, x), self.gradient(raw, x)

    def learned_parameters(self) -> list[Tensor]:
        """Its parameters, in the order of ``parameter_gradients``."""
        return []

    def parameter_gradients(
        self, gradient: Tensor, share: Tensor | float
    ) -> list[Tensor]:
        """Gradients of the sum of share * nll over rows, for each of its parameters."""
        return []

    def network(self) -> dict:
        """What a likelihood must have in common with one that continues it."""
        return {"likelihood": "without parameters"}


class EntryLikelihood(Likelihood):
    """A likelihood of independent entries: subclasses give ``entry_nll``, not ``nll``.

    ``entry_nll(raw, x)`` has the shape of x.
    """

    def nll(self, raw: Tensor, x: Tensor) -> Tensor:
        return self.entry_nll(raw, x).sum(-1)


class Prior(Rowwise, BaseEstimator):
    """How the code is drawn.

    Attributes
    ----------
    keeps_units : bool
        Whether the code may be in any units; a distribution has its own.
    is_drawn : bool
        Whether the code is mu + sigma epsilon of a Gaussian posterior.
    has_gradient : bool
        Whether the hand-written gradient covers ``draw`` and ``divergence``: of codes
        of a Gaussian posterior, with ``divergence_gradient``, or of codes that are
        neither drawn nor have a divergence. A class says it for itself; its subclasses
        have to say it anew.
    """

    keeps_units = False
    is_drawn = False
    has_gradient = False

    def __init_subclass__(cls, **options) -> None:
        super().__init_subclass__(**options)
        cls.has_gradient = cls.__dict__.get("has_gradient", False)

    def n_outputs(self, n_components: int) -> int:
        """Encoder outputs for a code. Those of the location come first."""
        return n_components

    def location(self, h: Tensor) -> Tensor:
        """The code without chance."""
        return h

    def draw(self, h: Tensor, generator: Generator | None) -> Tensor:
        """z for the encoder's output h."""
        raise NotImplementedError

    def divergence(self, h: Tensor) -> Tensor:
        """What each code costs, shape ``(..., batch)``, in nats."""
        raise NotImplementedError

    def divergence_gradient(self, h: Tensor) -> Tensor:
        """d divergence / d h, of h's shape."""
        raise NotImplementedError

    def start(self, shrinkage: Tensor) -> Tensor | None:
        """Encoder outputs beyond the location with which an anchored model starts.

        ``shrinkage`` is the share of each whitened code's variance that is signal, of
        shape ``(..., n_components)`` and in (0, 1).
        """
        return None

    def shrinks(self) -> bool:
        """Whether an anchored model starts from codes shrunk towards zero."""
        return False

    def sample(self, n_samples: int, n_components: int, generator: Generator) -> Tensor:
        """Codes that belong to no row, ``(n_samples, n_components)``."""
        raise ValueError(f"{type(self).__name__} has no sample to draw codes with.")

    def check(self, n_components: int) -> None:
        """Raise ValueError where the distribution has no such width."""


class Corruption(Rowwise, BaseEstimator):
    """What is done to a sample before the encoder sees it.

    Attributes
    ----------
    is_identity : bool
    """

    is_identity = False

    def __call__(self, x: Tensor, generator: Generator | None) -> Tensor:
        """x_tilde of x's shape, ``(..., batch, *sample_shape)``."""
        raise NotImplementedError

    def bind(self, features: Features) -> Any:
        """For samples in model units."""
        return self


class Penalty(Rowwise, BaseEstimator):
    """What a code or a codec pays beyond its reconstruction error."""

    def __call__(self, state: State) -> Tensor:
        """Nats of each row, shape ``(..., batch)``."""
        raise NotImplementedError

    def bind(self, features: Features) -> Any:
        """For rows of these columns."""
        return self


def as_part(value, base: type):
    """An object of the base class, or any object completed with its defaults.

    Raises
    ------
    ValueError
        When the object lacks what the axis needs.
    """
    return value if isinstance(value, base) else COMPLETED[base](value)


class _Completed:
    """An object of another class, completed with the defaults of a base class."""

    base: Any
    required: tuple[str, ...]

    def __init__(self, part):
        missing = [name for name in self.required if not hasattr(part, name)]
        if missing:
            raise ValueError(
                f"A {self.base.__name__.lower()} part needs {' and '.join(missing)}; "
                f"got {part!r}. Subclass skae.parts.base.{self.base.__name__}."
            )
        self.part = part
        for name in vars(self.base):
            if not name.startswith("_") and hasattr(part, name):
                setattr(self, name, getattr(part, name))

    def __call__(self, *args):
        return self.part(*args)

    # Its other attributes are methods of the part.
    def __getstate__(self):
        return {"part": self.part}

    def __setstate__(self, state):
        self.__init__(state["part"])


class _CompletedArchitecture(_Completed, Architecture):
    base, required = Architecture, ("build",)


class _CompletedLikelihood(_Completed, Likelihood):
    base, required = Likelihood, ("nll", "mean")


class _CompletedPrior(_Completed, Prior):
    base, required = Prior, ("draw", "divergence")


class _CompletedCorruption(_Completed, Corruption):
    base, required = Corruption, ("__call__",)


class _CompletedPenalty(_Completed, Penalty):
    base, required = Penalty, ("__call__",)


COMPLETED = {completed.base: completed for completed in _Completed.__subclasses__()}
