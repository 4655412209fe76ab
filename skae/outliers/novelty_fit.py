"""The fit of neighbours for training rows that are known to be clean.

`skae.outliers.ensemble_fit` calls this with trained members.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import sparse

from skae.outliers.calibration import Calibration
from skae.outliers.ensemble import Member
from skae.outliers.neighbours import Neighbours
from skae.outliers.robust_units import RobustUnits
from skae.outliers.scorers import EnsembleScorer

__all__ = ["fit_neighbours"]

# Rows that are neighbours: all of them, but for a limit to their entries.
_ROWS, _ENTRIES = (1024, 8192), 2**20
# Rows whose mean distance is the typical one.
_TYPICAL_ROWS = 1024
# Errors below a thousandth of a robust standard deviation are rounding.
_MIN_ERROR = 1e-3


def fit_neighbours(
    X,
    weight: np.ndarray | None,
    units: RobustUnits,
    members: Sequence[Member],
    in_bag: np.ndarray,
    random: np.random.Generator,
    n_jobs: int | None,
    adjust: Callable | None = None,
) -> tuple[EnsembleScorer, Calibration]:
    """A scorer with rows of X as neighbours, and their leave-one-out calibration.

    Parameters
    ----------
    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,) or None
    units : RobustUnits
    members : sequence of Member
    in_bag : bool ndarray of shape (n_samples, n_members)
    random : Generator
    n_jobs : int or None
    adjust : callable, optional
        As in `fit_ensemble`.
    """
    n_rows = int(np.clip(_ENTRIES // X.shape[1], *_ROWS))
    kept = random.permutation(X.shape[0])[:n_rows]
    block = X[kept].toarray() if sparse.issparse(X) else X[kept]
    device = members[0].codes.device
    x = units.to_model(block).to(device)
    neighbours = Neighbours(x, members[0].tolerance.clamp_min(0))
    few = neighbours.differences(x[:_TYPICAL_ROWS], most_copies=1)
    neighbours.typical = few.mean().clamp_min(_MIN_ERROR)
    scorer = EnsembleScorer(units, list(members), neighbours)
    kept, x, in_bag = _judged(kept, x, in_bag[kept])
    scores = scorer.model_scores(x, in_bag, n_jobs)
    counted = scores if adjust is None else adjust(scores, kept, in_bag)
    return scorer, Calibration(counted, None if weight is None else weight[kept])


def _judged(kept, x, in_bag):
    """The rows that some member has not in bag."""
    judged = np.flatnonzero(~in_bag.all(axis=1))
    return kept[judged], x[torch.from_numpy(judged).to(x.device)], in_bag[judged]
