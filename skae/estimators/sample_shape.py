"""Samples that have a shape of their own: images and sequences.

`Shaped` lets an estimator take arrays of shape ``(n_samples, *sample_shape)`` as well
as the same samples as flat rows, and gives back reconstructions in the shape in which
samples came. `Images` are those of one or several channels.
"""

import math
import operator
from numbers import Integral

import numpy as np

from skae.checks.rows import shape_of

__all__ = ["Images", "Shaped", "channel_widths"]

# Of grey, colour and colour images with transparency.
_CHANNELS = (1, 3, 4)


class Shaped:
    """For estimators with the parameter ``sample_shape``.

    Attributes
    ----------
    sample_shape_ : tuple of int
        Shape of one sample.
    """

    def _full_shape(self, shape) -> tuple:
        """The shape of a sample with the axes that users may leave out."""
        return tuple(shape)

    def _shape_of_rows(self, n_features) -> tuple:
        """The shape of a flat row when no other is known."""
        raise NotImplementedError

    def _resolved_shape(self) -> tuple:
        """``sample_shape_`` for the rows of this fit.

        Raises
        ------
        ValueError
            When ``sample_shape`` does not describe them.
        """
        asked, given = self.sample_shape, self._given_shape
        if given is not None and len(self._full_shape(given)) != self._n_axes:
            raise ValueError(
                f"X has samples of shape {given}; expected {self._shape_in_words}."
            )
        if asked is None:
            shape = given or self._shape_of_rows(self.n_features_in_)
            return self._full_shape(shape)
        try:
            shape = self._full_shape(operator.index(size) for size in asked)
        except TypeError:
            shape = ()
        if not shape or min(shape) < 1 or len(shape) != self._n_axes:
            raise ValueError(
                f"sample_shape must be {self._shape_in_words} or None; got {asked!r}."
            )
        if given is not None and self._full_shape(given) != shape:
            raise ValueError(
                f"sample_shape={asked!r} differs from the shape of the samples in X, "
                f"{given}."
            )
        if math.prod(shape) != self.n_features_in_:
            raise ValueError(
                f"sample_shape={asked!r} means {math.prod(shape)} features; X has "
                f"{self.n_features_in_}."
            )
        return shape

    def _flattened(self, X, *, reset, name="X"):
        shape = None
        if len(shape_of(X)) > 2:
            X = np.asarray(X)
            shape = X.shape[1:]
        if reset:
            self._given_shape = shape
            # An earlier fit's; the targets of this one are not measured by it.
            self.__dict__.pop("sample_shape_", None)
        if shape is None:
            return X
        if name == "y":
            expected = self._given_shape and self._full_shape(self._given_shape)
            if expected and self._full_shape(shape) != expected:
                raise ValueError(
                    f"y, the clean samples, must have the shape of those of X, "
                    f"{self._given_shape}; got {shape}."
                )
            return X.reshape(len(X), -1)
        expected = getattr(self, "sample_shape_", None)
        if not reset and expected and self._full_shape(shape) != expected:
            raise ValueError(
                f"X has samples of shape {shape}, but this {type(self).__name__} was "
                f"fitted to samples of shape {expected}."
            )
        if not len(X) or 0 in shape:
            raise ValueError(f"X of shape {X.shape} holds no samples, or empty ones.")
        return X.reshape(len(X), -1)

    def _restored(self, rows, X):
        if X is None:
            shape = self._given_shape
        else:
            shape = shape_of(X)[1:]
            shape = shape if len(shape) > 1 else None
        return rows if shape is None else rows.reshape(len(rows), *shape)


class Images(Shaped):
    """Samples are images ``(n_channels, height, width)``, or ``(height, width)``."""

    _n_axes = 3
    _shape_in_words = "a tuple (n_channels, height, width) of positive int"

    def _full_shape(self, shape):
        shape = tuple(shape)
        return (1, *shape) if len(shape) == 2 else shape

    def _shape_of_rows(self, n_features):
        return 1, 1, n_features

    def _windows(self, kernel_size, stride):
        """Kernel size and stride, or what of them fits rows of one line.

        Rows that nobody called images may be shorter than the kernel.

        Raises
        ------
        ValueError
            When pixels between two windows would never be seen, or channels come last.
        """
        self._check_channels_first()
        if stride > kernel_size:
            raise ValueError(
                f"stride={stride} must not exceed kernel_size={kernel_size}: pixels "
                "between two windows would never be seen."
            )
        if self.sample_shape is None and self._given_shape is None:
            kernel_size = min(kernel_size, self.n_features_in_)
            stride = min(stride, kernel_size)
        return kernel_size, stride

    def _check_channels_first(self):
        """Raise for images whose last axis is their channels, by the look of it.

        One, three or four channels at the end of two axes of much the same, larger
        size: ``(8, 4, 4)`` has eight channels, ``(8, 8, 4)`` four.
        """
        shape = self._given_shape
        if shape is None or len(shape) != 3 or self.sample_shape is not None:
            return
        shorter, longer = sorted(shape[:2])
        if shape[2] in _CHANNELS and shape[2] < shorter and longer <= 2 * shorter:
            raise ValueError(
                f"X has samples of shape {shape}, which look like images with their "
                "channels last; channels come first: np.moveaxis(X, -1, 1). "
                f"Where these are {shape[0]} channels of {shape[1]} x {shape[2]} "
                f"pixels, say so with sample_shape={shape}."
            )


def channel_widths(channels) -> tuple[int, ...]:
    """Channels of the strided layers as a tuple of int.

    Raises
    ------
    ValueError
        When there is none, or one that is no positive int.
    """
    sizes = (channels,) if isinstance(channels, Integral) else tuple(channels)
    if not sizes or not all(isinstance(c, Integral) and c >= 1 for c in sizes):
        raise ValueError(
            f"channels must be at least one positive int; got {channels!r}."
        )
    return tuple(int(size) for size in sizes)
