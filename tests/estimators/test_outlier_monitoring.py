"""`AEOutlierDetector` that watches rows: alert rates, renewal, drift, warm starts."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError

from skae import AEOutlierDetector, AutoencoderTransformer, ConvAE, RecurrentAE

W = np.random.default_rng(0).normal(size=(3, 10))


def month(n, seed, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    rows = np.tanh(rng.normal(size=(n, 3)) @ W) + 0.2 * rng.normal(size=(n, 10))
    return scale * rows + shift


def share_flagged(detector, X):
    return (detector.predict(X) == -1).mean()


@pytest.fixture(scope="module")
def state():
    return pickle.dumps(AEOutlierDetector(random_state=0).fit(month(2000, 1)))


@pytest.fixture
def detector(state):
    return pickle.loads(state)


class TestAlertRate:
    @pytest.mark.parametrize("rate", [0.01, 0.2])
    def test_a_rate_is_kept(self, detector, rate):
        fresh = month(5000, 2)
        p = detector.p_values(fresh)
        assert detector.set_alert_rate(rate) is detector
        assert share_flagged(detector, fresh) == pytest.approx(rate, rel=0.35)
        np.testing.assert_array_equal(detector.predict(fresh) == -1, p <= rate)
        np.testing.assert_array_equal(detector.p_values(fresh), p)

    @pytest.mark.parametrize("per", [0, 1, 10, 299])
    def test_a_budget_is_spent_on_the_lowest_rows(self, detector, per):
        day = month(300, 3)
        flagged = detector.set_alert_rate(per=per, X=day).predict(day) == -1
        assert flagged.sum() == per
        scores = detector.score_samples(day)
        np.testing.assert_array_equal(np.sort(scores[flagged]), np.sort(scores)[:per])

    def test_equal_scores_are_not_told_apart(self, detector):
        day = np.repeat(month(20, 4), 5, axis=0)
        with pytest.warns(UserWarning, match="Only 5 rows are flagged") as caught:
            detector.set_alert_rate(per=7, X=day)
        assert caught[0].filename == __file__
        assert share_flagged(detector, day) == 0.05

    def test_rates_that_cannot_be_resolved_are_named(self, detector):
        with pytest.warns(UserWarning, match="rate=1e-05 needs 99999") as caught:
            detector.set_alert_rate(1e-5)
        assert caught[0].filename == __file__

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "takes a rate, or per="),
            ({"rate": 0.1, "per": 3}, "takes a rate, or per="),
            ({"rate": 0}, r"rate must be a float in \(0, 1\)"),
            ({"rate": 5}, r"rate must be a float in \(0, 1\)"),
            ({"rate": "0.1"}, r"rate must be a float in \(0, 1\)"),
            ({"per": 3}, "needs X="),
            ({"rate": 0.1, "X": month(9, 0)}, "X= goes with per="),
            ({"per": 0.5, "X": month(9, 0)}, "must be an integer from 0 to 8"),
            ({"per": 9, "X": month(9, 0)}, "per for the 9 rows of X must be"),
            ({"per": True, "X": month(9, 0)}, "got True"),
        ],
    )
    def test_bad_arguments_are_named(self, detector, arguments, message):
        before = detector.offset_
        with pytest.raises(ValueError, match=message):
            detector.set_alert_rate(**arguments)
        assert detector.offset_ == before

    def test_it_needs_a_fit(self):
        for method, arguments in (("set_alert_rate", (0.1,)), ("drift", ([[0]],))):
            with pytest.raises(NotFittedError):
                getattr(AEOutlierDetector(), method)(*arguments)
        with pytest.raises(NotFittedError):
            AEOutlierDetector().refresh(month(9, 0))


class TestRefresh:
    def test_the_stated_rate_holds_on_drifted_rows(self):
        flagged = []
        for seed in range(4):
            detector = AEOutlierDetector(random_state=seed).fit(month(4000, seed))
            detector.refresh(month(4000, seed + 10, 1.5, 1.0))
            fresh = month(5000, seed + 20, 1.5, 1.0)
            is_flagged = detector.predict(fresh) == -1
            flagged.append(is_flagged.mean())
            p = detector.p_values(fresh[:500])
            np.testing.assert_array_equal(p <= 0.05, is_flagged[:500])
        assert np.mean(flagged) == pytest.approx(0.05, abs=0.01)

    def test_it_is_a_fit_to_the_new_rows(self, detector):
        rows, fresh = month(1000, 5, 2.0), month(100, 6, 2.0)
        anew = AEOutlierDetector(random_state=0).fit(rows)
        assert detector.refresh(rows) is detector
        np.testing.assert_array_equal(
            detector.score_samples(fresh), anew.score_samples(fresh)
        )
        assert detector.offset_ == anew.offset_
        assert len(detector.estimators_) == 8

    def test_it_renews_members_that_a_warm_start_would_keep(self):
        warm = AEOutlierDetector(warm_start=True, random_state=0).fit(month(500, 1))
        warm.refresh(month(500, 2, 1.5))
        anew = AEOutlierDetector(random_state=0).fit(month(500, 2, 1.5))
        np.testing.assert_array_equal(warm.score_samples(W), anew.score_samples(W))

    def test_the_alert_rate_is_kept(self, detector):
        detector.set_alert_rate(0.2).refresh(month(2000, 5, 2.0))
        fresh = month(4000, 6, 2.0)
        assert share_flagged(detector, fresh) == pytest.approx(0.2, abs=0.03)
        detector.set_alert_rate(per=30, X=fresh[:300]).refresh(month(2000, 7))
        assert share_flagged(detector, month(4000, 8)) == pytest.approx(0.1, abs=0.03)
        detector.fit(month(2000, 9))
        assert share_flagged(detector, month(4000, 8)) == pytest.approx(0.05, abs=0.02)

    def test_columns_are_those_of_the_fit(self):
        frame = pd.DataFrame(month(300, 1), columns=list("abcdefghij"))
        detector = AEOutlierDetector(random_state=0).fit(frame)
        before = detector.score_samples(frame)
        with pytest.raises(ValueError, match="feature names"):
            detector.refresh(frame[list("bacdefghij")])
        with pytest.raises(ValueError, match="expecting 10 features"):
            AEOutlierDetector().fit(month(50, 0)).refresh(month(50, 0)[:, :4])
        np.testing.assert_array_equal(detector.score_samples(frame), before)
        assert list(detector.refresh(frame).feature_names_in_) == list("abcdefghij")

    def test_autoencoders_are_fitted_anew_unless_they_came_fitted(self):
        old, new = month(200, 1), month(200, 2, 2.0)
        inner = AutoencoderTransformer(2, max_iter=2, random_state=0)
        own = AEOutlierDetector(estimator=inner, random_state=0).fit(old)
        first = own.estimator_
        assert own.refresh(new).estimator_.mean_[0] != first.mean_[0]
        inner.fit(old)
        kept = AEOutlierDetector(estimator=inner).fit(old)
        offset = kept.offset_
        assert kept.refresh(new).estimator_.net_ is inner.net_
        assert kept.offset_ != offset

    def test_samples_keep_their_shape(self):
        images = month(100, 1)[:, :9].reshape(100, 3, 3)
        inner = ConvAE(2, kernel_size=2, stride=1, max_iter=1)
        detector = AEOutlierDetector(estimator=inner, random_state=0).fit(images)
        before = detector.score_samples(images)
        with pytest.raises(
            ValueError, match="6 features; the detector was fitted to 9"
        ):
            detector.refresh(images[:, :2])
        np.testing.assert_array_equal(detector.score_samples(images), before)
        assert detector.refresh(2 * images).n_features_in_ == 9


class TestWarmStart:
    def fitted(self):
        warm = AEOutlierDetector(4, warm_start=True, random_state=0)
        return warm.fit(month(600, 1)).set_params(n_estimators=8)

    def test_other_rows_are_named(self):
        with pytest.warns(UserWarning, match=r"refresh\(X\)") as caught:
            self.fitted().fit(month(600, 2, 1.5, 1.0))
        assert caught[0].filename == __file__

    def test_the_same_rows_and_rows_like_them_are_not(self):
        same = month(600, 1)
        shuffled = np.random.default_rng(0).permutation(same)
        for rows in (same, same.copy(), shuffled, month(800, 3)):
            assert len(self.fitted().fit(rows).estimators_) == 8


class TestDrift:
    def test_moved_features_are_named_first(self, detector):
        rows = month(400, 2)
        rows[:, 3] += 1
        rows[:, 7] *= 3
        drift = detector.drift(rows)
        assert 0 < drift.statistic <= 1
        assert drift.p_value < 1e-3
        assert set(drift.features.feature[:2]) == {3, 7}
        assert (drift.features.p_value[:2] < 1e-6).all()
        assert (drift.features.p_value[2:] > 0.01).all()
        moved = drift.features[drift.features.feature == 3][0]
        assert moved.median_now - moved.median_before == pytest.approx(1, abs=0.3)

    def test_missing_values_are_a_change(self, detector):
        rows = month(200, 2)
        rows[::4, 5] = np.nan
        first = detector.drift(rows).features[0]
        assert first.feature == 5
        assert (first.missing_before, first.missing_now) == (0, 0.25)
        rows[:, 5] = np.nan
        assert np.isnan(detector.drift(rows).features[0].median_now)

    def test_frames_give_frames(self):
        frame = pd.DataFrame(month(300, 1), columns=list("abcdefghij"))
        detector = AEOutlierDetector(random_state=0).fit(frame)
        features = detector.drift(frame.assign(c=5.0)).features
        assert features.iloc[0]["feature"] == "c"
        assert list(features.columns[:3]) == ["feature", "statistic", "p_value"]
        assert len(features) == 10

    @pytest.mark.parametrize(
        "draw",
        [
            lambda rng, n: rng.normal(size=(n, 5)),
            lambda rng, n: rng.standard_t(2, size=(n, 5)),
            lambda rng, n: np.round(rng.normal(size=(n, 1)), 1),
            lambda rng, n: (rng.random((n, 8)) < 0.3) * 1.0,
            lambda rng, n: np.eye(5)[rng.integers(5, size=n)],
            lambda rng, n: np.where(
                rng.random((n, 3)) < 0.7, 0, rng.normal(size=(n, 3))
            ),
            lambda rng, n: np.ones((n, 2)),
        ],
        ids=["normal", "heavy", "rounded", "binary", "one-hot", "zeros", "constant"],
    )
    def test_batches_without_drift_are_rarely_named(self, draw):
        scores, features = [], []
        for seed in range(12):
            rng = np.random.default_rng(seed)
            detector = AEOutlierDetector(random_state=seed).fit(draw(rng, 500))
            for size in (30, 300):
                drift = detector.drift(draw(rng, size))
                scores.append(drift.p_value)
                features.append(drift.features["p_value"].min())
        # Five or more of 24 happen by chance in 0.6% of the cases.
        assert np.sum(np.array(scores) < 0.05) < 6
        assert np.sum(np.array(features) < 0.05) < 6

    @pytest.mark.parametrize(
        ("n_estimators", "shares"), [(3, [0.7, 0.3]), (2, [0.1, 0.2, 0.35, 0.25, 0.1])]
    )
    def test_few_members_alarm_rarely_where_rows_repeat(self, n_estimators, shares):
        p, moved = [], []
        for seed in range(24):
            rng = np.random.default_rng(seed)
            rows, fresh = 1.0 * rng.choice(len(shares), size=(2, 400, 6), p=shares)
            detector = AEOutlierDetector(n_estimators, random_state=seed, n_jobs=1)
            p.append(detector.fit(rows).drift(fresh).p_value)
            far = rng.random(400) < 0.3
            fresh[far, :3] = len(shares) - 1
            moved.append(detector.drift(fresh).p_value)
        # Five or more of 24 happen by chance in 0.6% of the cases.
        assert np.sum(np.array(p) < 0.05) < 5
        assert np.median(moved) < 1e-3

    @pytest.mark.parametrize("n_estimators", [2, 3])
    def test_training_rows_that_come_back_are_no_drift(self, n_estimators):
        rows = np.round(np.random.default_rng(0).normal(size=(500, 4)), 1)
        detector = AEOutlierDetector(n_estimators, random_state=0).fit(rows)
        for same in (rows[:250], rows[:250].astype(np.float32)):
            assert detector.drift(same).p_value > 0.05

    def test_few_calibration_rows(self):
        p = []
        for seed in range(40):
            rng = np.random.default_rng(seed)
            detector = AEOutlierDetector(random_state=seed).fit(
                rng.normal(size=(25, 3))
            )
            p.append(detector.drift(rng.normal(size=(200, 3))).p_value)
        assert np.mean(np.array(p) < 0.05) < 0.15

    def test_precision_is_no_drift(self):
        rng = np.random.default_rng(0)
        rows = rng.integers(4, size=(400, 4)) / 3
        detector = AEOutlierDetector(random_state=0).fit(rows)
        fresh = rng.integers(4, size=(300, 4)) / 3
        for same in (fresh.astype(np.float32), np.round(fresh, 6)):
            assert (detector.drift(same).features.statistic < 0.15).all()

    def test_samples_are_named_by_their_places(self):
        waves = np.sin(0.4 * np.arange(12) + month(80, 1)[:, :1])
        ragged = [wave[:n] for wave, n in zip(waves, [8, 9, 10, 12] * 20, strict=True)]
        inner = RecurrentAE(2, max_iter=1, sample_shape=(12, 1))
        detector = AEOutlierDetector(estimator=inner, random_state=0).fit(ragged)
        assert detector.drift(ragged).p_value > 0.01
        short = detector.drift([wave[:5] for wave in waves])
        assert short.features.feature[0] in range(5, 12)
        assert short.features.missing_now[0] == 1
        images = waves.reshape(80, 3, 4)
        inner = ConvAE(2, kernel_size=2, stride=1, max_iter=1)
        detector = AEOutlierDetector(estimator=inner, random_state=0).fit(images)
        moved = images.copy()
        moved[:, 1, 2] += 9
        assert detector.drift(moved).features.feature[0] == (1, 2)

    def test_it_is_the_same_after_pickling(self, detector):
        rows = month(100, 2)
        again = pickle.loads(pickle.dumps(detector)).drift(rows)
        assert again.p_value == detector.drift(rows).p_value

    def test_sparse_rows_and_weights(self):
        rows = np.where(np.abs(month(300, 1)) < 0.7, 0, month(300, 1))
        weight = np.tile([1.0, 2.0, 3.0], 100)
        drifts = [
            AEOutlierDetector(random_state=0).fit(X, sample_weight=weight).drift(X[:99])
            for X in (rows, sparse.csr_matrix(rows))
        ]
        assert drifts[0].p_value == drifts[1].p_value > 0.01
        np.testing.assert_array_equal(drifts[0].features, drifts[1].features)


def test_clean_rows_are_watched_likewise():
    detector = AEOutlierDetector(novelty=True, missing="unusual", random_state=0)
    detector.fit(month(800, 1))
    dead = month(20, 2)
    dead[:, :9] = np.nan
    assert (detector.predict(dead) == -1).all()
    assert detector.drift(month(300, 3)).p_value > 0.01
    drifted = month(800, 4, 1.5, 1.0)
    assert detector.drift(drifted).p_value < 1e-6
    flagged = share_flagged(detector.refresh(drifted), month(4000, 5, 1.5, 1.0))
    assert flagged == pytest.approx(0.05, abs=0.03)
