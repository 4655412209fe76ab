"""The data sets that the benchmarks measure on.

`SKAE_DATA` may name a folder with `adbench/*.npz` (key `X`), `mnist.npz` and
`fashion_mnist.npz` (keys `x_train`, `x_test`). Without it the tables are the sets
that scikit-learn ships and the images come from OpenML; without a network, digits
stand in for the images. Nothing here scales or splits a table: the scripts do that.
"""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn import datasets

__all__ = ["Images", "adbench_tables", "images", "sklearn_tables", "subsample"]

OPENML_NAMES = {"mnist": "mnist_784", "fashion_mnist": "Fashion-MNIST"}
SHIPPED = ("digits", "breast_cancer", "wine", "iris", "diabetes")


class Images(NamedTuple):
    """Flattened images in [0, 1], float32; `name` says which set it really is."""

    name: str
    train: np.ndarray
    test: np.ndarray


def sklearn_tables():
    """Yield `(name, X)` for the numeric sets that scikit-learn ships, as they are."""
    for name in SHIPPED:
        yield name, getattr(datasets, f"load_{name}")().data.astype(np.float64)


def adbench_tables():
    """Yield `(name, X)` for the ADBench tables under `SKAE_DATA`, if there are any."""
    folder = _data_folder()
    paths = sorted((folder / "adbench").glob("*.npz")) if folder else []
    if not paths:
        _say("no adbench/*.npz under SKAE_DATA: only scikit-learn's sets are measured")
    for path in paths:
        with np.load(path, allow_pickle=False) as archive:
            yield path.stem, archive["X"].astype(np.float64)


def images(name):
    """Return `"mnist"` or `"fashion_mnist"` as :class:`Images`, or digits instead."""
    folder = _data_folder()
    path = folder / f"{name}.npz" if folder else None
    if path and path.exists():
        with np.load(path) as archive:
            return Images(
                name, *(_flat(archive[k], 255) for k in ("x_train", "x_test"))
            )
    try:
        X = datasets.fetch_openml(
            OPENML_NAMES[name], version=1, as_frame=False, parser="liac-arff"
        ).data
        return Images(name, _flat(X[:60_000], 255), _flat(X[60_000:], 255))
    except Exception as error:  # no network, a proxy, a full disk: all mean "not here"
        _say(
            f"{name} is neither under SKAE_DATA nor to be had from OpenML ({error}): "
            "digits stand in for it"
        )
        X = _flat(datasets.load_digits().data, 16)
        order = np.random.default_rng(0).permutation(len(X))
        return Images("digits", X[order[450:]], X[order[:450]])


def subsample(X, n_rows, seed=0):
    """Return at most `n_rows` rows, drawn without replacement."""
    if len(X) <= n_rows:
        return X
    return X[np.random.default_rng(seed).choice(len(X), n_rows, replace=False)]


def _data_folder():
    folder = os.environ.get("SKAE_DATA")
    return Path(folder) if folder else None


def _flat(X, largest):
    return np.reshape(X, (len(X), -1)).astype(np.float32) / np.float32(largest)


def _say(message):
    print(message, file=sys.stderr, flush=True)
