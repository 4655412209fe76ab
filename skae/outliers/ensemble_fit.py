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
from skae.outliers.codebooks import shared_out_again
from skae.outliers.ensemble_training import STEPS, EnsembleSettings, train
from skae.outliers.novelty_fit import fit_neighbours
from skae.outliers.robust_units import RobustUnits
from skae.outliers.scorers import EnsembleScorer
from skae.rows.chunks import chunks
from skae.rows.devices import full_precision, memory_for
from skae.rows.isolation import isolated
from skae.rows.sources import RowSource

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
# Rows that calibrate have at most so many entries, unless the rate asks for more: so
# many rows are to lie below the threshold.
_CALIBRATION_ENTRIES, _ROWS_BELOW = 2**20, 20


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


@isolated
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
    rate: float | None = None,
    n_jobs: int | None = None,
    earlier: EnsembleScorer | None = None,
    novelty: bool = False,
    adjust: Callable | None = None,
) -> FittedEnsemble:
    """Train members on rows drawn from X and calibrate on their out-of-bag scores.

    Where a false-alarm rate asks for more rows, those that no member has drawn
    calibrate too: they are new to all.

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
    rate : float, optional
        The false-alarm rate that the calibration has to resolve.
    n_jobs : int, optional
    earlier : EnsembleScorer, optional
        Members of an earlier fit, which come before the new ones.
    novelty : bool, default=False
        Whether the rows are clean: they are neighbours, and all of those calibrate.
    adjust : callable, optional
        ``adjust(scores, row_numbers, in_bag)`` returns the scores of the calibration,
        which may be lower; ``in_bag`` tells which members did not judge a row.
    """
    n_earlier = 0 if earlier is None else len(earlier.members)
    random = np.random.default_rng([seed, n_earlier])
    generator = torch.Generator("cpu").manual_seed(int(random.integers(2**62)))
    n_trusted = settings.support_fraction * n_rows / 2
    batch_size = max(1, min(settings.batch_size, round(n_trusted)))
    settings = replace(settings, batch_size=batch_size)
    of_units = np.empty(0, dtype=int)
    if earlier is None:
        of_units = _rows_of_units(X.shape, weight, random)
    drawn, pairs = _draw_pairs(
        X.shape[0], n_rows, (n_members + 1) // 2, bootstrap, random
    )
    units_block, block = _gathered(X, of_units, drawn)
    units = RobustUnits.of(units_block) if earlier is None else earlier.units
    rows_drawn = units.to_model(block)
    x = rows_drawn.to(device)
    of_drawn = None if weight is None else torch.from_numpy(weight[drawn])
    resolution = torch.from_numpy(units.resolution().astype(np.float32))
    what = f"batch_size={settings.batch_size}: make it smaller"
    with full_precision(device), memory_for(device, what):
        members, in_bag = train(
            x, pairs, n_members, settings, generator, of_drawn, resolution
        )
    if earlier is not None:
        earlier = earlier.on(device)
        in_bag = np.concatenate([earlier.in_bag(x), in_bag], axis=1)
        members = [*earlier.members, *members]
    n_iter = settings.max_iter or max(1, math.ceil(STEPS * batch_size / n_trusted))
    if novelty:
        of_all = np.zeros((X.shape[0], len(members)), dtype=bool)
        of_all[drawn] = in_bag
        scorer, calibration = fit_neighbours(
            X, weight, units, members, of_all, random, n_jobs, adjust
        )
        return FittedEnsemble(scorer, calibration, n_iter)
    scorer = EnsembleScorer(units, members)
    n_wanted = 0 if rate is None else math.ceil(_ROWS_BELOW / rate)
    judged, scores = _out_of_bag_scores(scorer, rows_drawn, in_bag, n_wanted, n_jobs)
    n_missing = n_wanted - len(judged)
    new, of_new = _new_scores(scorer, X, drawn, n_missing, random, n_jobs)
    rows, scores = np.r_[drawn[judged], new], np.r_[scores, of_new]
    if adjust is None:
        counted = scores
    else:
        of_new = np.zeros((len(new), len(members)), dtype=bool)
        counted = adjust(scores, rows, np.r_[in_bag[judged], of_new])
    weight = None if weight is None else weight[rows]
    calibration = Calibration.robust(counted, weight, screened=scores)
    return FittedEnsemble(scorer, calibration, n_iter)


def _rows_of_units(shape, weight, random):
    """Sorted numbers of the rows that the units are computed from."""
    n_samples, n_features = shape
    n_rows = int(np.clip(_UNITS_ENTRIES // n_features, 256, _UNITS_ROWS))
    if weight is not None:
        probability = weight / weight.sum()
        return np.sort(random.choice(n_samples, n_rows, p=probability))
    if n_samples <= n_rows:
        return np.arange(n_samples)
    return np.sort(random.choice(n_samples, n_rows, replace=False))


def _gathered(X, of_units, drawn):
    """Dense rows of both lists, those of the units in float64.

    A source is read once for both.
    """
    if isinstance(X, RowSource):
        used = np.union1d(of_units, drawn)
        block = X[used]
        parts = [block[np.searchsorted(used, rows)] for rows in (of_units, drawn)]
    else:
        parts = [X[rows] for rows in (of_units, drawn)]
    units, rows = (p.toarray() if sparse.issparse(p) else p for p in parts)
    return np.asarray(units, dtype=np.float64), rows


def _draw_pairs(n_samples, n_drawn, n_pairs, bootstrap, random):
    """Numbers of the rows drawn, and for each pair the shuffled places of its rows.

    Two pairs at a time share out the same rows in two ways.
    """
    pairs = []
    for _ in range(0, n_pairs, 2):
        rows = _draw_rows(n_samples, n_drawn, bootstrap, random)
        pairs += [rows, shared_out_again(rows)]
    pairs = pairs[:n_pairs]
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


def _out_of_bag_scores(scorer, x, in_bag, n_wanted, n_jobs):
    """Numbers and scores of drawn rows that some member has not in bag."""
    rows = np.flatnonzero(~in_bag.all(axis=1))
    n_rows = max(1, n_wanted, _CALIBRATION_ENTRIES // x.shape[1])
    # Row numbers are sorted: take some from everywhere.
    rows = rows[:: max(1, -(-len(rows) // n_rows))]
    return rows, scorer.model_scores(x[rows], in_bag[rows], n_jobs)


def _new_scores(scorer, X, drawn, n_wanted, random, n_jobs):
    """Sorted numbers and scores of rows that were not drawn, as many as there are."""
    others = np.setdiff1d(np.arange(X.shape[0]), drawn)
    n_rows = int(np.clip(n_wanted, 0, len(others)))
    rows = np.sort(random.choice(others, n_rows, replace=False))
    # Never more than a chunk of X is copied.
    parts = [scorer.scores(X[rows[c]], n_jobs) for c in chunks(n_rows, X.shape[1])]
    return rows, np.concatenate([np.empty(0), *parts])
