"""Centred and weighted rows as a matrix that is multiplied, not formed.

With F = sqrt(weight) (X - mean) / unit, the covariance of X is F^T F and its principal
axes are the right singular vectors of F. `CentredRows` reads X chunk by chunk, in
float64 and with 0 for NaN; sparse rows stay sparse in products. Of rows that are spread
over processes each reads its own, and products are added up. `leading_axes` goes
through the smaller of F^T F and F F^T: formed where it is small, else by products with
blocks of vectors (a restarted block Krylov method, Golub and Underwood 1977), so that
equal variances are found as often as they occur.
"""

from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.utils.extmath import svd_flip

from skae.rows.chunks import chunks
from skae.rows.group import group_of
from skae.rows.sources import RowSource
from skae.statistics.linear_algebra import (
    eigh,
    norms,
    orthonormal,
    product,
    square_of,
    svd,
)

__all__ = ["CentredRows", "leading_axes", "n_components_for_share"]

# F itself is decomposed up to this number of multiplications and entries.
_DIRECT = 3e7
_DIRECT_ENTRIES = 4e6
# The smaller square is formed up to this size.
_FORMED = 2000
# Sparse rows are multiplied as such up to this density, and up to squares of offsets
# that are so many times the variance.
_SPARSE = 0.05
_LARGEST_OFFSET = 1e4
# Variances beyond this share of the largest have orthogonal axes without further ado.
_WELL_CONDITIONED = 1e-6
# Of rows whose products with all others are formed at a time, in float64.
_HELD_BYTES = 128 * 2**20
# Numbers of components between which a share of the variance is looked for by products.
_FEWEST = 20
_MOST = 400
# Where more than this share of its vectors is wanted, up to that size.
_MANY = 0.2
_FORMED_FOR_MANY = 8000
# Of the Krylov method: vectors a block, fewest blocks between restarts, and the largest
# residual, in eigenvalues.
_BLOCK = 6
_LENGTH = 10
_TOLERANCE = 1e-7
_ROUNDING = 1e-13
_MOST_RESTARTS = 100


class CentredRows:
    """F = sqrt(weight) (X - mean) / unit.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    sample_weight : ndarray of shape (n_samples,) or None
    mean : ndarray of shape (n_features,), in X's units
    unit : float
    """

    def __init__(self, X, sample_weight, mean: np.ndarray, unit: float):
        self.X = X
        self.shape = X.shape
        self.is_wide = X.shape[1] > X.shape[0]
        self.is_sparse = sparse.issparse(X)
        self._weight = sample_weight
        weight = np.ones(X.shape[0]) if sample_weight is None else sample_weight
        self._root = np.sqrt(weight / weight.sum())
        self._mean = mean
        self._unit = unit
        self._shift = mean / unit
        if self.is_sparse:
            X = X.astype(np.float64) / unit
            X.sum_duplicates()
            missing = np.isnan(X.data)
            X.data[missing] = self._shift[X.indices[missing]]
            self._scaled = X

    def _is_cancelling(self) -> bool:
        """Whether squares of rows that are centred afterwards would not do."""
        if not self.is_sparse or self.X.nnz > _SPARSE * self.shape[0] * self.shape[1]:
            return True
        squares = self._root**2 @ self._scaled.multiply(self._scaled)
        offset = np.square(self._shift).sum()
        return offset > _LARGEST_OFFSET * (squares.sum() - offset)

    def __matmul__(self, right: np.ndarray) -> np.ndarray:
        """F right, for right of shape (n_features, width)."""
        if self.is_sparse:
            shifted = self._scaled @ right - product(self._shift, right)
            return shifted * self._root[:, None]
        if group_of(self.X).is_alone:
            parts = [product(block, right) for _, block in self._blocks()]
            return np.concatenate(parts)

        def own(total: np.ndarray) -> None:
            for rows, block in self._blocks():
                total[rows] = product(block, right)

        return self._together(own, (self.shape[0], right.shape[1]))

    def transposed(self, left: np.ndarray) -> np.ndarray:
        """F^T left, for left of shape (n_samples, width)."""
        if self.is_sparse:
            left = left * self._root[:, None]
            return self._scaled.T @ left - np.outer(self._shift, left.sum(axis=0))
        return self._sum(
            lambda rows, block: product(block.T, left[rows]), left.shape[1]
        )

    def covariance_times(self, right: np.ndarray) -> np.ndarray:
        """F^T F right, in one pass over the rows."""
        if self.is_sparse:
            return self.transposed(self @ right)
        return self._sum(
            lambda _, block: product(block.T, product(block, right)), right.shape[1]
        )

    def dense(self) -> np.ndarray:
        """F as an array."""
        return np.concatenate([block for _, block in self._blocks()])

    def covariance(self) -> np.ndarray:
        """F^T F."""
        if isinstance(self.X, RowSource):
            summary = self.X.summarized(self._weight, covariance=True)
            if summary.scatter is not None:
                return summary.scatter / summary.weight
        if self._is_cancelling():
            return self._sum(lambda _, block: square_of(block), self.shape[1])
        weighted = self._scaled.multiply(self._root[:, None]).tocsr()
        return (weighted.T @ weighted).toarray() - np.outer(self._shift, self._shift)

    def gram(self) -> np.ndarray:
        """F F^T."""
        if not self._is_cancelling():
            cross = self._scaled @ self._shift
            square = (self._scaled @ self._scaled.T).toarray()
            square += np.square(self._shift).sum() - cross[:, None] - cross
            return square * np.outer(self._root, self._root)
        if isinstance(self.X, RowSource):
            return self._gram_of_source()
        X = self.X.tocsc() if self.is_sparse else self.X
        n_samples, n_features = self.shape
        parts = (
            self._centred(X[:, columns], columns, slice(None))
            for columns in chunks(n_features, n_samples)
        )
        return reduce(np.add, (square_of(block.T) for block in parts))

    def _gram_of_source(self) -> np.ndarray:
        """F F^T from products of some rows at a time with those from there on."""
        square = np.empty((self.shape[0], self.shape[0]))
        size = max(1, _HELD_BYTES // (8 * self.shape[1]))
        for start in range(0, self.shape[0], size):
            held = slice(start, min(start + size, self.shape[0]))
            left = self._centred(self.X[held], slice(None), held)
            for begin in range(start, self.shape[0], size // 4 or 1):
                rows = slice(begin, min(begin + (size // 4 or 1), self.shape[0]))
                right = self._centred(self.X[rows], slice(None), rows)
                square[held, rows] = product(left, right.T)
                square[rows, held] = square[held, rows].T
        return square

    def square(self) -> np.ndarray:
        """The smaller of F^T F and F F^T."""
        return self.gram() if self.is_wide else self.covariance()

    def square_times(self, right: np.ndarray) -> np.ndarray:
        """`square` times right."""
        if self.is_wide:
            return self @ self.transposed(right)
        return self.covariance_times(right)

    def _sum(
        self, of: Callable[[Any, np.ndarray], np.ndarray], width: int
    ) -> np.ndarray:
        """The sum over all blocks of an array of shape (n_features, width)."""
        if group_of(self.X).is_alone:
            return reduce(np.add, (of(*each) for each in self._blocks()))

        def own(total: np.ndarray) -> None:
            for each in self._blocks():
                total += of(*each)

        return self._together(own, (self.shape[1], width))

    def _together(
        self, work: Callable[[np.ndarray], None], shape: tuple[int, int]
    ) -> np.ndarray:
        """What the processes add to zeros, each from its own rows."""
        group, total = group_of(self.X), np.zeros(shape)
        group.together(lambda: work(total))
        return group.sum(torch.from_numpy(total)).numpy()

    def _blocks(self) -> Iterator[tuple[Any, np.ndarray]]:
        """Blocks and their places: numbers of rows that are spread over processes."""
        if not group_of(self.X).is_alone:
            for numbers, block in self.X.own_blocks():
                yield numbers, self._centred(block, slice(None), numbers)
            return
        if isinstance(self.X, RowSource):
            for rows, block in self.X.blocks():
                yield rows, self._centred(block, slice(None), rows)
            return
        for rows in chunks(*self.shape):
            yield rows, self._centred(self.X[rows], slice(None), rows)

    def _centred(self, block, columns: slice, rows) -> np.ndarray:
        block = block.toarray() if self.is_sparse else block
        # Before the division: what is left of large offsets is exact.
        block = np.subtract(block, self._mean[columns], dtype=np.float64)
        if self._unit != 1:
            block /= self._unit
        block *= self._root[rows, None]
        block[np.isnan(block)] = 0
        return block


def leading_axes(
    rows: CentredRows,
    n_components: int | float,
    total: float,
    random_state: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray]:
    """Variances and axes, largest first.

    Parameters
    ----------
    rows : CentredRows
    n_components : int or float
        At most min(n_samples, n_features). Below one, as many as keep more than this
        share of the total variance.
    total : float
        Sum of the variances of all columns.
    random_state : RandomState
        Where the Krylov method starts; where it ends does not depend on it.

    Returns
    -------
    variance : ndarray of shape (n_components,)
    axes : ndarray of shape (n_features, n_components)
        Orthonormal columns, the largest entry of each positive, as PCA has them.

    Raises
    ------
    ValueError
        When a share takes too many components of so many rows and features.
    """
    if n_components < 1:
        share = n_components
        variance, vectors = _leading_share(rows, share, total, random_state)
    else:
        variance, vectors = _leading(rows, int(n_components), random_state)
    axes = vectors
    if rows.is_wide:
        axes = rows.transposed(vectors)
        if variance.min() > _WELL_CONDITIONED * variance.max():
            axes = axes / np.sqrt(variance)
        else:
            # Orthonormal also where a variance is zero.
            axes = orthonormal(axes)[0]
    return variance, svd_flip(axes, None)[0]


def _leading(rows: CentredRows, n_components: int, random_state):
    """Largest eigenvalues, and their vectors, of the smaller square of F."""
    if _is_direct(rows):
        left, values, right = svd(rows.dense())
        vectors = left if rows.is_wide else right.T
        return np.square(values[:n_components]), vectors[:, :n_components]
    if _is_formed(rows, n_components):
        return _eigen(rows.square(), n_components)
    return _block_krylov(rows, n_components, random_state)


def _leading_share(rows: CentredRows, share: float, total: float, random_state):
    """`_leading`, of as many as add up to more than a share of the total."""
    side = min(rows.shape)
    most = min(_MOST, _MANY * side)
    n_components = _FEWEST
    while n_components <= most and not (
        _is_direct(rows) or _is_formed(rows, n_components)
    ):
        variance, vectors = _leading(rows, n_components, random_state)
        lacking = share * total - variance.sum()
        if lacking < 0:
            break
        # No variance to come is larger than the last.
        fewest = n_components + int(lacking / max(variance[-1], total / 1e12)) + 1
        n_components = max(fewest, 2 * n_components)
    else:
        if side > _FORMED_FOR_MANY:
            raise ValueError(
                f"n_components={share:g} takes about {n_components} components or more "
                f"of X with {rows.shape[0]} rows and {rows.shape[1]} features, and "
                f"with them a matrix of {side} x {side} "
                f"({8 * side**2 / 2**30:.1f} GiB). Pass the number of components, "
                "an int."
            )
        variance, vectors = _leading(rows, side, random_state)
    n_components = n_components_for_share(variance, share, total)
    return variance[:n_components], vectors[:, :n_components]


def n_components_for_share(variance: np.ndarray, wanted: float, total: float) -> int:
    """How many leading variances add up to more than a share of the total."""
    cumulated = np.cumsum(variance) / max(total, np.finfo(float).tiny)
    enough = int(np.searchsorted(cumulated, wanted, side="right")) + 1
    return min(len(variance), enough)


def _is_direct(rows) -> bool:
    if isinstance(rows.X, RowSource):
        # Read once for all moments.
        return False
    entries = rows.shape[0] * rows.shape[1]
    return entries <= _DIRECT_ENTRIES and entries * min(rows.shape) <= _DIRECT


def _is_formed(rows, n_components) -> bool:
    """Whether the smaller square of F is formed for this many of its vectors."""
    side = min(rows.shape)
    if n_components > _MANY * side:
        # No larger than a few times the axes.
        return side <= _FORMED_FOR_MANY or n_components > side / 3
    return side <= _FORMED


def _eigen(square, n_vectors):
    """Largest eigenvalues, and their vectors, of a positive semidefinite matrix."""
    values, vectors = eigh(square)
    values, vectors = values[::-1], vectors[:, ::-1]
    return np.maximum(values[:n_vectors], 0), vectors[:, :n_vectors]


def _block_krylov(rows, n_vectors, random_state):
    """What `_eigen` gives, from products of the smaller square with blocks.

    Lanczos with full orthogonalisation. A restart keeps the leading Ritz vectors and
    the block that follows, in which the residuals of all of them lie.
    """
    side = min(rows.shape)
    n_kept = n_vectors + _BLOCK
    width = min(n_kept + max(_LENGTH * _BLOCK, n_vectors), side)
    basis, images = np.empty((2, side, width), order="F")
    start = random_state.standard_normal((side, _BLOCK))
    block = orthonormal(start)[0]
    filled = 0
    for _ in range(_MOST_RESTARTS):
        while filled + _BLOCK <= width:
            new = slice(filled, filled + _BLOCK)
            basis[:, new], images[:, new] = block, rows.square_times(block)
            filled += _BLOCK
            block = _orthogonal(images[:, new], basis[:, :filled])
        projected = product(basis[:, :filled].T, images[:, :filled])
        values, turn = _eigen((projected + projected.T) / 2, n_kept)
        for array in (basis, images):
            array[:, :n_kept] = product(array[:, :filled], turn)
        filled = n_kept
        residual = (images[:, :n_kept] - basis[:, :n_kept] * values)[:, :n_vectors]
        allowed = _TOLERANCE * values[:n_vectors] + _ROUNDING * values[0]
        if (norms(residual) <= allowed).all():
            break
    return values[:n_vectors], basis[:, :n_vectors]


def _orthogonal(block, basis):
    """An orthonormal block beside the basis, also where there is nothing but noise."""
    for _ in range(3):
        block = block - product(basis, product(basis.T, block))
        block = orthonormal(block)[0]
    return block
