"""Rows on their way to the model: devices, threads, scaling and seeded batches.

`Rows` turns any validated input (array, memory map, sparse matrix) into scaled tensors
on the device; `Batches` slices them by permutations of a seeded generator; `map_rows`
fills an array with a function of rows. All of it runs `isolated` from the process's
settings, and nothing here knows what is trained.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from joblib import Parallel, delayed
from scipy import sparse
from threadpoolctl import ThreadpoolController
from torch import Generator, Tensor

__all__ = [
    "Batches",
    "Rows",
    "chunks",
    "isolated",
    "map_rows",
    "on_all_threads",
    "product_rows",
    "resolve_device",
]

_RESIDENT_BYTES = 128 * 2**20
_BLOCK_BYTES = 16 * 2**20
_CACHE_BYTES = 2**20
# Every product has this many rows, padded if need be, so that a row's result does not
# depend on which rows it came with.
_PRODUCT_ROWS = {"cpu": 256, "cuda": 8192, "mps": 8192}


def resolve_device(device: str | torch.device) -> torch.device:
    """The device named, or the best one there is for ``"auto"``.

    Raises
    ------
    ValueError
        When the name is unknown to torch or the device is not there.
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
            f"device={device!r} can not be used here: {error}. Use 'auto', 'cpu', "
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


def chunks(n_rows: int, n_features: int) -> Iterator[slice]:
    """Slices of at most 16 MiB of float64 each that cover the rows."""
    size = max(1, _BLOCK_BYTES // (8 * max(1, n_features)))
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def product_rows(device: torch.device) -> int:
    """Rows of every product of `map_rows` on a device."""
    return _PRODUCT_ROWS.get(device.type, 256)


def map_rows(
    X,
    to_model: Callable[[np.ndarray], Tensor],
    function: Callable[[Tensor], Tensor],
    out: np.ndarray,
    device: torch.device,
    n_jobs: int | None = None,
) -> np.ndarray:
    """Fill an array with a function of rows, chunk by chunk.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_columns)
    to_model : callable
        Maps a dense chunk of X to a contiguous tensor of as many rows.
    function : callable
        Maps a tensor (batch, n_columns) to a tensor (batch, width).
    out : ndarray of shape (n_samples, width)
    device : torch.device
        Where the function works.
    n_jobs : int, optional
        Chunks at a time, as in joblib; the result is the same.

    Returns
    -------
    out : ndarray
        The array that came.
    """
    n_rows = product_rows(device)

    def fill(rows):
        block = X[rows].toarray() if sparse.issparse(X) else X[rows]
        with isolated(), torch.no_grad():
            x = to_model(block).to(device)
            parts = [function(_padded(p, n_rows))[: len(p)] for p in x.split(n_rows)]
            out[rows] = torch.cat(parts).cpu().numpy()

    # Whole products, and no more of them than the processor's cache takes.
    step = n_rows * max(1, _CACHE_BYTES // (8 * X.shape[1] * n_rows))
    Parallel(n_jobs, require="sharedmem")(
        delayed(fill)(slice(start, start + step))
        for start in range(0, X.shape[0], step)
    )
    return out


def _padded(x: Tensor, n_rows: int) -> Tensor:
    missing = n_rows - len(x)
    return torch.nn.functional.pad(x, (0, 0, 0, missing)) if missing else x


class Rows:
    """Scaled rows of X as tensors: (X - center) / scale.

    Data of up to 128 MiB move to the device once; larger ones stay where they are and
    are read as they are drawn.

    Parameters
    ----------
    X : ndarray, memmap or CSR matrix of shape (n_samples, n_features)
    center : ndarray of shape (n_features,)
    scale : float
    device : torch.device
    dtype : torch.dtype, default=torch.float32
    """

    def __init__(self, X, center, scale, device, dtype=torch.float32):
        self._X = X
        self._center = center
        self._scale = scale
        self.device = device
        self.dtype = dtype
        self._resident: Tensor | None = None
        itemsize = torch.finfo(dtype).bits // 8
        if X.shape[0] * X.shape[1] * itemsize <= _RESIDENT_BYTES:
            parts = [self[rows] for rows in chunks(*X.shape)]
            self._resident = parts[0] if len(parts) == 1 else torch.cat(parts)

    def __len__(self) -> int:
        return self._X.shape[0]

    @property
    def n_features(self) -> int:
        """Width of the rows."""
        return self._X.shape[1]

    def __getitem__(self, rows) -> Tensor:
        """Rows by slice or integer array, on the device."""
        if self._resident is not None:
            if isinstance(rows, slice):
                return self._resident[rows]
            return self._resident[torch.as_tensor(rows, device=self.device)]
        block = self._X[rows]
        if sparse.issparse(block):
            block = block.toarray()
        block = (block - self._center) / self._scale
        return torch.as_tensor(block, dtype=self.dtype, device=self.device)


class Batches:
    """Batches of full size, cut from permutations of the training rows.

    Iterating draws the batches of one round. Rows that do not fill a batch at the end
    of a permutation wait for the next one.

    Parameters
    ----------
    rows : Rows
    index : ndarray of int
        The training rows.
    batch_size : int
    n_batches : int
        Batches a round.
    generator : torch.Generator
        On the CPU, so that every device sees the same order.
    weight : Tensor of shape (n_samples,) or (members, n_samples), optional
        Weights of all rows of ``rows``.
    inputs : Rows, optional
        What the encoder sees of each row, where that is not for the model to corrupt.
    context : Rows, optional
        What else is known of each row.
    """

    def __init__(
        self,
        rows,
        index,
        batch_size,
        n_batches,
        generator,
        weight=None,
        inputs=None,
        context=None,
    ):
        self.rows = rows
        self.inputs = inputs
        self.context = context
        self.index = index
        self.batch_size = min(batch_size, len(index))
        self.n_batches = n_batches
        self.generator: Generator = generator
        self.weight = weight
        self._order = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[tuple[Tensor | None, ...]]:
        size, left = self.batch_size, self.n_batches
        row_bytes = 4 * self.rows.n_features
        block = max(1, _BLOCK_BYTES // (row_bytes * size))
        while left:
            drawn = self._draw(min(left, block))
            x = self.rows[drawn]
            known = [
                None if rows is None else rows[drawn]
                for rows in (self.inputs, self.context)
            ]
            while known and known[-1] is None:
                known.pop()
            w = None
            if self.weight is not None:
                w = self.weight[..., torch.as_tensor(drawn, device=self.rows.device)]
            for start in range(0, len(drawn), size):
                part = slice(start, start + size)
                yield (
                    x[part],
                    None if w is None else w[..., part],
                    *(None if rows is None else rows[part] for rows in known),
                )
            left -= len(drawn) // size

    def _draw(self, n_batches: int) -> np.ndarray:
        """Row numbers of up to n_batches batches, from one permutation."""
        if len(self._order) < self.batch_size:
            order = torch.randperm(len(self.index), generator=self.generator)
            self._order = self.index[order.numpy()]
        taken = min(n_batches, len(self._order) // self.batch_size) * self.batch_size
        drawn, self._order = self._order[:taken], self._order[taken:]
        return drawn
