"""Fits on the workers of a Dask cluster: one long task on each that holds rows.

The client's side is `fit_on_cluster`: it places the rows, keeps other fits off the
workers, and makes one error of all that go wrong. The tasks form a group of their own
and do what `skae.distributed.ranks` says.
"""

import copy
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import distributed

from skae.checks.clients import check_client
from skae.checks.collections import is_collection, row_collection
from skae.distributed.placing import (
    PlacedRows,
    check_same_blocks,
    check_workers,
    has_rows_like,
    in_memory,
    with_known_rows,
    workers_of,
)
from skae.distributed.process_group import STARTS, LostProcessError
from skae.distributed.ranks import check_spreads, shared_random_state, take_fitted
from skae.distributed.tasks import Task, fit_here, interrupt, serve

__all__ = ["fit_on_cluster"]

# Seconds between two looks at the futures, whose status says what was the matter.
_LOOK = 0.5
_UNDECIDED = TimeoutError, distributed.TimeoutError, distributed.CancelledError


def fit_on_cluster(
    estimator: Any,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    client: distributed.Client,
    deadline: float,
) -> Any:
    """Fit on the workers that hold a Dask collection.

    Parameters
    ----------
    estimator : BaseAutoencoder
    X : Dask array or DataFrame
    y, sample_weight : array-like or Dask collection, optional
    client : distributed.Client
    deadline : float
        Seconds without a heartbeat after which a worker counts as lost.

    Returns
    -------
    estimator : object
        The one that came, fitted.
    """
    check_spreads(estimator)
    check_client(client)
    check_workers(client)
    # Dask's functions ask for the current client, which may be another one or none.
    with client.as_current():
        fitted, warned = _fitted(estimator, X, y, sample_weight, client, deadline)
    for message, category in warned:
        warnings.warn(message, category, stacklevel=4)
    return take_fitted(estimator, fitted)


def _fitted(estimator, X, y, sample_weight, client, deadline):
    """A fitted copy of the estimator, and the warnings of its fit."""
    X = with_known_rows(row_collection(X))
    rows = PlacedRows.of(X, client, deadline)
    clean = None
    if y is not None and is_collection(y) and has_rows_like(y, X):
        clean = PlacedRows.of(
            with_known_rows(row_collection(y, "y"), "y"), client, deadline
        )
        check_same_blocks(rows, clean)
    others = {
        "y": None if clean is not None else in_memory(y, client, deadline),
        "sample_weight": in_memory(sample_weight, client, deadline),
    }
    with _locked(sorted(set(rows.owners)), deadline):
        job = _Job(_as_sent(estimator), rows, clean, others, client, deadline)
        return job.run()


def _as_sent(estimator: Any) -> Any:
    """The estimator with a random_state from which all workers draw the same."""
    shared = shared_random_state(estimator.random_state)
    return copy.deepcopy(estimator).set_params(random_state=shared)


@contextmanager
def _locked(addresses: list[str], deadline: float) -> Iterator[None]:
    """Workers of which no other fit makes use, for a with block."""
    locks = [distributed.Lock(f"skae-fit-{address}") for address in addresses]
    ends, held = time.monotonic() + deadline, []
    try:
        # In one order for all fits, so that no two of them wait for each other.
        for address, lock in zip(addresses, locks, strict=True):
            if not lock.acquire(timeout=max(0.1, ends - time.monotonic())):
                raise LostProcessError(
                    f"Another fit has been running on worker {address} for the "
                    f"{deadline:g} s of the deadline. Fit after it, or pass a longer "
                    "deadline to skae.distributed.fit."
                )
            held.append(lock)
        yield
    finally:
        for lock in held:
            with suppress(Exception):
                lock.release()


class _Job:
    """The tasks of one fit, as the client sees them."""

    def __init__(self, estimator, rows: PlacedRows, clean, others, client, deadline):
        self.estimator = estimator
        self.rows, self.clean, self.others = rows, clean, others
        self.client, self.deadline = client, deadline
        self.addresses = sorted(set(rows.owners))
        self.token = uuid.uuid4().hex

    def run(self) -> tuple[Any, list]:
        """The fitted estimator and the warnings of its fit."""
        futures = self._begun()
        try:
            while any(future.status == "pending" for future in futures):
                with suppress(*_UNDECIDED):
                    distributed.wait(
                        futures, timeout=_LOOK, return_when="FIRST_COMPLETED"
                    )
                    time.sleep(_LOOK / 10)
                if any(f.status not in ("pending", "finished") for f in futures):
                    self._end_others(futures)
                    break
            failures = self._failures(futures)
            if failures:
                self._raise(failures)
            return futures[0].result()
        except BaseException:
            self._interrupt("The fit was ended by its client.")
            self.client.cancel(futures)
            raise

    def _begun(self) -> list:
        first = self.addresses[0]
        place = self.client.submit(
            serve, self.token, first, workers=[first], pure=False, retries=0
        )
        try:
            host, port = place.result(timeout=STARTS * self.deadline)
        except (TimeoutError, distributed.TimeoutError):
            place.cancel()
            raise LostProcessError(
                f"Worker {first} has had no free thread for "
                f"{STARTS * self.deadline:g} s. Fit when its tasks are done."
            ) from None
        shared = self.client.scatter(
            [self.estimator, self.others], hash=False, workers=[first]
        )
        return [
            self.client.submit(
                fit_here,
                Task(
                    self.token,
                    host,
                    port,
                    rank,
                    self.addresses,
                    int(self.rows.starts[-1]),
                    self._stretches(address),
                    self.deadline,
                ),
                *shared,
                self._parts(self.rows, address),
                self._parts(self.clean, address),
                workers=[address],
                # A task that is moved raises; one that could not be would wait.
                allow_other_workers=True,
                pure=False,
                retries=0,
            )
            for rank, address in enumerate(self.addresses)
        ]

    def _stretches(self, address: str) -> list[tuple[int, int]]:
        starts = self.rows.starts
        return [
            (int(starts[number]), int(starts[number + 1]))
            for number, owner in enumerate(self.rows.owners)
            if owner == address
        ]

    def _parts(self, placed: PlacedRows | None, address: str) -> list | None:
        if placed is None:
            return None
        owned = zip(placed.futures, self.rows.owners, strict=True)
        return [future for future, owner in owned if owner == address]

    # Ends

    def _end_others(self, futures: list) -> None:
        """Wait until all tasks have noticed that one has failed.

        Tasks of lost workers are left out: Dask may need long to compute their rows
        again, or cannot without these workers.
        """
        ends = time.monotonic() + self.deadline
        while time.monotonic() < ends:
            alive = workers_of(self.client)
            each = zip(self.addresses, futures, strict=True)
            if not any(f.status == "pending" and a in alive for a, f in each):
                break
            with suppress(*_UNDECIDED):
                distributed.wait(futures, timeout=_LOOK)

    def _interrupt(self, message: str) -> None:
        with suppress(Exception):
            alive = workers_of(self.client)
            workers = [a for a in self.addresses if a in alive]
            self.client.run(interrupt, self.token, message, workers=workers)

    def _failures(self, futures: list) -> dict[str, BaseException | None]:
        failures: dict[str, BaseException | None] = {}
        for address, future in zip(self.addresses, futures, strict=True):
            if future.status != "finished":
                failures[address] = None
                if future.status == "error":
                    failures[address] = future.exception()
        return failures

    def _raise(self, failures: dict[str, BaseException | None]) -> None:
        lost = LostProcessError, distributed.KilledWorker, type(None)
        for error in failures.values():
            if not isinstance(error, lost):
                raise error  # type: ignore[misc]
        alive = workers_of(self.client)
        gone = [a for a in self.addresses if a not in alive]
        if gone:
            raise LostProcessError(
                f"Worker {', '.join(gone)} was lost while the model was fitted on "
                f"{len(self.addresses)} workers; the others are free again. Call fit "
                "again to fit on those that are left: with skae.callbacks.Checkpoint "
                "on a path that all workers reach it goes on from there."
            )
        messages = [str(e) for e in failures.values() if e is not None]
        raise LostProcessError(
            messages[0] if messages else "The tasks of the fit were cancelled."
        )
