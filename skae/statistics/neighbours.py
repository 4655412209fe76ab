"""Labels from the neighbours of rows: which rows, by what distance, and whether at all.

`NeighbourLabels` builds the graphs of `label_graph` for a classifier: first by the
rows themselves, then also by what a network has learned of them.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.preprocessing import normalize
from torch import Tensor

from skae.rows.chunks import Rows, chunks
from skae.statistics.label_graph import SpreadLabels, is_better, neighbour_graph, spread
from skae.statistics.pca import principal

__all__ = ["NeighbourLabels"]

_MAX_ROWS = 65_536
_MAX_WIDTH = 50


class NeighbourLabels:
    """Labels that spread over the nearest neighbours of rows.

    Of more than 65,536 rows, that many are taken, among them up to half labelled ones;
    the others get no label.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    labels : ndarray of int of shape (n_samples,)
        Class numbers, -1 for rows without a label.
    n_classes : int
    seed : int
    """

    def __init__(self, X, labels: np.ndarray, n_classes: int, seed: int):
        self.everyone = len(labels)
        self.n_classes = n_classes
        self.state = np.random.RandomState(seed)
        self.index = np.arange(len(labels))
        if len(labels) > _MAX_ROWS:
            order = self.state.permutation(len(labels))
            known = order[labels[order] >= 0][: _MAX_ROWS // 2]
            others = order[labels[order] < 0][: _MAX_ROWS - len(known)]
            self.index = np.sort(np.concatenate([known, others]))
            X = X[self.index]
        self.X = X
        self.labels = labels[self.index]

    def judge(self) -> bool:
        """Whether the rows' neighbours know labels better than the rows alone.

        No, where most rows are labelled or too few to ask.
        """
        known = np.flatnonzero(self.labels >= 0)
        counts = np.bincount(self.labels[known], minlength=self.n_classes)
        if len(known) > len(self.labels) / 2 or counts.min() < 2:
            return False
        self.affinity = neighbour_graph(self._comparable())
        X = self.X[known]
        X = X.toarray() if sparse.issparse(X) else X
        X = (X - X.mean(axis=0)) / (np.sqrt(X.var(axis=0).mean()) or 1)
        return is_better(self.affinity, self.labels, X, self.state)

    @torch.no_grad()
    def spread(
        self,
        learned: Callable[[Tensor], Tensor] | None = None,
        rows: Rows | None = None,
    ) -> SpreadLabels:
        """What neighbours say of every row, after `judge`.

        Parameters
        ----------
        learned : callable, optional
            Maps rows to what a network makes of them; neighbours by that are added.
        rows : Rows, optional
            What it maps.
        """
        affinity = self.affinity
        if learned is not None and rows is not None:
            parts = [
                learned(rows[self.index[block]])
                for block in chunks(len(self.index), rows.n_features)
            ]
            affinity = affinity + neighbour_graph(torch.cat(parts).cpu().numpy())
        found = spread(affinity.tocsr(), self.labels, self.n_classes)
        if len(self.index) == self.everyone:
            return found
        target = np.full((self.everyone, found.target.shape[1]), 1, dtype=np.float32)
        target /= target.shape[1]
        confidence = np.zeros(self.everyone, dtype=np.float32)
        target[self.index], confidence[self.index] = found.target, found.confidence
        return SpreadLabels(target, confidence)

    def _comparable(self) -> np.ndarray:
        """Rows in which neighbours are looked for, on principal axes if they are wide.

        Rows without negative values (intensities, counts) are compared by direction:
        how bright an image is, or how long a text, says little about its class.
        """
        X = normalize(self.X) if self.X.min() >= 0 else self.X
        if X.shape[1] <= _MAX_WIDTH:
            return X.toarray() if sparse.issparse(X) else X
        if sparse.issparse(X):
            return TruncatedSVD(_MAX_WIDTH, random_state=self.state).fit_transform(X)
        found = principal(X, _MAX_WIDTH, None, self.state)
        parts = [X[rows] @ found.axes for rows in chunks(*X.shape)]
        return np.concatenate(parts).astype(np.float32)
