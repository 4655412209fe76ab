"""What y says: the label of each row, and which rows have none.

`labels_of` reads the y of a classifier that learns from rows without labels too,
`typed` the y of estimators that need one for each row. The other functions check
classes and class weights. Nothing here depends on X.
"""

from numbers import Real

import numpy as np
from sklearn.utils import assert_all_finite, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from skae.checks.sources import check_values
from skae.rows.user_line import warn_user

__all__ = [
    "array_of",
    "check_classes",
    "check_no_written_marks",
    "class_numbers",
    "classes_of",
    "labels_of",
    "named_classes",
    "shown",
    "typed",
    "weights_of_classes",
]

# What None, NaN, NaT, pandas.NA and -1 are as strings; NaN in any case of letters.
_WRITTEN_MARKS = frozenset({"", "-1", "-1.0", "None", "NaT", "<NA>"})
# Rows marked by -1 are suspected to be a class where they are at most so many times as
# many as those of the largest class.
_LIKE_A_CLASS = 2
_SHOWN = 10


def labels_of(y, classes=None) -> tuple[np.ndarray, np.ndarray]:
    """Labels of rows, and which of them stand for no label: None, NaN and -1.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
    classes : ndarray of shape (n_classes,), optional
        -1 is a label where it is one of them. Where they are left out it is one if all
        other labels are 1: a single class cannot be learned.

    Returns
    -------
    labels : ndarray of shape (n_samples,)
        Of one type: objects become numbers or booleans, or are all strings.
    missing : ndarray of bool of shape (n_samples,)

    Raises
    ------
    ValueError
        When y mixes strings and numbers, or has strings that look like marks.

    Warns
    -----
    UserWarning
        Without ``classes``, where -1 looks like the name of a class.
    """
    if y is None:
        raise ValueError(
            "This StackedAEClassifier estimator requires y to be passed, but the "
            "target y is None; use -1 for rows without a label."
        )
    y = column_or_1d(array_of(y), warn=True)
    check_no_written_marks(
        y,
        "Mark these rows with None or NaN in an array of objects, such as "
        "pandas.Series(y, dtype=object).mask(rows, None), or number the classes and "
        "mark them with -1",
    )
    missing = _are_missing(y)
    minus_one = _are_minus_one(y)
    others = _distinct(y[~missing & ~minus_one])
    is_class = others == {1} if classes is None else -1 in _distinct(classes)
    if not is_class:
        missing |= minus_one
    labels = _of_one_type(y, missing)
    if classes is None and not is_class:
        _warn_of_a_class(labels[~missing], int(minus_one.sum()))
    return labels, missing


def typed(y) -> np.ndarray:
    """y that has a value in each entry, as an array of one type.

    Raises
    ------
    ValueError
        When y has None, NaN or infinity, or mixes strings and numbers.
    """
    y = array_of(y)
    flat = y.ravel()
    missing = _are_missing(flat)
    if missing.any():
        raise ValueError(
            "y must not contain NaN or None: leave rows without y out of X and y."
        )
    flat = _of_one_type(flat, missing)
    if flat.dtype.kind == "f":
        assert_all_finite(flat, input_name="y")
    return flat.reshape(y.shape)


def array_of(y) -> np.ndarray:
    """y as an array, of objects where another type would hide None, NaN or booleans."""
    check_values(y, "y")
    dtype = getattr(y, "dtype", None)
    if isinstance(y, list | tuple):
        if len({type(entry) for entry in y}) < 2 or any(map(np.ndim, y)):
            return np.asarray(y)
    elif getattr(dtype, "kind", None) == "T":  # NumPy's StringDType.
        return y.astype(object)
    elif dtype is None or isinstance(dtype, np.dtype):
        return np.asarray(y)
    elif not hasattr(y, "to_list"):
        return np.asarray(y, dtype=object)
    # Columns of frames turn integers and booleans beside missing ones into floats.
    values = y if isinstance(y, list | tuple) else y.to_list()
    entries = np.empty(len(values), dtype=object)
    entries[:] = values
    return entries


def check_no_written_marks(y, way_out) -> None:
    """Raise for strings that look like marks of rows without a label.

    Parameters
    ----------
    y : ndarray
    way_out : str
        What to do with such rows.
    """
    if y.dtype.kind not in "OU":
        return
    strings = {each for each in _distinct(y) if isinstance(each, str)}
    if strings == {"-1", "1"}:
        # Two classes, as the numbers are.
        return
    marks = sorted(each for each in strings if _is_written_mark(each.strip()))
    if marks:
        raise ValueError(
            f"y has the strings {marks}, which would be classes but look like marks of "
            f"rows without a label. {way_out}. Rename them where they are classes."
        )


def _is_written_mark(text) -> bool:
    return text in _WRITTEN_MARKS or text.lower() == "nan"


def _are_missing(y) -> np.ndarray:
    """Which entries are None, NaN, NaT or pandas.NA."""
    if y.dtype.kind == "O":
        return np.array([_is_missing(entry) for entry in y], dtype=bool)
    if y.dtype.kind in "fmM":
        return np.asarray(y != y)
    return np.zeros(len(y), dtype=bool)


def _is_missing(entry) -> bool:
    if entry is None:
        return True
    try:
        return bool(entry != entry)
    except TypeError:  # pandas.NA is neither equal to itself nor unequal.
        return True


def _are_minus_one(y) -> np.ndarray:
    if y.dtype.kind == "O":
        return np.array([isinstance(e, Real) and e == -1 for e in y], dtype=bool)
    return np.asarray(y == -1) if y.dtype.kind in "if" else np.zeros(len(y), dtype=bool)


def _distinct(y) -> set:
    """The strings and numbers in y."""
    y = np.asarray(y)
    y = y if y.dtype.kind == "O" else np.unique(y)
    return {entry for entry in y.tolist() if isinstance(entry, str | Real)}


def _of_one_type(y, missing) -> np.ndarray:
    """y as strings, numbers or booleans; where missing they are None or zero."""
    if y.dtype.kind != "O":
        return y
    labels = y[~missing].tolist()
    n_strings = sum(isinstance(label, str) for label in labels)
    if n_strings == len(labels):
        return np.where(missing, None, y)
    if n_strings:
        some = next(label for label in labels if not isinstance(label, str))
        raise ValueError(
            "Mix of label input types (string and number): y has strings, and "
            f"{some!r} of type {type(some).__name__}. Write all labels as one type."
        )
    numbers = np.asarray(labels)
    if numbers.dtype.kind not in "biuf" or numbers.ndim != 1:
        raise ValueError(
            f"Unknown label type: y has objects such as {labels[0]!r}; labels are "
            "strings, whole numbers or booleans."
        )
    filled = np.zeros(len(y), dtype=numbers.dtype)
    filled[~missing] = numbers
    return filled


def _warn_of_a_class(labels, n_marks) -> None:
    """Warn where -1 marks as few rows as a class has, or stands beside other signs."""
    if not n_marks or not len(labels) or labels.dtype.kind not in "iuf":
        return
    values, counts = np.unique(labels, return_counts=True)
    if values[0] < 0 or n_marks <= _LIKE_A_CLASS * counts.max():
        warn_user(
            f"y is -1 in {n_marks} rows, which are taken for rows without a label, "
            f"beside the classes {shown(values)}. If -1 is a class, give it another "
            "number. If not, None or NaN in its place avoids this warning."
        )


def classes_of(labels, n_samples: int) -> np.ndarray:
    """The classes of the labelled ones of so many rows.

    Raises
    ------
    ValueError
        When no row has a label, or labels are no classes.

    Warns
    -----
    UserWarning
        When rows without labels stand beside a single class.
    """
    if not len(labels):
        raise ValueError(
            f"y has no label: all {n_samples} rows are marked as unlabelled (-1, None "
            "or NaN). Label at least one row of each class."
        )
    if labels.dtype.kind == "f":
        assert_all_finite(labels, input_name="y")
    is_object = labels.dtype.kind == "O"
    check_classification_targets(labels.tolist() if is_object else labels)
    classes = np.unique(labels)
    if len(classes) == 1 and len(labels) < n_samples:
        warn_user(
            f"The labels name one class, {classes.tolist()}, which will be predicted "
            "for every row; all others are marked as unlabelled (-1, None or NaN). "
            "Label rows of another class."
        )
    return classes


def check_classes(classes, fitted: np.ndarray | None) -> np.ndarray:
    """The classes of ``partial_fit``, by default those of the first call."""
    if classes is None and fitted is None:
        raise ValueError("The first call of partial_fit needs classes.")
    if classes is None:
        return fitted
    classes = named_classes(classes)
    if fitted is not None and not np.array_equal(classes, fitted):
        raise ValueError(
            f"classes={classes.tolist()} differs from those of the first call, "
            f"{fitted.tolist()}."
        )
    values = set(classes.tolist())
    if not values or (-1 in values and values != {-1, 1}):
        raise ValueError(
            "classes must name at least one class, and not -1, which marks rows "
            "without a label, except in classes=[-1, 1]; got "
            f"{classes.tolist()}."
        )
    return classes


def named_classes(classes) -> np.ndarray:
    """The argument ``classes``, sorted."""
    if _are_missing(array_of(classes).ravel()).any():
        raise ValueError(
            "classes must not contain NaN or None, which mark rows without a label."
        )
    return np.unique(typed(classes))


def class_numbers(y, missing, classes) -> np.ndarray:
    """Labels as places in classes, -1 where a label is missing."""
    unexpected = set(y[~missing].tolist()) - set(classes.tolist())
    if unexpected:
        raise ValueError(
            f"y has the labels {shown(sorted(unexpected))}, which are not among "
            f"classes={classes.tolist()}. Name all of them in the first call."
        )
    numbers = np.full(len(y), -1)
    numbers[~missing] = np.searchsorted(classes, y[~missing])
    return numbers


def shown(labels) -> str:
    """The first ten labels, for messages."""
    others = " and others" if len(labels) > _SHOWN else ""
    return f"{np.asarray(labels)[:_SHOWN].tolist()}{others}"


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
