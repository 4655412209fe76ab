"""Functions that run beside one another and exchange what they compute.

`in_step` calls functions on a thread each, of which as many compute at a time as the
process may use; in them, `exchange` waits for all and gives what each one has. Batch
norms of shards sum their statistics like this. Nothing here depends on which thread
runs what, and no function waits for one that failed or has returned.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from skae.rows.threads import all_at_once, n_threads

__all__ = ["exchange", "in_step", "n_exchanged"]


def in_step(functions: Sequence[Callable[[], Any]]) -> list:
    """Call functions that `exchange` with one another; their results in order.

    Raises
    ------
    BaseException
        What the first one raised; the others then end at their next exchange.
    """
    meeting = _Meeting(len(functions), n_threads())
    calls = [partial(meeting.run, *each) for each in enumerate(functions)]
    try:
        return all_at_once(calls, meeting.end)
    except _EndedError as error:
        raise meeting.error or error from None


def exchange(value: Any, tag: Any = None) -> list:
    """What each function of `in_step` has, in their order; the value alone outside.

    Raises
    ------
    RuntimeError
        When the functions exchange different things, by their tags.
    """
    own = _here.own
    return [value] if own is None else own.meeting.exchange(own, value, tag)


def n_exchanged() -> int | None:
    """How often this function exchanged, the same in each; None outside `in_step`."""
    return None if _here.own is None else _here.own.n_exchanged


class _EndedError(Exception):
    """Another function failed, or waits for nothing any longer."""


class _Own:
    """A function's place among those that meet."""

    def __init__(self, meeting: "_Meeting", number: int):
        self.meeting = meeting
        self.number = number
        self.n_exchanged = 0


class _Here(threading.local):
    own: _Own | None = None


_here = _Here()


class _Round(NamedTuple):
    """One exchange: values by number, and a closed gate for each that waits."""

    values: dict[int, tuple[Any, Any]]
    gates: dict[int, Any]


class _Meeting:
    """So many functions, of which some run at a time."""

    def __init__(self, n_functions: int, n_running: int):
        self.error: BaseException | None = None
        self._n_functions = n_functions
        self._turns = None
        if n_running < n_functions:
            self._turns = threading.Semaphore(n_running)
        self._lock = threading.Lock()
        self._round = _Round({}, {})
        self._is_over = False

    def run(self, number: int, function: Callable[[], Any]) -> Any:
        before = _here.own
        try:
            _here.own = _Own(self, number)
            self._take_turn()
            return function()
        except BaseException as error:
            if not isinstance(error, _EndedError) and self.error is None:
                self.error = error
            raise
        finally:
            _here.own = before
            self._pass_turn()
            # Whoever waits for this one would wait for ever.
            self.end()

    def exchange(self, own: _Own, value: Any, tag: Any) -> list:
        gate = threading.Lock()
        gate.acquire()
        with self._lock:
            if self._is_over:
                raise _EndedError
            current = self._round
            current.values[own.number] = tag, value
            is_complete = len(current.values) == self._n_functions
            if is_complete:
                self._round = _Round({}, {})
            else:
                current.gates[own.number] = gate
        if is_complete:
            for other in current.gates.values():
                other.release()
        else:
            self._pass_turn()
            try:
                gate.acquire()
            finally:
                self._take_turn()
        if len(current.values) < self._n_functions:
            raise _EndedError
        own.n_exchanged += 1
        if any(other != tag for other, _ in current.values.values()):
            raise RuntimeError("Functions in step exchanged different things.")
        return [current.values[number][1] for number in range(self._n_functions)]

    def end(self) -> None:
        """Let no function wait any longer for the others."""
        with self._lock:
            self._is_over = True
            for gate in self._round.gates.values():
                with suppress(RuntimeError):
                    gate.release()

    def _take_turn(self) -> None:
        if self._turns is not None:
            self._turns.acquire()

    def _pass_turn(self) -> None:
        if self._turns is not None:
            self._turns.release()
