"""The fit of the ensemble of `AEOutlierDetector`: sizes, draws, training, calibration.

`AEOutlierDetector` calls this with validated rows and plain values; what it returns
are the scorer, the calibration and the number of epochs.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse

from skae.outliers.calibration import Calibration
from skae.outliers.ensemble_training import STEPS, EnsembleSettings, train
from skae.outliers.out_of_bag import InBagRows, out_of_bag, shares_of
from skae.outliers.robust_units import RobustUnits
from skae.outliers.scorers import EnsembleScorer
from skae.rows.isolation import isolated

__all__ = [
    "FittedEnsemble",
    "fit_ensemble",
    "features_per_member",
    "rows_per_pair",
]

# Rows of a pair by default, and a limit to its entries for wide data.
_PAIR_ROWS, _PAIR_ENTRIES = (256, 1024), 5 * 2**15
_MAX_FEATURES = 256
# Rows that the units are computed from, and a limit to their entries for wide data.
_UNITS_ROWS, _UNITS_ENTRIES = 4096, 2**20
_CALIBRATION_ENTRIES = 2**20


class FittedEnsemble(NamedTuple):
    """What a fit results in."""

    scorer: EnsembleScorer
    calibration: Calibration
    n_iter: int


def features_per_member(max_features, n_features: int, n_members: int) -> int:
    """Features that each member uses, from the parameter ``max_features``."""
    if max_features == "auto":
        n_pairs = (n_members + 1) // 2
        return min(n_features, max(_MAX_FEATURES, -(-n_features // n_pairs)))
    if not isinstance(max_features, Integral):
        return max(1, int(max_features * n_features))
    if max_features > n_features:
        raise ValueError(
            f"max_features={max_features} must not exceed the {n_features} features "
            "of X."
        )
    return int(max_features)


def rows_per_pair(
    max_samples, n_samples: int, n_used_features: int, stacklevel: int
) -> int:
    """Rows drawn for each pair of members, from the parameter ``max_samples``.

    The warning when ``max_samples`` exceeds ``n_samples`` has this ``stacklevel``.
    """
    if max_samples == "auto":
        limit = np.clip(_PAIR_ENTRIES // n_used_features, *_PAIR_ROWS)
        return int(min(limit, n_samples))
    if not isinstance(max_samples, Integral):
        return max(2, int(max_samples * n_samples))
    if max_samples > n_samples:
        warnings.warn(
            f"max_samples={max_samples} is greater than the number of rows, "
            f"{n_samples}. max_samples will be set to n_samples for estimation.",
            UserWarning,
            stacklevel=stacklevel,
        )
    return int(np.clip(max_samples, 2, n_samples))


def fit_ensemble(
    X,
    weight,
    settings: EnsembleSettings,
    *,
    n_members: int,
    n_rows: int,
    bootstrap: bool,
    seed: int,
    device: torch.device,
    n_jobs: int | None = None,
    earlier: EnsembleScorer | None = None,
    lowered: Callable | None = None,
) -> FittedEnsemble:
    """Train members on rows drawn from X and calibrate on their out-of-bag scores.

    Parameters
    ----------
    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,) or None
        Positive.
    settings : EnsembleSettings
        The batch size is cut to the rows that an autoencoder trains on.
    n_members : int
        Members to train.
    n_rows : int
        Rows to draw for each pair of members.
    bootstrap : bool
    seed : int
        With the number of earlier members, decides everything random.
    device : torch.device
    n_jobs : int, optional
    earlier : EnsembleScorer, optional
        Members of an earlier fit, which come before the new ones.
    lowered : callable, optional
        What calibrates instead of the scores: ``lowered(scores, numbers of rows)``.
    """
    n_earlier = 0 if earlier is None else len(earlier.members)
    random = np.random.default_rng([seed, n_earlier])
    generator = torch.Generator().manual_seed(int(random.integers(2**62)))
    n_trusted = settings.support_fraction * n_rows / 2
    batch_size = max(1, min(settings.batch_size, round(n_trusted)))
    settings = replace(settings, batch_size=batch_size)
    with isolated():
        units = _robust_units(X, weight, random) if earlier is None else earlier.units
        drawn, pairs = _draw_pairs(
            X.shape[0], n_rows, (n_members + 1) // 2, bootstrap, random
        )
        block = X[drawn].toarray() if sparse.issparse(X) else X[drawn]
        x = units.to_model(block).to(device)
        weight = None if weight is None else torch.from_numpy(weight[drawn])
        members, in_bag = train(x, pairs, n_members, settings, generator, weight)
    judges, record = out_of_bag(x, in_bag), InBagRows.of(x, in_bag)
    if earlier is not None:
        judges = np.concatenate([earlier.in_bag.out_of_bag(x), judges], axis=1)
        members = [*earlier.on(device).members, *members]
        record = earlier.in_bag.followed_by(record)
    scorer = EnsembleScorer(units, members, record)
    of_drawn = None if lowered is None else lambda s, rows: lowered(s, drawn[rows])
    calibration = _calibration(scorer, x, judges, weight, n_jobs, of_drawn)
    n_iter = settings.max_iter or max(1, math.ceil(STEPS * batch_size / n_trusted))
    return FittedEnsemble(scorer, calibration, n_iter)


def _robust_units(X, weight, random):
    """Robust units of X, from a limited number of rows."""
    n_rows = int(np.clip(_UNITS_ENTRIES // X.shape[1], 256, _UNITS_ROWS))
    if weight is not None:
        probability = weight / weight.sum()
        X = X[np.sort(random.choice(len(weight), n_rows, p=probability))]
    elif X.shape[0] > n_rows:
        X = X[np.sort(random.choice(X.shape[0], n_rows, replace=False))]
    block = X.toarray() if sparse.issparse(X) else X
    return RobustUnits.of(np.asarray(block, dtype=np.float64))


def _draw_pairs(n_samples, n_drawn, n_pairs, bootstrap, random):
    """Numbers of the rows drawn, and for each pair the shuffled places of its rows."""
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


def _calibration(scorer, x, judges, weight, n_jobs, lowered=None) -> Calibration:
    """A calibration on rows that some members judge, shape (n_rows, n_members)."""
    rows = np.flatnonzero(judges.any(axis=1))
    # Row numbers are sorted: take some from everywhere.
    rows = rows[:: -(-len(rows) * x.shape[1] // _CALIBRATION_ENTRIES)]
    share = shares_of(judges[rows]).to(x.device)
    scores = scorer.model_scores(x[rows], share, n_jobs)
    counted = scores if lowered is None else lowered(scores, rows)
    weight = None if weight is None else weight[rows].numpy()
    return Calibration.robust(counted, weight, doubted=scores)
