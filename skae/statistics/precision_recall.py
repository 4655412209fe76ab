"""Precision and recall of samples: which look real, and what of the real is there.

`precision_recall` evaluates generative models in any features. Distances are computed
in blocks, and no distance matrix is kept whole.
"""

import numpy as np
import torch
from torch import Tensor

from skae.rows.devices import as_double_on

__all__ = ["precision_recall"]

_BLOCK = 1024


def precision_recall(real, made, n_neighbors: int = 3) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019, arXiv 1904.06991).

    The region of a set is the union of balls around its rows, each as wide as the
    distance to the ``n_neighbors``-th nearest other row. Precision is the share of the
    generated rows in the region of the real ones, recall the share of the real rows in
    that of the generated ones.

    Parameters
    ----------
    real, made : array-like of shape (n_samples, n_features)
        Features of real and of generated samples; as many of both compare best.
    n_neighbors : int, default=3
        Fewer than rows in either.

    Returns
    -------
    precision, recall : float
        In [0, 1].

    Raises
    ------
    ValueError
        When there are too few rows, or widths differ.

    Examples
    --------
    >>> real = [[0.0], [1.0], [2.0], [3.0]]
    >>> precision_recall(real, [[0.1], [0.3], [9.0], [9.5]], n_neighbors=1)
    (0.5, 0.25)
    """
    real, made = _double(real), _double(made)
    for name, rows in (("real", real), ("made", made)):
        if rows.ndim != 2 or len(rows) <= n_neighbors:
            raise ValueError(
                f"{name} must be features of shape (n_samples, n_features), of more "
                f"than n_neighbors={n_neighbors} rows; got shape {tuple(rows.shape)}."
            )
    if real.shape[1] != made.shape[1]:
        raise ValueError(
            f"Features must be of one width; real has {real.shape[1]} columns and made "
            f"has {made.shape[1]}."
        )
    made = made.to(real.device)
    return _covered(real, made, n_neighbors), _covered(made, real, n_neighbors)


def _covered(rows: Tensor, others: Tensor, n_neighbors: int) -> float:
    """Share of the others in the region of the rows."""
    # The nearest row of each is itself.
    radius = torch.cat(
        [
            _distances(part, rows).kthvalue(n_neighbors + 1).values
            for part in _parts(rows)
        ]
    )
    inside = [(_distances(part, rows) <= radius).any(1) for part in _parts(others)]
    return float(torch.cat(inside).double().mean())


def _parts(rows: Tensor) -> tuple[Tensor, ...]:
    return rows.split(_BLOCK)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # Products would round equal rows apart.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _double(rows) -> Tensor:
    return as_double_on(torch.from_numpy(np.array(rows, dtype=np.float64)))
