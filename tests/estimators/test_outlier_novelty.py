"""`AEOutlierDetector(novelty=True)`: training rows that are known to be clean."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from skae import AEOutlierDetector

D = 3


def rows(n, seed):
    """A ring of normal rows: outliers lie inside it as well."""
    random = np.random.default_rng(seed)
    angle = random.uniform(0, 2 * np.pi, n)
    ring = 5 * np.c_[np.cos(angle), np.sin(angle)] + 0.2 * random.normal(size=(n, 2))
    return np.c_[ring, random.normal(size=(n, D - 2))]


X, FRESH, CENTRE = rows(600, 0), rows(2000, 1), rows(200, 2)
CENTRE[:, :2] /= 5


@pytest.fixture(scope="module")
def detector():
    return AEOutlierDetector(novelty=True, random_state=0).fit(X)


def test_outliers_among_clean_rows_rank_lower_than_by_default(detector):
    new, is_outlier = np.r_[FRESH, CENTRE], np.repeat([0, 1], [2000, 200])
    default = AEOutlierDetector(random_state=0).fit(X)
    found, usual = (
        roc_auc_score(is_outlier, -one.score_samples(new))
        for one in (detector, default)
    )
    assert found > usual
    assert found > 0.97


@pytest.mark.parametrize(
    "draw",
    [
        lambda n, seed: rows(n, seed),
        lambda n, seed: np.random.default_rng(seed).integers(0, 2, (n, 8)),
        lambda n, seed: np.random.default_rng(seed).poisson(1.5, (n, 4)),
        lambda n, seed: np.random.default_rng(seed).normal(size=(n, 3)).round(1),
    ],
    ids=["continuous", "yes or no", "counts", "rounded"],
)
def test_fresh_rows_are_flagged_at_the_stated_rate(draw):
    rates = [
        np.mean(
            AEOutlierDetector(novelty=True, random_state=seed)
            .fit(draw(600, seed))
            .predict(draw(2000, 100 + seed))
            == -1
        )
        for seed in range(3)
    ]
    assert 0.02 < np.mean(rates) < 0.075


def test_p_values_of_fresh_rows_are_uniform(detector):
    p = detector.p_values(FRESH)
    quantiles = np.quantile(p, [0.05, 0.25, 0.5, 0.75, 0.95])
    np.testing.assert_allclose(quantiles, [0.05, 0.25, 0.5, 0.75, 0.95], atol=0.05)


@pytest.mark.parametrize("come_back", [np.float32, lambda X: X.round(6)])
def test_training_rows_are_compared_with_the_others(detector, come_back):
    flagged = detector.predict(X) == -1
    assert 0.03 < flagged.mean() < 0.07
    again = detector.predict(come_back(X)) == -1
    assert abs(again.sum() - flagged.sum()) <= 3
    np.testing.assert_array_equal(detector.calibration_scores_.shape, (600,))


def test_a_row_has_the_same_score_in_every_batch(detector):
    scores = detector.score_samples(FRESH)
    assert detector.score_samples(FRESH[:1]) == scores[0]
    np.testing.assert_array_equal(
        detector.score_samples(FRESH[700:900]), scores[700:900]
    )


def test_typical_scores_are_about_minus_two(detector):
    assert -2.3 < detector.score_samples(FRESH).mean() < -1.7


def test_contributions_sum_to_scores_and_name_the_feature(detector):
    row = FRESH[:1].copy()
    row[0, 2] = 30.0
    contributions = detector.explain(row)
    assert contributions[0].argmin() == 2
    np.testing.assert_allclose(
        detector.explain(FRESH).sum(1), detector.score_samples(FRESH), rtol=1e-5
    )
    assert (contributions <= 0).all()
    (found,) = detector.explain(row, top=1)
    assert found["observed"] == 30
    assert abs(found["expected"]) < 4


def test_pickles_clones_and_sparse_rows_give_the_same_scores(detector):
    scores = detector.score_samples(FRESH)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(detector)).score_samples(FRESH), scores
    )
    np.testing.assert_array_equal(clone(detector).fit(X).score_samples(FRESH), scores)
    np.testing.assert_array_equal(
        clone(detector).fit(sparse.csr_matrix(X)).score_samples(FRESH), scores
    )


def test_fit_predict_is_predict_of_the_training_rows(detector):
    np.testing.assert_array_equal(clone(detector).fit_predict(X), detector.predict(X))


def test_more_rows_than_are_kept_are_fitted():
    many = np.random.default_rng(0).normal(size=(20_000, 2)).astype(np.float32)
    found = AEOutlierDetector(novelty=True, random_state=0).fit(many)
    assert len(found.calibration_scores_) == 16_384
    fresh = np.random.default_rng(1).normal(size=(2000, 2))
    assert 0.03 < np.mean(found.predict(fresh) == -1) < 0.07


@pytest.mark.parametrize("n", [20, 40])
def test_few_rows_are_enough(n):
    found = AEOutlierDetector(novelty=True, random_state=0).fit(X[:n])
    assert len(found.calibration_scores_) == n
    assert found.predict([[50.0] * D])[0] == -1


def test_missing_values_and_constant_features_are_taken():
    some = X.copy()
    some[::7, 1] = np.nan
    some[:, 2] = 1.0
    found = AEOutlierDetector(novelty=True, random_state=0).fit(some)
    assert np.isfinite(found.score_samples(some)).all()


def test_warm_start_adds_members():
    warm = AEOutlierDetector(4, novelty=True, warm_start=True, random_state=0).fit(X)
    warm.set_params(n_estimators=8).fit(X)
    assert len(warm.estimators_) == 8
    assert 0.02 < np.mean(warm.predict(FRESH) == -1) < 0.08


def test_contamination_is_the_share_of_training_rows_flagged():
    found = AEOutlierDetector(novelty=True, contamination=0.1, random_state=0).fit(X)
    assert abs(np.mean(found.predict(X) == -1) - 0.1) < 0.005


def test_weights_are_taken():
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    found = AEOutlierDetector(novelty=True, random_state=0).fit(X, sample_weight=weight)
    assert 0.02 < np.mean(found.predict(FRESH) == -1) < 0.08
