"""Rows that come as streams of blocks: of iterators, and below other readers.

A stream begins at one of certain rows and is read on where it is, so that rows in their
order cost one pass.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from skae.rows.blocks import (
    ChangedSourceError,
    check_frame,
    dense,
    text_names,
    two_axes,
)
from skae.rows.probes import Probes
from skae.rows.sources import RowSource

__all__ = ["IteratedRows", "StreamedRows"]

# Blocks of an iterator whose first rows are compared with those of the next iterator.
_PROBED_BLOCKS = 100


class StreamedRows(RowSource):
    """Rows of streams of blocks that begin at certain rows, read on where they are."""

    # The rows where streams can begin.
    _starts: np.ndarray
    _stream: Iterator[np.ndarray] | None = None
    _at = 0
    _left: np.ndarray

    def _stream_from(self, number: int) -> Iterator[np.ndarray]:
        """Blocks of rows from one of the starts to the end of all rows."""
        raise NotImplementedError

    def _read(self, rows: slice) -> np.ndarray:
        if self._stream is None or rows.start != self._at:
            number = int(np.searchsorted(self._starts, rows.start, side="right")) - 1
            self._stream = self._stream_from(number)
            self._at, self._left = int(self._starts[number]), self._none()
            while self._at < rows.start:
                self._take(rows.start - self._at)
        parts = []
        while self._at < rows.stop:
            parts.append(self._take(rows.stop - self._at))
        if self._at == self.shape[0]:
            self._check_end()
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else self._none()

    def _take(self, n_rows: int) -> np.ndarray:
        """The next rows, so many at most."""
        while not len(self._left):
            self._left = self._next()
        part, self._left = self._left[:n_rows], self._left[n_rows:]
        self._at += len(part)
        return part

    def _next(self) -> np.ndarray:
        block = next(self._stream, None) if self._stream is not None else None
        if block is None:
            raise ChangedSourceError(
                f"{self.name} had {self.shape[0]} rows when it was first read, and has "
                f"{self._at} now. {self._way_out}"
            )
        if block.shape[1:] != self.shape[1:]:
            raise ChangedSourceError(
                f"{self.name} had {self.shape[1]} columns when it was first read, and "
                f"now a block of shape {block.shape}. {self._way_out}"
            )
        return block

    def _check_end(self) -> None:
        further = len(self._left)
        while not further:
            block = next(self._stream, None) if self._stream is not None else None
            if block is None:
                break
            further = len(block)
        self._stream = None
        if further:
            raise ChangedSourceError(
                f"{self.name} had {self.shape[0]} rows when it was first read, and has "
                f"more now. {self._way_out}"
            )


class IteratedRows(StreamedRows):
    """Rows from a callable that starts a new iterator of blocks at each call."""

    _columns: list | None = None
    _way_out = "Each call must start a new iterator of the same blocks."

    def __init__(self, start: Callable[[], Iterable], name: str):
        self._start = start
        self.name = name
        self._starts = np.zeros(1, dtype=np.int64)
        n_rows, width, dtypes, names = 0, None, set(), None
        firsts: dict[int, np.ndarray] = {}
        for block in self._blocks():
            if width is None:
                width, names = block.shape[1], getattr(block, "columns", None)
            elif block.shape[1] != width:
                raise ValueError(
                    f"The blocks of {name} must have equally many columns; got "
                    f"{width} and {block.shape[1]}."
                )
            row = dense(block[:1])
            dtypes.add(row.dtype)
            if len(row) and len(firsts) < _PROBED_BLOCKS:
                firsts[n_rows] = row
            n_rows += block.shape[0]
        if width is None:
            raise ValueError(
                f"{name} gave no blocks of rows. It must be a callable that returns a "
                "new iterator of blocks each time; a generator function is one."
            )
        whole = np.array([0, n_rows])
        dtype = np.result_type(*dtypes)
        super().__init__((n_rows, width), dtype, whole, text_names(names), name)
        # In its order only, however little there is.
        self.is_random = False
        self._probes = Probes({n: self._converted(r)[0] for n, r in firsts.items()})

    def _blocks(self) -> Iterator[Any]:
        blocks = self._start()
        if not isinstance(blocks, Iterable) or hasattr(blocks, "shape"):
            raise ValueError(
                f"{self.name} is called to start an iterator of blocks of rows; it "
                f"returned {type(blocks).__name__}."
            )
        for block in blocks:
            block = block if hasattr(block, "shape") else self._as_array(block)
            two_axes(block.shape, f"a block of {self.name}")
            if hasattr(block, "dtypes"):
                check_frame(block, self.name)
                self._check_columns([*block.columns])
            yield block

    def _as_array(self, block: Any) -> Any:
        try:
            return np.asarray(block)
        except ValueError as error:
            raise ValueError(
                f"A block of {self.name}, of type {type(block).__name__}, is no array "
                f"of rows: {error}"
            ) from error

    def _check_columns(self, columns: list) -> None:
        """Raise where the columns of a frame are not those of the first one."""
        self._columns = self._columns or columns
        if columns != self._columns:
            raise ValueError(
                f"The blocks of {self.name} must have the same columns in the same "
                f"order, {self._columns[:5]} in the first one; got {columns[:5]}."
            )

    def _stream_from(self, number: int) -> Iterator[np.ndarray]:
        return map(dense, self._blocks())
