"""The classifier's loss on labelled rows and on rows without labels, and its batches.

`Classification` is the module that the trainer optimises: the trained layers of a
stack, their ladder decoder and the losses of `semi_supervised_losses`. `PartlyLabelled`
draws its batches. Rows are codes of the frozen layers, or the data where none is
frozen.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from skae.models.semi_supervised_losses import LadderDecoder, TwoPasses
from skae.models.stack import Drawn, Pass, Product, Stack
from skae.parts.layers import row_work
from skae.rows.chunks import Rows
from skae.rows.tensors import permutation
from skae.rows.threads import together
from skae.state.plain import register
from skae.statistics.label_graph import SpreadLabels
from skae.training.stepped import SteppedModule

__all__ = ["Classification", "Labelled", "PartlyLabelled", "Unlabelled"]

# Multiplications of a pass that is worth a thread: a millisecond.
_LEAST_WORK = 2**25
# Batches whose rows are drawn at a time.
_DRAWN = 256
# Of rows that are gathered at a time on a device.
_BLOCK_BYTES = 16 * 2**20


class Labelled(NamedTuple):
    """Rows with their class numbers and weights."""

    x: Tensor
    y: Tensor
    weight: Tensor


class Unlabelled(NamedTuple):
    """Rows whose labels are not used, with class probabilities from a graph."""

    x: Tensor
    weight: Tensor
    target: Tensor | None = None
    confidence: Tensor | None = None


class Classification(SteppedModule):
    """Cross-entropy of labelled rows plus losses of all rows.

    Parameters
    ----------
    stack : Stack
        Its output are logits. Shared, not copied.
    corruption : callable
        ``(x, generator) -> x_tilde``.
    noise : float
        Standard deviation of the noise on each normalised pre-activation.
    n_steps : int
        Length of the training, for the weights of the terms.
    generator : torch.Generator
        For the decoder's first weights, on the CPU.
    terms : sequence of losses of rows without labels, default=()
    uses_running_statistics : bool, default=False
        Normalise by the running statistics instead of the batches'.
    """

    members = None

    def __init__(
        self,
        stack: Stack,
        corruption,
        noise: float,
        n_steps: int,
        generator: Generator,
        terms: Sequence = (),
        *,
        uses_running_statistics: bool = False,
    ):
        super().__init__()
        self.stack = stack
        self.corruption = corruption
        self.noise = noise
        self.n_steps = n_steps
        self.terms = list(terms)
        self.decoder: Any = None
        if self.terms:
            self.decoder = LadderDecoder(stack.sizes, generator)
        self.uses_running_statistics = uses_running_statistics
        self.progress = 1 / n_steps
        # Layers of other kinds may draw numbers in their passes.
        is_dense = all(isinstance(layer.pre, Product) for layer in stack)
        self._row_work = row_work(stack) if is_dense else 0

    def decayed_parameters(self) -> list[nn.Parameter]:
        """The weight matrices: not gains, shifts and combinators."""
        matrices = [p for p in self.stack.parameters() if p.ndim == 2]
        return matrices + list(self.decoder.weights if self.decoder else ())

    def gradient(self, generator: Generator | None = None) -> None:
        """None: autograd."""

    def batch_loss(
        self,
        labelled: Labelled,
        unlabelled: Unlabelled | None = None,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Mean loss of one training step, a scalar in nats.

        Labelled rows are normalised apart from the others.
        """
        if unlabelled is None or not self.terms:
            return self._of_labelled(self._noisy(labelled.x, generator), labelled)
        drawn = [self._drawn(rows.x, generator) for rows in (labelled, unlabelled)]
        (of_labelled, noisy), clean = self._both(drawn, unlabelled.x)
        passes = self.two_passes(unlabelled, noisy, clean)
        of_rows: Any = 0.0
        weights: Sequence = self.scheduled or self.numbers_at(self.progress)
        for term, weight in zip(self.terms, weights, strict=True):
            of_rows = _with_term(of_rows, weight, term(passes))
        mean = (of_rows * unlabelled.weight).mean()
        return self._of_labelled(of_labelled, labelled) + mean

    def numbers_at(self, progress: float) -> list[float]:
        """The weights of the terms, by the share that was done before the step."""
        before = (round(progress * self.n_steps) - 1) / self.n_steps
        return [term.weight(before) for term in self.terms]

    def two_passes(
        self, rows: Unlabelled, noisy: Pass, clean: Pass | None = None
    ) -> TwoPasses:
        """A noisy pass of rows with a clean one, the latter without gradient."""
        clean = self._clean(rows.x) if clean is None else clean
        return TwoPasses(
            clean, noisy, self.decoder, rows.x, rows.target, rows.confidence
        )

    def nll(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of each row as the stack predicts, shape ``(batch,)``."""
        return F.cross_entropy(self.stack(x), y, reduction="none")

    def _of_labelled(self, noisy: Pass, labelled: Labelled) -> Tensor:
        """Weighted mean of the cross-entropy."""
        nats = F.cross_entropy(noisy.logits, labelled.y, reduction="none")
        return (nats * labelled.weight).mean()

    def _both(self, drawn: Sequence[Drawn], x: Tensor) -> list:
        """Noisy passes of batches and a clean one of rows, side by side if large."""
        calls: list[Callable[[], Any]] = [
            partial(self.stack.run_together, drawn, self.noise),
            partial(self._clean, x),
        ]
        is_large = self._row_work * len(x) >= _LEAST_WORK and x.device.type == "cpu"
        return together(calls) if is_large else [call() for call in calls]

    @torch.no_grad()
    def _clean(self, x: Tensor) -> Pass:
        return self.stack.run(x)

    def _drawn(self, x, generator):
        return self.stack.draw(self.corruption(x, generator), self.noise, generator)

    def _noisy(self, x, generator):
        x_tilde = self.corruption(x, generator)
        return self.stack.run(
            x_tilde,
            self.noise,
            generator,
            uses_running_statistics=self.uses_running_statistics,
        )


def _with_term(total: Tensor | float, weight: Tensor | float, term: Tensor) -> Tensor:
    """total + weight * term."""
    if not isinstance(weight, Tensor):
        return torch.add(total, term, alpha=weight)
    if not isinstance(total, Tensor):
        return weight * term
    return torch.addcmul(total, weight, term)


class PartlyLabelled:
    """Batches of labelled rows, each beside a batch of all rows.

    Both are drawn without replacement until all rows were drawn. Iterating gives the
    batches of one round.

    Parameters
    ----------
    rows : Rows
        Of all rows.
    labels : ndarray of int of shape (n_samples,)
        Class numbers, -1 for rows without a label.
    weight : Tensor of shape (n_samples,)
    label_weight : Tensor of shape (n_samples,)
        Weights in the cross-entropy of labelled rows.
    sizes : (int, int)
        Labelled rows and all rows of a batch; no batch of all rows where that is zero.
    n_batches : int
        Batches a round.
    generator : torch.Generator
        On the CPU.

    Attributes
    ----------
    spread : SpreadLabels or None
        Labels from a graph; may be replaced between rounds.
    """

    def __init__(
        self, rows: Rows, labels, weight, label_weight, sizes, n_batches, generator
    ):
        self.rows = rows
        self.labels = torch.as_tensor(labels, device=rows.device)
        self.weight = weight
        self.label_weight = label_weight
        self.n_batches = n_batches
        self.spread = None
        self.generator = generator
        # Row numbers of batches to come.
        self._drawn: list[list[np.ndarray]] = []
        self._n_yielded, self._is_loaded = 0, False
        labelled = np.flatnonzero(labels >= 0)
        self._labelled = _Permutations(labelled, sizes[0], generator)
        self._all = None
        if sizes[1]:
            self._all = _Permutations(np.arange(len(labels)), sizes[1], generator)

    def __len__(self) -> int:
        return self.n_batches

    @property
    def spread(self) -> SpreadLabels | None:
        return self._spread

    @spread.setter
    def spread(self, spread: SpreadLabels | None):
        self._spread = spread
        self._graph: list[Tensor] = []
        if spread is not None:
            values = spread.target, spread.confidence
            device = self.rows.device
            self._graph = [torch.as_tensor(value, device=device) for value in values]

    def __iter__(self) -> Iterator[tuple[Labelled, Unlabelled | None]]:
        if not self._is_loaded:
            self._drawn, self._n_yielded = [], 0
        self._is_loaded = False
        while self._n_yielded < self.n_batches:
            if not self._drawn:
                n_left = self.n_batches - self._n_yielded
                self._drawn = [self._draw() for _ in range(min(n_left, _DRAWN))]
            # To the device once, not batch by batch.
            numbers = [np.stack(each) for each in zip(*self._drawn, strict=True)]
            places = [torch.as_tensor(n, device=self.rows.device) for n in numbers]
            n_drawn = len(self._drawn)
            while self._drawn:
                start, graph = n_drawn - len(self._drawn), self._graph
                block = slice(start, start + self._n_together())
                for batch in self._batches(
                    [each[block] for each in numbers], [each[block] for each in places]
                ):
                    if graph is not self._graph:
                        break
                    self._n_yielded += 1
                    self._drawn.pop(0)
                    yield batch

    def state(self) -> dict:
        """What batches that go on after the last one drawn need beside the rows."""
        spread = self.spread
        return {
            "labelled": self._labelled.left,
            "all": None if self._all is None else self._all.left,
            "drawn": [list(numbers) for numbers in self._drawn],
            "n_yielded": self._n_yielded,
            "spread": None if spread is None else [spread.target, spread.confidence],
            "generator": self.generator.get_state().numpy(),
        }

    def load(self, state: dict) -> None:
        """Go on from a state: the next round is the rest of its round."""
        self._labelled.left = state["labelled"]
        if self._all is not None:
            self._all.left = state["all"]
        self._drawn, self._n_yielded = state["drawn"], state["n_yielded"]
        self.spread = (
            None if state["spread"] is None else SpreadLabels(*state["spread"])
        )
        self.generator.set_state(torch.from_numpy(state["generator"]))
        self._is_loaded = True

    def _draw(self) -> list[np.ndarray]:
        """Row numbers: labelled ones and, where they take part, others."""
        return [each.draw() for each in (self._labelled, self._all) if each]

    def _n_together(self) -> int:
        """Batches that are gathered at once: one where a cache has room for one."""
        if self.rows.device.type == "cpu":
            return 1
        sizes = [each.size for each in (self._labelled, self._all) if each]
        return max(1, _BLOCK_BYTES // (4 * self.rows.n_features * max(sizes)))

    def _batches(self, numbers, places) -> Iterator[tuple[Labelled, Unlabelled | None]]:
        """Batches of rows of these numbers, which are on the device as places."""
        pairs = zip(numbers, places, strict=True)
        rows = [self.rows.at(own.ravel(), place.flatten()) for own, place in pairs]
        sides = [
            [x.unflatten(0, place.shape), *(values[place] for values in of_rows)]
            for x, place, of_rows in zip(
                rows,
                places,
                ([self.labels, self.label_weight], [self.weight, *self._graph]),
                strict=False,
            )
        ]
        for labelled, *others in zip(
            *(zip(*side, strict=True) for side in sides), strict=True
        ):
            yield (
                Labelled(*labelled),
                Unlabelled(*others[0]) if others else None,
            )


register(Labelled, Unlabelled)


class _Permutations:
    """Batches of full size from one permutation after the other."""

    def __init__(self, index, size, generator):
        self.index = index
        self.size = size
        self.generator = generator
        self.left = np.empty(0, dtype=np.int64)

    def draw(self):
        while len(self.left) < self.size:
            order = permutation(len(self.index), self.generator)
            self.left = np.concatenate([self.left, self.index[order]])
        drawn, self.left = self.left[: self.size], self.left[self.size :]
        return drawn
