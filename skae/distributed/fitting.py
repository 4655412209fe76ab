"""`fit`: an estimator, on a Dask cluster or in the processes of torchrun.

It picks the way; `skae.distributed.cluster` and `skae.distributed.world` go it.
"""

import functools
import sys
from collections.abc import Callable
from numbers import Real
from typing import Any

from skae.checks.collections import is_collection
from skae.distributed.world import fit_in_world, world_size
from skae.rows.dask_rows import leave_pool
from skae.state.registry import registered_name

__all__ = ["fit", "fits_on_cluster"]


def fit(
    estimator: Any,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    client: Any = None,
    deadline: float = 30.0,
) -> Any:
    """Fit an estimator on several processes.

    Autoencoders are trained by all of them at once, each on its own rows: moments and
    principal axes are exact sums over all rows, and every training step follows the
    gradient of the whole batch. Other estimators are fitted by one process, which reads
    the rows block by block.

    Parameters
    ----------
    estimator : estimator
        Of skae.
    X : array-like, row source or Dask array or DataFrame
        A Dask collection is fitted by the workers of a cluster that hold it. Under
        torchrun every process calls this function with the same arguments, and reads
        its part of X, such as a memory map or a file.
    y : array-like or Dask collection, optional
        As in the estimator's ``fit``.
    sample_weight : array-like or Dask collection of shape (n_samples,), optional
    client : distributed.Client, optional
        Of the cluster; the current one where left out.
    deadline : float, default=30.0
        Seconds without a heartbeat after which a process counts as lost.

    Returns
    -------
    estimator : object
        The estimator that came, fitted: an ordinary one, which needs neither cluster
        nor client. Under torchrun all processes have the same.

    Raises
    ------
    LostProcessError
        When a process dies, is unreachable or has no free thread. With
        `skae.callbacks.Checkpoint` on a path that all of them reach, the same call goes
        on from there, on whichever processes are left.
    TypeError
        For estimators that are not skae's, also pipelines and searches that hold one,
        and for a client with rows that are no Dask collection.
    ValueError
        When the rows do not fit the estimator, or differ between the processes.

    Notes
    -----
    The same seed on the same processes gives the same bits; other numbers of processes
    give other batches, and so a model that is as good but not the same. Callbacks run
    in every process, those that only show something in the first.

    Examples
    --------
    In a script that ``torchrun --nproc-per-node 2 script.py`` starts; without torchrun
    this fits in one process:

    >>> import numpy as np
    >>> import skae.distributed
    >>> from skae import AutoencoderTransformer
    >>> X = np.random.default_rng(0).normal(size=(200, 5))
    >>> ae = skae.distributed.fit(AutoencoderTransformer(2, random_state=0), X)
    >>> ae.transform(X).shape
    (200, 2)
    """
    if isinstance(deadline, bool) or not isinstance(deadline, Real) or deadline <= 0:
        raise ValueError(f"deadline must be seconds, above 0; got {deadline!r}.")
    _check_estimator(estimator)
    spreads = getattr(estimator, "spreads_rows", False)
    data = {"y": y, "sample_weight": sample_weight}
    if client is not None and not is_collection(X):
        raise TypeError(
            "A client is for Dask collections, whose blocks its workers hold; got X of "
            f"type {type(X).__name__}. Make it one, with dask.array.from_array for "
            "example, or leave the client out."
        )
    if is_collection(X):
        client = _current_client() if client is None else client
        if spreads and client is not None:
            from skae.distributed.cluster import fit_on_cluster

            # In a task of a worker, which other tasks of this fit may need.
            leave_pool()
            return fit_on_cluster(
                estimator, X, **data, client=client, deadline=float(deadline)
            )
    elif world_size() > 1:
        options = {"spreads": spreads, "deadline": float(deadline)}
        return fit_in_world(estimator, X, **data, **options)
    passed = {name: value for name, value in data.items() if value is not None}
    return estimator.fit(X, **passed)


def _check_estimator(estimator: Any) -> None:
    """Raise for what would be fitted by one process and then be lost."""
    bases = type(estimator).__mro__
    if hasattr(estimator, "get_params") and any(map(registered_name, bases)):
        return
    raise TypeError(
        "skae.distributed.fit takes an estimator of skae; got "
        f"{type(estimator).__name__}. Fit the steps of a pipeline, or the estimator of "
        "a search, one by one; the fit method of a Pipeline takes Dask collections."
    )


def fits_on_cluster(method: Callable) -> Callable:
    """A ``fit`` that goes to the cluster where X is a Dask collection and there is one.

    It is put around the ``fit`` of estimators whose ``spreads_rows`` is true.
    """

    @functools.wraps(method)
    def fit_there_or_here(self, X, y=None, sample_weight=None):
        if "distributed" in sys.modules and is_collection(X):
            client = _current_client()
            if client is not None:
                options = {"y": y, "sample_weight": sample_weight, "client": client}
                return fit(self, X, **options)
        return method(self, X, y, sample_weight)

    return fit_there_or_here


def _current_client() -> Any:
    """The current client; None without one, and in tasks of a worker."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        distributed.get_worker()
    except ValueError:
        try:
            return distributed.default_client()
        except ValueError:
            return None
    return None
