"""Nearest neighbours of every row among all rows, for the graphs of `label_graph`.

Tables of many rows and columns are searched by products in single precision, whose
rounding errors are bounded; rows whose neighbours the bound leaves open, and all other
tables, are left to scikit-learn.
"""

import threading

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from skae.rows.isolation import isolated, on_all_threads, own_threads
from skae.rows.tensors import as_double

__all__ = ["nearest"]

_MIN_ROWS = 8192
# Up to this width scikit-learn searches a tree, which is as fast.
_MAX_TREE_WIDTH = 15
_GROUP = 64
_SPARE = 4
_BLOCK_NUMBERS = 2**22


def nearest(Z: np.ndarray, n_neighbors: int) -> np.ndarray:
    """Row numbers of the nearest other rows by Euclidean distance, nearest first.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, n_features)
    n_neighbors : int
        Less than n_samples.

    Returns
    -------
    index : ndarray of int64 of shape (n_samples, n_neighbors)
        The same for any number of threads.
    """
    n_samples, n_features = Z.shape
    if n_samples < _MIN_ROWS or n_features <= _MAX_TREE_WIDTH:
        search = NearestNeighbors(n_neighbors=n_neighbors).fit(Z)
        with on_all_threads():
            return search.kneighbors(return_distance=False)
    index = np.empty((n_samples, n_neighbors), dtype=np.int64)
    is_open = np.empty(n_samples, dtype=bool)
    search_rows = isolated(_Products(Z, n_neighbors).of_rows)

    def fill(rows):
        index[rows], is_open[rows] = search_rows(rows)

    size = max(1, _BLOCK_NUMBERS // n_samples)
    Parallel(own_threads(), require="sharedmem")(
        delayed(fill)(slice(start, min(start + size, n_samples)))
        for start in range(0, n_samples, size)
    )
    if is_open.any():
        index[is_open] = _others(Z, np.flatnonzero(is_open), n_neighbors)
    return index


class _Products:
    """Squared distances by products in single precision, less each query's square.

    The nearest rows are first sought among minima of groups, one group every
    ``n_groups`` rows: as many groups as rows are wanted hold all of them.
    """

    def __init__(self, Z: np.ndarray, n_neighbors: int):
        self.n_neighbors = n_neighbors
        self.n_candidates = n_neighbors + 1 + _SPARE
        self.z = as_double(Z)
        self.z = self.z - self.z.mean(0)
        squares = self.z.square().sum(1, keepdim=True)
        self.norms = squares.sqrt()[:, 0]
        # (-z_i, 1) . (z_j, |z_j|^2 / 2): a sum with them takes longer than the product.
        ones = torch.ones_like(squares)
        self.left = torch.hstack([-self.z, ones]).float()
        self.right = torch.hstack([self.z, squares / 2]).float()
        missing = -len(Z) % _GROUP
        self.n_groups = (len(Z) + missing) // _GROUP
        far = self.right.new_zeros(missing, self.right.shape[1])
        far[:, -1] = float("inf")
        self.right = torch.vstack([self.right, far]).T.contiguous()
        self.own = threading.local()

    @torch.no_grad()
    def of_rows(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Neighbours of some rows, and of which of them they are not certain."""
        left = self.left[rows]
        halves = torch.mm(left, self.right, out=self._buffer(len(left)))
        minima = halves.view(len(halves), _GROUP, self.n_groups).amin(1)
        groups = minima.topk(self.n_candidates, 1, largest=False, sorted=False).indices
        offsets = self.n_groups * torch.arange(_GROUP, device="cpu")
        members = (groups[:, :, None] + offsets).flatten(1)
        found = halves.gather(1, members).topk(self.n_candidates, 1, largest=False)
        candidates = members.gather(1, found.indices).sort(1).values
        own = torch.arange(rows.start, rows.stop, device="cpu")[:, None]
        difference = self.z[candidates] - self.z[rows, None]
        squares = difference.square().sum(2)
        squares[candidates == own] = float("inf")
        squares, order = squares.sort(dim=1, stable=True)
        index = candidates.gather(1, order)[:, : self.n_neighbors]
        # Rows that are no candidates are at least as far as the last candidate.
        last = found.values[:, -1].double()
        last[last.isinf()] = float("nan")
        limit = 2 * last + self.norms[rows].square()
        is_certain = squares[:, self.n_neighbors - 1] < limit - self._error(rows)
        return index, is_certain.logical_not()

    def _buffer(self, n_rows):
        """This thread's memory for a product: new memory takes as long as that."""
        size = n_rows, self.right.shape[1]
        buffer = getattr(self.own, "buffer", None)
        if buffer is None or buffer.shape != size:
            buffer = self.own.buffer = self.right.new_empty(size)
        return buffer

    def _error(self, rows):
        """Bound on the rounding of a squared distance by products."""
        longest = self.norms.max()
        unit = torch.finfo(torch.float32).eps
        return unit * (self.z.shape[1] + 4) * longest * (self.norms[rows] + longest)


def _others(Z, queries, n_neighbors):
    """scikit-learn's neighbours of some rows of Z, without the rows themselves."""
    search = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(Z)
    with on_all_threads():
        index = search.kneighbors(Z[queries], return_distance=False)
    is_own = index == queries[:, None]
    # More duplicates than neighbours may crowd out the row itself.
    is_own[~is_own.any(1), -1] = True
    return index[~is_own].reshape(len(queries), n_neighbors)
