"""Labels as users write them: which are missing, what is wrong, their numbers.

Called by classifiers whose y may mark rows without a label; knows nothing of X.
"""

from numbers import Real

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

__all__ = [
    "are_signs",
    "as_labels",
    "check_counts",
    "check_labels",
    "class_numbers",
    "is_missing",
]


def as_labels(y):
    """y, where a list of strings keeps the markers of missing labels apart."""
    if isinstance(y, list | tuple) and any(isinstance(label, str) for label in y):
        if not all(isinstance(label, str) for label in y):
            return np.array(y, dtype=object)
    if isinstance(y, np.ndarray) and y.dtype.kind == "U":
        marks = np.intersect1d(y, ["-1", "nan", "None"])
        if len(marks):
            raise ValueError(
                f"y is an array of strings with {marks.tolist()} among them, which can "
                "not mark rows without a label. Make it an array of objects, "
                "y.astype(object), with None for these rows."
            )
    return y


def is_missing(y) -> np.ndarray:
    """Which labels are -1, None or NaN."""
    if y.dtype.kind in "biu":
        return y == -1 if y.dtype.kind == "i" else np.zeros(len(y), dtype=bool)
    if y.dtype.kind == "f":
        return np.isnan(y) | (y == -1)
    if y.dtype.kind != "O":
        return np.zeros(len(y), dtype=bool)
    return np.array([_is_missing_label(label) for label in y], dtype=bool)


def are_signs(y) -> bool:
    """Whether y holds -1 and 1 alone: two classes, as one can not be learned."""
    return y.dtype.kind in "if" and np.isin(y, (-1, 1)).all()


def _is_missing_label(label) -> bool:
    if label is None or (isinstance(label, Real) and label == -1):
        return True
    # NaN and pandas.NA are unequal to themselves, the latter in its own way.
    return not isinstance(label, str) and (label is not label or not _equals(label))


def _equals(label) -> bool:
    try:
        return bool(label == label)
    except TypeError:
        return False


def check_labels(y, known):
    if not known.any():
        raise ValueError(
            f"y has no label: all {len(y)} rows are marked as unlabelled (-1, None or "
            "NaN). Label at least two rows of each class."
        )
    labels = y[known]
    check_classification_targets(labels.tolist() if y.dtype.kind == "O" else labels)


def class_numbers(y, known, classes) -> np.ndarray:
    """Labels as places in classes, -1 where there is none."""
    labels = np.full(len(y), -1)
    labels[known] = np.searchsorted(classes, y[known])
    return labels


def check_counts(labels, classes):
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
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
