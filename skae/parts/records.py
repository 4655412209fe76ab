"""The records that parts and models exchange: rows, a pass, and the columns of X."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

__all__ = ["Batch", "Features", "State"]


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
    x, x_tilde : Tensor of shape (..., batch, n_features)
        Clean rows and what the encoder saw.
    h : Tensor of shape (..., batch, n_outputs)
        The encoder's output.
    z : Tensor of shape (..., batch, n_components)
        The code drawn from it.
    raw : Tensor of shape (..., batch, n_raw)
        The decoder's output, before the likelihood's mean.
    codec : Codec
    generator : torch.Generator or None
        Where the pass draws from.
    weight, context
        As of the `Batch`.
    """

    x: Tensor
    x_tilde: Tensor
    h: Tensor
    z: Tensor
    raw: Tensor
    codec: Any
    generator: Generator | None = None
    weight: Tensor | None = None
    context: Tensor | None = None


@dataclass(frozen=True)
class Features:
    """The columns of X, in X's units, to which a part is bound.

    Attributes
    ----------
    center, scale : Tensor of shape (n_features,)
        Rows of the model are x = (X - center) / scale.
    sample_shape : tuple of int
        Shape in which corruptions see a sample; ``(n_features,)`` for flat rows.
    measured_std, measured_range : callable
        Return the standard deviation, and the smallest and the largest value, of each
        column; called only where ``std`` and ``range`` are read.
    """

    center: Tensor
    scale: Tensor
    sample_shape: tuple[int, ...]
    measured_std: Callable[[], np.ndarray]
    measured_range: Callable[[], tuple[np.ndarray, np.ndarray]]

    @cached_property
    def std(self) -> Tensor:
        """Standard deviation of each column."""
        return self._own(self.measured_std())

    @cached_property
    def range(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest value of each column."""
        low, high = map(self._own, self.measured_range())
        return low, high

    def to_model(self, value) -> Tensor:
        """A value in X's units as model units of each column, in a sample's shape."""
        return self.shaped((self._own(value) - self.center) / self.scale)

    def _own(self, value) -> Tensor:
        like = self.center
        return torch.as_tensor(value, dtype=like.dtype, device=like.device)

    def shaped(self, values: Tensor) -> Tensor:
        """One value a column as a sample, in single precision."""
        return values.float().reshape(self.sample_shape)
