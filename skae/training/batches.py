"""Batches cut from permutations of a seeded generator."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Generator, Tensor

from skae.rows.tensors import permutation

__all__ = ["Batches"]

_BLOCK_BYTES = 16 * 2**20


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
        Condition of each row.
    """

    _drawn: np.ndarray
    _n_used: int
    _n_yielded: int

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
        self._is_loaded = False
        self._start_round()

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[tuple[Tensor | None, ...]]:
        if not self._is_loaded:
            self._start_round()
        self._is_loaded = False
        size = self.batch_size
        row_bytes = 4 * self.rows.n_features
        block = max(1, _BLOCK_BYTES // (row_bytes * size))
        while self._n_used < len(self._drawn) or self._n_yielded < self.n_batches:
            if self._n_used == len(self._drawn):
                n_left = self.n_batches - self._n_yielded
                self._drawn, self._n_used = self._draw(min(n_left, block)), 0
            drawn = self._drawn
            # To the device once, for all that is taken by it.
            index = torch.as_tensor(drawn, device=self.rows.device)
            x = self.rows.at(drawn, index)
            extras = [
                None if rows is None else rows.at(drawn, index)
                for rows in (self.inputs, self.context)
            ]
            while extras and extras[-1] is None:
                extras.pop()
            w = None if self.weight is None else self.weight[..., index]
            for start in range(self._n_used, len(drawn), size):
                part = slice(start, start + size)
                self._n_used, self._n_yielded = part.stop, self._n_yielded + 1
                yield (
                    x[part],
                    None if w is None else w[..., part],
                    *(None if rows is None else rows[part] for rows in extras),
                )

    def state(self) -> dict:
        """What batches that go on after the last one drawn need beside the rows."""
        return {
            "order": self._order,
            "drawn": self._drawn,
            "counts": [self._n_used, self._n_yielded],
            "generator": self.generator.get_state().numpy(),
        }

    def load(self, state: dict) -> None:
        """Go on from a state: the next round is the rest of its round."""
        self._order, self._drawn = state["order"], state["drawn"]
        self._n_used, self._n_yielded = state["counts"]
        self.generator.set_state(torch.from_numpy(state["generator"]))
        self._is_loaded = True

    def begin_anew(self, n_yielded: int) -> None:
        """Go on after so many batches with rows in a new order."""
        self._order = np.empty(0, dtype=np.int64)
        self._start_round()
        self._n_yielded, self._is_loaded = n_yielded, True

    def _start_round(self) -> None:
        # Row numbers of the block that is cut up, and how many of them are used.
        self._drawn, self._n_used = np.empty(0, dtype=np.int64), 0
        self._n_yielded = 0

    def _draw(self, n_batches: int) -> np.ndarray:
        """Row numbers of up to n_batches batches.

        On the CPU those of one permutation, whose rows its cache takes; elsewhere of as
        many as it needs.
        """
        parts: list[np.ndarray] = []
        while n_batches and not (parts and self.rows.device.type == "cpu"):
            if len(self._order) < self.batch_size:
                order = permutation(len(self.index), self.generator)
                self._order = self.index[order]
            taken = min(n_batches, len(self._order) // self.batch_size)
            parts.append(self._order[: taken * self.batch_size])
            self._order = self._order[taken * self.batch_size :]
            n_batches -= taken
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
