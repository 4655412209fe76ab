"""The memory of a worker during a fit, for `skae.distributed.tasks`.

Dask starts its workers with MALLOC_TRIM_THRESHOLD_=65536, with which glibc gives the
memory of every array back to the system. A training makes some hundred small arrays a
step; clearing pages anew for each took a quarter of its time.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["memory_kept"]

_TRIM, _MMAP = "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"
# glibc's numbers of these settings, its default of the second, and theirs in a fit.
_NUMBERS = {_TRIM: -1, _MMAP: -3}
_USUAL_MMAP = 128 * 2**10
_DURING = {_TRIM: 64 * 2**20, _MMAP: 4 * 2**20}


@contextmanager
def memory_kept() -> Iterator[None]:
    """Arrays of up to 4 MiB leave their memory to the next ones, for a with block.

    Only where the environment says otherwise, as on workers that Dask starts; what it
    says holds again afterwards, and memory that is free then goes back.
    """
    if not (sys.platform == "linux" and os.environ.get(_TRIM, "").isdigit()):
        yield
        return
    mmap = os.environ.get(_MMAP, "")
    usual = {
        _TRIM: int(os.environ[_TRIM]),
        _MMAP: int(mmap) if mmap.isdigit() else _USUAL_MMAP,
    }
    glibc = ctypes.CDLL(None)
    # Other libraries for C have none.
    if not hasattr(glibc, "mallopt"):
        yield
        return
    _set(glibc, _DURING)
    try:
        yield
    finally:
        _set(glibc, usual)
        glibc.malloc_trim(0)


def _set(glibc: ctypes.CDLL, values: dict[str, int]) -> None:
    for name, value in values.items():
        glibc.mallopt(_NUMBERS[name], value)
