"""Whether an estimator that came from a file works.

`probe` looks at the attributes and calls the methods on one row, so that a file whose
arrays and numbers do not belong together is refused when it is loaded and not in some
later call. Estimators inside others are tried through those.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from skae.state.bounded import Bounded, TooLargeError

__all__ = ["is_fitted", "probe"]

_IMPOSSIBLE = 2**36
# Methods that take rows.
_METHODS = (
    "transform",
    "reconstruct",
    "score_samples",
    "discriminate",
    "predict_proba",
    "predict",
    "p_values",
    "explain",
)
# Of these, what cannot do without a condition where that is numbers.
_CONDITIONAL = "score_samples", "reconstruct"
_CURVES = list, type(None)
_KINDS: dict[str, Any] = {
    "n_components_": Integral,
    "n_iter_": Integral,
    "n_left_out_": Integral,
    "max_samples_": Integral,
    "kept_round_": (Integral, type(None)),
    "departure_": Real,
    "pca_ratio_": Real,
    "pca_t_": Real,
    "offset_": Real,
    "noise_variance_": (Real, np.ndarray, type(None)),
    "stop_reason_": str,
    "interrupted_": (bool, np.bool_),
    "epochs_": np.ndarray,
    "loss_curve_": _CURVES,
    "critic_loss_curve_": _CURVES,
    "validation_scores_": _CURVES,
    "network_": dict,
    "classes_": np.ndarray,
    "active_units_": np.ndarray,
    "calibration_scores_": np.ndarray,
}
# Attributes with an entry, or a column, for each feature.
_OF_FEATURES = "mean_", "feature_names_in_", "components_"


def is_fitted(estimator) -> bool:
    """Whether an estimator of skae has been fitted."""
    return "n_features_in_" in vars(estimator)


def probe(estimator, n_bytes: int) -> None:
    """Try a fitted estimator on one row.

    Parameters
    ----------
    estimator : estimator of skae
    n_bytes : int
        That each result on the way may take. What needs more is not tried, but refused
        where no machine could do it.

    Raises
    ------
    Exception
        Of any class, where it does not work.
    """
    # Endless where an estimator is inside itself.
    estimator.get_params(deep=True)
    if not is_fitted(estimator):
        return
    check_is_fitted(estimator)
    _check_attributes(estimator, n_bytes)
    if getattr(estimator, "optimizer_state_", None):
        n_parameters = sum(each.numel() for each in estimator.net_.parameters())
        _check_training(estimator.optimizer_state_, n_parameters)
    # A row without names would be warned of.
    names = vars(estimator).pop("feature_names_in_", None)
    try:
        for call in _calls(estimator):
            with Bounded(n_bytes):
                _first_that_works(call, _rows(estimator))
    finally:
        if names is not None:
            estimator.feature_names_in_ = names


def _check_attributes(estimator, n_bytes: int) -> None:
    attributes = vars(estimator)
    for name, kind in _KINDS.items():
        if name in attributes and not isinstance(attributes[name], kind):
            raise TypeError(f"{name} is a {type(attributes[name]).__name__}")
    for name in ("n_features_in_", "n_components_"):
        width = attributes.get(name, 1)
        if type(width) is not int or not 1 <= width <= n_bytes // 8:
            raise ValueError(f"{name} is {width!r}")
    n_features = attributes["n_features_in_"]
    for name in _OF_FEATURES:
        shape = np.shape(attributes.get(name))
        is_table = name == "components_" and len(shape) == 2
        if name in attributes and shape[is_table:] != (n_features,):
            raise ValueError(f"{name} has the shape {shape} for {n_features} features")


def _rows(estimator) -> list[np.ndarray]:
    """Rows of which at least one suits: zeros, and the mean of the training rows."""
    zeros = np.zeros((1, estimator.n_features_in_))
    mean = getattr(estimator, "mean_", zeros)
    return [zeros, np.where(np.isfinite(mean), mean, zeros)]


def _calls(estimator) -> Iterator[Callable[[np.ndarray], Any]]:
    """What to try with a row."""
    classes = getattr(estimator, "classes_", None)
    for name in _METHODS:
        method = getattr(estimator, name, None)
        if method and not (name in _CONDITIONAL and _needs_y(method, classes)):
            yield method
    inverse = getattr(estimator, "inverse_transform", None)
    if inverse and not _needs_y(inverse, classes):
        condition = {"y": classes[:1]} if _takes_y(inverse) else {}
        yield lambda row: inverse(np.asarray(estimator.transform(row)), **condition)
    if hasattr(estimator, "sample"):
        yield lambda _: estimator.sample(1, random_state=0)


def _first_that_works(call, rows: list[np.ndarray]) -> None:
    for row in rows[:-1]:
        # A likelihood may be for other values.
        with suppress(ValueError):
            return _tried(call, row)
    return _tried(call, rows[-1])


def _tried(call, row: np.ndarray) -> None:
    try:
        call(row)
    except TooLargeError as error:
        if error.n_bytes > _IMPOSSIBLE:
            raise


def _takes_y(method) -> bool:
    return "y" in inspect.signature(method).parameters


def _needs_y(method, classes) -> bool:
    return classes is None and _takes_y(method)


def _check_training(state: Any, n_parameters: int) -> None:
    """Raise where the optimisers and generators of a training are none of this net."""
    if not isinstance(state, dict):
        return
    for each in state.values():
        _check_training(each, n_parameters)
    if "first" in state:
        shapes = {np.shape(state["first"]), np.shape(state["second"])}
        if len(shapes) > 1 or not 0 < np.size(state["first"]) <= n_parameters:
            raise ValueError(
                f"the optimiser's moments have the shapes {sorted(shapes)} for "
                f"{n_parameters} parameters"
            )
    if state.get("device") == "cpu":
        generator = torch.from_numpy(state["generator"].copy())
        torch.Generator("cpu").set_state(generator)
