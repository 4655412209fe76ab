"""The condition y of a conditional model, as columns of numbers.

`context_of` infers whether y is classes or numbers and returns a `Classes` or a
`Numbers`, which encode y as columns for networks, raise for values that do not fit, and
draw values from the distribution of the training rows.

Shape
-----
``encode(y)`` maps ``(n_samples,)``, or ``(n_samples, n_outputs)`` for several numbers,
to float32 ``(n_samples, width)``. Columns of zeros stand for an unknown condition.
"""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from skae.checks.labels import array_of, check_no_written_marks, shown, typed
from skae.rows.user_line import warn_user

__all__ = [
    "Classes",
    "Numbers",
    "context_of",
    "encode_conditions",
    "used_entries",
    "warn_of_minus_one",
]


def context_of(y, kind="auto", weight=None) -> "Classes | Numbers":
    """The context of the training rows, weighted.

    With ``kind="auto"``, strings, booleans and whole numbers in one column are classes.
    """
    y = array_of(y)
    check_no_written_marks(y, "Leave rows without y out of X and y")
    y = typed(y)
    if kind == "auto":
        discrete = type_of_target(y, input_name="y") in ("binary", "multiclass")
        is_flat = y.ndim == 1 or y.shape[1] == 1
        kind = "classes" if discrete and is_flat else "numbers"
    return (Classes if kind == "classes" else Numbers).of(y, weight)


def warn_of_minus_one(context) -> None:
    """Warn where -1 is one of several classes, as it marks unlabelled rows elsewhere.

    Two classes may well be -1 and 1.
    """
    classes = context.classes if isinstance(context, Classes) else np.zeros(0)
    if len(classes) > 2 and classes.dtype.kind in "if" and -1 in classes:
        warn_user(
            f"y has the classes {shown(classes)}, of which -1 is learned like the "
            "others: it marks no rows without a label here. Leave those out, as in "
            "fit(X[y != -1], y[y != -1]), or give the class another number."
        )


def encode_conditions(context, y, n_samples, *, single=False) -> np.ndarray:
    """Encoded y, float32 of shape ``(n_samples, width)``.

    With ``single``, a single value may stand for all rows.
    """
    y = typed(y)
    if single and y.shape == (1, *context.value_shape):
        y = y.reshape(context.value_shape)
    if single and y.shape == context.value_shape:
        y = np.broadcast_to(y, (n_samples, *y.shape))
    _check_one_each(y, n_samples)
    return context.encode(y)


def used_entries(y, n_samples, sample_weight):
    """y and weights, or None, of the rows whose weight is not zero."""
    y = array_of(y)
    _check_one_each(y, n_samples)
    if sample_weight is None:
        return y, None
    weight = _check_sample_weight(sample_weight, y)
    return y[weight > 0], weight[weight > 0]


def _check_one_each(y, n_samples) -> None:
    if y.ndim == 0 or len(y) != n_samples:
        size = len(y) if y.ndim else "a single value"
        raise ValueError(
            f"y must have one entry for each of {n_samples} samples; got {size}."
        )


@dataclass(frozen=True)
class Classes:
    """Classes as one-hot columns.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
    shares : ndarray of shape (n_classes,)
        Of the training rows.
    n_rows : float
        Training rows, or the sum of their weights; zero where files do not say it.
    """

    classes: np.ndarray
    shares: np.ndarray
    n_rows: float = 0.0

    @classmethod
    def of(cls, y, weight=None) -> "Classes":
        classes, numbers = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        counts = np.bincount(numbers, weight)
        n_rows = float(counts.sum())
        return cls(classes, counts / n_rows, n_rows)

    def with_rows(self, y, weight=None) -> "Classes":
        """The same classes, with the shares of these rows too."""
        self.encode(y)
        later = Classes.of(y, weight)
        n_earlier = self.n_rows or later.n_rows
        counts = self.shares * n_earlier
        counts[np.searchsorted(self.classes, later.classes)] += later.shares * (
            later.n_rows
        )
        n_rows = n_earlier + later.n_rows
        return replace(self, shares=counts / n_rows, n_rows=n_rows)

    def without_rows(self, y) -> np.ndarray:
        """The classes of y that no training row had."""
        empty = self.classes[self.shares == 0] if self.n_rows else self.classes[:0]
        return empty[np.isin(empty, y)]

    @property
    def is_constant(self) -> bool:
        """Whether y is the same for all training rows."""
        return self.width == 1

    value_shape = ()

    @property
    def width(self) -> int:
        return len(self.classes)

    def encode(self, y) -> np.ndarray:
        y = column_or_1d(y, warn=True)
        unknown = ~np.isin(y, self.classes)
        if unknown.any():
            raise ValueError(
                f"y must be of the classes of the fit, {shown(self.classes)}; got "
                f"{shown(np.unique(y[unknown]))}."
            )
        hot = np.searchsorted(self.classes, y)[:, None] == np.arange(self.width)
        return hot.astype(np.float32)

    def draw(self, n_samples: int, random_state) -> np.ndarray:
        return random_state.choice(self.classes, n_samples, p=self.shares)


@dataclass(frozen=True)
class Numbers:
    """Numbers, standardised, and a column of ones.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_outputs,)
    values : ndarray of shape (n_samples, n_outputs)
        Those of the training rows.
    is_flat : bool
        Whether y came as one dimension.
    weight : ndarray of shape (n_samples,) or None
        Of the training rows.
    """

    mean: np.ndarray
    scale: np.ndarray
    values: np.ndarray
    is_flat: bool
    weight: np.ndarray | None = None

    @classmethod
    def of(cls, y, weight=None) -> "Numbers":
        values = _numbers(y)
        mean = np.average(values, axis=0, weights=weight)
        scale = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weight))
        scale = np.where(scale > 0, scale, 1.0)
        return cls(mean, scale, values, np.ndim(y) == 1, weight)

    @property
    def is_constant(self) -> bool:
        """Whether y is the same for all training rows."""
        return bool((self.values == self.values[0]).all())

    def with_rows(self, y, weight=None) -> "Numbers":
        """As it is: values are drawn from those of the first rows."""
        return self

    def without_rows(self, y) -> np.ndarray:
        """None: numbers lie between those of training rows."""
        return self.values[:0]

    @property
    def value_shape(self) -> tuple:
        return () if self.is_flat else (len(self.mean),)

    @property
    def width(self) -> int:
        return len(self.mean) + 1

    def encode(self, y) -> np.ndarray:
        values = _numbers(y)
        if values.shape[1] != len(self.mean):
            raise ValueError(
                f"y must have the {len(self.mean)} columns of the fit; got "
                f"{values.shape[1]}."
            )
        scaled = (values - self.mean) / self.scale
        return np.pad(scaled, [(0, 0), (0, 1)], constant_values=1).astype(np.float32)

    def draw(self, n_samples: int, random_state) -> np.ndarray:
        share = None if self.weight is None else self.weight / self.weight.sum()
        values = self.values[random_state.choice(len(self.values), n_samples, p=share)]
        return values[:, 0] if self.is_flat else values


def _numbers(y) -> np.ndarray:
    y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    return y[:, None] if y.ndim == 1 else y
