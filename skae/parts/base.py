"""The five choices of an autoencoder, as base classes, and the records they exchange.

Each axis has a base class that states all that a fit may ask of a part, with defaults
that suit the simple case: a new part is a subclass that gives what the axis needs and
overrides what does not suit it. Whatever lies above ``parts/`` asks the part and never
what class it is. ``as_part`` completes objects of other classes with the defaults.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Generator, Tensor, nn

__all__ = [
    "Architecture",
    "Batch",
    "Codec",
    "Corruption",
    "Features",
    "Likelihood",
    "Penalty",
    "Prior",
    "State",
    "as_part",
    "built",
]


class Batch(NamedTuple):
    """What a training step gets of some rows.

    Attributes
    ----------
    x : Tensor of shape (..., batch, n_features)
        The targets in model units; NaN where an entry is missing.
    weight : Tensor of shape (..., batch) or None
    x_tilde : Tensor of x's shape or None
        What the encoder sees, where the model is not to corrupt x itself.
    context : Tensor of shape (..., batch, n_context) or None
        The condition of each row.
    """

    x: Tensor
    weight: Tensor | None = None
    x_tilde: Tensor | None = None
    context: Tensor | None = None


@dataclass(frozen=True)
class State:
    """What one pass computed, handed to penalties.

    Attributes
    ----------
    x, x_tilde : Tensor of shape (..., n_features)
        Clean rows and what the encoder saw.
    h : Tensor of shape (..., n_outputs)
        The encoder's output.
    z : Tensor of shape (..., n_components)
        The code drawn from it.
    raw : Tensor of shape (..., n_raw)
        The decoder's output, before the likelihood's mean.
    codec : Codec
    generator : torch.Generator or None
        Where the pass draws from.
    weight : Tensor of shape (..., batch) or None
        Of the rows, in means over the batch.
    context : Tensor of shape (..., batch, n_context) or None
        The condition of each row.
    """

    x: Tensor
    x_tilde: Tensor
    h: Tensor
    z: Tensor
    raw: Tensor
    codec: "Codec"
    generator: Generator | None = None
    weight: Tensor | None = None
    context: Tensor | None = None


@dataclass(frozen=True)
class Features:
    """What is known of the columns of X when a part is bound to them, in X's units.

    Attributes
    ----------
    center, scale : Tensor of shape (n_features,)
        Rows of the model are x = (X - center) / scale.
    sample_shape : tuple of int
        Shape in which corruptions see a sample; ``(n_features,)`` for flat rows.
    measured_std : callable
        Returns the standard deviation of each column.
    measured_range : callable
        Returns the smallest and the largest value of each column.
    """

    center: Tensor
    scale: Tensor
    sample_shape: tuple[int, ...]
    measured_std: Callable[[], np.ndarray]
    measured_range: Callable[[], tuple[np.ndarray, np.ndarray]]

    @cached_property
    def std(self) -> Tensor:
        """Standard deviation of each column."""
        return torch.as_tensor(self.measured_std()).to(self.center)

    @cached_property
    def range(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest value of each column."""
        low, high = map(torch.as_tensor, self.measured_range())
        return low.to(self.center), high.to(self.center)

    def to_model(self, value) -> Tensor:
        """A value in X's units as model units of each column, in a sample's shape."""
        value = torch.as_tensor(value, dtype=self.center.dtype)
        return self.shaped((value - self.center) / self.scale)

    def shaped(self, values: Tensor) -> Tensor:
        """One value a column as a sample, in single precision."""
        return values.float().reshape(self.sample_shape)


class Codec(nn.Module):
    """Encoder and decoder with their weights: what an `Architecture` builds.

    Subclasses give ``encode``, ``decode`` and the attribute ``n_components``.

    Shape
    -----
    ``encode(x, context)`` maps ``(..., batch, n_features)`` to
    ``(..., batch, n_outputs)`` and ``decode(z, context)`` maps
    ``(..., batch, n_components)`` to ``(..., batch, n_raw)``.

    Attributes
    ----------
    n_components : int
        Width of the code.
    members : int or None
        How many models the weights hold along a leading axis.
    keeps_units : bool
        Whether codes are in the units of the rows.
    code_activation : str or None
        Activation of the code; None where it is not known.
    allows_missing : bool
        Whether rows may hold NaN.
    code_shape : tuple of int or None
        Shape of the feature map before the code, where there is one.
    is_anchored : bool
        Whether the codec starts from a linear autoencoder, see
        `skae.parts.anchored.AnchoredCodec`.
    """

    n_components: int
    members: int | None = None
    keeps_units = False
    code_activation: str | None = None
    allows_missing = False
    code_shape: tuple[int, ...] | None = None
    is_anchored = False

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """h for rows x in model units; z, where it is not drawn from h."""
        raise NotImplementedError

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Raw output for codes z."""
        raise NotImplementedError

    def decayed_parameters(self) -> list[nn.Parameter]:
        """Those under weight decay: all of them."""
        return list(self.parameters())

    def last_parameters(self) -> list[nn.Parameter]:
        """Weights and biases of the last layers of encoder and decoder.

        Zero, they make ``encode`` and ``decode`` return zero; multiplied, they multiply
        what both return. Needed by ``init="pca"``.

        Raises
        ------
        ValueError
            By default: the codec can not start as PCA.
        """
        raise ValueError(
            f"init='pca' can not be combined with {type(self).__name__}, which has no "
            "last_parameters; use init='random'."
        )

    def start_at_zero(self, generator: Generator | None = None) -> None:
        """Make encode and decode return zero for any input, yet trainable.

        Parameters
        ----------
        generator : torch.Generator, optional
            On the CPU, for what is best drawn anew for such a start.
        """
        with torch.no_grad():
            for parameter in self.last_parameters():
                parameter.zero_()

    def start_at_mean(self, raw: Tensor) -> None:
        """Make the decoder give this for any code, yet trainable, before training.

        Random weights are worse than the mean. Left as they are by default.

        Parameters
        ----------
        raw : Tensor of shape (n_raw,)
            Raw output of the mean of the rows.
        """

    def dense_layers(self) -> "Any | None":
        """The dense codec whose gradient can be written by hand, or None."""
        return None

    def one_layer(self) -> "tuple[Tensor, str] | None":
        """Weights (n_features, n_outputs) and activation of a one-layer encoder."""
        return None

    def member(self, index: int) -> "Codec":
        """A copy of one member as a codec without the leading axis."""
        raise NotImplementedError


class Architecture(BaseEstimator):
    """What kind of encoder and decoder: subclasses give ``build``.

    Attributes
    ----------
    sample_shape : tuple of int or None
        Shape in which the codec sees a sample; None for flat rows of any width.
    data : {"tables", "images", "sequences"}
        What it is made for, which decides how long it is trained by default.
    decides_width : bool
        Whether the codec fixes n_components itself.
    draws_globally : bool
        Whether modules draw from torch's global generator, as dropout does.
    allows_missing : bool
        Whether rows may hold NaN for what is missing.
    shares_center : bool
        Whether columns of one `unit_groups` are centred at one value.
    batches_members : bool
        Whether ``build`` takes ``members``.
    scales_inputs : bool
        Whether ``build`` takes ``input_scale``, by which the codec multiplies rows.
    trains_path : bool
        Whether PCA's path is trained too, where the codec starts beside it. A network
        with structure of its own learns better from what a fixed path leaves.
    is_linear : bool
        Whether encoder and decoder are linear maps.
    is_shallow : bool
        Whether they have one layer each.
    is_tied : bool
        Whether the decoder uses the encoder's weights.
    """

    sample_shape: tuple[int, ...] | None = None
    data = "tables"
    decides_width = False
    draws_globally = False
    allows_missing = False
    shares_center = False
    batches_members = False
    scales_inputs = False
    trains_path = False
    is_linear = False
    is_shallow = False
    is_tied = False

    def build(
        self, n_features: int, n_components: int, *, generator: Generator
    ) -> Codec:
        """Draw the weights of a codec.

        Parameters
        ----------
        n_features, n_components : int
        generator : torch.Generator
            On the CPU, so that every device starts from the same weights.
        n_outputs : int, optional
            What the encoder gives, if not n_components (a drawn code asks for more).
        n_raw : int, optional
            What the decoder gives, if not n_features (some likelihoods ask for more).
        n_context : int, default=0
            Width of the context of both.
        members : int, optional
            Number of models along a leading axis.

        Notes
        -----
        A subclass may leave out options; combinations that need them are refused by
        name.
        """
        raise NotImplementedError

    def resolved(self, defaults) -> "Architecture":
        """With "auto" replaced by what suits the data."""
        return self

    def unit_groups(self, n_features: int) -> np.ndarray | None:
        """Columns that are measured in one unit have one number, shape (n_features,).

        None where each column stands for itself.
        """
        return None

    def network(self) -> dict:
        """What a model must have in common with one that continues it."""
        return {"architecture": type(self).__name__, **self.get_params(deep=False)}


class Likelihood(BaseEstimator):
    """How a reconstruction is judged: subclasses give ``nll`` and ``mean``.

    Attributes
    ----------
    is_centred : bool
        Whether rows are centred and divided by their units for it; False takes X as it
        is.
    is_least_squares : bool
        Whether ``nll`` is half the squared error and nothing else, as PCA minimises.
    starts_as_pca : bool
        Whether ``link`` and ``link_slope`` carry a linear reconstruction to raw
        outputs.
    has_slope : bool
        Whether ``slope`` is written out, for the hand-written gradient.
    """

    is_centred = True
    is_least_squares = False
    starts_as_pca = True
    has_slope = False

    def n_outputs(self, n_features: int) -> int:
        """Raw outputs for rows of n_features: as many."""
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
        """Rows drawn from the likelihood.

        Raises
        ------
        ValueError
            By default.
        """
        raise ValueError(
            f"{type(self).__name__} has no draw, which noise=True needs; use "
            "noise=False."
        )

    def link(self, mean: Tensor) -> Tensor:
        """The raw output with this mean: the mean itself."""
        return mean

    def link_slope(self, mean: Tensor) -> Tensor:
        """d raw / d mean: one."""
        return torch.ones_like(mean)

    def check(self, ranges: Callable[[], tuple[np.ndarray, np.ndarray]]) -> None:
        """Raise ValueError where X does not suit: any X does.

        Parameters
        ----------
        ranges : callable
            Returns the smallest and the largest value of each column of X.
        """

    def check_rows(self, X) -> None:
        """Raise ValueError where values within the ranges do not suit either: all do.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            NaN where an entry is missing.
        """

    def bind(self, features: Features) -> "Any":
        """Itself, or a module with parameters to learn, for these columns."""
        return self

    def log_likelihood(self, raw: Tensor, x: Tensor, scale: Tensor) -> Tensor:
        """Log-likelihood of each row in X's units, ``(..., batch)``, float64.

        By default minus ``nll`` and, as of any density, minus the logarithm of the
        units of the entries that are there.

        Parameters
        ----------
        raw : Tensor of shape (..., batch, n_raw)
        x : Tensor of shape (..., batch, n_features)
        scale : Tensor of shape (n_features,), float64
            Units of X's columns.
        """
        there = (~x.isnan()).double()
        return -self.nll(raw, x).double() - there @ scale.log()

    def noise_std(self) -> Tensor | None:
        """Standard deviation of the noise, of each column or of all, if it has one."""
        return None

    def slope(self, raw: Tensor, x: Tensor) -> Tensor:
        """d nll / d raw, of raw's shape; may overwrite raw."""
        raise NotImplementedError

    def fill_gradient(self, slope: Tensor, share: Tensor | float) -> None:
        """Set its parameters' gradients of the sum of share * nll over rows."""

    def network(self) -> dict:
        """What a likelihood must have in common with one that continues it."""
        return {"likelihood": "without parameters"}


class Prior(BaseEstimator):
    """How the code is drawn: subclasses give ``draw`` and ``divergence``.

    Attributes
    ----------
    keeps_units : bool
        Whether the code may be in any units; a distribution has its own.
    is_drawn : bool
        Whether the code is mu + sigma epsilon of a Gaussian posterior.
    has_slope : bool
        Whether the hand-written gradient knows ``draw`` and ``divergence``.
    """

    keeps_units = False
    is_drawn = False
    has_slope = False

    def n_outputs(self, n_components: int) -> int:
        """Encoder outputs for a code: as many. Those of the location come first."""
        return n_components

    def location(self, h: Tensor) -> Tensor:
        """The code without chance: h itself."""
        return h

    def draw(self, h: Tensor, generator: Generator | None) -> Tensor:
        """z for the encoder's output h."""
        raise NotImplementedError

    def divergence(self, h: Tensor) -> Tensor:
        """What each code costs, shape ``(..., batch)``, in nats."""
        raise NotImplementedError

    def start(self, shrinkage: Tensor) -> Tensor | None:
        """Encoder outputs beyond the location with which an anchored model starts.

        Parameters
        ----------
        shrinkage : Tensor of shape (..., n_components)
            Share of each whitened code's variance that is signal, in (0, 1).
        """
        return None

    def shrinks(self) -> bool:
        """Whether an anchored model starts from codes shrunk towards zero."""
        return False

    def sample(self, n_samples: int, n_components: int, generator: Generator) -> Tensor:
        """Codes that belong to no row, ``(n_samples, n_components)``.

        Raises
        ------
        ValueError
            By default.
        """
        raise ValueError(f"{type(self).__name__} has no sample to draw codes with.")

    def check(self, n_components: int) -> None:
        """Raise ValueError where the distribution has no such width: it has any."""


class Corruption(BaseEstimator):
    """What is done to a sample before the encoder sees it: subclasses are called.

    Attributes
    ----------
    is_identity : bool
    """

    is_identity = False

    def __call__(self, x: Tensor, generator: Generator | None) -> Tensor:
        """x_tilde of x's shape, ``(..., batch, *sample_shape)``."""
        raise NotImplementedError

    def bind(self, features: Features) -> "Any":
        """For samples in model units: itself."""
        return self


class Penalty(BaseEstimator):
    """What a code or a codec pays beyond its reconstruction error."""

    def __call__(self, state: State) -> Tensor:
        """Nats of each row, shape ``(..., batch)``."""
        raise NotImplementedError

    def bind(self, features: Features) -> "Any":
        """For rows of these columns: itself."""
        return self


def built(architecture: Architecture, n_features, n_components, *, generator, **asked):
    """``architecture.build`` with options that other parts ask for.

    Parameters
    ----------
    **asked : tuple of (value, who asks)
        Options of ``build``.

    Raises
    ------
    ValueError
        When the architecture has no such option.
    """
    parameters = inspect.signature(architecture.build).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, (value, who) in asked.items():
        if not takes_all and name not in parameters:
            raise ValueError(
                f"architecture={type(architecture).__name__} can not be combined with "
                f"{who}, which needs {name}={value!r} of its build."
            )
    options = {name: value for name, (value, _) in asked.items()}
    return architecture.build(n_features, n_components, generator=generator, **options)


def as_part(value, base: type):
    """An object of the base class, or any object completed with its defaults.

    Raises
    ------
    ValueError
        When the object lacks what the axis needs.
    """
    return value if isinstance(value, base) else _COMPLETED[base](value)


def _completed(base: type, required: tuple[str, ...]) -> type:
    """A subclass that wraps an object and has its methods, or the base's."""

    def __init__(self, part):
        missing = [name for name in required if not hasattr(part, name)]
        if missing:
            raise ValueError(
                f"A {base.__name__.lower()} part needs {' and '.join(missing)}; got "
                f"{part!r}. Subclass skae.parts.base.{base.__name__}."
            )
        self.part = part

    def own_or(name, default):
        def get(self):
            if hasattr(self.part, name):
                return getattr(self.part, name)
            return default.__get__(self) if callable(default) else default

        return property(get)

    names = [name for name in vars(base) if not name.startswith("_")]
    body = {name: own_or(name, vars(base)[name]) for name in names}
    if "__call__" in required:
        body["__call__"] = lambda self, *args: self.part(*args)
    return type(f"_Completed{base.__name__}", (base,), {"__init__": __init__, **body})


_CompletedLikelihood = _completed(Likelihood, ("nll", "mean"))
_CompletedPrior = _completed(Prior, ("draw", "divergence"))
_CompletedCorruption = _completed(Corruption, ("__call__",))
_CompletedPenalty = _completed(Penalty, ("__call__",))
_CompletedArchitecture = _completed(Architecture, ("build",))
_COMPLETED: dict[Any, type] = {
    Likelihood: _CompletedLikelihood,
    Prior: _CompletedPrior,
    Corruption: _CompletedCorruption,
    Penalty: _CompletedPenalty,
    Architecture: _CompletedArchitecture,
}
