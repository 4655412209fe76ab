"""The categorical likelihood, for columns of class numbers."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor

from skae.parts.base import Likelihood

__all__ = ["Categorical"]


class Categorical(Likelihood):
    """Independent columns of classes 0, 1, ..., n_classes - 1; raw outputs are logits.

    Reconstructions are the likeliest classes.

    Parameters
    ----------
    n_classes : int
        Of each column.

    Shape
    -----
    raw : ``(..., n_features * n_classes)``, column by column; x : ``(...,
    n_features)``; ``nll`` : ``(...,)``, nats per sample.
    """

    is_centred = False
    starts_as_pca = False

    def __init__(self, n_classes):
        self.n_classes = n_classes

    def n_outputs(self, n_features: int) -> int:
        """A logit for each class of each column."""
        return self.n_classes * n_features

    def entry_nll(self, raw: Tensor, x: Tensor) -> Tensor:
        """Minus the log-probability of each entry."""
        chosen = x.long().unsqueeze(-1)
        return -self._logits(raw).log_softmax(-1).gather(-1, chosen).squeeze(-1)

    def nll(self, raw: Tensor, x: Tensor) -> Tensor:
        """Minus the log-probability of each row."""
        return self.entry_nll(raw, x).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """The likeliest class of each column."""
        return self._logits(raw).argmax(-1).to(raw)

    def draw(self, raw: Tensor, generator: Generator) -> Tensor:
        """Classes at their probabilities, by the largest of perturbed logits."""
        logits = self._logits(raw)
        uniform = torch.rand(logits.shape, generator=generator).to(raw)
        gumbel = -(-uniform.clamp(1e-12, 1 - 1e-7).log()).log()
        return (logits + gumbel).argmax(-1).to(raw)

    def check(self, ranges: Callable[[], tuple[np.ndarray, np.ndarray]]) -> None:
        """Values are class numbers.

        Raises
        ------
        ValueError
            When they are not.
        """
        low, high = (np.asarray(end) for end in ranges())
        low, high = np.fmin.reduce(low), np.fmax.reduce(high)
        if low < 0 or high > self.n_classes - 1:
            raise ValueError(
                f"Categorical(n_classes={self.n_classes}) needs X of class numbers "
                f"from 0 to {self.n_classes - 1}, but X ranges from {low:g} to "
                f"{high:g}. Use OrdinalEncoder."
            )

    def network(self) -> dict:
        """Its classes."""
        return {"likelihood": "Categorical", "n_classes": self.n_classes}

    def _logits(self, raw: Tensor) -> Tensor:
        return raw.unflatten(-1, (-1, self.n_classes))
