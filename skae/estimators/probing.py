"""Whether an estimator that came from a file works.

`probe` looks at the attributes and calls the methods on one row, so that a file whose
arrays and numbers do not belong together is refused when it is loaded and not in some
later call. Estimators inside others are tried through those.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
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
    estimator.get_params(deep=False)
    if not is_fitted(estimator):
        return
    check_is_fitted(estimator)
    _check_attributes(estimator, n_bytes)
    if getattr(estimator, "optimizer_state_", None):
        _check_training(estimator.optimizer_state_, estimator.net_)
    row = _row(estimator)
    # A row without names would be warned of.
    names = vars(estimator).pop("feature_names_in_", None)
    try:
        for call in _calls(estimator, row):
            with Bounded(n_bytes), _unless_impossible():
                call()
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
        if name in attributes and np.shape(attributes[name])[-1:] != (n_features,):
            raise ValueError(
                f"{name} has the shape {np.shape(attributes[name])} for {n_features} "
                "features"
            )


def _row(estimator) -> np.ndarray:
    """One row that suits: the mean of the training rows, or zeros."""
    row = np.zeros(estimator.n_features_in_)
    mean = getattr(estimator, "mean_", row)
    return np.where(np.isfinite(mean), mean, row)[None].astype(np.float64)


def _calls(estimator, row: np.ndarray) -> Iterator[Callable[[], Any]]:
    """What to try."""
    classes = getattr(estimator, "classes_", None)
    for name in _METHODS:
        method = getattr(estimator, name, None)
        # Only numbers have no value that is there for certain.
        if method and not (name == "score_samples" and _needs_y(method, classes)):
            yield partial(method, row)
    inverse = getattr(estimator, "inverse_transform", None)
    if inverse and not _needs_y(inverse, classes):
        condition = {"y": classes[:1]} if _takes_y(inverse) else {}
        yield lambda: inverse(np.asarray(estimator.transform(row)), **condition)
    if hasattr(estimator, "sample"):
        yield partial(estimator.sample, 1, random_state=0)


@contextmanager
def _unless_impossible():
    try:
        yield
    except TooLargeError as error:
        if error.n_bytes > _IMPOSSIBLE:
            raise


def _takes_y(method) -> bool:
    return "y" in inspect.signature(method).parameters


def _needs_y(method, classes) -> bool:
    return classes is None and _takes_y(method)


def _check_training(state: dict, net) -> None:
    """Raise where a training could not go on from here."""
    trained = sum(each.numel() for each in net.parameters())
    for name in ("first", "second"):
        moments = state["optimizer"][name]
        if moments.dtype != np.float32 or moments.shape != (trained,):
            raise ValueError(
                f"the optimiser's moments have the shape {moments.shape} for {trained} "
                "parameters"
            )
    if state["device"] == "cpu":
        generator = torch.from_numpy(state["generator"].copy())
        torch.Generator("cpu").set_state(generator)
