"""The classifier's loss: labelled rows, and what rows without labels add to it.

`Classification` is the module that the trainer optimises: the layers of a stack that
are trained, their ladder decoder and the terms of `semi_supervised_losses`.
`PartlyLabelled` draws its batches. What lies below the trained layers has been computed
before: rows here are codes of the frozen part, or the data themselves where nothing is
frozen.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from skae.models.ladder import LadderDecoder
from skae.models.semi_supervised_losses import Evidence
from skae.models.stack import Stack
from skae.rows.chunks import Rows
from skae.statistics.label_graph import SpreadLabels

__all__ = ["Classification", "Labelled", "PartlyLabelled", "Unlabelled"]


class Labelled(NamedTuple):
    """Rows with their class numbers and weights."""

    x: Tensor
    y: Tensor
    weight: Tensor


class Unlabelled(NamedTuple):
    """Rows whose labels are not used, with what a graph says of them."""

    x: Tensor
    weight: Tensor
    target: Tensor | None = None
    confidence: Tensor | None = None


class Classification(nn.Module):
    """Cross-entropy of labelled rows plus the terms' share of all rows.

    Parameters
    ----------
    stack : Stack
        Its output are logits. Shared, not copied.
    corruption : callable
        ``(x, generator) -> x_tilde``.
    noise : float
        Standard deviation of the noise on each normalised pre-activation.
    n_steps : int
        Length of the training, by which the weights of terms are ramped.
    generator : torch.Generator
        For the decoder's first weights, on the CPU.
    terms : sequence of terms, default=()
    is_settled : bool, default=False
        Train with the layers' statistics instead of the batches'.
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
        is_settled: bool = False,
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
        self.is_settled = is_settled
        self._step = 0

    def decayed_parameters(self) -> list[nn.Parameter]:
        """Matrices; not gains, shifts and combinators."""
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

        Labelled rows are a batch of their own, with their own statistics.
        """
        logits = self._noisy(labelled.x, generator).logits
        nats = F.cross_entropy(logits, labelled.y, reduction="none")
        loss = (nats * labelled.weight).mean()
        if unlabelled is None or not self.terms:
            return loss
        progress = self._step / self.n_steps
        self._step += 1
        evidence = self.evidence(unlabelled, generator)
        for term in self.terms:
            share = (term(evidence) * unlabelled.weight).mean()
            loss = loss + term.weight(progress) * share
        return loss

    def evidence(self, rows: Unlabelled, generator: Generator | None) -> Evidence:
        """A noisy and a clean pass of the same rows, the latter without gradient."""
        noisy = self._noisy(rows.x, generator)
        with torch.no_grad():
            clean = self.stack.run(rows.x, is_settled=self.is_settled)
        return Evidence(
            clean, noisy, self.decoder, rows.x, rows.target, rows.confidence
        )

    def nll(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of each row as the stack predicts, shape ``(batch,)``."""
        return F.cross_entropy(self.stack(x), y, reduction="none")

    def _noisy(self, x, generator):
        x_tilde = self.corruption(x, generator)
        return self.stack.run(
            x_tilde, self.noise, generator, is_settled=self.is_settled
        )


class PartlyLabelled:
    """Batches of labelled rows, each beside a batch of all rows.

    Both come from permutations, so every row has its turn. Iterating draws the batches
    of one round.

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
        What a graph says; may be replaced between rounds.
    """

    def __init__(
        self, rows: Rows, labels, weight, label_weight, sizes, n_batches, generator
    ):
        self.rows = rows
        self.labels = torch.as_tensor(labels, device=rows.device)
        self.weight = weight
        self.label_weight = label_weight
        self.n_batches = n_batches
        self.spread: SpreadLabels | None = None
        known = np.flatnonzero(labels >= 0)
        self._labelled = _Turns(known, sizes[0], generator)
        everyone = np.arange(len(labels))
        self._everyone = _Turns(everyone, sizes[1], generator) if sizes[1] else None

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[tuple[Labelled, Unlabelled | None]]:
        for _ in range(self.n_batches):
            drawn = self._labelled.draw()
            index = torch.as_tensor(drawn, device=self.rows.device)
            labelled = Labelled(
                self.rows[drawn], self.labels[index], self.label_weight[index]
            )
            yield labelled, self._unlabelled()

    def _unlabelled(self):
        if self._everyone is None:
            return None
        drawn = self._everyone.draw()
        weight = self.weight[torch.as_tensor(drawn, device=self.rows.device)]
        if self.spread is None:
            return Unlabelled(self.rows[drawn], weight)
        target, confidence = (
            torch.as_tensor(part[drawn], device=self.rows.device)
            for part in (self.spread.target, self.spread.confidence)
        )
        return Unlabelled(self.rows[drawn], weight, target, confidence)


class _Turns:
    """Batches of full size from permutations, one after the other."""

    def __init__(self, index, size, generator):
        self.index = index
        self.size = size
        self.generator = generator
        self.left = np.empty(0, dtype=np.int64)

    def draw(self):
        """The next rows; a permutation's rest goes before the next permutation."""
        while len(self.left) < self.size:
            order = torch.randperm(len(self.index), generator=self.generator)
            self.left = np.concatenate([self.left, self.index[order.numpy()]])
        drawn, self.left = self.left[: self.size], self.left[self.size :]
        return drawn
