"""Checks of y and class weights for classifiers whose y may mark rows without a label.

Called by ``fit`` and ``partial_fit``; nothing here depends on X.
"""

from numbers import Real

import numpy as np
from sklearn.utils import assert_all_finite, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

__all__ = [
    "check_classes",
    "class_numbers",
    "classes_of",
    "is_missing",
    "labels_of",
    "weights_of_classes",
]


def labels_of(y) -> np.ndarray:
    """y as a validated array, in which `is_missing` finds the rows without a label."""
    if y is None:
        raise ValueError(
            "This StackedAEClassifier estimator requires y to be passed, but the "
            "target y is None; use -1 for rows without a label."
        )
    if isinstance(y, list | tuple) and len({isinstance(each, str) for each in y}) == 2:
        # As an array of strings it would lose the markers of missing labels.
        y = np.array(y, dtype=object)
    if isinstance(y, np.ndarray) and y.dtype.kind == "U":
        marks = np.intersect1d(y, ["-1", "nan", "None"])
        if len(marks):
            raise ValueError(
                f"y is an array of strings with {marks.tolist()} among them, which can "
                "not mark rows without a label. Make it an array of objects, "
                "y.astype(object), with None for these rows."
            )
    y = column_or_1d(y, warn=True)
    if y.dtype.kind == "f":
        assert_all_finite(y, allow_nan=True, input_name="y")
    return y


def is_missing(y, *, allow_signs: bool = False) -> np.ndarray:
    """Which labels are -1, None or NaN.

    With ``allow_signs``, -1 is a class where y holds only -1 and 1: a single class can
    not be learned.
    """
    if y.dtype.kind == "O":
        return np.array([_is_missing_label(label) for label in y], dtype=bool)
    missing = np.zeros(len(y), dtype=bool)
    if y.dtype.kind in "if" and not (allow_signs and set(np.unique(y)) == {-1, 1}):
        missing = (y == -1) | (y != y)
    return missing


def _is_missing_label(label) -> bool:
    if label is None or (isinstance(label, Real) and label == -1):
        return True
    try:
        return bool(label != label)
    except TypeError:  # pandas.NA is neither equal to itself nor unequal.
        return True


def classes_of(labels, n_samples: int) -> np.ndarray:
    """The classes of labels; raise unless there are two, each at least twice."""
    if not len(labels):
        raise ValueError(
            f"y has no label: all {n_samples} rows are marked as unlabelled (-1, None "
            "or NaN). Label at least two rows of each class."
        )
    is_object = labels.dtype.kind == "O"
    check_classification_targets(labels.tolist() if is_object else labels)
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise ValueError(
            f"The labels must name at least two classes; got one class, "
            f"{classes.tolist()}."
        )
    rare = classes[counts < 2]
    if len(rare):
        raise ValueError(
            f"Each class needs at least two labelled rows; {rare.tolist()} came once. "
            "Label more rows or mark these as unlabelled (-1)."
        )
    return classes


def check_classes(classes, fitted: np.ndarray | None) -> np.ndarray:
    """The classes of ``partial_fit``, by default those of the first call."""
    if classes is None and fitted is None:
        raise ValueError("The first call of partial_fit needs classes.")
    if classes is None:
        return fitted
    classes = np.unique(classes)
    if fitted is not None and not np.array_equal(classes, fitted):
        raise ValueError(
            f"classes={classes.tolist()} differs from those of the first call, "
            f"{fitted.tolist()}."
        )
    if len(classes) < 2 or (classes.dtype.kind in "if" and -1 in classes):
        raise ValueError(
            "classes must name at least two classes, and not -1, which marks rows "
            f"without a label; got {classes.tolist()}."
        )
    return classes


def class_numbers(y, missing, classes) -> np.ndarray:
    """Labels as places in classes, -1 where a label is missing."""
    unexpected = np.setdiff1d(y[~missing], classes)
    if len(unexpected):
        raise ValueError(
            f"y has the labels {unexpected.tolist()}, which are not among classes="
            f"{classes.tolist()}. Name all of them in the first call."
        )
    numbers = np.full(len(y), -1)
    numbers[~missing] = np.searchsorted(classes, y[~missing])
    return numbers


def weights_of_classes(class_weight, classes, labels) -> np.ndarray:
    """The weight of each class in the loss."""
    if class_weight is None or not len(labels):
        return np.ones(len(classes))
    try:
        weights = compute_class_weight(class_weight, classes=classes, y=labels)
        weights = np.asarray(weights, dtype=np.float64)
        is_usable = np.isfinite(weights).all() and weights.min() >= 0 < weights.max()
    except (TypeError, ValueError):
        is_usable = False
    if not is_usable:
        raise ValueError(
            "class_weight must be 'balanced' or a dict of non-negative, finite weights "
            f"of classes in {classes.tolist()}, one of them positive; got "
            f"{class_weight!r}."
        )
    return weights
