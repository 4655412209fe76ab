"""Penalties for missing values: surprise by hand, and the rates of detectors."""

import numpy as np
import pytest
from scipy import sparse

from skae import AEOutlierDetector, AutoencoderTransformer, RecurrentAE
from skae.outliers.missing_values import MissingPenalty

NAN = np.nan


def rows_of(n, d=10, seed=0, share=0.0):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).normal(size=(3, d))
    X = rng.normal(size=(n, 3)) @ mixing + 0.3 * rng.normal(size=(n, d))
    return np.where(rng.random(X.shape) < share, NAN, X)


class TestPenalty:
    def test_surprise_is_the_share_of_rows_that_lack_as_rare_values(self):
        # Of 100 rows 9 lack the first value, and the 100th the second.
        X = np.zeros((100, 3))
        X[:9, 0] = X[99, 1] = NAN
        penalty = MissingPenalty.of(X)
        new = np.array([[0, 0, 0], [NAN, 0, 0], [0, NAN, 0], [0, 0, NAN]])
        # A new row that lacks the third is as rare as the one that lacks the second.
        expected = -np.log([1, 11 / 101, 2 / 101, 2 / 101])
        np.testing.assert_allclose(penalty.totals(new), expected, atol=1e-12)
        of_training = penalty.totals(X, training=True)
        np.testing.assert_allclose(of_training[:9], -np.log(10 / 100))
        assert of_training[99] == pytest.approx(-np.log(1 / 100))

    def test_more_missing_values_are_more_surprising(self):
        penalty = MissingPenalty.of(np.zeros((100, 10)))
        rows = np.where(np.tri(11, 10, -1) > 0, NAN, 0.0)
        totals = penalty.totals(rows)
        assert totals[0] == 0
        assert totals[1] == pytest.approx(np.log(101))
        np.testing.assert_allclose(totals[1:], np.log(101) + np.log(np.arange(1, 11)))

    def test_the_unit_is_that_of_the_tail_of_the_scores(self):
        scores = -5 * np.random.default_rng(0).exponential(size=100_000)
        penalty = MissingPenalty.of(np.zeros((100, 10))).in_units_of(scores)
        assert penalty.unit == pytest.approx(5, rel=0.05)
        assert penalty.typical == pytest.approx(5 * np.log(2) / 10, rel=0.05)
        one = np.zeros((1, 10))
        one[0, 3] = NAN
        total = penalty.totals(one)
        expected = penalty.unit * np.log(101) + penalty.typical
        np.testing.assert_allclose(total, expected)
        assert penalty.parts(one)[0].nonzero()[0].tolist() == [3]

    def test_parts_sum_to_the_totals(self):
        X = rows_of(200, share=0.2)
        penalty = MissingPenalty.of(X).in_units_of(-np.arange(50.0))
        parts = penalty.parts(X)
        np.testing.assert_allclose(parts.sum(1), penalty.totals(X))
        assert (parts[~np.isnan(X)] == 0).all()
        assert (parts[np.isnan(X)] > 0).all()

    def test_sparse_rows_and_repeated_rows(self):
        X = rows_of(60, share=0.1)
        weight = np.tile([1.0, 2.0, 3.0], 20)
        plain = MissingPenalty.of(X, weight).totals(X)
        repeated = np.repeat(X, weight.astype(int), axis=0)
        np.testing.assert_allclose(MissingPenalty.of(repeated).totals(X), plain)
        as_sparse = sparse.csr_matrix(X)
        of_sparse = MissingPenalty.of(as_sparse, weight).totals(as_sparse)
        np.testing.assert_allclose(of_sparse, plain)

    @pytest.mark.parametrize("value", [0.0, -2.0, 3.0])
    def test_equal_scores_have_a_unit(self, value):
        penalty = MissingPenalty.of(np.zeros((9, 2))).in_units_of(np.full(9, value))
        assert penalty.totals(np.array([[NAN, 0.0]]))[0] > 0


class TestDetector:
    @pytest.mark.parametrize("n", [60, 400, 2000])
    def test_dead_sensors_are_unusual(self, n):
        X = rows_of(n)
        rows = rows_of(50, seed=1)
        rows[:, :9] = NAN
        detector = AEOutlierDetector(missing="unusual", random_state=0).fit(X)
        assert (detector.predict(rows) == -1).all()
        least = 1 / (len(detector.calibration_scores_) + 1)
        np.testing.assert_allclose(detector.p_values(rows), least)
        as_today = AEOutlierDetector(random_state=0).fit(X)
        assert (as_today.predict(rows) == 1).all()
        fresh = rows_of(50, seed=2)
        np.testing.assert_array_equal(
            detector.score_samples(fresh), as_today.score_samples(fresh)
        )

    @pytest.mark.parametrize("share", [0.001, 0.02, 0.2, 0.5])
    @pytest.mark.parametrize("discrete", [False, True])
    def test_the_stated_rate_holds_with_missing_values_in_training(
        self, share, discrete
    ):
        flagged = []
        for seed in range(4):
            X, fresh = (rows_of(800, seed=seed + s, share=share) for s in (0, 100))
            if discrete:
                X, fresh = (np.where(np.isnan(T), NAN, T > 0) for T in (X, fresh))
            detector = AEOutlierDetector(missing="unusual", random_state=seed).fit(X)
            flagged.append((detector.predict(fresh) == -1).mean())
        assert 0.025 < np.mean(flagged) < 0.075

    def test_the_rarer_the_more_unusual(self):
        X = rows_of(2000)
        rng = np.random.default_rng(3)
        for feature, share in ((0, 0.3), (1, 0.03), (2, 0.003)):
            X[rng.random(2000) < share, feature] = NAN
        detector = AEOutlierDetector(missing="unusual", random_state=0).fit(X)
        rows = np.repeat(rows_of(200, seed=4)[None], 5, axis=0)
        for feature in range(4):
            rows[1 + feature, :, feature] = NAN
        means = [detector.score_samples(part).mean() for part in rows]
        assert (np.diff(means) < 0).all()

    def test_it_is_explained(self):
        detector = AEOutlierDetector(missing="unusual", random_state=0).fit(
            rows_of(400)
        )
        rows = rows_of(20, seed=5)
        rows[:, 6] = NAN
        contributions = detector.explain(rows)
        assert (contributions.argmin(1) == 6).all()
        np.testing.assert_allclose(
            contributions.sum(1), detector.score_samples(rows), rtol=1e-5
        )
        table = detector.explain(rows, top=1)
        assert (table.feature == 6).all()
        assert np.isnan(table.observed).all()
        assert np.isfinite(table.expected).all()

    def test_sequences_of_unusual_length_are_unusual(self):
        X = np.sin(0.4 * np.arange(20) + rows_of(300, d=1))
        detector = AEOutlierDetector(
            estimator=RecurrentAE(2, max_iter=3), missing="unusual", random_state=0
        ).fit(X[:, :, None])
        short = X[:20].copy()
        short[:, 5:] = NAN
        assert (detector.predict(short[:, :, None]) == -1).all()
        contributions = detector.explain(short[:, :, None])
        assert (contributions[:, 5:] < 0).all()
        np.testing.assert_allclose(
            contributions.sum((1, 2)), detector.score_samples(short)
        )

    def test_what_cannot_be_judged_is_refused(self):
        X = rows_of(50, share=0.1)
        estimator = AutoencoderTransformer(2, max_iter=1)
        with pytest.raises(ValueError, match="contains NaN"):
            AEOutlierDetector(estimator=estimator, missing="unusual").fit(X)
        sequences = [np.zeros(n) for n in range(5, 20)]
        with pytest.raises(ValueError, match="missing='median'"):
            AEOutlierDetector(estimator=RecurrentAE(2), missing="unusual").fit(
                sequences
            )
        with pytest.raises(ValueError, match="'missing' parameter"):
            AEOutlierDetector(missing="zero").fit(X)
