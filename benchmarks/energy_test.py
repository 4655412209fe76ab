"""Permutation test on the energy distance, for the benchmarks of generative models."""

import numpy as np
from sklearn.metrics import pairwise_distances
from sklearn.utils import check_random_state


def energy_test(a, b, n_permutations=999, random_state=None):
    """Permutation test of whether two samples come from one distribution.

    Parameters
    ----------
    a, b : array-like of shape (n_samples, n_features)
        Of the same width; numbers of rows may differ.
    n_permutations : int, default=999
        Random ways to split the pooled rows into two samples of these sizes.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    p_value : float
        Share of the splits, the true one included, whose energy distance is at least
        as large; in (0, 1]. Under the null hypothesis the chance of a value of at most
        u is at most u.
    """
    pooled = np.concatenate([a, b]).astype(np.float64)
    n, m = len(a), len(b)
    rng = check_random_state(random_state)
    in_a = np.zeros((n_permutations + 1, n + m))
    in_a[0, :n] = 1
    for row in in_a[1:]:
        row[rng.permutation(n + m)[:n]] = 1
    distances = pairwise_distances(pooled)
    total = distances.sum()
    from_a = in_a @ distances
    within_a = (from_a * in_a).sum(axis=1)
    between = from_a.sum(axis=1) - within_a
    within_b = total - 2 * between - within_a
    energy = 2 * between / (n * m) - within_a / n**2 - within_b / m**2
    # Splits into the same two sets differ by rounding only.
    tolerance = 1e-9 * total / (n + m) ** 2
    return float(np.mean(energy >= energy[0] - tolerance))
