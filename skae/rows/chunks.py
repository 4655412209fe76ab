"""Rows in chunks: scaled tensors of any array, and functions mapped over rows.

`Rows` turns any validated input (array, memory map, sparse matrix) into scaled tensors
on the device; `map_rows` fills an array with a function of rows.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs
from scipy import sparse
from torch import Tensor

from skae.rows.devices import (
    full_precision,
    memory_for,
    product_rows,
    resident_bytes,
)
from skae.rows.few_rows import FEW_ROWS, fewest_rows
from skae.rows.group import group_of
from skae.rows.isolation import isolated
from skae.rows.sharded import ShardedRows
from skae.rows.sources import RowSource
from skae.rows.threads import together

__all__ = ["Rows", "chunks", "map_rows"]

_BLOCK_BYTES = 16 * 2**20
_CACHE_BYTES = 2**20


def chunks(n_rows: int, n_features: int) -> Iterator[slice]:
    """Slices of at most 16 MiB of float64 each that cover the rows."""
    size = max(1, _BLOCK_BYTES // (8 * max(1, n_features)))
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def map_rows(
    X,
    to_model: Callable[[np.ndarray], Tensor],
    function: Callable[[Tensor], Tensor],
    out: np.ndarray,
    device: torch.device,
    n_jobs: int | None = None,
    n_rows: int | None = None,
    owner: Any = None,
    in_order: bool = False,
) -> np.ndarray:
    """Fill an array with a function of rows, chunk by chunk.

    Parameters
    ----------
    X : ndarray, CSR matrix or row source of shape (n_samples, n_columns)
    to_model : callable
        Maps a dense chunk of X to a contiguous tensor of as many rows.
    function : callable
        Maps a tensor (batch, n_columns) to a tensor (batch, width).
    out : ndarray of shape (n_samples, width)
    device : torch.device
        Where the function works.
    n_jobs : int, optional
        Chunks at a time, as in joblib; where left out, as many as the process may use.
        The result is the same.
    n_rows : int, optional
        Rows of every call of the function, by default `product_rows`.
    owner : object, optional
        Has the weights of the function, where that draws nothing: few rows then go
        through smaller products, see `fewest_rows`.
    in_order : bool, default=False
        Whether chunks are computed one after another where ``n_jobs`` is left out: for
        functions that draw random numbers, or that may not run on several threads.

    Returns
    -------
    out : ndarray
        The array that came.

    Raises
    ------
    MemoryError
        When a device has no memory for a single row. Where it has none for ``n_rows``,
        it gets fewer at a time.
    """
    n_rows = n_rows or product_rows(device)
    if X.shape[0] <= FEW_ROWS and owner is not None and device.type == "cpu":
        return _fill_few(X, to_model, function, out, n_rows, owner)
    fill = partial(_fill, X, to_model, function, out, device, n_rows)
    # Whole products, and no more of them than the processor's cache takes.
    step = n_rows * max(1, _CACHE_BYTES // (8 * X.shape[1] * n_rows))
    if X.shape[0] <= step:
        fill(slice(None))
        return out
    slices = [slice(at, at + step) for at in range(0, X.shape[0], step)]
    is_free = not in_order and (isinstance(X, np.ndarray) or sparse.issparse(X))
    if n_jobs is None and device.type == "cpu" and is_free and not _has_backend():
        together([partial(fill, rows) for rows in slices])
    else:
        Parallel(n_jobs, require="sharedmem")(delayed(fill)(rows) for rows in slices)
    return out


def _has_backend() -> bool:
    """Whether a context of joblib's says how many chunks there are at a time."""
    return effective_n_jobs(None) > 1


@isolated
@torch.no_grad()
def _fill(X, to_model, function, out, device, n_rows, rows):
    block = X[rows].toarray() if sparse.issparse(X) else X[rows]
    with full_precision(device):
        out[rows] = _mapped(to_model(block), function, device, n_rows)


def _mapped(x: Tensor, function, device: torch.device, n_rows: int) -> np.ndarray:
    """The function of rows on the CPU, so many at a time, or fewer."""
    try:
        with memory_for(device, "a single row: use a smaller model"):
            parts = [
                function(_padded(part, n_rows))[: len(part)]
                for part in x.to(device).split(n_rows)
            ]
            return torch.cat(parts).cpu().numpy()
    except MemoryError:
        if n_rows == 1:
            raise
    # Outside the block, where nothing holds on to the memory.
    return _mapped(x, function, device, n_rows // 2)


@isolated
@torch.no_grad()
def _fill_few(X, to_model, function, out, n_rows, owner):
    """Fill ``out`` on the CPU."""
    n_here = X.shape[0]
    if n_here:
        x = to_model(X.toarray() if sparse.issparse(X) else X[:])
        n_rows = fewest_rows(owner, function, x, n_rows)
        padded = x.new_zeros(n_rows, x.size(1))
        padded[:n_here] = x
        out[:] = function(padded)[:n_here].numpy()
    return out


def _padded(x: Tensor, n_rows: int) -> Tensor:
    missing = n_rows - x.size(0)
    return torch.nn.functional.pad(x, (0, 0, 0, missing)) if missing else x


class Rows:
    """Scaled rows of X as tensors: (X - center) / scale.

    Data that fit move to the device once: up to 128 MiB on the CPU, half of the free
    memory elsewhere. Larger ones stay where they are and are read as they are drawn.

    Parameters
    ----------
    X : ndarray, memmap, CSR matrix or row source of shape (n_samples, n_features)
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
        is_here = group_of(X).is_alone
        if is_here and X.shape[0] * X.shape[1] * itemsize <= resident_bytes(device):
            self._resident = self._on_device()

    def __len__(self) -> int:
        return self._X.shape[0]

    @property
    def n_features(self) -> int:
        """Width of the rows."""
        return self._X.shape[1]

    def at(self, numbers: np.ndarray, places: Tensor) -> Tensor:
        """Rows of these numbers, which are on the device as ``places``."""
        if self._resident is None:
            return self[numbers]
        if self.device.type != "cpu":
            return self._resident[places]
        # Two to six times as fast as indexing.
        return self._resident.index_select(0, places)

    def __getitem__(self, rows) -> Tensor:
        """Rows by slice or integer array, on the device."""
        if self._resident is not None:
            if isinstance(rows, slice):
                return self._resident[rows]
            return self.at(rows, torch.as_tensor(rows, device=self.device))
        block = self._X[rows]
        return self.scaled(block.toarray() if sparse.issparse(block) else block)

    def scaled(self, block: np.ndarray) -> Tensor:
        """Rows of X on the device."""
        block = (block - self._center) / self._scale
        return torch.as_tensor(block, dtype=self.dtype, device=self.device)

    def part(self, whole: ShardedRows) -> "Rows":
        """Those that this process has, of rows that are spread like these."""
        X = self._X
        X = X.local if isinstance(X, ShardedRows) else X[whole.own]
        return Rows(X, self._center, self._scale, self.device, self.dtype)

    @property
    def source(self) -> RowSource | None:
        """Where rows are read from by blocks, if they are."""
        is_read = self._resident is None and isinstance(self._X, RowSource)
        return self._X if is_read else None

    def _on_device(self) -> Tensor:
        """All rows; never twice, as some parts and the whole would be."""
        slices = list(chunks(*self._X.shape))
        if len(slices) == 1:
            return self[slices[0]]
        shape, device = self._X.shape, self.device
        resident = torch.empty(shape, dtype=self.dtype, device=device)
        for rows in slices:
            resident[rows] = self[rows]
        return resident
