"""Whether two samples come from one distribution, and how much of one the other covers.

`energy_distance` measures how far apart two samples are, `energy_test` says whether
chance explains it, `Modes` counts which parts of the real rows get samples. Generative
estimators are judged by them; nothing here knows how samples are made. All of it is
computed in float64, and no distance matrix is kept whole.
"""

from collections.abc import Iterator

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.utils import check_random_state
from torch import Tensor

__all__ = ["Modes", "energy_distance", "energy_test"]

_BLOCK_BYTES = 16 * 2**20
# Up to this width differences are taken entry by entry, which loses nothing; products
# are many times faster beyond.
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
    a, b = _samples(a, b)
    of_a, of_b = _weights(weight, a), _weights(weight_b, b)
    between = _mean_distance(a, b, of_a, of_b)
    within = _mean_distance(a, a, of_a, of_a) + _mean_distance(b, b, of_b, of_b)
    return max(0.0, 2 * between - within)


def energy_test(a, b, n_permutations: int = 999, random_state=None) -> float:
    """Permutation test of whether two samples come from one distribution.

    Parameters
    ----------
    a, b : array-like or Tensor of shape (n_samples, n_features)
    n_permutations : int, default=999
        Random ways to deal the rows to two samples of these sizes.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    p_value : float
        Share of the dealings, the true one included, whose energy distance is at least
        as large; in (0, 1]. Under the null hypothesis the chance of a value of at most
        u is at most u.

    Raises
    ------
    ValueError
        When a sample is empty or the widths differ.

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal(size=(200, 2))
    >>> energy_test(rows[:100], rows[100:] + 1, random_state=0)
    0.001
    """
    a, b = _samples(a, b)
    n, m = len(a), len(b)
    rng = check_random_state(random_state)
    dealt = np.zeros((n_permutations + 1, n + m))
    dealt[0, :n] = 1
    for row in dealt[1:]:
        row[rng.permutation(n + m)[:n]] = 1
    in_a = torch.from_numpy(dealt).to(a.device).T.contiguous()
    pooled = torch.cat([a, b])
    within_a = torch.zeros_like(in_a[0])
    of_a = torch.zeros_like(in_a[0])
    total = 0.0
    for rows, distances in _blocks(pooled, pooled):
        within_a += (in_a[rows] * (distances @ in_a)).sum(0)
        sums = distances.sum(1)
        of_a += sums @ in_a[rows]
        total += sums.sum().item()
    between, within_b = of_a - within_a, total - 2 * of_a + within_a
    energy = 2 * between / (n * m) - within_a / n**2 - within_b / m**2
    # Dealings into the same two sets differ by rounding only.
    slack = 1e-9 * total / (n + m) ** 2
    return (energy >= energy[0] - slack).sum().item() / (n_permutations + 1)


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
    centers : ndarray of shape (n_modes, n_features)
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
        rows = np.asarray(rows, dtype=np.float64)
        means = KMeans(n_modes, n_init=10, random_state=random_state).fit(rows)
        self.centers = means.cluster_centers_
        self.shares = np.bincount(means.labels_, minlength=n_modes) / len(rows)

    def counts(self, samples) -> np.ndarray:
        """Number of samples in each cell, shape ``(n_modes,)``."""
        samples = _double(samples)
        centers = torch.as_tensor(self.centers, device=samples.device)
        nearest = [
            distances.argmin(1).cpu() for _, distances in _blocks(samples, centers)
        ]
        found = torch.cat(nearest).numpy()
        return np.bincount(found, minlength=len(self.centers))

    def coverage(self, samples, least: float = 0.2) -> float:
        """Share of the modes that are covered, each counting the same.

        A mode is covered when it gets at least ``least`` of the samples that it would
        get on average if samples were distributed as the real rows, and one at least.

        Parameters
        ----------
        samples : array-like or Tensor of shape (n_samples, n_features)
        least : float, default=0.2

        Returns
        -------
        coverage : float
            In [0, 1].
        """
        counts = self.counts(samples)
        needed = np.maximum(1, least * self.shares * counts.sum())
        return float(np.mean(counts >= needed))


def _samples(a, b) -> tuple[Tensor, Tensor]:
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
    return a, b.to(a.device)


def _weights(weight, rows: Tensor) -> Tensor:
    if weight is None:
        return rows.new_ones(len(rows))
    return _double(weight).to(rows.device)


def _double(rows) -> Tensor:
    # torch takes neither reversed nor read-only arrays without complaint.
    rows = (
        rows.detach() if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows))
    )
    # Apple's devices have no float64.
    return (rows.cpu() if rows.device.type == "mps" else rows).double()


def _mean_distance(a: Tensor, b: Tensor, of_a: Tensor, of_b: Tensor) -> float:
    total = sum(
        (of_a[rows] @ (distances @ of_b)).item() for rows, distances in _blocks(a, b)
    )
    return total / (of_a.sum() * of_b.sum()).item()


def _blocks(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Distances of a's rows to all of b's, 16 MiB at a time."""
    direct = a.shape[1] <= _NARROW
    mode = ("donot_" if direct else "") + "use_mm_for_euclid_dist"
    center = 0 if direct else b.mean(0)  # Products of small numbers lose less.
    size = max(1, _BLOCK_BYTES // (8 * len(b)))
    for start in range(0, len(a), size):
        rows = slice(start, min(start + size, len(a)))
        distances = torch.cdist(a[rows] - center, b - center, compute_mode=mode)
        if a is b:
            distances.diagonal(start).zero_()  # Products leave a root of the rounding.
        yield rows, distances
