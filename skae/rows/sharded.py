"""Rows spread over the processes of a group: one source, of which each has a part.

`ShardedRows` looks to every process like all rows, so that code that reads rows in the
same order everywhere is right without knowing of the group; each such reading sends
rows over the network. What is read often is read from ``local``: the sums of a pass
over all rows, and the batches of a training.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from skae.rows.group import Group
from skae.rows.sources import RowSource
from skae.rows.summary import Summary

__all__ = ["JoinedRows", "Part", "RowsBetween", "ShardedRows"]


class Part(NamedTuple):
    """A stretch of rows that one process has.

    Attributes
    ----------
    start, stop : int
        Numbers of its first row and of the row after its last, among all.
    rank : int
    """

    start: int
    stop: int
    rank: int


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
        is_text = columns is not None and all(isinstance(c, str) for c in columns)
        dtypes = [
            np.result_type(*part.dtypes) if hasattr(part, "columns") else part.dtype
            for part in parts
        ]
        super().__init__(
            (int(self._ends[-1]), parts[0].shape[1]),
            np.result_type(*dtypes),
            max(1, *(part.shape[0] for part in parts)),
            columns if is_text else None,
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


def _cut(part: Any, start: int, stop: int) -> np.ndarray:
    if hasattr(part, "iloc"):
        return part.iloc[start:stop].to_numpy()
    block = part[start:stop]
    return block.toarray() if hasattr(block, "toarray") else np.asarray(block)


class RowsBetween(RowSource):
    """The rows of a source from ``start`` to ``stop``."""

    def __init__(self, source: RowSource, start: int, stop: int):
        super().__init__(
            (stop - start, source.shape[1]),
            source.dtype,
            source.block_rows,
            source.feature_names,
            source.name,
        )
        self._source = source
        self._first = start
        self.is_random = source.is_random

    def _read(self, rows: slice) -> np.ndarray:
        return self._source[self._first + rows.start : self._first + rows.stop]


class ShardedRows(RowSource):
    """All rows, of which this process has some.

    Parameters
    ----------
    local : RowSource
        Those of this process, in the order of its parts.
    parts : sequence of Part
        Who has which rows, in their order.
    group : Group

    Attributes
    ----------
    local : RowSource
    group : Group
    own : ndarray of int
        Numbers of the local rows among all, in the order of ``local``.
    """

    def __init__(self, local: RowSource, parts: Sequence[Part], group: Group):
        n_rows = parts[-1].stop
        names = local.feature_names
        super().__init__(
            (n_rows, local.shape[1]), local.dtype, local.block_rows, names, local.name
        )
        self.local = local
        self.group = group
        mine = [part for part in parts if part.rank == group.rank]
        own = [np.arange(part.start, part.stop) for part in mine]
        self.own = np.concatenate([np.empty(0, dtype=np.int64), *own])
        # The same on all processes: each goes through all blocks with the others.
        self.block_rows = min(group.gather(self.block_rows))

    def owned(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of these rows this process has, as a mask, and where in ``local``."""
        if not len(self.own):
            return np.zeros(len(numbers), dtype=bool), np.empty(0, dtype=np.int64)
        places = np.searchsorted(self.own, numbers)
        places = np.minimum(places, len(self.own) - 1)
        is_own = self.own[places] == numbers
        return is_own, places[is_own]

    def summarized(self, *, covariance: bool = False) -> Summary:
        known = vars(self).get("summary")
        if known is None or (covariance and known.scatter is None):

            def summarized() -> Summary:
                summary = Summary(
                    self.shape[1], covariance=covariance, name=self.name
                )
                for first, block in self._own_stretches():
                    summary.add(block, first=first)
                return summary

            own = self.group.together(summarized)
            known = self.group.reduce(own, _merged)
            vars(self)["summary"] = known
        return known

    def _own_stretches(self) -> Iterator[tuple[int, np.ndarray]]:
        """Local rows that follow each other, with the number of the first."""
        for rows, block in self.local.blocks():
            numbers = self.own[rows]
            ends = [*(np.flatnonzero(np.diff(numbers) != 1) + 1), len(numbers)]
            start = 0
            for end in ends:
                yield int(numbers[start]), block[start:end]
                start = end

    def blocks(
        self, order: Iterable[int] | None = None
    ) -> Iterator[tuple[slice, np.ndarray]]:
        for number in range(self.n_blocks) if order is None else order:
            rows = self.place(number)
            yield rows, self._gathered(np.arange(rows.start, rows.stop))

    def _between(self, start: int, stop: int) -> np.ndarray:
        return self._gathered(np.arange(start, stop))

    def _gathered(self, numbers: np.ndarray) -> np.ndarray:
        numbers = np.asarray(numbers, dtype=np.int64)
        numbers = np.where(numbers < 0, numbers + self.shape[0], numbers)
        if len(numbers) and (numbers.min() < 0 or numbers.max() >= self.shape[0]):
            raise IndexError(f"{self.name} has {self.shape[0]} rows")
        out = np.zeros((len(numbers), self.shape[1]), self.dtype)

        def fill() -> None:
            is_own, places = self.owned(numbers)
            out[is_own] = self.local[places]

        self.group.together(fill)
        return self.group.sum(torch.from_numpy(out)).numpy()


def _merged(left: Summary, right: Summary) -> Summary:
    first = [s.first_missing for s in (left, right) if s.first_missing is not None]
    left.merge(right)
    left.first_missing = min(first, default=None)
    return left
