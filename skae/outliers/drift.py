"""Whether new rows come from where training rows came from, and what moved.

`AEOutlierDetector.drift` compares scores with calibration scores and features with
training rows that the fit kept. Tests are valid for equal values and for few rows;
nothing here knows what judges rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse, stats
from sklearn.utils.validation import _num_samples

from skae.checks.samples import entries_of, samples_at
from skae.outliers.explanation import as_table, label_array

__all__ = ["Drift", "Reference", "two_sample_test"]

# Training rows that are kept, and a limit to their entries for wide data.
_ROWS, _ENTRIES = (64, 1024), 2**18
# Values that differ by less, relative to themselves, are the same value in another
# precision.
_SAME = 2e-6
# Different values up to which permutations are quick.
_LEVELS = 500


@dataclass(frozen=True)
class Drift:
    """What `AEOutlierDetector.drift` found.

    Attributes
    ----------
    statistic : float
        Largest difference between the distributions of the scores of new rows and of
        calibration rows, in [0, 1].
    p_value : float
        Of the two-sample Kolmogorov-Smirnov test of the scores.
    features : record array or DataFrame with n_features rows
        The most changed first: feature, statistic and p_value of the same test for it,
        adjusted for the number of features (Holm), its median and its share of missing
        values among training rows (before) and new rows (now).
    """

    statistic: float
    p_value: float
    features: Any


@dataclass(frozen=True)
class Reference:
    """Some calibration rows, which stand for all training rows.

    Attributes
    ----------
    numbers : int ndarray of shape (n_rows,)
        Of the rows among the training rows.
    rows : ndarray of shape (n_rows, n_features)
    scores : ndarray of shape (n_rows,)
        As of new rows: by members that did not train on them.
    weight : ndarray of shape (n_rows,)
    in_bag : bool ndarray of shape (n_rows, n_members) or None
        Members of an ensemble that did not judge them.
    """

    numbers: np.ndarray
    rows: np.ndarray
    scores: np.ndarray
    weight: np.ndarray
    in_bag: np.ndarray | None = None

    @classmethod
    def of(cls, X, numbers, scores, weight=None, in_bag=None) -> "Reference":
        """At most 1,024 of the calibration rows, fewer of wide ones.

        Parameters
        ----------
        X : ndarray, CSR matrix or list of arrays
            Training rows or samples.
        numbers : int ndarray of shape (n_calibration,)
            Of calibration rows.
        scores : ndarray of shape (n_calibration,)
        weight : ndarray of shape (n_samples,), optional
        in_bag : bool ndarray of shape (n_calibration, n_members), optional
        """
        width = entries_of(samples_at(X, [0])).rows.shape[1]
        n_kept = min(len(numbers), int(np.clip(_ENTRIES // max(width, 1), *_ROWS)))
        kept = np.random.default_rng(0).choice(len(numbers), n_kept, replace=False)
        kept.sort()
        numbers, scores = numbers[kept], scores[kept]
        weight = np.ones(n_kept) if weight is None else weight[numbers]
        in_bag = None if in_bag is None else in_bag[kept]
        return cls(numbers, _flat_rows(X, numbers), scores, weight, in_bag)

    def is_of(self, X) -> bool:
        """Whether X has the same rows at the same places."""
        if _num_samples(X) <= self.numbers.max():
            return False
        rows = _flat_rows(X, self.numbers)
        return np.array_equal(rows, self.rows, equal_nan=True)

    def in_bag_of_new(self, n_rows: int) -> np.ndarray | None:
        """Members that are not to judge new rows, so that their scores compare.

        A calibration row is judged by some of the members. Fewer of them spread scores
        more, and each has levels of its own where rows take few values. So new rows
        are judged by those that judged calibration rows drawn by chance.
        """
        if self.in_bag is None:
            return None
        share = self.weight / self.weight.sum()
        drawn = np.random.default_rng(1).choice(len(share), n_rows, p=share)
        return self.in_bag[drawn]

    def changes(self, X, samples):
        """The table of `Drift`, of new samples.

        Parameters
        ----------
        X : array, frame or list
            As it came.
        samples : ndarray, CSR matrix or list of arrays
            Validated.
        """
        entries = entries_of(samples)
        before, now = _as_wide(self.rows, entries.rows)
        tests = np.array(
            [
                two_sample_test(*columns, self.weight)
                for columns in zip(before.T, now.T, strict=True)
            ]
        )
        statistic, p = tests[:, 0], _holm(tests[:, 1])
        order = np.lexsort((-statistic, p))
        table = {
            "feature": label_array(
                getattr(X, "columns", map(entries.index, range(before.shape[1])))
            ),
            "statistic": statistic,
            "p_value": p,
            "median_before": _medians(before),
            "median_now": _medians(now),
            "missing_before": np.average(np.isnan(before), 0, self.weight),
            "missing_now": np.isnan(now).mean(axis=0),
        }
        return as_table(X, {name: column[order] for name, column in table.items()})


def _flat_rows(X, numbers) -> np.ndarray:
    """Some of the rows or samples, flat, in their own precision where they have one."""
    some = samples_at(X, numbers)
    if hasattr(some, "reshape") and not sparse.issparse(some):
        return some.reshape(len(numbers), -1)
    return entries_of(some).rows


def two_sample_test(before, now, weight=None, n_permutations=0) -> tuple[float, float]:
    """Kolmogorov-Smirnov statistic and p-value of two samples.

    NaN is a value of its own, the lowest. The p-value is an upper bound where values
    are equal, unless permutations refine it.

    Parameters
    ----------
    before : ndarray of shape (n_before,)
    now : ndarray of shape (n_now,)
    weight : ndarray of shape (n_before,), optional
        How many values each of ``before`` stands for.
    n_permutations : int, default=0
        For samples with few different values, of equal weights.
    """
    before, now = (np.where(np.isnan(v), -np.inf, v) for v in (before, now))
    weight = np.ones(len(before)) if weight is None else weight
    pooled = np.r_[before, _snapped(now, before)]
    levels, place, counts = np.unique(pooled, return_inverse=True, return_counts=True)
    share = np.bincount(place[: len(before)], weight, len(levels)) / weight.sum()
    of_now = np.bincount(place[len(before) :], minlength=len(levels)) / len(now)
    statistic = float(_largest_gap(share, of_now))
    size = weight.sum() ** 2 / np.square(weight).sum()
    size = max(1, round(size * len(now) / (size + len(now))))
    p = float(stats.kstwo.sf(statistic, size))
    refined = n_permutations and len(levels) <= _LEVELS and np.ptp(weight) == 0
    if refined and p > 1 / n_permutations:
        drawn = np.random.default_rng(0).multivariate_hypergeometric(
            counts, len(now), n_permutations, method="marginals"
        )
        gaps = _largest_gap((counts - drawn) / len(before), drawn / len(now))
        p = (1 + np.sum(gaps >= statistic - 1e-12)) / (1 + n_permutations)
    return statistic, float(p)


def _largest_gap(before, now):
    """Largest difference of cumulative shares along the last axis."""
    return np.abs(np.cumsum(before - now, axis=-1)).max(axis=-1)


def _snapped(values, levels) -> np.ndarray:
    """Values, moved to a level where they differ by rounding only."""
    levels = np.unique(levels)
    right = np.searchsorted(levels, values).clip(max=len(levels) - 1)
    snapped = values
    for place in (right, (right - 1).clip(min=0)):
        near = np.isclose(values, levels[place], rtol=_SAME, atol=0)
        snapped = np.where(near, levels[place], snapped)
    return snapped


def _as_wide(before, now) -> tuple[np.ndarray, np.ndarray]:
    """Rows filled up with NaN, as sequences are, to the same width."""
    width = max(before.shape[1], now.shape[1])
    return tuple(
        np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=np.nan)
        if rows.shape[1] < width
        else rows
        for rows in (before, now)
    )


def _medians(rows) -> np.ndarray:
    """Medians of columns without their missing values; NaN of those without others."""
    missing = np.isnan(rows)
    medians = np.full(rows.shape[1], np.nan)
    some = ~missing.all(axis=0)
    medians[some] = np.nanmedian(rows[:, some], axis=0)
    return medians


def _holm(p) -> np.ndarray:
    """p-values adjusted for their number."""
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    result = np.empty(len(p))
    result[order] = adjusted.clip(max=1)
    return result
