"""Parameters that say what a sample looks like and which network suits it.

`Images` adds to the shape of samples, see ``shapes.py``, what images need besides, and
`AnyArchitecture` the parameter ``architecture``: a name, a pair of modules or a part.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils._param_validation import HasMethods
from torch import nn

from skae.checks.rows import feature_ranges
from skae.checks.value_ranges import BYTES, are_bytes
from skae.estimators.parameters import (
    DenseParameters,
    at_least,
    choice,
    estimator,
    parameter,
)
from skae.estimators.shapes import SampleShape, Shaped, check_size
from skae.fitting.resolve import hidden_widths, part_of
from skae.parts.base import Architecture, as_part
from skae.parts.modules import ModulePair
from skae.parts.penalties import PENALTIES

__all__ = [
    "DENSE_PARAMETERS",
    "AnyArchitecture",
    "Images",
    "architecture_of",
    "channel_widths",
    "check_own_parameters",
]

DENSE_PARAMETERS = ("hidden_layer_sizes", "activation", "tied_weights")

# Pixels of a side of what is an image rather than a few.
_PHOTO = 16
# Of grey and colour images, the second and the last with transparency.
_CHANNELS = (1, 2, 3, 4)


@estimator
class Images(SampleShape):
    """Samples are images ``(n_channels, height, width)``, or ``(height, width)``.

    Parameters
    ----------
    sample_shape : tuple (n_channels, height, width), default=None
        Shape of images that come as flat rows, which else are images of one line.
        Images may also come as arrays (n_samples, height, width) or
        (n_samples, n_channels, height, width). Of pixels of dtype uint8, and of whole
        numbers from near 0 to near 255, what comes back, and what scores judge, lies in
        [0, 255].
    channels : int or tuple of int, default=(64,)
        Channels of the strided layers, from the image to the code; the decoder mirrors
        them.

    Attributes
    ----------
    sample_shape_ : tuple (n_channels, height, width)
        Shape of an image, where samples are images.
    """

    channels: Any = parameter((64,), at_least(1), tuple, list)

    _n_axes = 3
    _shape_in_words = "a tuple (n_channels, height, width) of positive int"

    def _flattened(self, X, *, reset, name="X"):
        rows = super()._flattened(X, reset=reset, name=name)
        if reset:
            is_of_bytes = getattr(X, "dtype", None) == np.uint8
            self._value_range = BYTES if is_of_bytes else None
            self._check_photograph(rows.shape[0] if self._input_shape else 0)
            self._check_channels_first()
        return rows

    def _reconstruct(self, x, *condition):
        return self._in_range(super()._reconstruct(x, *condition))

    def _decoded(self, *codes, **options):
        return self._in_range(super()._decoded(*codes, **options))

    def _in_range(self, rows):
        return rows if self._value_range is None else rows.clip(*self._value_range)

    def _note_range(self, X):
        """Set the range of validated training rows, which an earlier fit may have."""
        if self._value_range is None and self._has_images and are_bytes(X):
            self._value_range = BYTES

    @property
    def _has_images(self):
        """Whether rows are images; flat rows of unknown shape may be anything."""
        return self._input_shape is not None or self.sample_shape is not None

    def _check_images(self, X):
        """Raise for images that nothing can be learned from."""
        if not self._has_images:
            return
        low, high = feature_ranges(X)
        if X.shape[0] > 1 and np.array_equal(low, high):
            raise ValueError(
                f"X holds {X.shape[0]} images that are all the same; at least two "
                "different ones are needed to learn from."
            )

    def _check_photograph(self, n_images):
        """Raise for one photograph that would be taken for many grey images."""
        shape = self._input_shape
        if self.sample_shape is not None or len(shape or ()) != 2:
            return
        sizes = n_images, *shape
        for where, way_out, n_channels, *pixels in (
            ("last", "np.moveaxis(X, -1, 0)[None]", shape[1], n_images, shape[0]),
            ("first", "X[None]", n_images, *shape),
        ):
            if n_channels in _CHANNELS[2:] and min(pixels) >= _PHOTO:
                raise ValueError(
                    f"X of shape {sizes} looks like one image with its channels "
                    f"{where}; X holds images, at least two, of shape (n_samples, "
                    f"n_channels, height, width), which {way_out} is one of. Where "
                    f"these are {n_images} grey images of {shape[0]} x {shape[1]} "
                    "pixels, pass X[:, None] in place of X, or set "
                    f"sample_shape=(1, {shape[0]}, {shape[1]})."
                )

    def _full_shape(self, shape):
        shape = tuple(shape)
        return (1, *shape) if len(shape) == 2 else shape

    def _shape_of_rows(self, n_features):
        return 1, 1, n_features

    def _windows(self, kernel_size, stride):
        """Kernel size and stride, or what of them fits rows of one line.

        Flat rows without ``sample_shape`` may be shorter than the kernel.

        Raises
        ------
        ValueError
            When the stride skips pixels.
        """
        if stride > kernel_size:
            raise ValueError(
                f"stride={stride} must not exceed kernel_size={kernel_size}: pixels "
                "between two windows would never be seen."
            )
        if self.sample_shape is None and self._input_shape is None:
            kernel_size = min(kernel_size, self.n_features_in_)
            stride = min(stride, kernel_size)
        return kernel_size, stride

    def _check_channels_first(self):
        """Raise for images whose last axis is their channels, by the look of it.

        One to four channels at the end of two axes of much the same, larger
        size: ``(8, 4, 4)`` has eight channels, ``(8, 8, 4)`` four.
        """
        shape = self._input_shape
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


@estimator
class AnyArchitecture(DenseParameters, Shaped):
    """The parameter ``architecture``, dense or anything else, and penalties.

    Parameters
    ----------
    architecture : "dense", (encoder, decoder) or architecture part, default="dense"
        "dense" follows hidden_layer_sizes, activation and tied_weights. A pair of
        ``nn.Module`` maps ``(batch, *sample_shape)`` to ``(batch, n_components)`` and
        back; the modules see centred samples divided by one scalar (for a Bernoulli
        likelihood X as it is), are copied, and fix n_components. Parts are those of
        `skae.parts`, such as ``Conv((1, 28, 28))``, or your own; X may then have
        samples in their shape.
    penalty : str, penalty part or list of them, default=None
        "contraction", "kl", "l1" or what is called as ``penalty(state)``, nats per
        sample added to the loss.
    """

    architecture: Any = parameter(
        "dense", choice("dense"), tuple, list, HasMethods(["build"])
    )
    penalty: Any = parameter(None, None, choice(*PENALTIES), callable, list, tuple)

    _dense_parameters = DENSE_PARAMETERS

    def _architecture(self, code_activation) -> Architecture:
        """What the parameter stands for; the activation is that of a dense code."""
        if not isinstance(self.architecture, str):
            self._check_dense_defaults()
        return architecture_of(
            self.architecture,
            {"dense": partial(self._dense, code_activation)},
            self._input_shape,
            self.n_features_in_,
        )

    def _check_dense_defaults(self) -> None:
        """Raise where parameters of "dense" are set for another architecture."""
        names = self._dense_parameters
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name in names:
            value, default = getattr(self, name), defaults[name]
            if isinstance(value, str) != isinstance(default, str) or value != default:
                raise ValueError(
                    f"{name}={value!r} is for architecture='dense'; {', '.join(names)} "
                    "say nothing of other architectures, which have their own."
                )

    @property
    def _allows_nan(self):
        if isinstance(self.architecture, str | tuple | list):
            return False
        return as_part(self.architecture, Architecture).allows_missing

    def _flattened(self, X, *, reset, name="X"):
        if isinstance(self.architecture, str):
            # Arrays of more axes are refused, as by PCA.
            self._input_shape = None
            return X
        return super()._flattened(X, reset=reset, name=name)

    def _after(self, fitting):
        super()._after(fitting)
        if self._input_shape is not None:
            self.sample_shape_ = self._input_shape


def architecture_of(
    value, named: Mapping[str, Callable[[], Architecture]], sample_shape, n_features
) -> Architecture:
    """The architecture that a parameter stands for.

    Parameters
    ----------
    value : str, (encoder, decoder) or architecture part
    named : mapping of str to callable
        What names stand for.
    sample_shape : tuple of int or None
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
        return ModulePair(*value, sample_shape=sample_shape)
    architecture = part_of(value, Architecture)
    shape = architecture.sample_shape
    if shape is None:
        return architecture
    name = f"architecture={type(architecture).__name__} of sample_shape={shape!r}"
    check_size(name, shape, n_features)
    if sample_shape is not None and _without_ones(shape) != _without_ones(sample_shape):
        raise ValueError(
            f"{name} does not fit X, with samples of shape {sample_shape}."
        )
    return architecture


def channel_widths(channels) -> tuple[int, ...]:
    """Channels of the strided layers as a tuple of int.

    Raises
    ------
    ValueError
        When there is none, or one that is no positive int.
    """
    widths = hidden_widths(channels, None, "channels")
    if not widths:
        raise ValueError("channels must be at least one positive integer; got none.")
    return widths


def check_own_parameters(estimator, architecture, own) -> None:
    """Raise where parameters of other architectures are set.

    Parameters
    ----------
    estimator : estimator
    architecture : str, (encoder, decoder) or architecture part
        The estimator's.
    own : mapping of str to tuple of str
        The architectures that parameters are for.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(estimator)}
    for name, architectures in own.items():
        value = getattr(estimator, name)
        is_own = isinstance(architecture, str) and architecture in architectures
        if not is_own and not np.array_equal(value, defaults[name]):
            raise ValueError(
                f"{name}={value!r} is for architecture="
                f"{' or '.join(map(repr, architectures))}; this "
                f"{type(estimator).__name__} has architecture={architecture!r}. "
                "Leave it out."
            )


def _without_ones(shape) -> tuple[int, ...]:
    return tuple(int(size) for size in shape if size != 1)
