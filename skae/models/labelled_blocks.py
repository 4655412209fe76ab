"""Batches of labelled rows beside batches of all rows, of rows that are read by blocks.

`BlockLabelled` has the methods of `PartlyLabelled`, which draws from rows in memory;
`partly_labelled` picks one of them for a stage of a classifier.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from skae.models.classifier import Labelled, PartlyLabelled, Unlabelled
from skae.rows.chunks import Rows
from skae.rows.derived import HELD_BYTES
from skae.statistics.label_graph import SpreadLabels
from skae.training.batches import Batches
from skae.training.block_batches import AllBut, BlockBatches

__all__ = ["BlockLabelled", "partly_labelled"]


def partly_labelled(rows: Rows, *options) -> Any:
    """`PartlyLabelled`, or `BlockLabelled` where the rows are read by blocks."""
    return (PartlyLabelled if rows.source is None else BlockLabelled)(rows, *options)


class BlockLabelled:
    """Batches of labelled rows, each beside a batch of all rows.

    Labelled rows are held in memory if they take up to 128 MiB, and are drawn from
    there; more of them, and all rows, are read by blocks.

    Parameters
    ----------
    rows, labels, weight, label_weight, sizes, n_batches, generator
        As of `PartlyLabelled`; the rows have a source.

    Attributes
    ----------
    spread : SpreadLabels or None
        Labels from a graph; may be replaced between rounds.
    """

    def __init__(
        self,
        rows: Rows,
        labels: np.ndarray,
        weight: Tensor,
        label_weight: Tensor,
        sizes: tuple[int, int],
        n_batches: int,
        generator: Generator,
    ):
        self.rows = rows
        self.labels = torch.as_tensor(labels, device=rows.device)
        self.weight = weight
        self.label_weight = label_weight
        self.n_batches = n_batches
        self.spread: SpreadLabels | None = None
        self.generator = generator
        labelled = np.flatnonzero(labels >= 0)
        # In the place of weights: what else belongs to a row is found by its number.
        numbers = torch.arange(len(rows), dtype=torch.long, device=rows.device)
        of_labelled = sizes[0], n_batches, generator
        self._labelled: Batches | BlockBatches
        if 4 * len(labelled) * rows.n_features <= HELD_BYTES:
            held = _Held(rows[labelled])
            index = np.arange(len(labelled))
            self._labelled = Batches(held, index, *of_labelled, numbers[labelled])
        else:
            self._labelled = BlockBatches(rows, labelled, *of_labelled, numbers)
        self._all = None
        if sizes[1]:
            every = AllBut(len(rows))
            options = sizes[1], n_batches, generator, numbers
            self._all = BlockBatches(rows, every, *options)

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[tuple[Labelled, Unlabelled | None]]:
        if self._all is None:
            for x, numbers in self._labelled:
                yield self._of_labelled(x, numbers), None
            return
        for (x, numbers), (x_all, all_numbers) in zip(
            self._labelled, self._all, strict=True
        ):
            yield self._of_labelled(x, numbers), self._of_all(x_all, all_numbers)

    def state(self) -> dict:
        """What batches that go on after the last one drawn need beside the rows."""
        spread = self.spread
        return {
            "labelled": self._labelled.state(),
            "all": None if self._all is None else self._all.state(),
            "spread": None if spread is None else [spread.target, spread.confidence],
        }

    def load(self, state: dict) -> None:
        """Go on from a state: the next round is the rest of its round."""
        self._labelled.load(state["labelled"])
        if self._all is not None:
            self._all.load(state["all"])
        spread = state["spread"]
        self.spread = None if spread is None else SpreadLabels(*spread)

    def _of_labelled(self, x: Any, numbers: Any) -> Labelled:
        return Labelled(x, self.labels[numbers], self.label_weight[numbers])

    def _of_all(self, x: Any, numbers: Any) -> Unlabelled:
        if self.spread is None:
            return Unlabelled(x, self.weight[numbers])
        places = numbers.cpu().numpy()
        values = self.spread.target[places], self.spread.confidence[places]
        of_graph = (torch.as_tensor(value, device=x.device) for value in values)
        return Unlabelled(x, self.weight[numbers], *of_graph)


class _Held:
    """Rows in memory, as `Batches` takes them."""

    def __init__(self, x: Tensor):
        self._x = x
        self.device = x.device
        self.n_features = x.shape[1]

    def __len__(self) -> int:
        return len(self._x)

    def at(self, numbers: np.ndarray, places: Tensor) -> Tensor:
        """Rows of these numbers, which are on the device as ``places``."""
        return self._x[places]
