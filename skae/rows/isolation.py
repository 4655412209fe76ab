"""Devices and threads: work that runs apart from the process's settings."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import ThreadpoolController

__all__ = ["isolated", "on_all_threads", "resolve_device"]


def resolve_device(device: str | torch.device) -> torch.device:
    """The device named, or the best one there is for ``"auto"``.

    Raises
    ------
    ValueError
        When the name is unknown to torch or the device is not available.
    """
    if isinstance(device, str) and device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        mps = torch.backends.mps.is_available()
        return torch.device("mps" if mps else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device={device!r} cannot be used here: {error}. Use 'auto', 'cpu', "
            "'cuda', 'cuda:1' or 'mps'."
        ) from error
    return found


class _Isolation:
    """How many fits run isolated now, and the settings they found."""

    def __init__(self):
        self.lock = threading.Lock()
        self.active = 0
        self.openmp_threads: int | None = None
        # torch counts threads for each Python thread apart.
        self.mine = threading.local()

    def enter(self):
        with self.lock:
            if self.active == 0:
                self.torch_threads = torch.get_num_threads()
                self.dtype = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)
                self.openmp_threads = _openmp_threads()
                self.blas = _blas().limit(limits=1)
                self.blas.__enter__()
            self.active += 1
            self.mine.depth = getattr(self.mine, "depth", 0) + 1
            torch.set_num_threads(1)

    def leave(self):
        with self.lock:
            self.active -= 1
            self.mine.depth -= 1
            if self.mine.depth == 0:
                torch.set_num_threads(self.torch_threads)
            if self.active == 0:
                self.blas.__exit__(None, None, None)
                torch.set_default_dtype(self.dtype)


_isolation = _Isolation()


@functools.cache
def _blas() -> ThreadpoolController:
    # Looking for the loaded libraries takes longer than a small fit.
    return ThreadpoolController()


def _openmp_threads() -> int:
    """The largest number that a loaded OpenMP library would use."""
    found = [
        library.get_num_threads()
        for library in _blas().lib_controllers
        if library.user_api == "openmp"
    ]
    return max(found, default=1)


@contextmanager
def isolated() -> Iterator[None]:
    """Run apart from the process's settings of torch and BLAS, which come back.

    On one thread, because small products are slower on several, and their sums depend
    on how many there are; with float32 as the default dtype and with gradients. Safe to
    enter from several Python threads at once.
    """
    _isolation.enter()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        _isolation.leave()


@contextmanager
def on_all_threads() -> Iterator[None]:
    """Inside `isolated`, give scikit-learn's OpenMP loops the process's threads back.

    For work whose result does not depend on them, such as finding neighbours.
    """
    with _blas().limit(limits=_isolation.openmp_threads, user_api="openmp"):
        yield
