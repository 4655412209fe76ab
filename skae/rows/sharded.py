"""Rows spread over the processes of a group: one source, of which each has a part.

`ShardedRows` looks to every process like all rows, so that code that reads rows in the
same order everywhere is right without knowing of the group; each such reading sends
rows over the network. What is read often is read from ``local``: the sums of a pass
over all rows, and the batches of a training.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from skae.rows.blocks import dense, frame_dtype, text_names
from skae.rows.group import Group
from skae.rows.sources import RowSource
from skae.rows.summary import Summary, merged, summary_of, total_of

__all__ = ["JoinedRows", "RowsBetween", "ShardedRows"]


class JoinedRows(RowSource):
    """Parts in memory, such as partitions, one after the other; never all copied.

    Parameters
    ----------
    parts : sequence of ndarray, CSR matrix or DataFrame
        At least one; any of them may be empty.
    name : str, default="X"
    """

    def __init__(self, parts: Sequence[Any], name: str = "X"):
        self._parts = parts
        self._ends = np.cumsum([part.shape[0] for part in parts])
        columns = getattr(parts[0], "columns", None)
        dtypes = [
            each.dtype if columns is None else frame_dtype(each.dtypes)
            for each in parts
        ]
        super().__init__(
            (int(self._ends[-1]), parts[0].shape[1]),
            np.result_type(*dtypes),
            None,
            text_names(columns),
            name,
        )

    def _read(self, rows: slice) -> np.ndarray:
        pieces, start = [], rows.start
        while start < rows.stop:
            number = int(np.searchsorted(self._ends, start, side="right"))
            first = int(self._ends[number]) - self._parts[number].shape[0]
            stop = min(rows.stop, int(self._ends[number]))
            pieces.append(_cut(self._parts[number], start - first, stop - first))
            start = stop
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _cut(block: Any, start: int, stop: int) -> np.ndarray:
    return dense(getattr(block, "iloc", block)[start:stop])


class RowsBetween(RowSource):
    """The rows of a source from ``start`` to ``stop``."""

    def __init__(self, source: RowSource, start: int, stop: int):
        inner = source.bounds[(source.bounds > start) & (source.bounds < stop)]
        super().__init__(
            (stop - start, source.shape[1]),
            source.dtype,
            np.array([0, *(inner - start), stop - start]),
            source.feature_names,
            source.name,
        )
        self._source = source
        self._first = start
        self.is_random = source.is_random

    def _read(self, rows: slice) -> np.ndarray:
        rows = slice(self._first + rows.start, self._first + rows.stop)
        return self._source.read(rows)


class ShardedRows(RowSource):
    """All rows, of which this process has some.

    Parameters
    ----------
    local : RowSource
        The rows of this process; the same width and dtype in all.
    own : ndarray of int
        Their sorted numbers among all.
    n_rows : int
        Of all processes.
    group : Group

    Attributes
    ----------
    local, own, group
        As passed.
    """

    # What is loaded everywhere is nobody's part.
    is_small = False

    def __init__(self, local: RowSource, own: np.ndarray, n_rows: int, group: Group):
        shape = n_rows, local.shape[1]
        super().__init__(shape, local.dtype, None, local.feature_names, local.name)
        self.local = local
        self.own = own
        self.group = group

    def owned(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of these rows this process has, as a mask, and where in ``local``."""
        if not len(self.own):
            return np.zeros(len(numbers), dtype=bool), np.empty(0, dtype=np.int64)
        places = np.searchsorted(self.own, numbers)
        places = np.minimum(places, len(self.own) - 1)
        is_own = self.own[places] == numbers
        return is_own, places[is_own]

    def own_blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Numbers and rows of the local blocks."""
        for rows, block in self.local.blocks():
            if len(block):
                yield self.own[rows], block

    def add_check(self, check: Callable[[np.ndarray, int], None]) -> None:
        own = self.own

        def check_stretches(block: np.ndarray, first: int) -> None:
            numbers = own[first : first + len(block)]
            for start, stop in _stretches(numbers):
                check(block[start:stop], int(numbers[start]))

        self.local.add_check(check_stretches)

    def selected(self, numbers: np.ndarray) -> "ShardedRows":
        is_own, places = self.owned(numbers)
        local = self.local.selected(places)
        own = np.flatnonzero(is_own)
        return ShardedRows(local, own, len(numbers), self.group)

    def _summarizing(self, weight, covariance: bool) -> Iterator[Summary]:
        """One summary, of the rows of all processes."""

        def own() -> Summary | None:
            parts = (
                summary_of(
                    block[start:stop],
                    None if weight is None else weight[numbers[start:stop]],
                    first=int(numbers[start]),
                    covariance=covariance,
                )
                for numbers, block in self.own_blocks()
                for start, stop in _stretches(numbers)
            )
            return total_of(parts) if len(self.own) else None

        total = self.group.reduce(self.group.together(own), _joined)
        if total is not None:
            yield total
        self.n_passes += 1

    def _block(self, rows: slice) -> np.ndarray:
        return self._gathered(np.arange(rows.start, rows.stop))

    def _gathered(self, numbers: np.ndarray) -> np.ndarray:
        numbers = self._from_start(np.asarray(numbers, dtype=np.int64))

        def own() -> np.ndarray:
            out = np.zeros((len(numbers), self.shape[1]), self.dtype)
            is_own, places = self.owned(numbers)
            out[is_own] = self.local[places]
            return out

        out = torch.from_numpy(self.group.together(own))
        # The rows of the others are zeros.
        return self.group.sum(out).numpy()


def _stretches(numbers: np.ndarray) -> Iterator[tuple[int, int]]:
    """Where numbers that follow each other begin and end."""
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    edges = [0, *map(int, breaks), len(numbers)]
    yield from zip(edges[:-1], edges[1:], strict=True)


def _joined(a: Summary | None, b: Summary | None) -> Summary | None:
    if a is None or b is None:
        return b if a is None else a
    return merged(a, b)
