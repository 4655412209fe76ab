"""Batches of rows that are read by blocks, mixed in a buffer.

Rows of a source are never drawn one by one: the blocks come in a new random order each
epoch, as many of them as the buffer takes are read, their rows are mixed, and full
batches are cut from them. `batches_of` gives these for a source and `Batches` for rows
in memory; both have the same methods.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Generator, Tensor

from skae.rows.chunks import Rows
from skae.rows.tensors import permutation
from skae.training.batches import Batches

__all__ = ["AllBut", "BlockBatches", "batches_of"]

_BUFFER_BYTES = 128 * 2**20
# Of a block that is scaled at a time, in the processor's cache.
_TILE_BYTES = 2**19


class AllBut:
    """Row numbers of all rows but some, without a list of them.

    Parameters
    ----------
    n_rows : int
    left_out : ndarray of int, optional
        Sorted.
    some : ndarray of int, optional
        Numbers of rows that are not left out, drawn from all of those.
    """

    def __init__(self, n_rows: int, left_out=None, some=None):
        none = np.empty(0, dtype=np.int64)
        self.n_rows = n_rows
        self.left_out = none if left_out is None else left_out
        self.some = none if some is None else some

    def __len__(self) -> int:
        return self.n_rows - len(self.left_out)

    def numbers(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Those from a row number to another."""
        stop = self.n_rows if stop is None else stop
        kept = np.ones(stop - start, dtype=bool)
        first, last = np.searchsorted(self.left_out, [start, stop])
        kept[self.left_out[first:last] - start] = False
        return start + np.flatnonzero(kept)


def batches_of(rows: Rows, index, *options):
    """`Batches`, or `BlockBatches` where any rows are read by blocks.

    Parameters
    ----------
    rows, index, *options
        As of `Batches`; ``index`` may be `AllBut`.
    """
    others = [each for each in options[4:] if each is not None]
    if any(each.source is not None for each in (rows, *others)):
        return BlockBatches(rows, index, *options)
    index = index.numbers() if isinstance(index, AllBut) else index
    return Batches(rows, index, *options)


class BlockBatches:
    """Batches of full size, cut from a buffer that is filled with blocks of rows.

    Iterating draws the batches of one round. Rows that do not fill a batch are mixed
    with those of the next blocks.

    Parameters
    ----------
    rows, index, batch_size, n_batches, generator, weight, inputs, context
        As of `Batches`; some of the rows have a source.
    """

    def __init__(
        self,
        rows: Rows,
        index,
        batch_size: int,
        n_batches: int,
        generator: Generator,
        weight: Tensor | None = None,
        inputs: Rows | None = None,
        context: Rows | None = None,
    ):
        self.rows, self.inputs, self.context = rows, inputs, context
        self.index = index if isinstance(index, AllBut) else _all_but(len(rows), index)
        self.batch_size = min(batch_size, len(index))
        self.n_batches = n_batches
        self.generator = generator
        self.weight = weight
        self._all = [each for each in (rows, inputs, context) if each is not None]
        sources = [each.source for each in self._all if each.source is not None]
        for source in sources:
            if not source.is_random:
                # Which makes a copy that can be read in any order.
                source.summarized(source.weight)
        self._source = sources[0]
        width = sum(each.n_features for each in self._all)
        self._capacity = max(2 * self.batch_size, _BUFFER_BYTES // (4 * width))
        self._seed = int(torch.randint(2**62, (), generator=generator, device="cpu"))
        self._is_loaded = False
        self._n_yielded = self._n_fills = self._n_used = 0
        # Of the block that comes next: the epoch, and its place in the epoch's order.
        self._next = self._next_at_fill = 0, 0
        self._left = self._left_at_fill = np.empty(0, dtype=np.int64)
        self._numbers = np.empty(0, dtype=np.int64)
        self._buffers: list[Tensor] = []

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[tuple[Tensor | None, ...]]:
        if not self._is_loaded:
            self._n_yielded = 0
        self._is_loaded = False
        size = self.batch_size
        while self._n_yielded < self.n_batches:
            if self._n_used + size > len(self._numbers):
                self._left = self._numbers[self._n_used :]
                self._fill()
            part = slice(self._n_used, self._n_used + size)
            self._n_used, self._n_yielded = part.stop, self._n_yielded + 1
            yield self._batch(part)

    def _batch(self, part: slice) -> tuple[Tensor | None, ...]:
        w = None
        if self.weight is not None:
            numbers = torch.as_tensor(self._numbers[part], device=self.weight.device)
            w = self.weight[..., numbers]
        # Copies: the buffer is filled again while batches are still in use.
        own = iter(self._buffers)
        batch = [
            None if each is None else next(own)[part].clone()
            for each in (self.rows, self.inputs, self.context)
        ]
        while len(batch) > 1 and batch[-1] is None:
            batch.pop()
        return (batch[0], w, *batch[1:])

    def state(self) -> dict:
        """What batches that go on after the last one drawn need beside the rows."""
        return {
            "left": self._left_at_fill,
            "counts": [
                *self._next_at_fill,
                self._n_fills,
                self._n_used,
                self._n_yielded,
                self._seed,
            ],
            "generator": self.generator.get_state().numpy(),
        }

    def load(self, state: dict) -> None:
        """Go on from a state: the next round is the rest of its round."""
        *place, n_fills, n_used, self._n_yielded, self._seed = state["counts"]
        self._next, self._left = (place[0], place[1]), state["left"]
        if n_fills:
            self._n_fills = n_fills - 1
            self._fill(is_loading=True)
        self._n_used = n_used
        self.generator.set_state(torch.from_numpy(state["generator"]))
        self._is_loaded = True

    def begin_anew(self, n_yielded: int) -> None:
        """Go on after so many batches with rows in a new order."""
        seed = torch.randint(2**62, (), generator=self.generator, device="cpu")
        self._seed = int(seed)
        self._n_yielded, self._is_loaded = n_yielded, True

    # Filling the buffer

    def _fill(self, *, is_loading: bool = False) -> None:
        """Mix the rows that are left with those of the next blocks."""
        self._next_at_fill, self._left_at_fill = self._next, self._left
        left = [buffer[self._n_used : len(self._numbers)] for buffer in self._buffers]
        if is_loading or not self._buffers:
            left = [each[self._left] for each in self._all]
        blocks = self._next_blocks()
        numbers = np.concatenate([self._left, *(each for _, each in blocks)])
        places = permutation(len(numbers), self._drawn(0, self._n_fills))
        # Before the buffers, in which they lie, are written to.
        left = [each.clone() for each in left]
        if not self._buffers or len(self._buffers[0]) < len(numbers):
            self._buffers = [
                torch.empty(
                    max(len(numbers), self._capacity),
                    each.n_features,
                    dtype=each.dtype,
                    device=each.device,
                )
                for each in self._all
            ]
        self._numbers = np.empty_like(numbers)
        self._numbers[places] = numbers
        n_left = len(self._left)
        for buffer, rows in zip(self._buffers, left, strict=True):
            buffer[torch.as_tensor(places[:n_left], device=buffer.device)] = rows
        start = n_left
        for block, own in blocks:
            self._place(block, own, places[start : start + len(own)])
            start += len(own)
        self._n_fills, self._n_used = self._n_fills + 1, 0

    def _next_blocks(self) -> list[tuple[slice, np.ndarray]]:
        """Blocks, two at least, that fill the buffer, and their rows that are used."""
        blocks: list[tuple[slice, np.ndarray]] = []
        n_rows, (epoch, place) = len(self._left), self._next
        n_blocks = self._source.n_blocks
        order = permutation(n_blocks, self._drawn(1, epoch))
        while len(blocks) < 2 or n_rows < self.batch_size:
            fits = True
            while fits and place < n_blocks:
                rows = self._source.place(int(order[place]))
                numbers = self.index.numbers(rows.start, rows.stop)
                fits = len(blocks) < 2 or n_rows + len(numbers) <= self._capacity
                if fits:
                    place, n_rows = place + 1, n_rows + len(numbers)
                    blocks.append((rows, numbers))
            if not fits:
                break
            epoch, place = epoch + 1, 0
            order = permutation(n_blocks, self._drawn(1, epoch))
            if n_rows >= self.batch_size:
                break
        self._next = epoch, place
        return blocks

    def _place(self, rows: slice, numbers: np.ndarray, places: np.ndarray) -> None:
        """Write rows of a block to their places in the buffers."""
        if not len(numbers):
            return
        is_whole = len(numbers) == rows.stop - rows.start
        for each, buffer in zip(self._all, self._buffers, strict=True):
            if each.source is None:
                into = torch.as_tensor(places, device=buffer.device)
                buffer[into] = each[numbers]
                continue
            block = each.source.read(rows)
            block = block if is_whole else block[numbers - rows.start]
            step = max(1, _TILE_BYTES // max(1, block.strides[0]))
            for start in range(0, len(block), step):
                tile = slice(start, start + step)
                into = torch.as_tensor(places[tile], device=buffer.device)
                buffer[into] = each.scaled(block[tile])

    def _drawn(self, kind: int, number: int) -> Generator:
        """A generator of its own for each fill and each epoch."""
        words = np.random.SeedSequence([self._seed, kind, number]).generate_state(2)
        seed = int(words[0]) << 31 ^ int(words[1])
        return torch.Generator("cpu").manual_seed(seed)


def _all_but(n_rows: int, index: np.ndarray) -> AllBut:
    kept = np.zeros(n_rows, dtype=bool)
    kept[index] = True
    return AllBut(n_rows, np.flatnonzero(~kept))
