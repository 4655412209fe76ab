"""The tasks of a fit on a Dask cluster, as they run on its workers.

`skae.distributed.cluster` submits them. Each finds the others, and does what
`skae.distributed.ranks` says with the rows that are here.
"""

import warnings
from typing import Any, NamedTuple
from urllib.parse import urlparse

import distributed
import numpy as np

from skae.distributed.kept_memory import memory_kept
from skae.distributed.process_group import (
    STARTS,
    LostProcessError,
    ProcessGroup,
    served_store,
)
from skae.distributed.ranks import fit_rank
from skae.rows.sharded import JoinedRows

__all__ = ["Task", "fit_here", "interrupt", "serve"]

# By the token of a fit: the store that is served, and the groups of this process.
_SERVED: dict[str, Any] = {}
_GROUPS: dict[str, ProcessGroup] = {}


class Task(NamedTuple):
    """What one task has to know.

    Attributes
    ----------
    token : str
        Of the fit.
    host, port : str, int
        Of the group's store.
    rank : int
    addresses : list of str
        Of all workers, by rank.
    n_rows : int
        Of all workers.
    stretches : list of (int, int)
        Where the rows of each block here begin and end among all.
    deadline : float
        In seconds.
    """

    token: str
    host: str
    port: int
    rank: int
    addresses: list[str]
    n_rows: int
    stretches: list[tuple[int, int]]
    deadline: float


def _host_of(address: str) -> str:
    parsed = urlparse(address)
    is_inside = parsed.scheme == "inproc" or not parsed.hostname
    return "127.0.0.1" if is_inside else str(parsed.hostname)


def serve(token: str, address: str) -> tuple[str, int]:
    """Serve the store of a fit from this worker."""
    host = _host_of(address)
    _SERVED.clear()
    _SERVED[token] = served_store(host)
    return host, _SERVED[token].port


def interrupt(token: str, message: str) -> None:
    for key, group in [*_GROUPS.items()]:
        if key.startswith(token):
            group.interrupt(message)


def fit_here(task: Task, estimator, others, parts: list, clean: list | None):
    """One task: the part of a fit that the rows of this worker have."""
    address, here = task.addresses[task.rank], distributed.get_worker().address
    if here != address:
        raise LostProcessError(
            f"The rows of worker {address} were moved to {here}: the worker is gone."
        )
    group = ProcessGroup(
        task.host,
        task.port,
        task.rank,
        len(task.addresses),
        name=f"worker {address}",
        own_host=_host_of(address),
        deadline=task.deadline,
        start=STARTS * task.deadline,
    )
    key = f"{task.token} {address}"
    _GROUPS[key] = group
    own = np.concatenate([np.arange(*stretch) for stretch in task.stretches])
    try:
        with memory_kept(), group, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            local_y = None if clean is None else JoinedRows(clean, "y")
            fitted = fit_rank(
                estimator,
                JoinedRows(parts),
                own,
                task.n_rows,
                group,
                **others,
                local_y=local_y,
            )
        if task.rank:
            return None
        return fitted, [(str(each.message), each.category) for each in caught]
    finally:
        del _GROUPS[key]
        _SERVED.pop(task.token, None)
