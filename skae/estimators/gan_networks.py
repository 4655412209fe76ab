"""What the parameters of a `GAN` say of its networks and of the condition of its rows.

`GANNetworks` is a base of `GAN` alone: it resolves parameters that depend on one
another, and refuses those that do not fit, before any training.
"""

import numpy as np

from skae.checks.conditions import (
    Classes,
    context_of,
    encode_conditions,
    used_entries,
    warn_of_minus_one,
)
from skae.checks.labels import named_classes, typed
from skae.checks.value_ranges import SHARES, fills
from skae.estimators.architectures import (
    Images,
    channel_widths,
    check_own_parameters,
)
from skae.fitting.resolve import hidden_widths
from skae.parts.critics import ConvCritic, DenseCritic
from skae.parts.generators import ConvGenerator, DenseGenerator
from skae.parts.growing import GrowingCritic
from skae.parts.growing_generators import ProgressiveGenerator, StyleGenerator
from skae.rows.user_line import warn_user

__all__ = ["GROWING", "GANNetworks"]

# Architectures whose images grow from 4 pixels, with their generators.
GROWING = {"progressive": ProgressiveGenerator, "style": StyleGenerator}
# Parameters of some architectures only.
_OF_IMAGES = ("conv", *GROWING)
_OWN = {
    "hidden_layer_sizes": ("dense",),
    "sample_shape": _OF_IMAGES,
    "channels": _OF_IMAGES,
    "kernel_size": ("conv",),
    "stride": ("conv",),
    "growth": tuple(GROWING),
    "style_mixing": ("style",),
}
_CHANNELS = (32, 64)
# As many may have one row each, in small tables.
_FEW_CLASSES = 10
# Parameters that a model has in common with the one it continues.
_NETWORK = (
    "n_components",
    "architecture",
    "hidden_layer_sizes",
    "channels",
    "kernel_size",
    "stride",
    "minibatch_discrimination",
)


class GANNetworks(Images):
    """Parts and conditions."""

    def _parts(self):
        """Hyperparameters of generator and critic."""
        minibatch = self.minibatch_discrimination
        check_own_parameters(self, self.architecture, _OWN)
        if self.architecture == "dense":
            sizes = hidden_widths(self.hidden_layer_sizes, "relu")
            return DenseGenerator(sizes), DenseCritic(sizes, minibatch)
        self.sample_shape_ = self._resolved_shape()
        channels = None
        if not isinstance(self.channels, str):
            channels = channel_widths(self.channels)
        if self.architecture == "conv":
            windows = self._windows(self.kernel_size, self.stride)
            layers = self.sample_shape_, channels or _CHANNELS, *windows
            return (
                ConvGenerator(*layers),
                ConvCritic(*layers, minibatch_discrimination=minibatch),
            )
        if self._input_shape is None and self.sample_shape is None:
            raise ValueError(
                f"architecture={self.architecture!r} is for images; pass X of shape "
                "(n_samples, height, width) or (n_samples, n_channels, height, width), "
                "or the shape of flat rows as sample_shape."
            )
        parts = (
            GROWING[self.architecture](self.sample_shape_, channels),
            GrowingCritic(
                self.sample_shape_, channels, minibatch_discrimination=minibatch
            ),
        )
        # Sizes are checked where levels are made.
        return parts if parts[0].levels else parts

    def _network(self) -> dict:
        """Parameters of the networks, which a continued fit may not change."""
        return {name: getattr(self, name) for name in _NETWORK}

    def _note_range(self, X):
        super()._note_range(X)
        if fills(X, SHARES):
            self._value_range = SHARES

    def _sample_options(self) -> dict:
        """Options of `GANFit` that describe samples."""
        classes = getattr(self, "classes_", None)
        return {"value_range": self._value_range, "classes": classes}

    def _begin(self, X, fitted):
        """Note the range of validated rows, or check that a model can be continued."""
        if fitted is None:
            self._note_range(X)
        else:
            self._check_same_network()

    def _check_same_network(self):
        for name, fitted in self.network_.items():
            value = getattr(self, name)
            if name == "channels" and fitted == _CHANNELS and value == "auto":
                # The default, as earlier versions wrote it.
                continue
            if not np.array_equal(value, fitted):
                raise ValueError(
                    f"{name}={value!r} differs from the {fitted!r} of the fitted model "
                    "that is to be continued. Use a new estimator, or fit with "
                    "warm_start=False."
                )

    # The condition

    def _context_for(self, y, n_samples, sample_weight, fitted, classes=None):
        """The condition of the training rows with a weight, or None."""
        weight = None
        if y is not None:
            y, weight = used_entries(y, n_samples, sample_weight)
        if fitted is None:
            self._context = None if y is None else context_of(y, weight=weight)
            if classes is not None:
                self._context = self._with_classes(classes, y)
            else:
                warn_of_minus_one(self._context)
            self.__dict__.pop("classes_", None)
            if hasattr(self._context, "classes"):
                self.classes_ = self._context.classes
            self._warn_of_conditions(y)
        elif (y is None) != (self._context is None):
            raise ValueError(
                "A model is continued with y if it was fitted with y, and without if "
                "not. Use a new estimator, or fit with warm_start=False."
            )
        elif classes is not None:
            self._check_same_classes(classes)
        condition = None if y is None else self._condition(y, len(y))
        if condition is not None and fitted is not None:
            self._context = self._context.with_rows(typed(y), weight)
        return condition

    def _warn_of_conditions(self, y):
        """Warn where samples cannot follow y."""
        if self._context is None:
            return
        message, n_rows = None, len(y)
        n_classes = len(getattr(self, "classes_", ()))
        if self._context.is_constant:
            message = (
                "y is the same for all rows, so that samples do not depend on it. "
                "Leave y out, or pass rows of other classes too."
            )
        elif n_classes > max(n_rows / 2, _FEW_CLASSES):
            message = (
                f"y has {n_classes} classes for {n_rows} rows, which are too few to "
                "learn what classes look like. Whole numbers are classes; for "
                "quantities pass y + 0.5."
            )
        if message is not None:
            warn_user(message)

    def _check_same_classes(self, classes):
        fitted = getattr(self, "classes_", None)
        if fitted is None or not np.array_equal(np.unique(classes), fitted):
            had = "none" if fitted is None else fitted.tolist()
            raise ValueError(
                f"classes={classes!r} differ from those of the first call, {had}. "
                "Leave them out, or use a new estimator."
            )

    def _with_classes(self, classes, y) -> Classes:
        """The classes of the first rows of several chunks, with those to come."""
        if not isinstance(self._context, Classes):
            what = "numbers" if y is not None else "none"
            raise ValueError(f"classes are for y that holds classes; got {what}.")
        every = Classes.of(named_classes(classes))
        every.encode(y)
        shares = np.zeros(every.width)
        places = np.searchsorted(every.classes, self._context.classes)
        shares[places] = self._context.shares
        return Classes(every.classes, shares, self._context.n_rows)

    def _condition(self, y, n_samples, *, single=False):
        """y in columns, zeros for None; None for a model fitted without y."""
        if self._context is None:
            if y is not None:
                raise ValueError(
                    f"y was passed, but this {type(self).__name__} was fitted without "
                    "y; leave it out."
                )
            return None
        if y is None:
            return np.zeros((n_samples, self._context.width), dtype=np.float32)
        condition = encode_conditions(self._context, y, n_samples, single=single)
        empty = self._context.without_rows(y) if single else []
        if len(empty):
            warn_user(
                f"y has the classes {empty.tolist()}, of which no call of "
                "partial_fit has had rows: samples of them mean nothing."
            )
        return condition
