"""Where a fitted method begins and ends: between the user's units and the model's.

Each end is a module of buffers with ``sample_shape``, the shape of one sample in the
user's units. The input end has ``to_model(X)`` and ``is_valid(x)``, the output end
``to_user(out, dtype, shape)``. Centres are subtracted in float64,
as estimators do, so that columns of large offsets keep their digits. Ends know nothing
of what lies between.
"""

import numpy as np
import torch
from torch import Generator, Tensor, nn

__all__ = [
    "CodeUnits",
    "Labels",
    "RowUnits",
    "Scores",
    "float64_copy",
    "standard_normal",
]


class RowUnits(nn.Module):
    """Samples in X's units outside, rows (X - center) / scale inside.

    Parameters
    ----------
    center : ndarray of shape (n_features,)
    scale : float or ndarray of shape (n_features,)
    constant : ndarray of shape (n_features,), optional
        Values of columns in the output; NaN for those that the model computes.
    shape : tuple of int, optional
        Of samples in the output that come from no input; flat by default.
    training_shape : tuple of int, optional
        Shape of the input, up to axes of size one; flat samples are accepted too.
    value_range : (float, float), optional
        To which values in the output are clipped.
    is_complete : bool, default=False
        Whether rows with NaN or infinity are invalid, see ``is_valid``.
    steps : (n_steps, n_step_features), optional
        Of sequences, which are valid where NaN fills whole steps at the end only.

    Shape
    -----
    ``(batch, *sample_shape)`` or ``(batch, n_features)`` outside, ``(batch,
    n_features)`` in float64 inside.
    """

    center: Tensor
    columns: Tensor
    constant: Tensor | None

    def __init__(
        self,
        center,
        scale,
        constant=None,
        *,
        shape: tuple[int, ...] | None = None,
        training_shape: tuple[int, ...] | None = None,
        value_range: tuple[float, float] | None = None,
        is_complete: bool = False,
        steps: tuple[int, ...] | None = None,
    ):
        super().__init__()
        center = float64_copy(center)
        columns = float64_copy(scale).expand(len(center)).clone()
        self.register_buffer("center", center)
        self.register_buffer("columns", columns)
        constant = None if constant is None else float64_copy(constant)
        self.register_buffer("constant", constant)
        self.sample_shape = shape or (len(center),)
        self.training_shape = training_shape or self.sample_shape
        self.value_range = value_range
        self.is_complete = is_complete
        self.steps = steps

    def examples(self, n_samples: int, generator: Generator) -> Tensor:
        """Samples around the centre, on the end's device."""
        shape = n_samples, len(self.center)
        return self.to_user(
            standard_normal(shape, generator).to(self.center), torch.float64
        )

    def to_model(self, X: Tensor) -> Tensor:
        """Rows of the model.

        Raises
        ------
        ValueError
            When samples have another shape than in training.
        """
        shape, n_features = tuple(X.shape[1:]), len(self.center)
        is_flat = shape == (n_features,)
        if not is_flat and _without_ones(shape) != _without_ones(self.training_shape):
            sizes = ", ".join(map(str, self.training_shape))
            raise ValueError(
                f"X must have the shape (batch, {sizes}) or (batch, {n_features}); got "
                f"{tuple(X.shape)}."
            )
        return (X.flatten(1).double() - self.center) / self.columns

    def is_valid(self, x: Tensor) -> Tensor | None:
        """Which rows of the model the estimator takes, ``(batch,)``; None for all."""
        if not self.is_complete:
            return None
        if self.steps is None:
            return x.isfinite().all(1)
        missing = x.isnan().unflatten(1, self.steps)
        whole = missing.all(2)
        is_whole = (missing.any(2) == whole).all(1)
        is_at_end = (whole[:, 1:] | ~whole[:, :-1]).all(1)
        return is_whole & is_at_end & ~whole[:, 0] & ~x.isinf().any(1)

    def to_user(self, out: Tensor, dtype: torch.dtype, shape=None) -> Tensor:
        """Samples in a shape, by default that of the training samples."""
        rows = out.double() * self.columns + self.center
        if self.constant is not None:
            is_free = self.constant.isnan() | rows.isnan()
            rows = torch.where(is_free, rows, self.constant)
        if self.value_range is not None:
            rows = rows.clamp(*self.value_range)
        return rows.to(dtype).reshape(-1, *(shape or self.sample_shape))


class CodeUnits(nn.Module):
    """Codes in the units of ``transform`` outside, divided by their scale inside.

    Shape
    -----
    ``(batch, n_components)``, in float64 inside.
    """

    scale: Tensor

    def __init__(self, n_components: int, scale: float = 1.0):
        super().__init__()
        self.sample_shape = (n_components,)
        self.register_buffer("scale", float64_copy(scale))

    def examples(self, n_samples: int, generator: Generator) -> Tensor:
        """Standard normal codes of the model, on the end's device."""
        shape = n_samples, *self.sample_shape
        return standard_normal(shape, generator).to(self.scale) * self.scale

    def to_model(self, Z: Tensor) -> Tensor:
        """Codes of the model.

        Raises
        ------
        ValueError
            When codes have another width.
        """
        if Z.ndim != 2 or tuple(Z.shape[1:]) != self.sample_shape:
            raise ValueError(
                f"Z must have the shape (batch, {self.sample_shape[0]}); got "
                f"{tuple(Z.shape)}."
            )
        return Z.double() / self.scale

    def is_valid(self, z: Tensor) -> Tensor:
        """Which codes are numbers, ``(batch,)``."""
        return z.isfinite().all(1)

    def to_user(self, out: Tensor, dtype: torch.dtype, shape=None) -> Tensor:
        return (out.double() * self.scale).to(dtype)


class Scores(nn.Module):
    """Numbers in float64, whatever the dtype of X, as scores and probabilities are.

    Parameters
    ----------
    *sample_shape : int
    step : float, default=0.0
        How far a result may jump where rounding changes the score that it is made of.
    """

    def __init__(self, *sample_shape: int, step: float = 0.0):
        super().__init__()
        self.sample_shape = sample_shape
        self.step = step

    def to_user(self, out: Tensor, dtype: torch.dtype, shape=None) -> Tensor:
        return out.double()


class Labels(nn.Module):
    """Class numbers inside; outside the classes where they are numbers.

    Labels that no tensor can hold, strings, stay numbers of ``classes``.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
    """

    values: Tensor | None
    sample_shape = ()

    def __init__(self, classes: np.ndarray):
        super().__init__()
        self.classes = classes
        values = None if is_text(classes) else torch.tensor(classes, device="cpu")
        if values is not None and not (values.is_floating_point() or is_bool(classes)):
            values = values.long()
        self.register_buffer("values", values)

    def to_user(self, out: Tensor, dtype: torch.dtype, shape=None) -> Tensor:
        return out if self.values is None else self.values[out]


def is_text(classes: np.ndarray) -> bool:
    """Whether no tensor can hold these labels."""
    return classes.dtype.kind not in "biuf"


def is_bool(classes: np.ndarray) -> bool:
    return classes.dtype.kind == "b"


def float64_copy(values) -> Tensor:
    """A copy in float64 on the CPU."""
    return torch.tensor(values, dtype=torch.float64, device="cpu")


def standard_normal(shape, generator: Generator) -> Tensor:
    """Independent numbers in float64 on the CPU."""
    return torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")


def _without_ones(shape) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
