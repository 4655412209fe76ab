"""Functions on as many threads as the process may use.

`together` runs a list of functions, each isolated as the caller is (see
`skae.rows.isolation`); the caller takes part. Threads stay for the next call. What is
computed must not depend on which thread runs what: nothing here promises an order.
"""

import os
import threading
from collections.abc import Callable, Iterable
from itertools import count
from queue import SimpleQueue
from typing import Any

import torch

from skae.rows.isolation import isolated, own_threads

__all__ = ["n_threads", "together"]


def n_threads() -> int:
    """Threads that `together` uses: as many as the caller has, one in its functions.

    Never more than the processors that the process may run on.
    """
    if _here.is_helping:
        return 1
    return max(1, min(own_threads(), _n_processors()))


def together(functions: Iterable[Callable[[], Any]]) -> list:
    """Call functions, several at a time, and return their results in order.

    Returns when none of them runs any longer, also by an exception.

    Parameters
    ----------
    functions : iterable of callables
        Without arguments, and free to run in any order and beside one another.

    Raises
    ------
    BaseException
        The first one, in the order of the functions, of those that were raised.
        Functions that have not begun by then are not called.
    """
    functions = list(functions)
    n_helpers = min(n_threads(), len(functions)) - 1
    if n_helpers < 1:
        return [function() for function in functions]
    job = _Job(functions)
    try:
        for _ in range(n_helpers):
            _helper().jobs.put(job)
        job.work()
    finally:
        try:
            job.end()
        finally:
            _here.is_helping = False
    return job.results()


class _Here(threading.local):
    """Of each Python thread: whether it runs functions of `together`."""

    is_helping = False


_here = _Here()


def _n_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Job:
    """Functions that threads take one by one, and what became of them."""

    def __init__(self, functions: list[Callable[[], Any]]):
        self._functions = functions
        self._numbers = count()
        self._outcomes: list[Any] = [None] * len(functions)
        self._errors: dict[int, BaseException] = {}
        self._lock = threading.Lock()
        self._is_over = False
        self._n_inside = 0
        self._left: SimpleQueue = SimpleQueue()
        self._takes_gradients = torch.is_grad_enabled()

    def help(self) -> None:
        """Take part from another thread, unless the caller is done."""
        with self._lock:
            if self._is_over:
                return
            self._n_inside += 1
        try:
            with torch.set_grad_enabled(self._takes_gradients):
                self.work()
        finally:
            with self._lock:
                self._n_inside -= 1
            self._left.put(None)

    def work(self) -> None:
        """Call functions until none is left."""
        before, _here.is_helping = _here.is_helping, True
        try:
            while not self._errors:
                number = next(self._numbers)
                if number >= len(self._functions):
                    return
                try:
                    self._outcomes[number] = self._functions[number]()
                except BaseException as error:
                    self._errors[number] = error
        finally:
            _here.is_helping = before

    def end(self) -> None:
        """Let no thread begin, and wait for those that have.

        An interruption is raised when they are done.
        """
        interruption: BaseException | None = None
        while True:
            try:
                with self._lock:
                    self._is_over = True
                    n_inside = self._n_inside
                if not n_inside:
                    break
                self._left.get()
            except KeyboardInterrupt as error:
                self._errors.setdefault(len(self._functions), error)
                interruption = error
        if interruption is not None:
            raise interruption

    def results(self) -> list:
        """What the functions returned, or the first error."""
        errors, self._errors = self._errors, {}
        if errors:
            raise errors[min(errors)]
        return self._outcomes


class _Helper:
    """A thread that waits for jobs."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[_Job] = SimpleQueue()
        thread = threading.Thread(target=self._run, name="skae", daemon=True)
        thread.start()

    def _run(self) -> None:
        help_out = isolated(_Job.help)
        while True:
            job = self.jobs.get()
            help_out(job)
            # Not until the next one comes: it holds on to the functions.
            del job
            _idle.append(self)


# Threads without a job.
_idle: list[_Helper] = []


def _helper() -> _Helper:
    try:
        return _idle.pop()
    except IndexError:
        return _Helper()


if hasattr(os, "register_at_fork"):
    # No thread but the forking one is in the child.
    os.register_at_fork(after_in_child=_idle.clear)
