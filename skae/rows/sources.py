"""Rows that stay where they are: one protocol for files, chunked arrays and iterators.

A `RowSource` looks like a two-dimensional array to whatever reads rows, and is read by
blocks, never row by row. `skae.rows.readers` has the readers of single formats and
`row_source`, which picks one for what a public method was called with. What one pass
over the rows computes stands in `skae.rows.summary`. Nothing here knows models.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from skae.rows.blocks import ChangedSourceError, block_bounds, source_dtype, unmasked
from skae.rows.probes import Probes
from skae.rows.summary import Summary, summary_of, total_of
from skae.rows.temporary import TemporaryRows

__all__ = ["RowSource", "sampled_rows"]

# Blocks in a run that is read as one.
_RUN_BLOCKS = 16
# Sources of no more bytes are loaded.
_LOADED_BYTES = 128 * 2**20
# Rows that the pass keeps: bytes, and the fewest.
_SAMPLE_BYTES, _SAMPLE_ROWS = 32 * 2**20, (2048, 65_536)
# Covariances of up to so many features.
_FORMED = 2000
_CACHED_RUNS = 2
# Rows that lie further apart on average are gathered block by block.
_MOST_SPAN = 2


def sampled_rows(X: Any) -> np.ndarray:
    """Sorted numbers of the rows in a source's `sample`, or in that of an array's.

    They depend on the shape and the width of an entry alone.
    """
    n_rows, row_bytes = X.shape[0], X.dtype.itemsize * max(1, int(np.prod(X.shape[1:])))
    fewest, most = _SAMPLE_ROWS
    n_drawn = min(n_rows, max(fewest, min(most, _SAMPLE_BYTES // row_bytes)))
    return np.sort(np.random.default_rng(0).choice(n_rows, n_drawn, replace=False))


class RowSource:
    """Rows that are read by blocks; looks like an array of two axes.

    Parameters
    ----------
    shape : (n_samples, n_features)
    dtype : dtype
        Of the stored entries.
    stored : int or ndarray of int, optional
        As in `block_bounds`.
    feature_names : sequence of str, optional
    name : str, default="X"
        What the rows are called in messages.

    Attributes
    ----------
    shape : (n_samples, n_features)
    dtype : dtype
        float32 or float64, what blocks come as.
    bounds : ndarray of int of shape (n_blocks + 1,)
        Where blocks begin, and the number of rows.
    is_random : bool
        Whether blocks can be read in any order. Where not, `summarized` copies the rows
        to a temporary file, from which they can.
    feature_names : ndarray of str or None
    weight : ndarray of shape (n_samples,) or None
        Positive weights that moments take by default.
    n_passes : int
        How often all rows were read.
    """

    ndim = 2

    def __init__(
        self,
        shape: Sequence[int],
        dtype: Any,
        stored: int | np.ndarray | None = None,
        feature_names: Iterable[str] | None = None,
        name: str = "X",
    ):
        n_rows, n_features = map(int, shape)
        self.shape = n_rows, n_features
        self.name = name
        self.dtype = source_dtype(dtype, name)
        row_bytes = self.dtype.itemsize * max(1, n_features)
        self.bounds, self.is_random = block_bounds(n_rows, row_bytes, stored)
        self._runs = block_bounds(
            n_rows, max(1, row_bytes // _RUN_BLOCKS), self.bounds
        )[0]
        names = None if feature_names is None else [*feature_names]
        self.feature_names = None if names is None else np.asarray(names, dtype=object)
        self.weight: np.ndarray | None = None
        self.n_passes = 0
        self._lock = threading.RLock()
        self._cached: list[tuple[slice, np.ndarray]] = []
        self._checks: list[Callable[[np.ndarray, int], None]] = []
        self._summary: tuple[np.ndarray | None, Summary] | None = None
        self._sample: tuple[np.ndarray, np.ndarray] | None = None
        self._copy: np.ndarray | None = None
        self._probes: Probes | None = None

    # What a reader gives

    _way_out = "Do not change it during the call."

    def _read(self, rows: slice) -> Any:
        """Rows from ``rows.start`` to ``rows.stop``, as anything array-like."""
        raise NotImplementedError

    def _check_unchanged(self) -> None:
        """Raise `ChangedSourceError` where the storage is seen to have changed."""

    def is_read_from(self, array: Any) -> bool:
        """Whether an array is the one that the rows are read from."""
        return False

    # What others use

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.shape[0] * self.shape[1]

    @property
    def is_small(self) -> bool:
        """Whether the rows are better loaded."""
        return self.size * self.dtype.itemsize <= _LOADED_BYTES

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.bounds) - 1

    def place(self, number: int) -> slice:
        """Where a block lies among the rows."""
        return slice(int(self.bounds[number]), int(self.bounds[number + 1]))

    def blocks(
        self, order: Iterable[int] | None = None
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Places and rows of all blocks in file order, or of blocks of these numbers.

        In file order, blocks that lie side by side come as one, of at most 16 MiB.
        """
        if order is not None:
            for number in order:
                yield self.place(number), self._block(self.place(number))
            return
        for start, stop in zip(self._runs[:-1], self._runs[1:], strict=True):
            rows = slice(int(start), int(stop))
            yield rows, self._block(rows)
        self.n_passes += 1
        self._check_unchanged()

    def __getitem__(self, rows) -> np.ndarray:
        """Rows by slice, row numbers or mask; each block concerned is read once."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.shape[0])
            if step == 1:
                return self._between(start, max(start, stop))
            rows = np.arange(start, stop, step)
        rows = np.asarray(rows)
        return self._gathered(np.flatnonzero(rows) if rows.dtype == bool else rows)

    def read(self, rows: slice) -> np.ndarray:
        """Rows from ``rows.start`` to ``rows.stop``, past what was read last."""
        return self._block(rows)

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            f"{self.name} is read from where it is stored and is too large to become "
            "an array as a whole here. Pass fewer rows, or an array."
        )

    def __getstate__(self):
        raise TypeError(
            f"{self.name} is read by this process and cannot be copied or sent to "
            "another; send what it is read from, such as a path."
        )

    def add_check(self, check: Callable[[np.ndarray, int], None]) -> None:
        """Have ``check(block, number_of_its_first_row)`` called on whatever is read."""
        self._checks.append(check)

    def watch(self) -> None:
        """Compare some of the rows with what they were whenever they are read again."""
        if self._probes is None and self.shape[0]:
            row_bytes = self.dtype.itemsize * max(1, self.shape[1])
            self._probes = Probes.spread_over(self.shape[0], row_bytes)

    def selected(self, numbers: np.ndarray) -> "RowSource":
        """A source of some of the rows, by sorted row numbers."""
        return _Selected(self, numbers)

    @property
    def summary(self) -> Summary:
        """What one pass over the rows computes, with the source's weights."""
        return self._summary[1] if self._summary else self.summarized(self.weight)

    def summarized(
        self, weight: np.ndarray | None = None, *, covariance: bool = False
    ) -> Summary:
        """The summary, from a pass over the rows where it is not at hand.

        Parameters
        ----------
        weight : ndarray of shape (n_samples,), optional
            Positive.
        covariance : bool, default=False
            Whether products of columns are wanted; only of up to 2,000 features.

        Raises
        ------
        ValueError
            What the checks of the source raise.
        """
        covariance = covariance and self.shape[1] <= _FORMED
        if self._summary is not None:
            own, summary = self._summary
            is_same = own is weight
            if own is not None and weight is not None:
                is_same = np.array_equal(own, weight)
            if is_same and not (covariance and summary.scatter is None):
                return summary
        summary = total_of(self._summarizing(weight, covariance))
        self._summary = weight, summary
        return summary

    @property
    def sample(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted numbers of rows that are drawn from all, and these rows.

        They are the same in every process: 32 MiB, but at least 2,048 rows. They are
        gathered in the pass that makes the summary.
        """
        if self._sample is None:
            self.summarized(self.weight)
        if self._sample is None:
            numbers = sampled_rows(self)
            self._sample = numbers, self[numbers]
        return self._sample

    def release(self) -> None:
        """Forget the rows that were read last."""
        self._cached = []

    # The pass

    def _summarizing(self, weight, covariance: bool) -> Iterator[Summary]:
        numbers = sampled_rows(self) if self._sample is None else None
        gathered = []
        with TemporaryRows(self) if not self.is_random else nullcontext() as copy:
            for rows, block in self.blocks():
                if numbers is not None:
                    first, last = np.searchsorted(numbers, [rows.start, rows.stop])
                    gathered.append(block[numbers[first:last] - rows.start])
                if copy is not None:
                    copy.append(block)
                w = None if weight is None else weight[rows]
                yield summary_of(block, w, first=rows.start, covariance=covariance)
            if copy is not None:
                self._copy, self.is_random = copy.rows(), True
                self.bounds, _ = block_bounds(len(self), self._copy.strides[0])
        if numbers is not None and gathered:
            self._sample = numbers, np.concatenate(gathered)

    # Reading

    def _block(self, rows: slice) -> np.ndarray:
        if self._copy is not None:
            return self._copy[rows]
        with self._lock:
            block = self._read(rows)
        expected = rows.stop - rows.start, self.shape[1]
        if np.shape(block) != expected:
            raise ChangedSourceError(
                f"{self.name} changed while it was read: rows {rows.start} to "
                f"{rows.stop} should have the shape {expected}; got {np.shape(block)}."
            )
        block = self._converted(block)
        for check in self._checks:
            check(block, rows.start)
        if self._probes is not None:
            changed = self._probes.first_changed(block, rows.start)
            if changed is not None:
                raise ChangedSourceError(
                    f"{self.name} changed while it was read: row {changed} is not what "
                    f"it was at first. {self._way_out}"
                )
        return block

    def _converted(self, block: Any) -> np.ndarray:
        """Rows in the source's dtype, NaN where entries are masked."""
        block = np.asarray(unmasked(block))
        source_dtype(block.dtype, self.name)
        return np.ascontiguousarray(block, dtype=self.dtype)

    def _between(self, start: int, stop: int) -> np.ndarray:
        """Rows that follow each other, through the runs that were read last."""
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
            for rows, block in self._cached:
                if rows.start <= row < rows.stop:
                    return rows, block
            number = int(np.searchsorted(self._runs, row, side="right")) - 1
            rows = slice(int(self._runs[number]), int(self._runs[number + 1]))
            self._cached = self._cached[: _CACHED_RUNS - 1]
            self._cached.insert(0, (rows, self._block(rows)))
            return self._cached[0]

    def _gathered(self, numbers: np.ndarray) -> np.ndarray:
        numbers = self._from_start(numbers)
        if not len(numbers):
            return self._none()
        if self._sample is not None:
            sampled, rows = self._sample
            places = np.minimum(np.searchsorted(sampled, numbers), len(sampled) - 1)
            if np.array_equal(sampled[places], numbers):
                return rows[places]
        order = np.argsort(numbers, kind="stable")
        out = np.empty((len(numbers), self.shape[1]), self.dtype)
        in_order = numbers[order]
        concerned = np.unique(np.searchsorted(self.bounds, in_order, side="right") - 1)
        for place, block in self.blocks(concerned):
            first, last = np.searchsorted(in_order, [place.start, place.stop])
            out[order[first:last]] = block[in_order[first:last] - place.start]
        return out

    def _from_start(self, numbers: np.ndarray) -> np.ndarray:
        """Row numbers, of which negative ones count from the end."""
        numbers = np.where(numbers < 0, numbers + self.shape[0], numbers)
        if not np.all((numbers >= 0) & (numbers < self.shape[0])):
            raise IndexError(f"{self.name} has {self.shape[0]} rows.")
        return numbers

    def _none(self) -> np.ndarray:
        return np.empty((0, self.shape[1]), self.dtype)


class _Selected(RowSource):
    """Some rows of a source, such as those of positive weight."""

    def __init__(self, source: RowSource, numbers: np.ndarray):
        edges = np.searchsorted(numbers, source.bounds)
        super().__init__(
            (len(numbers), source.shape[1]),
            source.dtype,
            edges,
            source.feature_names,
            source.name,
        )
        self._source = source
        self._numbers = numbers
        self.is_random = source.is_random

    def add_check(self, check: Callable[[np.ndarray, int], None]) -> None:
        numbers = self._numbers

        def check_by_source(block: np.ndarray, first: int) -> None:
            try:
                check(block, first)
            except ValueError:
                # Errors name rows by their numbers in the source.
                for row, number in enumerate(numbers[first : first + len(block)]):
                    check(block[row : row + 1], int(number))
                raise

        super().add_check(check_by_source)

    def _read(self, rows: slice) -> np.ndarray:
        numbers = self._numbers[rows]
        if not len(numbers):
            return self._none()
        first, stop = int(numbers[0]), int(numbers[-1]) + 1
        if stop - first > _MOST_SPAN * len(numbers):
            return self._source[numbers]
        # Where blocks come in any order, what lies around them is not read with them.
        source = self._source
        read = source.read if source.is_random else source.__getitem__
        return read(slice(first, stop))[numbers - first]
