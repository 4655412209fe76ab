"""Rows that stay where they are: one protocol for files, chunked arrays and iterators.

A `RowSource` looks like a two-dimensional array to whatever reads rows, and is read by
blocks, never row by row. The public methods ask `row_source` for one; what it learns of
the rows in one pass stands in `skae.rows.summary`. Readers of single formats live in
`skae.rows.readers`; nothing here knows models.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from skae.rows.summary import Summary

__all__ = ["ChangedSourceError", "RowSource", "Selected", "source_dtype"]

# Bytes of a block at most, in the dtype in which it comes.
_BLOCK_BYTES = 32 * 2**20
_KINDS = "buif"


class ChangedSourceError(ValueError):
    """Rows that are not what they were when the source was first read."""


def source_dtype(dtype: Any, name: str = "X") -> np.dtype:
    """What entries of this dtype are read as: float32 or float64.

    Raises
    ------
    ValueError
        For entries that are no real numbers.
    """
    dtype = np.dtype(dtype)
    if dtype.kind not in _KINDS:
        raise ValueError(
            f"{name} must have real numbers as entries; got dtype {dtype}. Convert it "
            "to float32 or float64."
        )
    # Those that float32 holds exactly.
    is_small = np.can_cast(dtype, np.float32)
    return np.dtype(np.float32 if is_small else np.float64)


class RowSource:
    """Rows that are read by blocks.

    Parameters
    ----------
    shape : (n_samples, n_features)
    dtype : dtype
        Of the stored entries.
    block_rows : int, optional
        Rows that the storage keeps together, such as those of a chunk.
    feature_names : sequence of str, optional
    name : str, default="X"
        What the rows are called in messages.

    Attributes
    ----------
    shape : (n_samples, n_features)
    dtype : dtype
        float32 or float64, what blocks come as.
    block_rows : int
        Rows of a block, at most 32 MiB of them.
    feature_names : ndarray of str or None
    """

    ndim = 2
    # Whether blocks can be read in any order.
    is_random = True

    def __init__(
        self,
        shape: Sequence[int],
        dtype: Any,
        block_rows: int | None = None,
        feature_names: Iterable[str] | None = None,
        name: str = "X",
    ):
        n_rows, n_features = map(int, shape)
        self.shape = n_rows, n_features
        self.name = name
        self.dtype = source_dtype(dtype, name)
        most = max(1, _BLOCK_BYTES // (self.dtype.itemsize * max(1, n_features)))
        stored = block_rows or most
        # Whole blocks of the storage, or parts of a large one.
        self.block_rows = most // stored * stored if stored <= most else most
        self.feature_names = None
        if feature_names is not None:
            self.feature_names = np.asarray([*feature_names], dtype=object)
        self._lock = threading.RLock()
        self._cached: tuple[slice, np.ndarray] | None = None

    # What a reader gives

    def _read(self, rows: slice) -> Any:
        """Rows from ``rows.start`` to ``rows.stop``, as anything array-like."""
        raise NotImplementedError

    def _check_unchanged(self) -> None:
        """Raise `ChangedSourceError` where the storage is seen to have changed."""

    # What others ask

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.shape[0] * self.shape[1]

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.shape[0] // self.block_rows)

    def place(self, number: int) -> slice:
        """Where a block lies among the rows."""
        start = number * self.block_rows
        return slice(start, min(start + self.block_rows, self.shape[0]))

    def blocks(
        self, order: Iterable[int] | None = None
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Places and rows of all blocks in their order, or of those of these numbers.

        Blocks that cannot be read in any order come in their own.
        """
        for number in range(self.n_blocks) if order is None else order:
            rows = self.place(number)
            yield rows, self._block(rows)
        self._check_unchanged()

    def __getitem__(self, rows) -> np.ndarray:
        """Rows by slice, row numbers or mask; each block concerned is read once."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.shape[0])
            if step == 1:
                return self._between(start, max(start, stop))
            rows = np.arange(start, stop, step)
        rows = np.asarray(rows)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        return self._gathered(rows)

    @cached_property
    def summary(self) -> Summary:
        """What one pass over the rows tells of them."""
        return self.summarized()

    def summarized(self, *, covariance: bool = False) -> Summary:
        """The summary, from a pass of its own where it lacks the covariance.

        Raises
        ------
        ValueError
            For infinite entries.
        """
        known = vars(self).get("summary")
        if known is None or (covariance and known.scatter is None):
            known = Summary(self.shape[1], covariance=covariance, name=self.name)
            for rows, block in self.blocks():
                known.add(block, first=rows.start)
            vars(self)["summary"] = known
        return known

    # Reading

    def _block(self, rows: slice) -> np.ndarray:
        with self._lock:
            block = np.asarray(self._read(rows))
        expected = rows.stop - rows.start, self.shape[1]
        if block.shape != expected:
            raise ChangedSourceError(
                f"{self.name} changed while it was read: rows {rows.start} to "
                f"{rows.stop} should have the shape {expected}; got {block.shape}."
            )
        source_dtype(block.dtype, self.name)
        return block.astype(self.dtype, copy=False)

    def _between(self, start: int, stop: int) -> np.ndarray:
        """Rows that follow each other, through the block that was read last."""
        parts = []
        while start < stop:
            rows, block = self._around(start)
            end = min(stop, rows.stop)
            parts.append(block[start - rows.start : end - rows.start])
            start = end
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else self._none()

    def _around(self, row: int) -> tuple[slice, np.ndarray]:
        with self._lock:
            if self._cached is None or not (
                self._cached[0].start <= row < self._cached[0].stop
            ):
                rows = self.place(row // self.block_rows)
                self._cached = None
                self._cached = rows, self._block(rows)
            return self._cached

    def _gathered(self, numbers: np.ndarray) -> np.ndarray:
        if not len(numbers):
            return self._none()
        numbers = np.where(numbers < 0, numbers + self.shape[0], numbers)
        if numbers.min() < 0 or numbers.max() >= self.shape[0]:
            raise IndexError(f"{self.name} has {self.shape[0]} rows")
        order = np.argsort(numbers, kind="stable")
        out = np.empty((len(numbers), self.shape[1]), self.dtype)
        in_order = numbers[order]
        concerned = np.unique(in_order // self.block_rows)
        for rows, block in self.blocks(concerned):
            first, last = np.searchsorted(in_order, [rows.start, rows.stop])
            out[order[first:last]] = block[in_order[first:last] - rows.start]
        return out

    def _none(self) -> np.ndarray:
        return np.empty((0, self.shape[1]), self.dtype)

    def release(self) -> None:
        """Forget the block that was read last."""
        self._cached = None


class Selected(RowSource):
    """Some rows of a source, such as those of positive weight.

    Parameters
    ----------
    source : RowSource
    numbers : ndarray of int
        Sorted row numbers.
    """

    def __init__(self, source: RowSource, numbers: np.ndarray):
        super().__init__(
            (len(numbers), source.shape[1]),
            source.dtype,
            None,
            source.feature_names,
            source.name,
        )
        self._source = source
        self._numbers = numbers
        self.block_rows = min(self.block_rows, source.block_rows)
        self.is_random = source.is_random

    def _read(self, rows: slice) -> np.ndarray:
        return self._source[self._numbers[rows]]
