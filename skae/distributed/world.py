"""Fits in a world of processes that torchrun or a scheduler such as SLURM has started.

Every process calls `fit_in_world` with the same arguments; each reads its part of the
rows. Only the environment's RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are used, to
find one another: the group itself is the fit's own.
"""

import copy
import functools
import itertools
import math
import os
import re
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from scipy import sparse

from skae.distributed.process_group import (
    STARTS,
    LostProcessError,
    ProcessGroup,
    served_store,
)
from skae.distributed.ranks import (
    check_spreads,
    fit_rank,
    shared_random_state,
    take_fitted,
)
from skae.rows.group import Group, difference
from skae.rows.readers import row_source
from skae.rows.sharded import JoinedRows, RowsBetween
from skae.rows.sources import RowSource
from skae.training.callbacks import without_showing

__all__ = ["fit_in_world", "world_size"]

_FITS = itertools.count()
# Parameters that processes may have of their own.
_OF_EACH = {"device", "n_jobs", "verbose"}


def world_size() -> int:
    """How many processes the environment speaks of; one where it does not."""
    named = all(name in os.environ for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"))
    return int(os.environ.get("WORLD_SIZE", "1")) if named else 1


def fit_in_world(
    estimator: Any,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    spreads: bool,
    deadline: float,
) -> Any:
    """Fit in all processes of the world, and leave the same model in all of them.

    Parameters
    ----------
    estimator : estimator
    X, y, sample_weight
        All rows, in every process.
    spreads : bool
        Whether the rows are spread; else the first fits alone.
    deadline : float
        Seconds without a heartbeat after which a process counts as lost.
    """
    check_spreads(estimator)
    rank, size = int(os.environ["RANK"]), world_size()
    host, port = _place(rank, deadline)
    name = f"process {rank} of {size}"
    options = {"deadline": deadline, "start": STARTS * deadline}
    with ProcessGroup(host, port, rank, size, name=name, **options) as group:
        own = _shared_copy(estimator, X, y, sample_weight, group)
        fitted = _fitted(own, X, y, sample_weight, group, spreads)
        return take_fitted(estimator, group.broadcast(fitted))


def _fitted(estimator, X, y, sample_weight, group: Group, spreads: bool) -> Any:
    if not spreads:
        return group.together(
            lambda: _alone(estimator, X, y, sample_weight) if group.rank == 0 else None
        )
    local, own, n_rows = group.together(lambda: _part_of(X, "X", group))
    local_y = None
    if y is not None and _shape(y) == (n_rows, local.shape[1]):
        local_y, _, _ = group.together(lambda: _part_of(y, "y", group))
    others = y, sample_weight, local_y
    return fit_rank(estimator, local, own, n_rows, group, *others)


def _alone(estimator: Any, X: Any, y: Any, sample_weight: Any) -> Any:
    estimator = copy.deepcopy(estimator)
    if sample_weight is None:
        return estimator.fit(X) if y is None else estimator.fit(X, y)
    return estimator.fit(X, y, sample_weight=sample_weight)


@functools.cache
def _world() -> Any:
    """The store of the environment, which lives as long as the process."""
    store, _, _ = next(torch.distributed.rendezvous("env://"))
    return store


def _place(rank: int, deadline: float) -> tuple[str, int]:
    """Where the first process serves the store of this fit."""
    key = f"skae/{next(_FITS)}"
    try:
        world = _world()
        if rank == 0:
            host = os.environ["MASTER_ADDR"]
            _SERVED[:] = [served_store(host)]
            world.set(key, f"{host} {_SERVED[0].port}")
        world.set_timeout(timedelta(seconds=STARTS * deadline))
        host, port = world.get(key).decode().split()
    except RuntimeError as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise LostProcessError(
            f"Process {rank} did not find the others at {place} (MASTER_ADDR and "
            f"MASTER_PORT) within {STARTS * deadline:g} s. Do all call fit equally "
            "often, on a network where they reach one another?"
        ) from error
    return host, int(port)


# The store that this process serves for the latest fit.
_SERVED: list = []


def _shared_copy(
    estimator: Any, X: Any, y: Any, sample_weight: Any, group: Group
) -> Any:
    """The estimator with the first process's seed, where all have the same arguments.

    Raises
    ------
    ValueError
        In all processes where one has other ones.
    """
    facts = {
        "the estimator": type(estimator).__name__,
        "X of shape": _shape(X),
        "y of shape": _shape(y),
        "sample_weight of shape": _shape(sample_weight),
        **_in_words(estimator),
    }
    apart = difference(group, facts)
    if apart is not None:
        raise ValueError(
            f"All processes must fit the same estimator to the same rows; {apart}."
        )
    own = copy.deepcopy(estimator)
    if "random_state" in own.get_params(deep=False):
        is_first = group.rank == 0
        shared = shared_random_state(own.random_state) if is_first else None
        own.set_params(random_state=group.broadcast(shared))
    return own


def _in_words(estimator: Any) -> dict[str, str]:
    """The parameters on which the result depends, without addresses of objects."""
    parameters = estimator.get_params()
    if isinstance(parameters.get("callbacks"), list | tuple):
        parameters["callbacks"] = without_showing(parameters["callbacks"])
    return {
        f"{name} =": re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
        for name, value in parameters.items()
        if name not in _OF_EACH
    }


def _shape(values: Any) -> tuple | None:
    if values is None:
        return None
    source = row_source(values)
    if source is not None:
        return source.shape
    return tuple(values.shape) if hasattr(values, "shape") else np.shape(values)


def _part_of(X: Any, name: str, group: Group) -> tuple[RowSource, np.ndarray, int]:
    """The rows of this process, their numbers, and the number of all rows."""
    source = row_source(X, name)
    if source is None:
        X = X.tocsr() if sparse.issparse(X) else X
        X = X if hasattr(X, "shape") else np.asarray(X)
        if len(X.shape) != 2:
            raise ValueError(
                f"{name} must have two axes to be spread over processes; got the shape "
                f"{tuple(X.shape)}. Lay samples out flat and pass sample_shape."
            )
    n_rows = X.shape[0] if source is None else source.shape[0]
    start, stop = (n_rows * each // group.size for each in (group.rank, group.rank + 1))
    if source is not None:
        # Blocks that storage keeps together are read by one process.
        steps = np.diff(source.bounds).max(initial=1)
        if steps <= math.ceil(n_rows / group.size / 4):
            bounds = source.bounds
            start, stop = (
                int(bounds[np.searchsorted(bounds, each)]) for each in (start, stop)
            )
        local: RowSource = RowsBetween(source, start, stop)
    else:
        part = X.iloc[start:stop] if hasattr(X, "iloc") else X[start:stop]
        local = JoinedRows([part], name)
    return local, np.arange(start, stop), n_rows
