"""Methods of fitted estimators on Dask collections: lazy collections come back.

The class decorator `on_collections`, part of `estimator`, puts this in front of the
public methods. A method that maps rows one by one is mapped over the blocks; what it
returns is read off its result for one row of no meaning, so that a wrong width, dtype
or column is an error of the call itself. Scores are computed at once; other methods
that need all rows refuse collections.

What the methods compute, nothing here knows; dask is imported once a collection comes.
"""

import copy
import inspect
import math
import sys
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from itertools import accumulate
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import config_context, get_config
from sklearn.base import TransformerMixin

from skae.checks.collections import (
    example_rows,
    is_collection,
    is_frame,
    row_collection,
    same_rows,
)
from skae.checks.rows import check_fitted

__all__ = ["in_memory", "on_collections"]

_BY_ROW = {
    "decision_function",
    "denoise",
    "discriminate",
    "explain",
    "inverse_transform",
    "p_values",
    "predict",
    "predict_log_proba",
    "predict_proba",
    "reconstruct",
    "score_samples",
    "transform",
}
# Of a frame, these have names for the columns of what they return.
_IN_COLUMNS = {"denoise", "reconstruct"}
_IN_CLASSES = {"predict_log_proba", "predict_proba"}
_OF_ALL_ROWS = {
    "augment": "it draws from all rows of a class",
    "corrupt": "it draws random numbers in the order of the rows",
    "drift": "it compares the scores of a batch; pass the batch, or a sample of rows",
    "interpolate": "it takes two samples",
    "set_alert_rate": "it sorts the scores of a day; pass rows in memory",
    "tune_threshold": "it compares labelled rows; pass those in memory",
}
# Arguments that only make sense for rows in memory.
_IN_MEMORY = {
    "out": "use dask.array.to_zarr or dask.array.store on the lazy result",
    "top": "rows are numbered in each block; compute the rows in question first",
}


def on_collections(cls):
    """Class decorator: the public methods of a class take Dask collections."""
    for name, method in list(vars(cls).items()):
        is_public = name in _BY_ROW or name in _OF_ALL_ROWS or name == "score"
        if is_public and inspect.isfunction(method):
            setattr(cls, name, _for_collections(method, _answer(name, method)))
    # scikit-learn's would put what `transform` returns into a frame in memory.
    if getattr(cls, "fit_transform", None) is TransformerMixin.fit_transform:
        cls.fit_transform = _for_collections(cls.fit_transform, _fitted_and_lazy)
    return cls


def _answer(name, method):
    """What is done with collections that a method of this name gets."""
    if name == "score":
        return partial(_scored, method)
    return _lazy if name in _BY_ROW else _refused


def in_memory(values):
    """Numbers that may be a Dask collection, computed."""
    return np.asarray(values.compute()) if is_collection(values) else values


def _for_collections(method, answer):
    """The method, or the answer of another function to collections."""

    @wraps(method)
    def method_of_rows(self, *args, **kwargs):
        # Without dask in the process this is all that it costs.
        if "dask" in sys.modules and any(map(is_collection, (*args, *kwargs.values()))):
            arguments = inspect.signature(method).bind(self, *args, **kwargs).arguments
            _, *passed = arguments.items()
            return answer(self, method.__name__, passed)
        return method(self, *args, **kwargs)

    method_of_rows.takes_collections = True
    return method_of_rows


def _refused(estimator, name, passed):
    raise TypeError(
        f"{type(estimator).__name__}.{name} takes rows in memory, no Dask collection: "
        f"{_OF_ALL_ROWS[name]}."
    )


def _scored(method, estimator, name, passed):
    """One number for all rows, of which labels and weights are in memory."""
    (first, X), *others = passed
    if is_collection(X):
        row_collection(X, first)
    return method(estimator, X, **{name: in_memory(value) for name, value in others})


def _fitted_and_lazy(estimator, name, passed):
    """What `transform` gives after a fit."""
    arguments = dict(passed)
    options = arguments.get("fit_params", {})
    estimator.fit(arguments["X"], arguments.get("y"), **options)
    return estimator.transform(arguments["X"])


def _lazy(estimator, name, passed):
    """The method on a collection, as lazy collection or tuple of them."""
    check_fitted(estimator)
    (first, X), options = passed[0], _options(estimator, name, dict(passed[1:]))
    if not is_collection(X):
        raise TypeError(
            f"{first} is no Dask collection, but another argument of {name} is one; "
            "compute that first."
        )
    X, y = row_collection(X, first), options.pop("y", None)
    if np.ndim(y) == 0 and not is_collection(y):
        options, y = options if y is None else {**options, "y": y}, None
    if y is not None:
        y = same_rows(y, X)
    units = getattr(estimator, "units_", None) if first == "X" else None
    row = example_rows(X, getattr(units, "center", None))
    work = _Work(copy.deepcopy(estimator), name, first, options, _columns(name, X))
    made = work.run(row, _example_condition(estimator, y))
    _take_names(work.estimator, row)
    if not isinstance(made, tuple):
        return _mapped(work.of(made, row), X, y, made)
    return tuple(
        _mapped(replace(work, part=number).of(part, row), X, y, part)
        for number, part in enumerate(made)
    )


def _take_names(estimator, row):
    """Spare blocks the warning of column names that the call itself has given."""
    names = getattr(row, "columns", None)
    if names is None:
        vars(estimator).pop("feature_names_in_", None)
    elif all(isinstance(name, str) for name in names):
        estimator.feature_names_in_ = np.asarray(names, dtype=object)


def _options(estimator, name, options):
    for option, value in options.items():
        if option in _IN_MEMORY and value is not None:
            raise TypeError(
                f"{option} of {name} is for rows in memory: {_IN_MEMORY[option]}."
            )
        if option != "y" and is_collection(value):
            raise TypeError(f"{option} of {name} must not be a Dask collection.")
    return {name: value for name, value in options.items() if value is not None}


def _columns(name, X):
    """Names of the columns that a method returns for a frame, where it has any."""
    if not is_frame(X):
        return None
    return "X" if name in _IN_COLUMNS else "classes" if name in _IN_CLASSES else None


def _example_condition(estimator, y):
    if y is None:
        return None
    classes = getattr(estimator, "classes_", None)
    return np.zeros((1, *y.shape[1:])) if classes is None else classes[:1]


@dataclass
class _Work:
    """A method of an estimator as it was when the method was called.

    It is one task of the graph, which all blocks share.

    Attributes
    ----------
    rows : str
        The name of the method's first argument.
    columns : {"X", "classes"} or None
        Where names for the columns of the result come from.
    part : int or None
        Which of several results.
    meta : ndarray, DataFrame or Series
        The result of no rows.
    starts : list of int or None
        Number of the first row of each block, where those are known.
    """

    estimator: Any
    method: str
    rows: str
    options: dict
    columns: str | None
    part: int | None = None
    meta: Any = None
    starts: list | None = None
    output: str = field(default_factory=lambda: get_config()["transform_output"])

    def run(self, block, y=None):
        """What the method returns for a block."""
        options = self.options if y is None else {**self.options, "y": y}
        # Workers have settings of their own.
        with config_context(transform_output=self.output):
            return getattr(self.estimator, self.method)(block, **options)

    def of(self, made, row):
        """The same with the meta of a result for an example."""
        return replace(self, meta=self._presented(made, row)[:0])

    def __call__(self, block, y, number):
        if not block.shape[0]:
            is_array = isinstance(self.meta, np.ndarray)
            return self.meta if is_array else self.meta.reindex(block.index)
        try:
            made = self.run(block, y)
        except Exception as error:
            place = self._place(block, number)
            if type(error) is ValueError:
                text = self._in_rows_of_all(str(error), block, number)
                raise ValueError(f"{place} {text}") from error
            error.add_note(place)
            raise
        made = self._presented(made if self.part is None else made[self.part], block)
        if _form(made) != _form(self.meta):
            raise TypeError(
                f"{self._place(block, number)} the block is not what the collection "
                f"says: by its dtypes {self.method} returns {_form(self.meta)}, but "
                f"here {_form(made)}. Check the meta, or the dtype=, with which it was "
                "made."
            )
        return made

    def _presented(self, made, block):
        if hasattr(block, "iloc") and isinstance(made, np.ndarray):
            import pandas as pd

            if made.ndim == 1:
                return pd.Series(made, index=block.index, name=self.method)
            if self.columns is not None:
                is_x = self.columns == "X"
                columns = block.columns if is_x else self.estimator.classes_
                return pd.DataFrame(made, index=block.index, columns=columns)
        if not isinstance(made, np.ndarray) and not hasattr(made, "iloc"):
            raise TypeError(
                f"{self.method} returns a {type(made).__name__}, of which Dask has no "
                "collections. Use set_output(transform='pandas') or 'default'."
            )
        if hasattr(made, "iloc") and not hasattr(block, "iloc"):
            return made.to_numpy()
        return made

    def _in_rows_of_all(self, text, block, number) -> str:
        """A message whose number of a row of the block is that of the collection."""
        first, start = _first_unusual(block), self.starts and self.starts[number]
        if first is None or start is None:
            return text
        name = self.rows
        return text.replace(f"{name}[{first}, ", f"{name}[{start + first}, ")

    def _place(self, block, number) -> str:
        """Where a block is, and the first row there that has no finite numbers."""
        first, start = _first_unusual(block), self.starts and self.starts[number]
        if start is not None and first is not None:
            return f"In row {start + first} of {self.rows}:"
        if start is not None:
            return f"In rows {start} to {start + block.shape[0] - 1} of {self.rows}:"
        row = "" if first is None else f"row {first} of "
        index = getattr(block, "index", None)
        label = "" if index is None else f", index {index[first or 0]!r}"
        return f"In {row}block {number} of {self.rows}{label}:"


def _first_unusual(block) -> int | None:
    """Number of the first row with NaN or infinity."""
    if sparse.issparse(block):
        entries = block.tocoo()
        rows = np.sort(entries.row[~np.isfinite(entries.data)])
    else:
        values = np.asarray(block, dtype=np.float64).reshape(block.shape[0], -1)
        rows = np.flatnonzero(~np.isfinite(values).all(axis=1))
    return int(rows[0]) if len(rows) else None


def _form(made) -> str:
    """Type, width and dtypes of a result, in words."""
    if hasattr(made, "columns"):
        return f"a DataFrame with {dict(made.dtypes)}"
    return f"{made.dtype} values of shape (n, {', '.join(map(str, made.shape[1:]))})"


def _mapped(work, X, y, example):
    """The collection of what the work makes of the blocks of X."""
    if is_frame(X):
        return _mapped_frame(work, X, y)
    lazy = _mapped_array(work, X, y)
    if not hasattr(example, "columns"):
        return lazy
    import dask.dataframe as dd

    return dd.from_dask_array(lazy, columns=list(example.columns))


def _mapped_frame(work, X, y):
    if getattr(work.meta, "ndim", 2) > 2:
        raise TypeError(
            f"{work.method} of this {type(work.estimator).__name__} returns samples of "
            f"shape {work.meta.shape[1:]}, which are no columns; pass a Dask array."
        )
    shared = _shared(work)
    args = (shared,) if y is None else (y, shared)
    return X.map_partitions(_of_partition, *args, meta=work.meta)


def _shared(work):
    """The work as one task, of which blocks have the name only."""
    import dask

    return dask.delayed(work, traverse=False)


def _of_partition(block, *args, partition_info=None):
    *y, work = args
    number = partition_info["number"] if partition_info else 0
    return work(block, y[0] if y else None, number)


def _mapped_array(work, X, y):
    import dask.array as da

    rows = X.chunks[0]
    if not any(map(math.isnan, rows)):
        work = replace(work, starts=[0, *accumulate(rows)])
    columns = []
    if y is not None:
        # Their one axis is the first of X's: blocks of arrays match like broadcasting.
        columns = [y] if y.ndim == 1 else [y[:, i] for i in range(y.shape[1])]
        columns = [each[(slice(None), *[None] * (X.ndim - 1))] for each in columns]
    return da.map_blocks(
        _of_block,
        X,
        *columns,
        _shared(work),
        0 if y is None else y.ndim,
        chunks=(rows, *((width,) for width in work.meta.shape[1:])),
        drop_axis=list(range(1, X.ndim)),
        new_axis=list(range(1, work.meta.ndim)),
        dtype=work.meta.dtype,
        meta=work.meta,
    )


def _of_block(block, *args, block_id=None):
    *columns, work, n_axes = args
    y = None
    if columns:
        y = np.column_stack([each.ravel() for each in columns])
        y = y[:, 0] if n_axes == 1 else y
    return work(block, y, block_id[0] if block_id else 0)
