"""What the parameters of a `GAN` say of its networks and of the condition of its rows.

`GANNetworks` is a base of `GAN` alone: it resolves parameters that depend on one
another, and refuses those that do not fit, before any training.
"""

import numpy as np

from skae.checks.conditions import Classes, context_of, encode_conditions, used_entries
from skae.estimators.architectures import Images, channel_widths
from skae.fitting.resolve import hidden_widths
from skae.parts.critics import ConvCritic, DenseCritic
from skae.parts.generators import ConvGenerator, DenseGenerator
from skae.parts.growing import GrowingCritic
from skae.parts.growing_generators import ProgressiveGenerator, StyleGenerator

__all__ = ["GROWING", "GANNetworks"]

# Architectures whose images grow from 4 pixels, with their generators.
GROWING = {"progressive": ProgressiveGenerator, "style": StyleGenerator}
# Of strided layers of one kernel, with the defaults of GAN.
_STRIDED = {"kernel_size": 4, "stride": 2}
_CHANNELS = (32, 64)
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
        if self.architecture not in GROWING and self.growth != "auto":
            self._refuse("growth", f"architecture={' or '.join(map(repr, GROWING))}")
        if self.architecture != "style" and self.style_mixing:
            self._refuse("style_mixing", "architecture='style'")
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
        for name, default in _STRIDED.items():
            if getattr(self, name) != default:
                self._refuse(name, "architecture='conv'")
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

    def _refuse(self, name, what) -> None:
        raise ValueError(
            f"{name}={getattr(self, name)!r} is for {what}; this GAN has "
            f"architecture={self.architecture!r}. Leave it out."
        )

    def _network(self) -> dict:
        """Parameters of the networks, which a continued fit may not change."""
        return {name: getattr(self, name) for name in _NETWORK}

    def _check_same_network(self):
        for name, fitted in self.network_.items():
            value = getattr(self, name)
            if name == "channels" and fitted == _CHANNELS and value == "auto":
                # The default, as earlier versions wrote it.
                continue
            if not np.array_equal(value, fitted):
                raise ValueError(
                    f"{name}={value!r} differs from the {fitted!r} of the fitted model "
                    "that is to be continued. Set warm_start=False or use a new "
                    "estimator."
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
            self.__dict__.pop("classes_", None)
            if hasattr(self._context, "classes"):
                self.classes_ = self._context.classes
        elif (y is None) != (self._context is None):
            raise ValueError(
                "A model is continued with y if it was fitted with y, and without if "
                "not. Set warm_start=False or use a new estimator."
            )
        return None if y is None else self._condition(y, len(y))

    def _with_classes(self, classes, y) -> Classes:
        """The classes of the first rows of several chunks, with those to come."""
        if not isinstance(self._context, Classes):
            what = "numbers" if y is not None else "none"
            raise ValueError(f"classes are for y that holds classes; got {what}.")
        every = Classes.of(classes)
        every.encode(y)
        shares = np.zeros(every.width)
        places = np.searchsorted(every.classes, self._context.classes)
        shares[places] = self._context.shares
        return Classes(every.classes, shares)

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
        return encode_conditions(self._context, y, n_samples, single=single)
