"""How far apart two samples are, and how many modes of one the other covers.

`energy_distance` and `Modes` evaluate generative models. Distances are computed in
float64, and no distance matrix is kept whole.
"""

from collections.abc import Iterator

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from skae.rows.devices import as_double_on

__all__ = ["Modes", "energy_distance", "mean_distance"]

_BLOCK_BYTES = 16 * 2**20
# Up to this width differences are taken entry by entry, which loses no digits; matrix
# products are many times faster for wider rows.
_NARROW = 64


def energy_distance(a, b, weight=None, weight_b=None) -> float:
    """Energy distance of two samples (Szekely and Rizzo 2013, J. Stat. Plan. Infer.).

    2 mean|a - b| - mean|a - a'| - mean|b - b'|, over all pairs, with Euclidean
    distances: zero if and only if both samples are the same, and never negative. Two
    samples of n and m rows from one distribution are (1/n + 1/m) mean|a - a'| apart on
    average.

    Parameters
    ----------
    a, b : array-like or Tensor of shape (n_samples, n_features)
        Of the same width; numbers of rows may differ.
    weight : array-like or Tensor of shape (n_samples,), optional
        How much each row of a counts, non-negative.
    weight_b : array-like or Tensor of shape (n_samples,), optional
        The same of b.

    Returns
    -------
    distance : float
        In the units of the rows.

    Raises
    ------
    ValueError
        When a sample is empty or the widths differ.

    Examples
    --------
    >>> energy_distance([[0.0]], [[1.0]])
    2.0
    """
    a, b = _double(a), _double(b)
    for name, sample in (("a", a), ("b", b)):
        if sample.ndim != 2 or not len(sample):
            raise ValueError(
                f"{name} must be a sample of shape (n_samples, n_features), of one row "
                f"at least; got shape {tuple(sample.shape)}."
            )
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"The samples must be of one width; a has {a.shape[1]} columns and b has "
            f"{b.shape[1]}."
        )
    between = mean_distance(a, b, weight, weight_b)
    within_a = mean_distance(a, a, weight, weight)
    within_b = mean_distance(b, b, weight_b, weight_b)
    return max(0.0, 2 * between - within_a - within_b)


def mean_distance(a, b, weight=None, weight_b=None) -> float:
    """Weighted mean of the distances of all rows of ``a`` to all rows of ``b``.

    Arguments are those of `energy_distance`. ``a`` and ``b`` may be one object, whose
    rows are at zero distance from themselves.
    """
    is_same = a is b
    a = _double(a)
    b = a if is_same else _double(b).to(a.device)
    weight, weight_b = (
        rows.new_ones(len(rows)) if w is None else _double(w).to(a.device)
        for w, rows in ((weight, a), (weight_b, b))
    )
    total = sum(
        (weight[rows] @ (distances @ weight_b)).item()
        for rows, distances in _blocks(a, b)
    )
    return total / (weight.sum() * weight_b.sum()).item()


def _double(rows) -> Tensor:
    # torch takes neither reversed nor read-only arrays without complaint.
    is_tensor = isinstance(rows, Tensor)
    rows = rows.detach() if is_tensor else torch.from_numpy(np.array(rows))
    return as_double_on(rows)


def _blocks(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Distances of a's rows to all of b's, 16 MiB at a time."""
    direct = a.shape[1] <= _NARROW
    mode = ("donot_" if direct else "") + "use_mm_for_euclid_dist"
    center = 0 if direct else b.mean(0)  # Products of small numbers lose fewer digits.
    size = max(1, _BLOCK_BYTES // (8 * len(b)))
    for start in range(0, len(a), size):
        rows = slice(start, min(start + size, len(a)))
        distances = torch.cdist(a[rows] - center, b - center, compute_mode=mode)
        if a is b:
            distances.diagonal(start).zero_()  # Products leave a root of the rounding.
        yield rows, distances


class Modes:
    """Parts of the real rows: the cells of k-means.

    Parameters
    ----------
    rows : array-like of shape (n_samples, n_features)
        Real rows.
    n_modes : int
        Cells, at most as many as there are different rows.
    random_state : int, RandomState or None, default=None

    Attributes
    ----------
    n_modes : int
    shares : ndarray of shape (n_modes,)
        Of the real rows in each cell.

    Examples
    --------
    >>> rows = np.repeat([[0.0], [1.0], [2.0]], 5, axis=0)
    >>> modes = Modes(rows, 3, random_state=0)
    >>> round(modes.coverage([[0.1], [0.9]]), 3)
    0.667
    """

    def __init__(self, rows, n_modes: int, random_state=None):
        self.n_modes = n_modes
        self._means = KMeans(n_modes, n_init=10, random_state=random_state)
        labels = self._means.fit_predict(_double(rows).cpu().numpy())
        self.shares = np.bincount(labels, minlength=n_modes) / len(labels)

    def coverage(self, samples, least: float = 0.2) -> float:
        """Share of the modes that are covered, each counting the same.

        A mode is covered when it gets at least ``least`` of the samples that it would
        get on average if samples were distributed as the real rows, and one at least.

        Parameters
        ----------
        samples : array-like or Tensor of shape (n_samples, n_features)
            Those that are not finite are in no mode.
        least : float, default=0.2

        Returns
        -------
        coverage : float
            In [0, 1].
        """
        samples = _double(samples).cpu().numpy()
        finite = samples[np.isfinite(samples).all(axis=1)]
        if not len(finite):
            return 0.0
        cells = self._means.predict(finite)
        counts = np.bincount(cells, minlength=self.n_modes)
        needed = np.maximum(1, least * self.shares * len(samples))
        return float(np.mean(counts >= needed))
