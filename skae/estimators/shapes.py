"""Samples that come as arrays of a shape of their own.

`Shaped` lets an estimator take arrays of shape ``(n_samples, *sample_shape)`` as well
as the same samples as flat rows, and gives back reconstructions in the shape in which
samples came. `SampleShape` adds the parameter ``sample_shape``. Estimators of images,
of sequences and of any architecture have them as bases.
"""

import math
import operator
from typing import Any

import numpy as np

from skae.checks.rows import shape_of
from skae.estimators.parameters import estimator, parameter
from skae.rows.blocks import unmasked
from skae.rows.readers import flat_rows

__all__ = ["SampleShape", "Shaped", "check_size"]


class Shaped:
    """For estimators whose samples may come as arrays of a shape of their own.

    Attributes
    ----------
    sample_shape_ : tuple of int
        Shape of one sample.
    """

    def _full_shape(self, shape) -> tuple:
        """The shape of a sample with the axes that users may leave out."""
        return tuple(shape)

    def _flattened(self, X, *, reset, name="X"):
        is_flat = len(shape_of(X, name)) <= 2
        source = None if is_flat else flat_rows(X, name)
        if not reset and name == "X":
            self._check_several(shape_of(X))
        X = X if is_flat or source is not None else np.asarray(unmasked(X))
        shape = None if is_flat else tuple(X.shape[1:])
        if reset:
            self._input_shape = shape
            # An earlier fit's; the targets of this one are not measured by it.
            self.__dict__.pop("sample_shape_", None)
        if is_flat:
            return X
        if name == "y":
            fitted = self._input_shape
            message = (
                "y, the clean samples, must have the shape of those of X, "
                f"{fitted}; got {shape}."
            )
        else:
            fitted = getattr(self, "sample_shape_", None)
            message = (
                f"X has samples of shape {shape}, but this {type(self).__name__} was "
                f"fitted to samples of shape {fitted}."
            )
        if fitted and self._full_shape(shape) != self._full_shape(fitted):
            raise ValueError(message)
        if not (X if source is None else source).size:
            raise ValueError(
                f"{name} of shape {X.shape} holds no samples, or empty ones."
            )
        return X.reshape(len(X), -1) if source is None else source

    def _check_several(self, shape) -> None:
        """Raise for one sample in its own shape, where an array of them is needed."""
        fitted = self._input_shape or getattr(self, "sample_shape_", None)
        if fitted is None or len(shape) < 2:
            return
        own = self._full_shape(fitted)
        # A row of images of one line has their shape too.
        is_rows = len(shape) == 2 and shape[1] == math.prod(own)
        is_array = is_rows or self._full_shape(shape[1:]) == own
        if self._full_shape(shape) == own and not is_array:
            raise ValueError(
                f"X of shape {tuple(shape)} is one sample; pass an array of samples, "
                "X[None] for this one."
            )

    def _restored(self, rows, X):
        shape = self._input_shape if X is None else shape_of(X)[1:]
        is_flat = shape is None or (X is not None and len(shape) < 2)
        return rows if is_flat else rows.reshape(len(rows), *shape)


@estimator
class SampleShape(Shaped):
    """Samples of ``_n_axes`` axes.

    Parameters
    ----------
    sample_shape : tuple of int, default=None
    """

    sample_shape: Any = parameter(None, None, tuple, list, np.ndarray)

    _n_axes = None
    _shape_in_words = None

    def _validate_params(self):
        if isinstance(self.n_components, tuple | list):
            raise ValueError(
                f"n_components comes first; write sample_shape={self.n_components!r}."
            )
        super()._validate_params()

    def _shape_of_rows(self, n_features) -> tuple:
        """The shape of a flat row without ``sample_shape``."""
        raise NotImplementedError

    def _resolved_shape(self) -> tuple:
        """``sample_shape_`` for the rows of this fit.

        Raises
        ------
        ValueError
            When ``sample_shape`` does not describe them.
        """
        stated, came = self.sample_shape, self._input_shape
        if came is not None and len(self._full_shape(came)) != self._n_axes:
            raise ValueError(
                f"X has samples of shape {came}; expected {self._shape_in_words}."
            )
        if stated is None:
            return self._full_shape(came or self._shape_of_rows(self.n_features_in_))
        try:
            shape = self._full_shape(operator.index(size) for size in stated)
        except TypeError:
            shape = ()
        if not shape or min(shape) < 1 or len(shape) != self._n_axes:
            raise ValueError(
                f"sample_shape must be {self._shape_in_words} or None; got {stated!r}."
            )
        if came is not None and self._full_shape(came) != shape:
            raise ValueError(
                f"sample_shape={stated!r} differs from the shape of the samples in X, "
                f"{came}."
            )
        check_size(f"sample_shape={stated!r}", shape, self.n_features_in_)
        return shape


def check_size(name, shape, n_features) -> None:
    """Raise where samples of this shape do not have so many features."""
    if math.prod(shape) != n_features:
        raise ValueError(
            f"{name} means {math.prod(shape)} features; X has {n_features}."
        )
