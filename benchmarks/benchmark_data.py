"""The data sets that the benchmarks measure on.

`SKAE_DATA` may name a folder with `adbench/*.npz` (keys `X`, `y`), `mnist.npz` and
`fashion_mnist.npz` (keys `x_train`, `x_test`, `y_train`, `y_test`) and
`ecg5000_train.npz` (keys `X`, `y`).
Without it the tables are the sets that scikit-learn ships, of which some serve as
normal rows and outliers, and the images come from OpenML; without a network, digits
stand in for the images. Nothing here scales or splits a table: the scripts do that.
"""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn import datasets

__all__ = [
    "Images",
    "Labelled",
    "adbench_tables",
    "heartbeats",
    "images",
    "is_wanted",
    "labelled_tables",
    "sklearn_tables",
    "subsample",
]

OPENML_NAMES = {"mnist": "mnist_784", "fashion_mnist": "Fashion-MNIST"}
SHIPPED = ("digits", "breast_cancer", "wine", "iris", "diabetes")
NORMAL_DIGITS = (0, 1, 4)


class Images(NamedTuple):
    """Flattened images in [0, 1], float32; `name` says which set it really is.

    They are squares of one channel; `y_train` and `y_test` are their kinds.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    y_train: np.ndarray
    y_test: np.ndarray


class Labelled(NamedTuple):
    """Rows with `y`, 1 for outliers and 0 for normal ones."""

    name: str
    X: np.ndarray
    y: np.ndarray


def sklearn_tables():
    """Yield `(name, X)` for the numeric sets that scikit-learn ships, as they are."""
    for name in SHIPPED:
        yield name, getattr(datasets, f"load_{name}")().data.astype(np.float64)


def adbench_tables():
    """Yield `(name, X)` for the ADBench tables under `SKAE_DATA`, if there are any."""
    paths = _adbench_paths()
    if not paths:
        _say("no adbench/*.npz under SKAE_DATA: only scikit-learn's sets are measured")
    for path in paths:
        with np.load(path, allow_pickle=False) as archive:
            yield path.stem, archive["X"].astype(np.float64)


def labelled_tables(sets=None):
    """Yield ADBench's tables as :class:`Labelled`, or scikit-learn's instead.

    Those are breast_cancer, malignant tumours for a tenth of the rows, and digits of
    one kind, the other kinds for a twentieth. `sets` as in :func:`is_wanted`.
    """
    paths = _adbench_paths()
    for path in paths:
        if is_wanted(path.stem, sets):
            with np.load(path, allow_pickle=False) as archive:
                X, y = archive["X"].astype(np.float64), archive["y"].astype(int)
            yield Labelled(path.stem, X, y)
    if not paths:
        _say("no adbench/*.npz under SKAE_DATA: scikit-learn's sets stand in for them")
        yield from (table for table in _stand_ins() if is_wanted(table.name, sets))


def heartbeats():
    """Return ECG5000's training part as :class:`Labelled`, or digits instead.

    There, zeros are normal and the nine other kinds are the outliers.
    """
    folder = _data_folder()
    path = folder / "ecg5000_train.npz" if folder else None
    if path and path.exists():
        with np.load(path, allow_pickle=False) as archive:
            X, y = archive["X"].astype(np.float64), archive["y"] != 1
        return Labelled("ECG5000", X, y.astype(int))
    _say("no ecg5000_train.npz under SKAE_DATA: digits, zero or not, stand in for it")
    X, kind = datasets.load_digits(return_X_y=True)
    return Labelled("digits, zero or not", X, (kind != 0).astype(int))


def images(name):
    """Return `"mnist"` or `"fashion_mnist"` as :class:`Images`, or digits instead."""
    folder = _data_folder()
    path = folder / f"{name}.npz" if folder else None
    if path and path.exists():
        with np.load(path) as archive:
            rows = (_flat(archive[k], 255) for k in ("x_train", "x_test"))
            return Images(name, *rows, archive["y_train"], archive["y_test"])
    try:
        data = datasets.fetch_openml(
            OPENML_NAMES[name], version=1, as_frame=False, parser="liac-arff"
        )
        X, y = _flat(data.data, 255), data.target.astype(int)
        return Images(name, X[:60_000], X[60_000:], y[:60_000], y[60_000:])
    except Exception as error:  # no network, a proxy, a full disk: all mean "not here"
        _say(
            f"{name} is neither under SKAE_DATA nor to be had from OpenML ({error}): "
            "digits stand in for it"
        )
        X, y = datasets.load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(X))
        X, y = _flat(X, 16)[order], y[order]
        return Images("digits", X[450:], X[:450], y[450:], y[:450])


def subsample(X, n_rows, seed=0):
    """Return at most `n_rows` rows, drawn without replacement."""
    if len(X) <= n_rows:
        return X
    return X[np.random.default_rng(seed).choice(len(X), n_rows, replace=False)]


def is_wanted(name, sets):
    """Whether a name contains one of `sets`; every name does when there are none."""
    return not sets or any(part in name for part in sets)


def _adbench_paths():
    folder = _data_folder()
    return sorted((folder / "adbench").glob("*.npz")) if folder else []


def _stand_ins():
    X, is_benign = datasets.load_breast_cancer(return_X_y=True)
    yield _thinned("breast_cancer", X, is_benign == 0, 0.10)
    X, kind = datasets.load_digits(return_X_y=True)
    for digit in NORMAL_DIGITS:
        yield _thinned(f"digits: {digit} or not", X, kind != digit, 0.05)


def _thinned(name, X, is_outlier, share):
    """Keep so many outliers that they are `share` of all rows."""
    normal, outliers = X[~is_outlier], X[is_outlier]
    kept = subsample(outliers, round(len(normal) * share / (1 - share)))
    y = np.repeat([0, 1], [len(normal), len(kept)])
    return Labelled(name, np.concatenate([normal, kept]), y)


def _data_folder():
    folder = os.environ.get("SKAE_DATA")
    return Path(folder) if folder else None


def _flat(X, largest):
    return np.reshape(X, (len(X), -1)).astype(np.float32) / np.float32(largest)


def _say(message):
    print(message, file=sys.stderr, flush=True)
