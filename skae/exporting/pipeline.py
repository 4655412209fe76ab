"""Pipelines and searches as one ONNX model, by skl2onnx.

`pipeline_model` converts and checks what is no estimator of skae itself but may have
some as steps, whose converters `skae.exporting.converters` registers with skl2onnx.
"""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples, check_is_fitted

from skae.exporting.ends import Labels, Scores
from skae.exporting.onnx_check import check_model, is_tie, rows_to_check
from skae.exporting.onnx_model import (
    OUTPUT_NAMES,
    ExportError,
    default_methods,
    describe,
    required_packages,
)
from skae.rows.extras import importing

__all__ = ["pipeline_model"]


def pipeline_model(
    estimator,
    methods: Sequence[str],
    X,
    dtype: str,
    opset: int,
):
    """The checked graph of a fitted Pipeline, ColumnTransformer or search.

    Parameters
    ----------
    estimator : estimator
    methods : sequence of str
        Of the `default_methods`, which the last step decides.
    X : array-like of shape (n_samples, n_features) or None
        Samples for the check, and for the inputs: a DataFrame has one for each column.
        None draws some.
    dtype : {"float32", "float64"}
        Of numbers in X.
    opset : int

    Returns
    -------
    model : onnx.ModelProto
        Outputs are called as those of a single estimator.

    Raises
    ------
    ExportError
        When skl2onnx cannot convert a step, or a result differs.
    ImportError
        When ``skae[onnx]`` is not installed.
    ValueError
        When a method is not among those that the last step decides.
    """
    check_is_fitted(estimator)
    offered = default_methods(estimator)
    if not {*methods} <= {*offered}:
        raise ValueError(
            f"method must be among {list(offered)} for this "
            f"{type(estimator).__name__}; got {list(methods)}."
        )
    required_packages()
    rows = _samples(estimator, X, dtype)
    model = _converted(estimator, rows, offered, opset)
    _keep(model.graph, [OUTPUT_NAMES[name] for name in methods])
    functions = {name: _as_function(estimator, name) for name in methods}
    describe(model, functions, type(estimator).__name__)

    def reference(method, *others):
        if method is None:
            return is_tie(estimator, others[0], rows)
        result = np.asarray(getattr(estimator, method)(rows))
        # Those of regressors have two axes in ONNX.
        return result.reshape(len(result), -1) if is_regressor(estimator) else result

    check_model(model, functions, _inputs(rows), reference)
    return model


def _converted(estimator, rows, offered, opset):
    """The graph that skl2onnx makes."""
    with importing("onnx", "Exporting a Pipeline"):
        from skl2onnx import to_onnx
    try:
        return to_onnx(
            estimator,
            _safe_indexing(rows, [0]),
            target_opset=opset,
            final_types=[(OUTPUT_NAMES[name], None) for name in offered],
            options={"zipmap": False} if is_classifier(estimator) else None,
        )
    except (RuntimeError, NotImplementedError, NameError) as error:
        raise ExportError(
            f"skl2onnx cannot convert this {type(estimator).__name__}: {error}"
        ) from error


def _samples(estimator, X, dtype):
    """Samples for the check, numbers among them in the dtype of the model."""
    if X is None:
        return _drawn(estimator).astype(dtype)
    if hasattr(X, "iloc"):
        floats = X.select_dtypes("floating").columns
        X = X.astype(dict.fromkeys(floats, dtype))
    else:
        X = np.asarray(X)
        X = X.astype(dtype) if X.dtype.kind == "f" else X
    return _safe_indexing(X, rows_to_check(_num_samples(X)))


def _drawn(estimator):
    """Standard normal rows, in the units of a first step that has some."""
    if hasattr(estimator, "feature_names_in_") or not hasattr(
        estimator, "n_features_in_"
    ):
        raise ValueError(
            f"X must have rows as this {type(estimator).__name__} was fitted to, which "
            "say what columns the model has; got None."
        )
    shape = len(rows_to_check(1)), estimator.n_features_in_
    rows = np.random.default_rng(0).normal(size=shape)
    pipeline = getattr(estimator, "best_estimator_", estimator)
    first = pipeline.steps[0][1] if hasattr(pipeline, "steps") else None
    if hasattr(first, "scale_") and hasattr(first, "inverse_transform"):
        return first.inverse_transform(rows)
    return rows


def _keep(graph, names) -> None:
    """Leave these outputs, in this order."""
    outputs = {each.name: each for each in graph.output}
    del graph.output[:]
    graph.output.extend(outputs[name] for name in names)


def _as_function(estimator, method):
    """What the check and the metadata need of a fitted function."""
    is_label = method == "predict" and is_classifier(estimator)
    return SimpleNamespace(output=Labels(estimator.classes_) if is_label else Scores())


def _inputs(rows) -> tuple[np.ndarray, ...]:
    """Arrays for ONNX Runtime: one for each column of a DataFrame."""
    if not hasattr(rows, "iloc"):
        return (rows,)
    columns = [rows[[name]].to_numpy() for name in rows.columns]
    # Numbers besides text are of one dtype in an array of all columns, not here.
    return tuple(c if c.dtype.kind in "biuf" else c.astype(object) for c in columns)
