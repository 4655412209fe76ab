"""The categorical likelihood, for columns of class numbers."""

from collections.abc import Callable

import numpy as np
from torch import Generator, Tensor

from skae.parts.base import EntryLikelihood
from skae.parts.random_numbers import uniform
from skae.rows.chunks import chunks

__all__ = ["Categorical"]


class Categorical(EntryLikelihood):
    """Independent columns of classes 0, 1, ..., n_classes - 1; raw outputs are logits.

    Reconstructions are the likeliest classes.

    Parameters
    ----------
    n_classes : int
        Of each column.

    Shape
    -----
    raw : ``(..., n_features * n_classes)``, column by column; x : ``(...,
    n_features)``
    """

    is_rowwise = True
    is_centred = False
    starts_as_pca = False

    def __init__(self, n_classes):
        self.n_classes = n_classes

    def n_outputs(self, n_features: int) -> int:
        """A logit for each class of each column."""
        return self.n_classes * n_features

    def entry_nll(self, raw: Tensor, x: Tensor) -> Tensor:
        chosen = x.long().unsqueeze(-1)
        return -self._logits(raw).log_softmax(-1).gather(-1, chosen).squeeze(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """The likeliest class of each column."""
        return self._logits(raw).argmax(-1).to(raw)

    def draw(self, raw: Tensor, generator: Generator) -> Tensor:
        """Classes at their probabilities, by the largest of perturbed logits."""
        logits = self._logits(raw)
        share = uniform(logits, generator).clamp(1e-12, 1 - 1e-7)
        gumbel = -(-share.log()).log()
        return (logits + gumbel).argmax(-1).to(raw)

    def check(self, ranges: Callable[[], tuple[np.ndarray, np.ndarray]]) -> None:
        """Values lie between the first and the last class number."""
        low, high = (np.asarray(end) for end in ranges())
        low, high = np.fmin.reduce(low), np.fmax.reduce(high)
        if low < 0 or high > self.n_classes - 1:
            raise self._refusal(f"ranges from {low:g} to {high:g}")

    def check_rows(self, X) -> None:
        """Values are whole numbers."""
        for rows in chunks(*X.shape):
            block = X[rows] if isinstance(X, np.ndarray) else X[rows].toarray()
            # NaN, a missing entry, is no fraction.
            fractions = np.argwhere(np.abs(block - np.rint(block)) > 0)
            if len(fractions):
                row, column = fractions[0]
                place = f"row {rows.start + row}, column {column}"
                raise self._refusal(f"holds {block[row, column]:g} in {place}")

    def _refusal(self, reason: str) -> ValueError:
        return ValueError(
            f"Categorical(n_classes={self.n_classes}) needs X of class numbers from 0 "
            f"to {self.n_classes - 1}, but X {reason}. Use OrdinalEncoder."
        )

    def network(self) -> dict:
        return {"likelihood": "Categorical", "n_classes": self.n_classes}

    def _logits(self, raw: Tensor) -> Tensor:
        return raw.unflatten(-1, (-1, self.n_classes))
