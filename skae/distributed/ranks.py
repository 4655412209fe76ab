"""What every process of a fit does, be it a worker of Dask or started by torchrun.

The estimator's own ``fit`` runs in all of them on `ShardedRows`; callbacks that only
show something run in the first. How processes and rows come here is up to the callers,
`skae.distributed.cluster` and `skae.distributed.world`.
"""

import copy
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skae.rows.group import Group, difference
from skae.rows.sharded import JoinedRows, ShardedRows
from skae.rows.sources import RowSource
from skae.training.callbacks import without_showing

__all__ = ["check_spreads", "fit_rank", "shared_random_state", "take_fitted"]

# So few rows are fitted by the first process.
_FEW = 1000


def check_spreads(estimator: Any) -> None:
    """Refuse what cannot be followed over several processes.

    Raises
    ------
    ValueError
        For an estimator with scikit-learn's callbacks.
    """
    if getattr(estimator, "_skl_callbacks", None):
        raise ValueError(
            "scikit-learn's callbacks (set_callbacks) cannot follow a fit on several "
            "processes; pass skorch callbacks as the parameter callbacks."
        )


def shared_random_state(random_state: Any) -> int | np.random.RandomState:
    """The random_state that all processes of a fit get.

    Where the user's draws, theirs does: a checkpoint then has its state, and the fit
    that goes on takes it from there.
    """
    if isinstance(random_state, Integral):
        return int(random_state)
    drawn = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    return np.random.RandomState(drawn)


def fit_rank(
    estimator: Any,
    local: RowSource,
    own: np.ndarray,
    n_rows: int,
    group: Group,
    y: Any = None,
    sample_weight: Any = None,
    local_y: RowSource | None = None,
) -> Any:
    """Fit on the rows of all processes.

    Parameters
    ----------
    estimator : BaseAutoencoder
        Only its copy is fitted; its random_state is `shared_random_state`.
    local : RowSource
        The rows of this process.
    own : ndarray of int
        Their sorted numbers among all.
    n_rows : int
        Of all processes.
    group : Group
    y, sample_weight : array-like, optional
        Of all rows.
    local_y : RowSource, optional
        Clean rows, in the place of y.

    Returns
    -------
    fitted : object
        In every process its own copy of the same model; None in all but the first
        where that fitted alone.
    """
    estimator = copy.deepcopy(estimator)
    if group.rank:
        callbacks = without_showing(estimator.callbacks)
        estimator.set_params(verbose=0, callbacks=callbacks)
    _check_columns(local, group)
    X: Any = ShardedRows(local, own, n_rows, group)
    if local_y is not None:
        y = ShardedRows(local_y, own, n_rows, group)
    if n_rows > _FEW:
        return estimator.fit(X, y=y, sample_weight=sample_weight)
    few = JoinedRows([X[:]])
    few.feature_names = local.feature_names
    y = y[:] if local_y is not None else y

    def fitted() -> Any:
        if group.rank:
            return None
        return estimator.fit(few, y=y, sample_weight=sample_weight)

    return group.together(fitted)


def _check_columns(local: RowSource, group: Group) -> None:
    names = local.feature_names
    facts = {
        "columns": local.shape[1],
        "entries of dtype": str(local.dtype),
        "column names": None if names is None else [*names],
    }
    apart = difference(group, facts)
    if apart is not None:
        raise ValueError(f"The parts of X must have the same columns; {apart}.")


def take_fitted(estimator: Any, fitted: Any) -> Any:
    """The estimator with the fitted attributes of another one."""
    parameters = estimator.get_params(deep=False)
    kept = {name: vars(estimator)[name] for name in parameters}
    vars(estimator).clear()
    vars(estimator).update({**vars(fitted), **kept})
    return estimator
