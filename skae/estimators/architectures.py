"""The parameter ``architecture``: a name, a pair of modules or a part.

`AnyArchitecture` is for estimators that take all three; where a part has a shape of
samples, X may come in it.
"""

import math
from collections.abc import Callable, Mapping

from torch import nn

from skae.estimators.sample_shape import Shaped
from skae.fitting.resolve import part_of
from skae.parts.base import Architecture, as_part
from skae.parts.modules import ModulePair

__all__ = ["AnyArchitecture", "architecture_of"]


class AnyArchitecture(Shaped):
    """For estimators with the parameter ``architecture``, "dense" by default."""

    def _architecture(self) -> Architecture:
        """What the parameter asks for."""
        return architecture_of(
            self.architecture,
            {"dense": self._dense},
            self._given_shape,
            self.n_features_in_,
        )

    def _dense(self) -> Architecture:
        """What "dense" stands for."""
        raise NotImplementedError

    def _check_dense_alone(self, **defaults) -> None:
        """Raise where parameters of "dense" are set for another architecture."""
        if isinstance(self.architecture, str):
            return
        for name, default in defaults.items():
            value = getattr(self, name)
            if isinstance(value, str) != isinstance(default, str) or value != default:
                raise ValueError(
                    f"{name}={value!r} is for architecture='dense'; "
                    f"{', '.join(defaults)} say nothing of other architectures, which "
                    "have their own."
                )

    @property
    def _allows_nan(self):
        if isinstance(self.architecture, str | tuple | list):
            return False
        return as_part(self.architecture, Architecture).allows_missing

    def _flattened(self, X, *, reset, name="X"):
        if isinstance(self.architecture, str):
            # Arrays of more axes are refused, as by PCA.
            self._given_shape = None
            return X
        return super()._flattened(X, reset=reset, name=name)

    def _after(self, fitting):
        super()._after(fitting)
        if self._given_shape is not None:
            self.sample_shape_ = self._given_shape


def architecture_of(
    value, named: Mapping[str, Callable[[], Architecture]], given_shape, n_features
) -> Architecture:
    """The architecture that a parameter asks for.

    Parameters
    ----------
    value : str, (encoder, decoder) or architecture part
    named : mapping of str to callable
        What names stand for.
    given_shape : tuple of int or None
        Shape of a sample as it came, None for flat rows.
    n_features : int

    Raises
    ------
    ValueError
        When it is none, or made for samples of another shape.
    """
    if isinstance(value, str):
        return named[value]()
    if isinstance(value, tuple | list):
        if len(value) != 2 or not all(isinstance(part, nn.Module) for part in value):
            names = " or ".join(map(repr, named))
            raise ValueError(
                f"architecture must be {names}, a pair (encoder, decoder) of "
                f"torch.nn.Module or an architecture part, got {value!r}."
            )
        return ModulePair(*value, sample_shape=given_shape)
    architecture = part_of(value, Architecture)
    shape = architecture.sample_shape
    if shape is None:
        return architecture
    name = f"architecture={type(architecture).__name__} of sample_shape={shape!r}"
    if math.prod(shape) != n_features:
        raise ValueError(
            f"{name} means {math.prod(shape)} features; X has {n_features}."
        )
    if given_shape is not None and _without_ones(shape) != _without_ones(given_shape):
        raise ValueError(f"{name} does not fit X, with samples of shape {given_shape}.")
    return architecture


def _without_ones(shape) -> tuple[int, ...]:
    return tuple(int(size) for size in shape if size != 1)
