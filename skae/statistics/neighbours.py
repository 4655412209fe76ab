"""Labels from nearest neighbours: of which rows, by what distance, and whether at all.

`NeighbourLabels` builds the graphs of `label_graph` for a classifier: first from the
rows themselves, then also from their codes in a trained network.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.preprocessing import normalize
from torch import Tensor

from skae.rows.chunks import Rows, chunks
from skae.rows.derived import is_mapped
from skae.rows.sources import RowSource
from skae.statistics.label_graph import (
    SpreadLabels,
    held_out_errors,
    neighbour_graph,
    spread,
)
from skae.statistics.linear_algebra import product
from skae.statistics.pca import principal

__all__ = ["NeighbourLabels"]

_MAX_ROWS = 65_536
_MAX_WIDTH = 50
# Of rows that are gathered from a source, and how many there are of wide ones.
_MOST_BYTES, _FEWEST_ROWS = 2**27, 8192


class NeighbourLabels:
    """Labels that spread over the nearest neighbours of rows.

    Of more than ``max_rows`` rows, that many are used, up to half of them labelled; the
    others get no label.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    labels : ndarray of int of shape (n_samples,)
        Class numbers, -1 for rows without a label.
    n_classes : int
    seed : int
    max_rows : int, default=65536
    """

    def __init__(
        self,
        X,
        labels: np.ndarray,
        n_classes: int,
        seed: int,
        max_rows: int = _MAX_ROWS,
    ):
        self.n_samples = len(labels)
        self.n_classes = n_classes
        self.state = np.random.RandomState(seed)
        self.index = np.arange(len(labels))
        if isinstance(X, RowSource) or is_mapped(X):
            fitting = _MOST_BYTES // (X.dtype.itemsize * X.shape[1])
            max_rows = min(max_rows, max(_FEWEST_ROWS, fitting))
        if len(labels) > max_rows:
            order = self.state.permutation(len(labels))
            labelled = order[labels[order] >= 0][: max_rows // 2]
            others = order[labels[order] < 0][: max_rows - len(labelled)]
            self.index = np.sort(np.concatenate([labelled, others]))
        if isinstance(X, RowSource) or len(self.index) < len(labels):
            X = X[self.index]
        self.X = X
        self.labels = labels[self.index]

    def judge(self) -> bool:
        """Whether rows without labels help, and set ``can_spread``.

        Neighbours have to predict held-out labels better than models of the labelled
        rows. Nothing is held out, and nothing spreads, where most rows are labelled, or
        where fewer than two classes have two labels; the label of a class of one takes
        no part.
        """
        self.can_spread = False
        counts = np.bincount(self.labels[self.labels >= 0], minlength=self.n_classes)
        if counts.sum() > len(self.labels) / 2 or (counts > 1).sum() < 2:
            return True
        self.affinity = neighbour_graph(self._comparable())
        is_judged = (self.labels >= 0) & (counts[self.labels] > 1)
        labels = np.where(is_judged, self.labels, -1)
        X = self.X[is_judged]
        X = X.toarray() if sparse.issparse(X) else X
        X = (X - X.mean(axis=0)) / (np.sqrt(X.var(axis=0).mean()) or 1)
        # A gathered copy of rows is not to outlive its use.
        self.X = None
        errors = held_out_errors(self.affinity, labels, X, self.state)
        self.can_spread = errors.is_graph_better
        return errors.is_clustered

    @torch.no_grad()
    def spread(
        self,
        learned: Callable[[Tensor], Tensor] | None = None,
        rows: Rows | None = None,
    ) -> SpreadLabels:
        """Class probabilities of every row from its neighbours, after `judge`.

        Parameters
        ----------
        learned : callable, optional
            Maps rows to codes, whose neighbours are added.
        rows : Rows, optional
            The rows that are mapped.
        """
        affinity = self.affinity
        if learned is not None and rows is not None:
            parts = [
                learned(rows[self.index[block]])
                for block in chunks(len(self.index), rows.n_features)
            ]
            affinity = affinity + neighbour_graph(torch.cat(parts).cpu().numpy())
        labels = spread(affinity.tocsr(), self.labels, self.n_classes)
        if len(self.index) == self.n_samples:
            return labels
        shape = self.n_samples, self.n_classes
        target = np.full(shape, 1 / self.n_classes, dtype=np.float32)
        confidence = np.zeros(self.n_samples, dtype=np.float32)
        target[self.index], confidence[self.index] = labels.target, labels.confidence
        return SpreadLabels(target, confidence)

    def _comparable(self) -> np.ndarray:
        """Rows for the neighbour search, on principal axes if there are many columns.

        Rows without negative values (intensities, counts) are compared by direction:
        how bright an image is, or how long a text, says little about its class.
        """
        X = normalize(self.X) if self.X.min() >= 0 else self.X
        if X.shape[1] <= _MAX_WIDTH:
            return X.toarray() if sparse.issparse(X) else X
        if sparse.issparse(X):
            return TruncatedSVD(_MAX_WIDTH, random_state=self.state).fit_transform(X)
        axes = principal(X, _MAX_WIDTH, None, self.state).axes
        parts = [product(X[rows], axes) for rows in chunks(*X.shape)]
        return np.concatenate(parts).astype(np.float32)
