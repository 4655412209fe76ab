"""Which rows the outlier detector draws: for its robust units, and for each pair.

`AEOutlierDetector.fit` calls this with validated rows; nothing here knows a model.
"""

import numpy as np
from scipy import sparse

from skae.outliers.robust_units import RobustUnits

__all__ = ["draw_pairs", "robust_units"]

# Rows that the units are computed from, and a limit to their entries for wide data.
_UNITS_ROWS, _UNITS_ENTRIES = 4096, 2**20


def robust_units(X, weight, random):
    """Robust units of X, from a limited number of rows."""
    n_rows = int(np.clip(_UNITS_ENTRIES // X.shape[1], 256, _UNITS_ROWS))
    if weight is not None:
        probability = weight / weight.sum()
        X = X[np.sort(random.choice(len(weight), n_rows, p=probability))]
    elif X.shape[0] > n_rows:
        X = X[np.sort(random.choice(X.shape[0], n_rows, replace=False))]
    block = X.toarray() if sparse.issparse(X) else X
    return RobustUnits.of(np.asarray(block, dtype=np.float64))


def draw_pairs(n_samples, n_drawn, n_pairs, bootstrap, random):
    """The rows that any pair draws, and numbers into them, shuffled, of each pair."""
    pairs = [_draw_rows(n_samples, n_drawn, bootstrap, random) for _ in range(n_pairs)]
    used, place = np.unique(np.concatenate(pairs), return_inverse=True)
    ends = np.cumsum([len(rows) for rows in pairs])[:-1]
    return used, np.split(place, ends)


def _draw_rows(n_samples, n_drawn, bootstrap, random):
    """Shuffled numbers of the rows of a pair, each once."""
    rows = random.choice(n_samples, n_drawn, replace=bootstrap)
    if bootstrap:
        rows = random.permutation(np.unique(rows))
        if len(rows) < 2:
            rows = random.permutation(n_samples)[:2]
    return rows
