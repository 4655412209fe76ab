"""`ProcessGroup`: several processes as one group, over torch's gloo.

Every process knows within a deadline when another one has failed or is gone: each sends
heartbeats to a store that the first process serves, and writes there why it ends. The
group is not torch's default process group, so that several trainings and the user's own
use of torch.distributed stay apart. Nothing here knows what is computed together.
"""

import pickle
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.distributed import PrefixStore, ProcessGroupGloo, TCPStore

from skae.rows.group import Group

__all__ = ["STARTS", "LostProcessError", "ProcessGroup", "served_store"]

# Deadlines in which all have to arrive: they may have to import torch first.
STARTS = 4

T = TypeVar("T")

# Heartbeats within a deadline, and seconds between two at most.
_HEARTBEATS = 10
_LONGEST_PAUSE = 1.0
# Seconds between two looks at the store while others are waited for.
_SHORTEST_LOOK, _LONGEST_LOOK = 0.001, 0.1
# At most so many heartbeats pass until another process gives the reason of a broken
# connection.
_GRACE = 3
_TAG = 0
# Seconds of an attempt to reach the store. torch asks for the name of an address, which
# takes 5 s for each name server that does not answer.
_ATTEMPT, _SHORTEST_ATTEMPT = 10.0, 0.1
# torch's only way to say by which address others reach this process. Where it is gone,
# that is the one of the machine's name, or of GLOO_SOCKET_IFNAME.
_OPTIONS = "_Options"


class LostProcessError(RuntimeError):
    """Another process of a fit failed, or is gone."""


def served_store(host: str) -> TCPStore:
    """The store of a group, served by this process; its port is ``.port``."""
    return TCPStore(host, 0, is_master=True, wait_for_workers=False)


class ProcessGroup(Group):
    """A group of several processes.

    A context: leaving it ends the group for this process. If that is by an error, the
    others raise too, with its message.

    Parameters
    ----------
    host, port : str, int
        Of the store that the first process serves, see `served_store`.
    rank, size : int
    name : str
        By which the others name this process in messages.
    own_host : str, optional
        Address of this process, for the connections to the others.
    deadline : float, default=30.0
        Seconds without a heartbeat after which a process counts as lost.
    start : float, optional
        Seconds in which all have to arrive; the deadline where left out.
    """

    def __init__(
        self,
        host: str,
        port: int,
        rank: int,
        size: int,
        *,
        name: str,
        own_host: str | None = None,
        deadline: float = 30.0,
        start: float | None = None,
    ):
        self.rank, self.size = rank, size
        self.deadline = deadline
        self._start = max(deadline, start or 0)
        self._n_barriers = 0
        self._names = [f"process {each}" for each in range(size)]
        self._names[rank] = name
        self._place = host, port, own_host
        self._pause = min(_LONGEST_PAUSE, deadline / _HEARTBEATS)
        self._begins, self._ending = threading.Event(), threading.Event()
        self._interruption: str | None = None
        self._store: Any = None
        self._processes: ProcessGroupGloo | None = None

    # Beginning and end

    def __enter__(self) -> "ProcessGroup":
        host, port, own_host = self._place
        try:
            self._heartbeats: dict[int, tuple[int, float]] = {}
            self._heart = threading.Thread(
                target=self._send_heartbeats, args=(host, port), daemon=True
            )
            self._heart.start()
            self._store = self._connected(host, port)
            self._store.set(f"name/{self.rank}", self._names[self.rank])
            # Processes that have arrived send heartbeats from then on.
            self._begins.wait(self._start)
            self._barrier(arriving=True)
            for each in range(self.size):
                self._names[each] = self._store.get(f"name/{each}").decode()
            self._processes = self._connections(own_host)
            self._barrier()
        except BaseException as error:
            self._leave(error)
            raise
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self._leave(error)

    def interrupt(self, message: str) -> None:
        """Have this process, and with it all others, end with an error soon."""
        self._interruption = message

    def _leave(self, error: BaseException | None) -> None:
        if error is not None:
            self._report(error)
        else:
            with suppress(RuntimeError):
                # The first serves the store until all are done.
                self._barrier(waits=self.rank == 0)
        self._ending.set()
        # Closes the connections, at which the others notice.
        self._processes = None

    def _connected(self, host: str, port: int) -> TCPStore:
        # A store of its own for each thread: calls that wait would block others.
        ends = time.monotonic() + self._start
        while True:
            left = max(_SHORTEST_ATTEMPT, ends - time.monotonic())
            attempt = timedelta(seconds=min(_ATTEMPT, left))
            try:
                store = TCPStore(host, port, is_master=False, timeout=attempt)
                store.set_timeout(timedelta(seconds=self._start))
                return store
            except RuntimeError as error:
                # Connections that are made at once may get lost.
                if time.monotonic() >= ends:
                    raise LostProcessError(
                        f"{self._names[self.rank]} could not reach the first process "
                        f"of the fit at {host}:{port} within {self._start:g} s. A "
                        f"worker that is gone, or a firewall? {_first_line(error)}"
                    ) from error

    def _connections(self, own_host: str | None) -> ProcessGroupGloo:
        """Connections to all others, on which a wait ends after the deadline.

        They are made within the longer time of the start: processes that have just
        imported torch on a busy machine answer late.
        """
        store, own = PrefixStore("gloo", self._store), (self.rank, self.size)
        # Older torch has one limit for both.
        is_set_later = hasattr(ProcessGroupGloo, "set_timeout")
        limit = timedelta(seconds=self._start if is_set_later else self.deadline)
        make_options = getattr(ProcessGroupGloo, _OPTIONS, None)
        if own_host is None or make_options is None:
            processes = ProcessGroupGloo(store, *own, timeout=limit)
        else:
            options = make_options()
            device = ProcessGroupGloo.create_device(hostname=own_host)
            for name, value in (("_timeout", limit), ("_devices", [device])):
                setattr(options, name, value)
            processes = ProcessGroupGloo(store, *own, options)
        if is_set_later:
            processes.set_timeout(timedelta(seconds=self.deadline))
        return processes

    # Heartbeats and failures

    def _send_heartbeats(self, host: str, port: int) -> None:
        with suppress(RuntimeError):
            store, number = self._connected(host, port), 0
            store.set(f"heartbeat/{self.rank}", str(number))
            self._begins.set()
            while not self._ending.wait(self._pause):
                number += 1
                store.set(f"heartbeat/{self.rank}", str(number))

    def _report(self, error: BaseException) -> None:
        """Say in the store why this process ends."""
        if self._store is None:
            return
        with suppress(RuntimeError):
            message = f"{error}"
            if not isinstance(error, LostProcessError):
                name = type(error).__name__
                message = f"{self._names[self.rank]} failed: {name}: {message}"
            failure = pickle.dumps((self.rank, message))
            # The first failure is the reason of all others.
            self._store.compare_set("failure", "", failure.hex())

    def _failure(self) -> tuple[int, str] | None:
        if not self._store.check(["failure"]):
            return None
        return pickle.loads(bytes.fromhex(self._store.get("failure").decode()))

    def _check_failure(self) -> None:
        failure = self._failure()
        if failure is not None and failure[0] != self.rank:
            raise LostProcessError(failure[1])

    def _silent(self, seconds: float) -> list[int]:
        """Processes without a heartbeat for so long."""
        now, silent = time.monotonic(), []
        for rank in range(self.size):
            key = f"heartbeat/{rank}"
            number = 0
            if self._store.check([key]):
                number = int(self._store.get(key))
            if rank not in self._heartbeats or self._heartbeats[rank][0] != number:
                self._heartbeats[rank] = number, now
            elif rank != self.rank and now - self._heartbeats[rank][1] > seconds:
                silent.append(rank)
        return silent

    def _barrier(self, *, arriving: bool = False, waits: bool = True) -> None:
        """Wait for all, as long as they send heartbeats."""
        self._n_barriers += 1
        key, begun = f"barrier/{self._n_barriers}", time.monotonic()
        look, next_check = _SHORTEST_LOOK, begun + self._pause
        try:
            self._store.set(f"{key}/{self.rank}", "")
            n_here = self._store.add(key, 1)
            while waits and n_here < self.size:
                time.sleep(look)
                look = min(2 * look, _LONGEST_LOOK)
                n_here = self._store.add(key, 0)
                now = time.monotonic()
                if self._interruption is not None:
                    raise LostProcessError(self._interruption)
                if n_here < self.size and now > next_check:
                    next_check = now + self._pause
                    self._check_failure()
                    self._check_heartbeats(key, now - begun, arriving)
        except LostProcessError:
            raise
        except RuntimeError as error:
            raise self._lost(error) from error

    def _check_heartbeats(self, key: str, waited: float, arriving: bool) -> None:
        if arriving:
            if waited < self._start:
                return
            silent = [
                rank
                for rank in range(self.size)
                if not self._store.check([f"{key}/{rank}"])
            ]
            what = "did not start within"
        else:
            silent, waited = self._silent(self.deadline), self.deadline
            what = "sent no heartbeat for"
        if silent:
            names = ", ".join(self._names[rank] for rank in silent)
            raise LostProcessError(
                f"{names} of the fit {what} {waited:.0f} s. Are there free threads and "
                "memory where it runs? Call fit again without it."
            )

    def _lost(self, error: BaseException) -> LostProcessError:
        """What to raise where torch says that a connection broke."""
        try:
            self._silent(0)
            ends = time.monotonic() + _GRACE * self._pause
            while True:
                self._check_failure()
                if time.monotonic() >= ends:
                    break
                time.sleep(min(_LONGEST_LOOK, self._pause))
            silent = self._silent(_GRACE * self._pause / 2)
        except LostProcessError as lost:
            return lost
        except RuntimeError:
            silent = [0]
        names = ", ".join(self._names[rank] for rank in silent) or "another process"
        return LostProcessError(
            f"The connection to {names} broke while the model was fitted: "
            f"{_first_line(error)}"
        )

    # What the processes do together

    def _joint(self, begin: Callable[[ProcessGroupGloo], Any]) -> None:
        if self._processes is None:
            raise LostProcessError("The group of processes of this fit has ended.")
        if self._interruption is not None:
            raise LostProcessError(self._interruption)
        try:
            begin(self._processes).wait()
        except RuntimeError as error:
            raise self._lost(error) from error

    def sum(self, tensor: Tensor) -> Tensor:
        on_host = tensor.detach().cpu()
        self._joint(lambda processes: processes.allreduce([on_host]))
        if on_host.data_ptr() != tensor.data_ptr():
            tensor.copy_(on_host)
        return tensor

    def broadcast(self, value: T) -> T:
        self._barrier()
        return self._spread(value)

    def _spread(self, value: T) -> T:
        sent = _packed(value) if self.rank == 0 else None
        length = _number(0 if sent is None else len(sent))
        self._joint(lambda processes: processes.broadcast(length, 0))
        if sent is None:
            sent = torch.empty(int(length), dtype=torch.uint8, device="cpu")
        self._joint(lambda processes: processes.broadcast(sent, 0))
        return value if self.rank == 0 else _unpacked(sent)

    def reduce(self, value: T, merge: Callable[[T, T], T]) -> T:
        self._barrier()
        step = 1
        while step < self.size:
            if self.rank % (2 * step) == step:
                self._send(value, self.rank - step)
                break
            if self.rank % (2 * step) == 0 and self.rank + step < self.size:
                value = merge(value, self._received(self.rank + step))
            step *= 2
        return self._spread(value)

    def gather(self, value: T) -> list[T]:
        return self.reduce([value], list.__add__)

    def any(self, flag: bool) -> bool:
        return bool(self.sum(_number(flag)).item() > 0)

    def together(self, work: Callable[[], T]) -> T:
        try:
            result, error = work(), None
        except Exception as raised:
            result, error = None, raised
        for rank, failure in enumerate(self.gather(_portable(error))):
            if failure is not None:
                with suppress(LostProcessError):
                    # Nobody leaves before all have read it.
                    self._barrier()
                # The same in all, with its own traceback where it comes from.
                raise error if error is not None and rank == self.rank else failure
        return result  # type: ignore[return-value]

    def _send(self, value: Any, rank: int) -> None:
        sent = _packed(value)
        for each in (_number(len(sent)), sent):
            self._joint(lambda processes, each=each: processes.send([each], rank, _TAG))

    def _received(self, rank: int) -> Any:
        length = _number(0)
        self._joint(lambda processes: processes.recv([length], rank, _TAG))
        sent = torch.empty(int(length), dtype=torch.uint8, device="cpu")
        self._joint(lambda processes: processes.recv([sent], rank, _TAG))
        return _unpacked(sent)


def _number(value: int) -> Tensor:
    return torch.tensor([value], dtype=torch.int64, device="cpu")


def _packed(value: Any) -> Tensor:
    # A copy that may be written to, as torch wants it.
    return torch.from_numpy(np.frombuffer(bytearray(pickle.dumps(value)), np.uint8))


def _unpacked(sent: Tensor) -> Any:
    return pickle.loads(sent.numpy().tobytes())


def _portable(error: Exception | None) -> Exception | None:
    """The error, or its message where it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return LostProcessError(f"{type(error).__name__}: {error}")
    return error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
