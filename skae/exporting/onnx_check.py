"""Whether an ONNX model computes what the estimator does, in ONNX Runtime.

`check_model` runs both on the samples of `rows_to_check`, in batches of one and more.
What is written to a file has passed it.
"""

from collections.abc import Mapping

import numpy as np
from torch import nn

from skae.exporting.ends import Labels, RowUnits, Scores
from skae.exporting.onnx_model import OUTPUT_NAMES, ExportError, required_packages

__all__ = ["check_model", "is_tie", "rows_to_check"]

# Of the spread of the results, and of each value: rounding of single precision.
_SPREAD_TOLERANCE = 1e-5
_VALUE_TOLERANCE = 1e-6
_TINY = 1e-30
_BATCHES = (1, 2, 7)
_MOST_ROWS = 1000


def check_model(model, functions: Mapping[str, nn.Module], inputs, reference) -> None:
    """Raise where the model and the estimator differ.

    Parameters
    ----------
    model : onnx.ModelProto
    functions : mapping of str to FittedFunction
        By the names of the methods, which are outputs of the model.
    inputs : tuple of ndarray
        Samples, at least ten, and their y.
    reference : callable
        ``reference(method, *inputs)`` gives what the estimator does, and
        ``reference(None, labels, *inputs)`` whether other labels than its own are as
        likely.

    Raises
    ------
    ExportError
        When a result differs by more than 1e-5 of the spread.
    """
    results = _run(model, inputs)
    for method, function in functions.items():
        result = results[OUTPUT_NAMES[method]]
        expected = np.asarray(reference(method, *inputs))
        if result.shape != expected.shape:
            raise ExportError(
                f"{method} in ONNX Runtime gives the shape {result.shape}, in skae "
                f"{expected.shape}."
            )
        if isinstance(function.output, Labels):
            _check_labels(method, result, expected, inputs, reference)
        else:
            unit, step = None, 0.0
            if isinstance(function.output, RowUnits):
                unit = function.output.columns.numpy().reshape(expected.shape[1:])
            elif isinstance(function.output, Scores):
                step = function.output.step
            _check_numbers(method, result, expected, unit, step)


def rows_to_check(n_samples: int) -> np.ndarray:
    """Numbers of the samples that are checked: the first 1,000, repeated if few."""
    n_rows = min(max(n_samples, sum(_BATCHES)), _MOST_ROWS)
    return np.arange(n_rows) % n_samples


def is_tie(estimator, labels, X) -> np.ndarray:
    """Whether these labels are as good as those of the estimator, up to rounding."""
    if hasattr(estimator, "predict_proba"):
        probabilities = estimator.predict_proba(X)
        # Labels of the model may be of another type.
        places = np.searchsorted(
            estimator.classes_, labels.astype(estimator.classes_.dtype)
        )
        own = probabilities[np.arange(len(places)), places]
        return own >= probabilities.max(axis=1) - _SPREAD_TOLERANCE
    margins = np.abs(estimator.decision_function(X))
    return margins <= _SPREAD_TOLERANCE * margins.max()


def _run(model, inputs) -> dict[str, np.ndarray]:
    """Results for all samples, in batches of different sizes."""
    _, onnxruntime = required_packages()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_inputs()]
    ends = np.cumsum([0, *_BATCHES])
    ends = [*ends, len(inputs[0])] if len(inputs[0]) > ends[-1] else list(ends)
    parts = [
        session.run(None, dict(zip(names, [x[start:end] for x in inputs], strict=True)))
        for start, end in zip(ends, ends[1:], strict=False)
    ]
    outputs = [each.name for each in session.get_outputs()]
    joined = [np.concatenate(each) for each in zip(*parts, strict=True)]
    return dict(zip(outputs, joined, strict=True))


def _check_numbers(method, result, expected, unit, step) -> None:
    expected = expected.astype(np.float64)
    finite = np.where(np.isfinite(expected), expected, np.nan)
    if unit is None:
        spread = np.nanmax(finite) - np.nanmin(finite) if finite.size else 0.0
    else:
        low, high = np.fmin.reduce(finite, axis=0), np.fmax.reduce(finite, axis=0)
        spread = np.fmax(high - low, unit)
    tolerance = _SPREAD_TOLERANCE * spread + _VALUE_TOLERANCE * np.abs(expected) + _TINY
    tolerance += step
    with np.errstate(invalid="ignore"):
        difference = np.abs(result.astype(np.float64) - expected)
        is_same = (result == expected) | (np.isnan(result) & np.isnan(expected))
        is_close = is_same | (difference <= tolerance)
    if is_close.all():
        return
    worst = np.argmax(np.where(is_close, -1, np.nan_to_num(difference, nan=np.inf)))
    place = np.unravel_index(worst, expected.shape)
    n_different = np.count_nonzero(~is_close)
    raise ExportError(
        f"{method} in ONNX Runtime gives {result[place]:.9g}, in skae "
        f"{expected[place]:.9g} for sample {place[0]}; {n_different} of "
        f"{expected.size} values differ by more than {_SPREAD_TOLERANCE:g} of their "
        "spread. Pass X, samples like those that will come, or dtype='float64'; a "
        "module of your own may have no faithful ONNX form."
    )


def _check_labels(method, result, expected, inputs, reference) -> None:
    differs = result.astype(expected.dtype) != expected
    if not differs.any():
        return
    is_tie = reference(None, result, *inputs)
    if (differs & ~is_tie).any():
        number = int(np.flatnonzero(differs & ~is_tie)[0])
        raise ExportError(
            f"{method} in ONNX Runtime gives {result[number]}, in skae "
            f"{expected[number]} for sample {number}, which is no tie."
        )
