"""Fitted estimators as ONNX models, for programs without Python, torch or skae.

`to_onnx` is what users import. It needs the extra ``skae[onnx]``; importing this module
does not.
"""

import warnings
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from scipy import sparse

from skae.checks.integers import check_integer
from skae.checks.labels import shown
from skae.estimators import estimator_classes
from skae.exporting.converters import register_converters
from skae.exporting.onnx_check import check_model, is_tie, rows_to_check
from skae.exporting.onnx_model import (
    FROM_CODES,
    OLDEST_OPSET,
    OUTPUT_NAMES,
    ExportError,
    default_methods,
    onnx_model,
    quiet,
    required_packages,
)
from skae.exporting.pipeline import pipeline_model
from skae.state.replacing import checked_place, replaced
from skae.state.version import __version__

__all__ = ["ExportError", "to_onnx"]

_DTYPES = {"float32": torch.float32, "float64": torch.float64}

# In standard deviations of a column, which fewer rows do not show.
_COARSE, _FEWEST_ROWS = 1e-3, 10


def to_onnx(
    estimator,
    path=None,
    method=None,
    *,
    X=None,
    y=None,
    with_y=None,
    dtype="float32",
    opset=OLDEST_OPSET,
):
    """A fitted method as an ONNX model, in X's own units and for any batch size.

    The model is run in ONNX Runtime while it is exported, one sample at a time and
    several, and must agree with the estimator.

    Parameters
    ----------
    estimator : estimator of skae, Pipeline, ColumnTransformer or search
        Fitted. What has skae's as steps goes through skl2onnx; its model has one input
        for each column where X is a DataFrame, and no labels but int64 and strings.
    path : str or path-like, default=None
        File to write; an existing one is replaced in one step, once the model has
        passed its check.
    method : str or sequence of str, default=None
        What the model computes: a name that ``estimator.to_torch`` takes, or several of
        the same input for a model of several outputs. None takes ``transform``; for
        classifiers ``predict`` and ``predict_proba``, for outlier detectors ``predict``
        and ``decision_function``, for a `GAN` ``sample``.
    X : array-like of shape (n_samples, ...), default=None
        Samples for the check, codes for ``inverse_transform`` and ``sample``; the first
        1,000 are used. None draws some around the mean of the training samples.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        The condition of each row of X, for models that take it.
    with_y : bool, default=None
        Whether the model takes a condition y as its second input. None says yes for
        conditional models. False is for methods that do without, such as
        ``transform``.
    dtype : {"float32", "float64"}, default="float32"
        Of X in the model. Columns whose offset is many times their deviation keep
        more digits in float64.
    opset : int, default=18
        ONNX operator set, at least 18.

    Returns
    -------
    model : onnx.ModelProto
        Inputs: ``X`` of shape (batch, n_features) or in the shape of the training
        samples, or ``Z``, codes or noise of shape (batch, n_components_); and ``y``,
        int64 or string labels of shape (batch,) or numbers. Outputs, in the order of
        ``method``: ``Z`` (``transform``), ``X`` (``inverse_transform``, ``sample``),
        ``X_hat`` (``reconstruct``), ``X_clean`` (``denoise``), ``scores``
        (``score_samples``), ``decision`` (``decision_function``), ``p_values``,
        ``values`` (``discriminate``), ``label``, ``probabilities``,
        ``log_probabilities``. Rows and codes have X's dtype, scores and probabilities
        float64, labels are int64 or strings. The metadata has ``skae_version``,
        ``skae_class``, ``skae_method`` and ``skae_classes``.

    Raises
    ------
    ExportError
        When a module of yours cannot be traced, or a result in ONNX Runtime differs
        from the estimator's by more than 1e-5 of the spread of the results (of each
        column for rows) and 1e-6 of the value, or a label that is no tie differs.
    ImportError
        When ``skae[onnx]`` is not installed or torch is older than 2.6.
    ValueError
        When the estimator has no such method, or a parameter does not fit.
    sklearn.exceptions.NotFittedError
        When the estimator is not fitted.

    Notes
    -----
    A row with NaN or infinity, or whose y is no class of the fit, gives NaN, but for
    labels. Sequences come padded with NaN; sparse matrices are made dense before they
    reach the model.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skae import AutoencoderTransformer
    >>> from skae.export import to_onnx
    >>> X = load_iris().data
    >>> ae = AutoencoderTransformer(2, max_iter=2, random_state=0).fit(X)
    >>> model = to_onnx(ae)
    >>> [value.name for value in (*model.graph.input, *model.graph.output)]
    ['X', 'Z']
    """
    if not hasattr(estimator, "get_params"):
        raise ValueError(
            f"estimator must be one of skae's, or a Pipeline or search with one; got "
            f"{type(estimator).__name__}."
        )
    methods = _methods(estimator, method)
    _check_options(dtype, opset)
    if path is not None:
        checked_place(path)
    if dtype == "float32" and X is not None:
        _warn_of_rounding(X)
    if not hasattr(estimator, "to_torch"):
        _check_without_condition(estimator, y, with_y)
        model = pipeline_model(estimator, methods, X, dtype, opset)
    else:
        model = _of_estimator(estimator, methods, X, y, with_y, dtype, opset)
    model.producer_name, model.producer_version = "skae", __version__
    model.metadata_props.add(key="skae_version", value=__version__)
    if path is not None:
        with replaced(path) as draft:
            draft.write_bytes(model.SerializeToString())
    return model


def _of_estimator(estimator, methods, X, y, with_y, dtype, opset):
    """The checked model of an estimator of skae."""
    functions = {name: estimator.to_torch(name).cpu() for name in methods}
    _check_inputs(functions)
    required_packages()
    first = next(iter(functions.values()))
    takes_y = _takes_y(estimator, functions, with_y, y)
    examples = _examples(first, X, y, takes_y, dtype)
    name = type(estimator).__name__
    # Two samples: a batch of one would be taken for a fixed size.
    few = [each[:2] for each in examples]
    reference = partial(_reference, estimator, functions)
    with quiet():
        model = onnx_model(functions, few, opset, name)
        check_model(model, functions, _as_user_has(first, examples), reference)
    return model


def _methods(estimator, method) -> tuple[str, ...]:
    """Names of the methods to export."""
    if isinstance(method, str):
        return (method,)
    is_several = isinstance(method, Sequence) and len(method) > 0
    if is_several and not all(isinstance(each, str) for each in method):
        raise ValueError(f"method must hold names of methods; got {method!r}.")
    if is_several and len({*method}) == len(method):
        return tuple(method)
    if method is not None:
        raise ValueError(
            f"method must be a name or several different ones; got {method!r}."
        )
    return default_methods(estimator)


def _check_options(dtype, opset) -> None:
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of {list(_DTYPES)}; got {dtype!r}.")
    check_integer("opset", opset, least=OLDEST_OPSET)


def _check_inputs(functions) -> None:
    """Raise where methods do not take the same samples."""
    inputs = {"Z" if name in FROM_CODES else "X" for name in functions}
    names = [OUTPUT_NAMES[name] for name in functions]
    if len(inputs) > 1 or len({*names}) < len(names):
        raise ValueError(
            f"method={list(functions)} must be methods of the same input with results "
            "of different names; export others one by one."
        )


def _check_without_condition(estimator, y, with_y) -> None:
    if with_y or y is not None:
        raise ValueError(
            f"This {type(estimator).__name__} was fitted without a condition; "
            "leave out y and with_y."
        )


def _takes_y(estimator, functions, with_y, y) -> bool:
    is_conditional = any(each.condition is not None for each in functions.values())
    if not is_conditional:
        _check_without_condition(estimator, y, with_y)
        return False
    if with_y is None or with_y:
        return True
    if y is not None:
        raise ValueError(
            "with_y=False exports a model without y, but y was passed; leave out one "
            "of them."
        )
    needing = [name for name, each in functions.items() if each.requires_y]
    if needing:
        raise ValueError(
            f"with_y=False is not for {needing[0]} of this {type(estimator).__name__}, "
            "which cannot do without y."
        )
    return False


def _examples(function, X, y, takes_y, dtype) -> list[torch.Tensor]:
    """Samples for the check as tensors, and their y."""
    samples, *conditions = function.example_inputs
    if X is not None:
        samples = _samples(X)
        function.input.to_model(samples)
        rows = torch.arange(len(samples), device="cpu")
        conditions = [each[rows % len(each)] for each in conditions]
    if y is not None:
        conditions = [_condition(function.condition, y)]
        if X is None or len(conditions[0]) != len(samples):
            raise ValueError(
                "y must have one entry for each row of X; got "
                f"{len(conditions[0])} for {'no' if X is None else len(samples)} rows."
            )
    inputs = [samples, *conditions] if takes_y else [samples]
    rows = torch.from_numpy(rows_to_check(len(samples)))
    inputs = [each[rows].contiguous() for each in inputs]
    is_number = takes_y and function.condition.classes is None
    wide = len(inputs) if is_number else 1
    return [each.to(_DTYPES[dtype]) for each in inputs[:wide]] + inputs[wide:]


def _warn_of_rounding(X) -> None:
    """Warn where float32 cannot tell the values of a column apart."""
    try:
        rows = np.asarray(X)
        if rows.dtype.kind not in "iuf" or rows.ndim != 2 or len(rows) < _FEWEST_ROWS:
            return
        finite = np.ma.masked_invalid(rows.astype(np.float64))
    except (TypeError, ValueError):
        return
    rounded = np.abs(finite - finite.astype(np.float32)).max(axis=0)
    deviation = finite.std(axis=0)
    coarse = (rounded > _COARSE * deviation) & (deviation > 0)
    places = np.flatnonzero(np.ma.filled(coarse, False))
    if len(places):
        warnings.warn(
            f"float32 rounds column {places[0]} of X by more than {_COARSE:g} of "
            "its standard deviation, and results for the model's input differ as much "
            f"from those for X ({len(places)} columns are so). Pass dtype='float64'.",
            UserWarning,
            stacklevel=3,
        )


def _samples(X) -> torch.Tensor:
    """The user's samples as a tensor."""
    X = X.toarray() if sparse.issparse(X) else X
    try:
        samples = np.array(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"X must be an array of numbers, sequences padded with NaN: {error}"
        ) from error
    if samples.ndim < 2 or not len(samples):
        raise ValueError(
            f"X must hold at least one sample; got an array of shape {samples.shape}."
        )
    return torch.from_numpy(samples)


def _condition(condition, y) -> torch.Tensor:
    """y as a conditional module takes it."""
    if condition.classes is None:
        return torch.from_numpy(np.array(y, dtype=np.float64))
    y = np.asarray(y)
    unknown = ~np.isin(y, condition.classes)
    if unknown.any():
        raise ValueError(
            f"y must be of the classes of the fit, {shown(condition.classes)}; got "
            f"{shown(np.unique(y[unknown]))}."
        )
    numbers = torch.from_numpy(np.searchsorted(condition.classes, y))
    values = condition.labels.values
    return numbers if values is None else values[numbers]


def _as_user_has(function, examples) -> tuple[np.ndarray, ...]:
    """Arrays for ONNX Runtime and for the estimator, with labels that are strings."""
    arrays = [each.numpy() for each in examples]
    condition = function.condition
    if len(arrays) > 1 and condition.classes is not None:
        if condition.labels.values is None:
            arrays[1] = condition.classes[arrays[1]].astype(object)
    return tuple(arrays)


def _reference(estimator, functions, method, *inputs):
    """The estimator's result, or, without a method, whether labels are ties."""
    if method is None:
        return is_tie(estimator, *inputs)
    if method != "sample":
        return getattr(estimator, method)(*inputs)
    if hasattr(estimator, "inverse_transform"):
        return estimator.inverse_transform(*inputs)
    # A GAN draws the noise itself.
    function = functions[method]
    samples, *y = inputs
    conditions = [_condition(function.condition, each) for each in y]
    with torch.no_grad():
        return function(torch.from_numpy(samples), *conditions).numpy()


register_converters(estimator_classes(), to_onnx)
