"""Isolation: work that runs apart from the settings of torch.

Whatever fits a model or maps rows is decorated with `isolated`. Nothing here sets what
belongs to the whole process: dtypes and devices are passed to torch's functions.
"""

import ctypes
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import call
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from threadpoolctl import ThreadpoolController
from torch import _C

# The public ones are written in Python, where a signal can come in between.
from torch._C import _DisableAutocast, _InferenceMode

__all__ = ["isolated", "on_all_threads", "own_threads"]

P = ParamSpec("P")
R = TypeVar("R")


def isolated(function: Callable[P, R]) -> Callable[P, R]:
    """A function that runs apart from the settings of torch, which stay as they are.

    On one thread of torch: small products are slower on several, and their sums depend
    on how many there are; with gradients, and without autocast. All of these belong to
    the Python thread that runs the function: other threads keep theirs.

    Notes
    -----
    Signals such as Ctrl-C raise exceptions between any two steps of Python. What is put
    back here is put back in a single step, a call of C functions by C functions, which
    is tried twice and does nothing where it was done.
    """

    @functools.wraps(function)
    def apart(*args: P.args, **kwargs: P.kwargs) -> R:
        switches = _switches()
        # A thread takes over the process's number when it first uses torch.
        of_torch = torch.get_num_threads()
        found: list[Any] = []
        put_back = map(call, switches.put_back, found)
        try:
            found.extend(map(call, switches.read_and_set))
            if _own.openmp_threads is None:
                _own.openmp_threads = max(found[: switches.n_openmp], default=1)
                _own.torch_threads = of_torch
            with _InferenceMode(False), _DisableAutocast():
                return function(*args, **kwargs)
        finally:
            try:
                list(put_back)
            finally:
                list(put_back)

    return apart


@contextmanager
def on_all_threads() -> Iterator[None]:
    """Inside `isolated`, give scikit-learn's OpenMP loops this thread's number back.

    For work whose result does not depend on it, such as finding neighbours.
    scikit-learn limits BLAS during that search, for the whole process; a signal that
    keeps it from ending the limit is made up for here.
    """
    libraries = _libraries("blas").lib_controllers
    found = [library.num_threads for library in libraries]
    try:
        with _libraries("openmp").limit(limits=_own.openmp_threads):
            yield
    except BaseException:
        for library, number in zip(libraries, found, strict=True):
            library.set_num_threads(number)
        raise


def own_threads() -> int:
    """Threads that this Python thread's work may use, outside `isolated`."""
    return _own.torch_threads or torch.get_num_threads()


class _Own(threading.local):
    """Of each Python thread: how many threads it had outside `isolated`.

    Torch's and the other libraries' differ where one of them was set by itself.
    """

    openmp_threads: int | None = None
    torch_threads: int | None = None


_own = _Own()


class _Switches(NamedTuple):
    """Functions written in C that read, set and put back a thread's numbers.

    ``read_and_set`` gives first what goes into ``put_back``, in its order.
    """

    read_and_set: tuple[Callable, ...]
    put_back: tuple[Callable, ...]
    n_openmp: int


@functools.cache
def _libraries(user_api: str) -> ThreadpoolController:
    # Looking for the loaded libraries takes longer than a small fit.
    return ThreadpoolController().select(user_api=user_api)


@functools.cache
def _switches() -> _Switches:
    libraries = [library.dynlib for library in _libraries("openmp").lib_controllers]
    get = [library.omp_get_max_threads for library in libraries]
    put = [library.omp_set_num_threads for library in libraries]
    one = [functools.partial(function, 1) for function in put]
    if "backend: OpenMP" not in torch.__config__.parallel_info():
        get.append(torch.get_num_threads)
        put.append(torch.set_num_threads)
        one.append(functools.partial(torch.set_num_threads, 1))
    n_openmp = len(get)
    # The name of the C function; those in small letters take pointers.
    mkl = getattr(ctypes.CDLL(_C.__file__), "MKL_Set_Num_Threads_Local", None)
    if mkl is not None:
        get.append(functools.partial(mkl, 1))
        put.append(mkl)
    for name in ("openmp_threads", "torch_threads"):
        get.append(functools.partial(getattr, _own, name))
        put.append(functools.partial(setattr, _own, name))
    return _Switches((*get, *one), tuple(put), n_openmp)
