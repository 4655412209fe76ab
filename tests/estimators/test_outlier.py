"""`AEOutlierDetector`: ranking, honesty, thresholds, explanations and bad input."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse, stats
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.metrics import (
    get_scorer,
    make_scorer,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skae import AEOutlierDetector, AutoencoderTransformer, VariationalAE
from skae.outliers.threshold_tuning import best_threshold
from skae.rows import chunks as batches

RNG = np.random.default_rng(0)
MIXING = RNG.normal(size=(6, 6))


def normal_rows(n_samples, seed=0):
    return np.random.default_rng(seed).normal(size=(n_samples, 6)) @ MIXING


X = normal_rows(400)
FRESH = normal_rows(400, seed=1)
OUTLIERS = np.random.default_rng(2).normal(scale=6, size=(40, 6))


@pytest.fixture(scope="module")
def detector():
    return AEOutlierDetector(random_state=0).fit(X)


def test_outliers_score_lower_than_fresh_normal_rows(detector):
    scores = detector.score_samples(np.r_[FRESH, OUTLIERS])
    truth = np.r_[np.ones(400), np.zeros(40)]
    assert roc_auc_score(truth, scores) > 0.9


def test_a_cluster_of_outliers_in_training_does_not_vouch_for_itself():
    cluster = 12 + 0.1 * np.random.default_rng(3).normal(size=(40, 6))
    fitted = AEOutlierDetector(random_state=0).fit(np.r_[X, cluster])
    scores = fitted.score_samples(np.r_[X, cluster])
    assert roc_auc_score(np.r_[np.ones(400), np.zeros(40)], scores) > 0.99


def test_decision_function_is_score_minus_offset_and_predict_its_sign(detector):
    decision = detector.decision_function(FRESH)
    np.testing.assert_array_equal(
        decision, detector.score_samples(FRESH) - detector.offset_
    )
    np.testing.assert_array_equal(
        detector.predict(FRESH), np.where(decision < 0, -1, 1)
    )


def test_scores_of_training_rows_are_distributed_as_those_of_fresh_rows():
    p = []
    for seed in range(8):
        wide = np.random.default_rng(seed).normal(size=(300, 100))
        fitted = AEOutlierDetector(random_state=seed).fit(wide[:150])
        scores = fitted.score_samples(wide[:150]), fitted.score_samples(wide[150:])
        p.append(stats.ks_2samp(*scores).pvalue)
    assert stats.combine_pvalues(p).pvalue > 0.01


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.2])
def test_fresh_normal_rows_are_flagged_at_the_stated_rate(rate):
    train, fresh = normal_rows(3000, seed=5), normal_rows(3000, seed=6)
    fitted = AEOutlierDetector(false_alarm_rate=rate, random_state=0).fit(train)
    flagged = (fitted.predict(fresh) == -1).mean()
    assert abs(flagged - rate) < 3 * np.sqrt(2 * rate * (1 - rate) / 3000)
    assert stats.kstest(fitted.p_values(fresh), "uniform").pvalue > 0.01


def test_the_threshold_and_the_p_values_agree(detector):
    p = detector.p_values(FRESH)
    np.testing.assert_array_equal(detector.predict(FRESH) == -1, p <= 0.05)
    assert (p > 0).all()
    assert (p <= 1).all()


def test_a_float_contamination_flags_that_share_of_the_training_rows():
    fitted = AEOutlierDetector(contamination=0.1, random_state=0).fit(X)
    assert (fitted.predict(X) == -1).mean() == pytest.approx(0.1, abs=1 / 400)
    np.testing.assert_array_equal(
        AEOutlierDetector(contamination=0.1, random_state=0).fit_predict(X),
        fitted.predict(X),
    )


def test_weights_move_the_float_threshold_as_repetition_would(detector):
    weight = np.where(detector.score_samples(X) < detector.offset_, 5.0, 1.0)
    fitted = AEOutlierDetector(contamination=0.2, random_state=0)
    fitted.fit(X, sample_weight=weight)
    flagged = fitted.predict(X) == -1
    assert weight[flagged].sum() / weight.sum() == pytest.approx(0.2, abs=0.02)


def test_rows_of_weight_zero_are_left_out(detector):
    weight = np.r_[np.ones(400), np.zeros(40)]
    weighted = AEOutlierDetector(random_state=0)
    weighted.fit(np.r_[X, OUTLIERS], sample_weight=weight)
    np.testing.assert_array_equal(
        weighted.score_samples(FRESH), detector.score_samples(FRESH)
    )


@pytest.mark.parametrize("convention", [lambda y: y, lambda y: 1 - 2 * y])
def test_tune_threshold_separates_what_can_be_separated(detector, convention):
    far = np.r_[FRESH, 50 + OUTLIERS]
    y = np.r_[np.zeros(400, int), np.ones(40, int)]
    tuned = pickle.loads(pickle.dumps(detector))
    assert tuned.tune_threshold(far, convention(y)) is tuned
    np.testing.assert_array_equal(tuned.predict(far), 1 - 2 * y)


def test_tune_threshold_trades_precision_against_recall(detector):
    rows = np.r_[FRESH[:100], OUTLIERS]
    y = np.r_[np.zeros(100, int), np.ones(40, int)]
    tuned = pickle.loads(pickle.dumps(detector))

    def flagged(scoring):
        return tuned.tune_threshold(rows, y, scoring).predict(rows) == -1

    for name in ("balanced_accuracy", make_scorer(precision_score, zero_division=0)):
        assert 0 < flagged(name).sum() < 140
    assert recall_score(y, flagged("recall")) == 1
    by_hand = flagged(lambda model, X, y: -abs(model.predict(X).sum() - 60))
    assert by_hand.sum() == 60


@pytest.mark.parametrize(
    "name", ["f1", "precision", "recall", "accuracy", "balanced_accuracy"]
)
def test_thresholds_by_counts_are_those_of_the_scorer(name):
    random = np.random.default_rng(0)
    for n_samples in (3, 40, 900):
        y = np.r_[0, 1, random.random(n_samples - 2) < 0.2].astype(int)
        # Of one digit, so that many are equal.
        scores = random.normal(size=n_samples).round(1) - y
        chosen = [
            best_threshold(scores, scores[:, None], y, scoring)
            for scoring in (name, get_scorer(name))
        ]
        assert chosen[0] == chosen[1]


def test_tune_threshold_names_what_it_needs(detector):
    with pytest.raises(ValueError, match="both must occur"):
        detector.tune_threshold(FRESH, np.ones(400))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        detector.tune_threshold(FRESH, [0, 1])


def test_explanations_sum_to_the_score(detector):
    rows = np.r_[FRESH, 1e6 * OUTLIERS]
    np.testing.assert_allclose(
        detector.explain(rows).sum(axis=1), detector.score_samples(rows), rtol=1e-5
    )


@pytest.mark.parametrize("load", [load_digits, load_breast_cancer])
def test_a_corrupted_feature_is_named_first(load):
    data = load().data
    random = np.random.default_rng(0)
    order = random.permutation(len(data))
    train, rows = data[order[100:]], data[order[:100]]
    feature = random.integers(data.shape[1], size=100)
    spread = np.where(train.std(0) > 0, train.std(0), 1)[feature]
    rows[np.arange(100), feature] += 8 * spread * random.choice([-1, 1], 100)
    fitted = AEOutlierDetector(random_state=0).fit(train)
    named = fitted.explain(rows).argmin(axis=1)
    assert (named == feature).mean() >= 0.95


def test_explanations_of_a_frame_are_a_frame():
    frame = pd.DataFrame(X, columns=list("abcdef"))
    fitted = AEOutlierDetector(random_state=0).fit(frame)
    rows = pd.DataFrame(FRESH[:3], columns=list("abcdef"), index=["x", "y", "z"])
    rows.loc["y", "d"] = 100.0
    found = fitted.explain(rows)
    assert list(found.columns) == list("abcdef")
    assert list(found.index) == ["x", "y", "z"]
    assert found.loc["y"].idxmin() == "d"
    table = fitted.explain(rows, top=2)
    assert list(table.columns) == [
        "row",
        "feature",
        "contribution",
        "observed",
        "expected",
    ]
    first = table[table["row"] == "y"].iloc[0]
    assert (first["feature"], first["observed"]) == ("d", 100.0)
    assert abs(first["expected"]) < 20
    assert len(table) == 6


def test_explanations_of_an_array_are_a_record_array(detector):
    table = detector.explain(FRESH[:2], top=99)
    assert len(table) == 12
    np.testing.assert_array_equal(np.sort(table.feature[:6]), np.arange(6))
    assert (np.diff(table.contribution[:6]) >= 0).all()
    with pytest.raises(ValueError, match="top must be a positive int"):
        detector.explain(FRESH, top=0)
    with pytest.raises(ValueError, match="top must be a positive int.* got True"):
        detector.explain(FRESH, top=True)


def test_sparse_dense_and_frame_input_give_the_same():
    rows = np.where(np.abs(X) < 1, 0, X)
    dense = AEOutlierDetector(random_state=0).fit(rows)
    for convert in (sparse.csr_matrix, sparse.csc_array, pd.DataFrame):
        fitted = AEOutlierDetector(random_state=0).fit(convert(rows))
        np.testing.assert_array_equal(
            fitted.score_samples(convert(FRESH)), dense.score_samples(FRESH)
        )
        np.testing.assert_array_equal(
            fitted.explain(convert(FRESH)), dense.explain(FRESH)
        )


def test_the_same_seed_gives_the_same_scores_bit_for_bit(detector, monkeypatch):
    rows = normal_rows(3000, seed=7)
    expected = detector.score_samples(rows)
    again = AEOutlierDetector(random_state=0, n_jobs=2).fit(X)
    np.testing.assert_array_equal(again.score_samples(rows), expected)
    copied = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(copied.score_samples(rows), expected)
    one_by_one = [detector.score_samples(row[None])[0] for row in rows[:20]]
    np.testing.assert_array_equal(one_by_one, expected[:20])
    monkeypatch.setattr(batches, "_CACHE_BYTES", 1)
    np.testing.assert_array_equal(detector.score_samples(rows), expected)
    other = AEOutlierDetector(random_state=1).fit(X).score_samples(rows)
    assert not np.array_equal(other, expected)


def test_farther_is_never_more_normal(detector):
    steps = 10.0 ** np.arange(1, 13)
    for direction in np.random.default_rng(8).normal(size=(10, 6)):
        scores = detector.score_samples(np.outer(steps, direction))
        assert np.isfinite(scores).all()
        assert (np.diff(scores) < 0).all()
    largest = np.full((2, 6), 1e300) * [[1], [-1]]
    assert np.isfinite(detector.score_samples(largest)).all()


def test_offsets_and_units_of_the_features_do_not_matter(detector):
    moved = AEOutlierDetector(random_state=0).fit(1e8 + 1e3 * X)
    np.testing.assert_allclose(
        moved.score_samples(1e8 + 1e3 * FRESH), detector.score_samples(FRESH), rtol=1e-3
    )


def test_warm_start_adds_members_and_keeps_the_others():
    warm = AEOutlierDetector(4, warm_start=True, random_state=0).fit(X)
    first = warm.estimators_[0]
    warm.set_params(n_estimators=7).fit(X)
    assert len(warm.estimators_) == 7
    assert warm.estimators_[0] is first
    assert warm.n_features_in_ == 6
    with pytest.raises(ValueError, match=r"at least len\(estimators_\)=7"):
        warm.set_params(n_estimators=2).fit(X)
    with pytest.warns(UserWarning, match="adds no members") as caught:
        warm.set_params(n_estimators=7).fit(X)
    assert caught[0].filename == __file__


def test_more_samples_than_rows_are_all_rows():
    detector = AEOutlierDetector(2, max_samples=401, random_state=0)
    with pytest.warns(UserWarning, match="greater than the number of rows") as caught:
        assert detector.fit(X).max_samples_ == 400
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_estimators": 1},
        {"n_estimators": 3, "max_features": 0.5},
        {"max_features": 2, "bootstrap": True},
        {"max_samples": 0.3},
        {"hidden_layer_sizes": (16, 8)},
        {"max_iter": 2, "batch_size": 7, "learning_rate_init": 0.01},
        {"support_fraction": 1.0, "noise_level": 0.0},
    ],
)
def test_other_settings_work(parameters):
    fitted = AEOutlierDetector(random_state=0, **parameters).fit(X)
    scores = fitted.score_samples(np.r_[FRESH, 3 * OUTLIERS])
    assert roc_auc_score(np.r_[np.ones(400), np.zeros(40)], scores) > 0.85


def test_wide_data_are_shared_out_so_that_every_feature_counts():
    wide = np.random.default_rng(9).normal(size=(60, 600))
    fitted = AEOutlierDetector(random_state=0).fit(wide)
    assert len(fitted.estimators_[0].features) == 256
    assert (fitted.explain(wide[:1] + 5) < 0).all()


def test_verbose_shows_progress(capsys):
    AEOutlierDetector(verbose=1, random_state=0).fit(X)
    assert "40/40" in capsys.readouterr().err


class TestEstimator:
    """Any autoencoder of the package as the scorer."""

    def test_an_unfitted_autoencoder_is_fitted_and_calibrated(self):
        base = AutoencoderTransformer(3, max_iter=5)
        fitted = AEOutlierDetector(estimator=base, random_state=0)
        fitted.fit(np.r_[X, normal_rows(2000, seed=10)])
        assert not hasattr(base, "net_")
        assert len(fitted.calibration_scores_) == 600
        fresh = normal_rows(2000, seed=11)
        assert (fitted.predict(fresh) == -1).mean() == pytest.approx(0.05, abs=0.03)
        assert stats.kstest(fitted.p_values(fresh), "uniform").pvalue > 0.01
        np.testing.assert_array_equal(
            fitted.score_samples(fresh), fitted.estimator_.score_samples(fresh)
        )

    def test_a_fitted_autoencoder_is_used_as_it_is(self):
        base = AutoencoderTransformer(3, max_iter=5, random_state=0).fit(X)
        fitted = AEOutlierDetector(estimator=base).fit(FRESH)
        expected = base.score_samples(X)
        np.testing.assert_array_equal(fitted.score_samples(X), expected)
        base.set_params(random_state=1).fit(X)
        np.testing.assert_array_equal(fitted.score_samples(X), expected)
        assert len(fitted.calibration_scores_) == 400
        with pytest.raises(ValueError, match="fitted estimator= expects 6"):
            AEOutlierDetector(estimator=base).fit(FRESH[:, :4])

    def test_explanations_sum_to_the_score_and_name_the_corrupted_feature(self):
        base = AutoencoderTransformer(3, max_iter=5, random_state=0).fit(X)
        fitted = AEOutlierDetector(estimator=base).fit(FRESH)
        rows = FRESH.copy()
        rows[:, 2] += 100
        found = fitted.explain(rows)
        np.testing.assert_allclose(found.sum(1), fitted.score_samples(rows))
        half = -0.5 * (rows - base.reconstruct(rows)) ** 2
        np.testing.assert_allclose(found, half, rtol=1e-6, atol=1e-9)
        table = fitted.explain(rows[:1], top=1)
        assert table.expected[0] == base.reconstruct(rows[:1])[0, table.feature[0]]

    def test_too_few_rows_are_refused(self):
        base = AutoencoderTransformer(1)
        with pytest.raises(ValueError, match="at least 4 rows"):
            AEOutlierDetector(estimator=base).fit(X[:3])

    def test_something_else_is_refused(self):
        with pytest.raises(ValueError, match="'estimator' parameter"):
            AEOutlierDetector(estimator=StandardScaler()).fit(X)


class TestBadInput:
    """Clear errors, and finite results where there is something to say."""

    def test_one_row_is_refused(self):
        with pytest.raises(ValueError, match="minimum of 2 is required"):
            AEOutlierDetector().fit(X[:1])

    def test_equal_rows_are_all_normal_and_others_are_not(self):
        rows = np.full((50, 3), 2.5)
        fitted = AEOutlierDetector(random_state=0).fit(rows)
        assert (fitted.predict(rows) == 1).all()
        assert fitted.predict([[2.5, 2.5, 9.0]]) == -1
        assert np.isfinite(fitted.score_samples([[2.5, 2.5, 1e12]])).all()

    @pytest.mark.parametrize("n_samples", [2, 3, 5, 8, 31, 33])
    def test_few_rows(self, n_samples):
        fitted = AEOutlierDetector(random_state=0).fit(X[:n_samples])
        assert np.isfinite(fitted.score_samples(X)).all()
        assert fitted.predict([[1e6] * 6]) == -1

    def test_one_feature(self):
        fitted = AEOutlierDetector(random_state=0).fit(X[:, :1])
        assert fitted.predict([[0.0], [1e3]]).tolist() == [1, -1]

    def test_more_features_than_rows(self):
        wide = np.random.default_rng(12).normal(size=(50, 2000))
        fitted = AEOutlierDetector(random_state=0).fit(wide[:40])
        scores = fitted.score_samples(np.r_[wide, 5 * wide[40:]])
        assert np.isfinite(scores).all()
        assert scores[50:].max() < scores[:50].min()

    def test_columns_of_one_spike(self):
        spiked = np.zeros((50, 3))
        spiked[7, 0], spiked[:, 1] = 1e9, RNG.normal(size=50)
        fitted = AEOutlierDetector(random_state=0).fit(spiked)
        assert fitted.score_samples(spiked).argmin() == 7

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"contamination": 0.6}, "'contamination' parameter"),
            ({"contamination": 0.0}, "'contamination' parameter"),
            ({"contamination": "some"}, "'contamination' parameter"),
            ({"n_estimators": 0}, "'n_estimators' parameter"),
            ({"support_fraction": 0.0}, "'support_fraction' parameter"),
            ({"hidden_layer_sizes": ()}, "hidden_layer_sizes must not be empty"),
            (
                {"hidden_layer_sizes": (0,)},
                "hidden_layer_sizes must be positive integers",
            ),
            (
                {"hidden_layer_sizes": (1.5,)},
                "hidden_layer_sizes must be positive integers",
            ),
            ({"max_features": 7}, "must not exceed the 6 features"),
            ({"device": "abacus"}, "device='abacus'"),
        ],
    )
    def test_parameters_are_checked_by_name(self, parameters, message):
        with pytest.raises(ValueError, match=message):
            AEOutlierDetector(**parameters).fit(X)

    def test_a_failed_fit_leaves_the_earlier_one(self, detector):
        fitted = AEOutlierDetector(random_state=0).fit(X)
        fitted.set_params(max_features=99)
        with pytest.raises(ValueError, match="max_features"):
            fitted.fit(X[:, :3])
        np.testing.assert_array_equal(
            fitted.score_samples(FRESH), detector.score_samples(FRESH)
        )

    def test_infinity_is_refused(self):
        with pytest.raises(ValueError, match="infinity"):
            AEOutlierDetector().fit(np.where(X > 3, np.inf, X))


def test_works_in_a_pipeline_and_in_cross_validation():
    y = np.r_[np.ones(400), -np.ones(40)]
    pipeline = make_pipeline(StandardScaler(), AEOutlierDetector(random_state=0))
    scores = cross_val_score(
        pipeline, np.r_[X, 5 * OUTLIERS], y, scoring="roc_auc", cv=StratifiedKFold(3)
    )
    assert scores.mean() > 0.95


class TestRepeatedRows:
    def test_copies_do_not_make_the_threshold_too_tight(self):
        rng = np.random.default_rng(0)
        doubled = np.repeat(rng.normal(size=(500, 5)), 2, axis=0)
        fitted = AEOutlierDetector(random_state=0).fit(doubled)
        assert (fitted.predict(rng.normal(size=(4000, 5))) == -1).mean() < 0.1

    def test_equally_likely_values_are_not_left_out(self):
        flagged = []
        for seed in range(4):
            rng = np.random.default_rng(seed)
            X = np.eye(10)[rng.integers(0, 10, 3000)]
            fitted = AEOutlierDetector(random_state=seed).fit(X[:1000])
            assert len(fitted.calibration_scores_) == 1000
            flagged.append((fitted.p_values(X[1000:]) <= 0.05).mean())
        assert np.mean(flagged) < 0.1


class TestTunedThresholds:
    @pytest.fixture
    def labelled(self):
        X, y = load_breast_cancer(return_X_y=True)
        return AEOutlierDetector(random_state=0).fit(X[y == 1]), X, (y == 0).astype(int)

    def test_of_equally_good_thresholds_the_one_that_flags_most(self, labelled):
        detector, X, is_outlier = labelled
        flagged = detector.tune_threshold(X, is_outlier, "precision").predict(X) == -1
        assert is_outlier[flagged].all()
        next_one = np.sort(detector.score_samples(X))[flagged.sum()]
        assert not is_outlier[detector.score_samples(X) == next_one].any()

    @pytest.mark.parametrize(
        ("scoring", "message"),
        [
            ("roc_auc", "whatever the threshold"),
            ("neg_log_loss", "predict_proba"),
            (lambda detector, X, y: np.nan, "is nan whatever the threshold"),
        ],
    )
    def test_scorings_that_cannot_choose_are_refused(self, labelled, scoring, message):
        detector, X, is_outlier = labelled
        before = detector.offset_
        with pytest.raises(ValueError, match=message):
            detector.tune_threshold(X[::5], is_outlier[::5], scoring)
        assert detector.offset_ == before


def test_batches_are_no_larger_than_what_a_member_trains_on():
    X = normal_rows(300, seed=0)
    of_all, of_more = (
        AEOutlierDetector(batch_size=size, random_state=0).fit(X) for size in (90, 9000)
    )
    assert of_all.n_iter_ == of_more.n_iter_
    np.testing.assert_array_equal(of_all.score_samples(X), of_more.score_samples(X))


def test_p_values_need_a_fit():
    with pytest.raises(NotFittedError):
        AEOutlierDetector().p_values(normal_rows(5, seed=0))


class TestWeights:
    @pytest.mark.parametrize(("n", "max_samples"), [(1000, "auto"), (6000, 500)])
    def test_the_stated_rate_holds_for_weighted_rows(self, n, max_samples):
        # Heavy rows vary less, so they are a distribution of their own.
        rng = np.random.default_rng(0)
        flagged = []
        for seed in range(4):
            spread = np.where(np.arange(n) % 2 == 0, 1.0, 3.0)[:, None]
            weight = np.where(np.arange(n) % 2 == 0, 1.0, 0.25)
            fitted = AEOutlierDetector(max_samples=max_samples, random_state=seed)
            fitted.fit(spread * rng.normal(size=(n, 5)), sample_weight=weight)
            p = fitted.p_values(spread * rng.normal(size=(n, 5)))
            flagged.append(np.average(p <= 0.05, weights=weight))
        assert abs(np.mean(flagged) - 0.05) < 0.02


class TestWarmStart:
    @pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 3), (4, 5), (3, 8)])
    def test_grown_detectors_flag_at_the_stated_rate(self, before, after):
        flagged = []
        for seed in range(4):
            rng = np.random.default_rng(seed)
            rows, fresh = rng.normal(size=(600, 5)), rng.normal(size=(3000, 5))
            grown = AEOutlierDetector(before, warm_start=True, random_state=seed)
            grown.fit(rows).set_params(n_estimators=after).fit(rows)
            flagged.append((grown.predict(fresh) == -1).mean())
        assert abs(np.mean(flagged) - 0.05) < 0.02

    def test_an_estimator_after_an_ensemble_is_fitted_anew(self):
        grown = AEOutlierDetector(2, warm_start=True, random_state=0).fit(X)
        grown.set_params(estimator=AutoencoderTransformer(2, max_iter=2))
        assert grown.fit(X[:, :4]).n_features_in_ == 4


def test_a_single_member_flags_at_the_stated_rate():
    flagged = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        one = AEOutlierDetector(1, random_state=seed).fit(rng.normal(size=(600, 5)))
        flagged.append((one.predict(rng.normal(size=(3000, 5))) == -1).mean())
    assert abs(np.mean(flagged) - 0.05) < 0.02


@pytest.mark.parametrize("n", [33, 60])
def test_bootstrap_samples_of_few_rows_keep_p_values_valid(n):
    p = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        fitted = AEOutlierDetector(bootstrap=True, random_state=seed)
        fitted.fit(rng.normal(size=(n, 4)))
        p.append(fitted.p_values(rng.normal(size=(200, 4))))
    assert np.mean(np.concatenate(p) <= 0.1) < 0.13


def test_rare_outliers_get_an_exact_threshold():
    rng = np.random.default_rng(0)
    rows = np.r_[rng.normal(size=(20_000, 3)), rng.normal(50, 1, size=(15, 3))]
    y = np.r_[np.zeros(20_000, int), np.ones(15, int)]
    fitted = AEOutlierDetector(2, random_state=0).fit(rows[:2000])
    assert (fitted.tune_threshold(rows, y).predict(rows) == -1).sum() == 15


def test_diverging_members_raise():
    with pytest.raises(FloatingPointError, match="smaller learning_rate_init"):
        AEOutlierDetector(learning_rate_init=1e300).fit(X)


def test_frames_and_a_fitted_autoencoder_agree_on_columns():
    frame = pd.DataFrame(X, columns=list("abcdef"))
    base = AutoencoderTransformer(2, max_iter=2, random_state=0).fit(frame)
    fitted = AEOutlierDetector(estimator=base).fit(frame)
    assert fitted.predict(frame).shape == (len(X),)
    with pytest.raises(ValueError, match="columns of X"):
        AEOutlierDetector(estimator=base).fit(frame[list("bacdef")])


class TestMissingValues:
    @staticmethod
    def holed(X, share, seed=0):
        missing = np.random.default_rng(seed).random(X.shape) < share
        return np.where(missing, np.nan, X)

    def test_rows_with_missing_values_are_ranked(self):
        X, y = load_breast_cancer(return_X_y=True)
        whole = AEOutlierDetector(random_state=0).fit(X[y == 1][:200])
        holed = AEOutlierDetector(random_state=0).fit(self.holed(X[y == 1][:200], 0.1))
        aucs = [
            roc_auc_score(y == 0, -model.score_samples(rows))
            for model, rows in ((whole, X), (holed, self.holed(X, 0.1, seed=1)))
        ]
        assert aucs[1] > aucs[0] - 0.03

    def test_a_missing_value_counts_as_the_median(self):
        fitted = AEOutlierDetector(random_state=0).fit(self.holed(X, 0.05))
        medians = fitted._scorer.units.center
        row = FRESH[:1].copy()
        row[0, 2] = medians[2]
        expected = fitted.score_samples(row)
        row[0, 2] = np.nan
        np.testing.assert_array_equal(fitted.score_samples(row), expected)

    def test_a_feature_that_is_always_missing_says_nothing(self):
        rows = np.c_[X, np.full(len(X), np.nan)]
        fitted = AEOutlierDetector(random_state=0).fit(rows)
        assert np.isfinite(fitted.score_samples(rows)).all()
        assert fitted.explain(rows[:5])[:, -1].max() <= 0

    def test_the_stated_rate_holds(self):
        rng = np.random.default_rng(0)
        train, fresh = (self.holed(rng.normal(size=(2000, 5)), 0.2, s) for s in (0, 1))
        fitted = AEOutlierDetector(random_state=0).fit(train)
        assert abs((fitted.predict(fresh) == -1).mean() - 0.05) < 0.02


def yes_or_no(r, n):
    return (r.random((n, 8)) < 0.05) * 1.0


def opening_hours(r, n):
    return np.where(r.random((n, 1)) < 0.42, r.poisson([30, 12, 5], (n, 3)), 0.0)


def zero_rows(r, n):
    return np.where(r.random((n, 1)) < 0.6, 0.0, r.normal(size=(n, 5)))


def one_hot(r, n):
    frequency = 1 / np.arange(1, 11)
    return np.eye(10)[r.choice(10, p=frequency / frequency.sum(), size=n)]


def clusters(r, n):
    centers = 8 * np.random.default_rng(3).normal(size=(3, 10))
    return centers[r.choice(3, p=[0.6, 0.3, 0.1], size=n)] + r.normal(size=(n, 10))


def counts(r, n):
    return r.poisson(0.2, (n, 3)) * 1.0


def spikes_of_millions(r, n):
    return np.where(r.random((n, 60)) < 0.02, 1e6 * r.exponential(size=(n, 60)), 0.0)


def copies(r, n):
    return np.random.default_rng(5).normal(size=(400, 5))[r.integers(0, 400, n)]


def heavy_tails(r, n):
    return r.standard_cauchy(size=(n, 4))


class TestStatedRate:
    """The share of fresh rows flagged, and what calibrates."""

    @pytest.mark.parametrize(
        "rows",
        [
            yes_or_no,
            opening_hours,
            zero_rows,
            one_hot,
            clusters,
            counts,
            spikes_of_millions,
            copies,
            heavy_tails,
        ],
    )
    def test_it_holds_on_tables_of_any_kind(self, rows):
        flagged = []
        for seed in range(5):
            r = np.random.default_rng(seed)
            fitted = AEOutlierDetector(random_state=seed).fit(rows(r, 800))
            fresh = rows(r, 3000)
            outlying = fitted.predict(fresh) == -1
            p = fitted.p_values(fresh[:300])
            np.testing.assert_array_equal(outlying[:300], p <= 0.05)
            flagged.append(outlying.mean())
            assert fitted.n_left_out_ <= 0.015 * 800
        # The standard error of the mean is 0.0035; what is left out adds up to 0.015.
        assert 0.03 < np.mean(flagged) < 0.07

    def test_rare_values_of_one_column_are_not_flagged_beyond_it(self):
        r = np.random.default_rng(0)
        fitted = AEOutlierDetector(random_state=0).fit(r.random((1000, 1)) < 0.3)
        assert (fitted.predict(r.random((1000, 1)) < 0.3) == 1).all()

    @pytest.mark.parametrize("unit", [1e-3, 1.0, 30.0])
    def test_it_holds_for_positive_log_densities(self, unit):
        judge = VariationalAE(2, max_iter=5, random_state=0)
        r = np.random.default_rng(0)

        def draw(n):
            structure = r.normal(size=(n, 2)) @ MIXING[:2]
            return unit * (structure + 0.3 * r.normal(size=(n, 6)))

        fitted = AEOutlierDetector(estimator=judge, random_state=0).fit(draw(2000))
        assert len(fitted.calibration_scores_) + fitted.n_left_out_ == 500
        assert fitted.n_left_out_ <= 7
        assert abs((fitted.predict(draw(3000)) == -1).mean() - 0.05) < 0.035

    def test_far_outliers_in_training_are_left_out_and_counted(self):
        rows = np.r_[normal_rows(1000, seed=3), 1e6 * OUTLIERS[:10]]
        fitted = AEOutlierDetector(random_state=0).fit(rows)
        assert fitted.n_left_out_ == 10
        assert len(fitted.calibration_scores_) == 1000

    def test_small_rates_take_more_calibration_rows(self):
        r = np.random.default_rng(0)
        rows, fresh = r.normal(size=(2, 20_000, 3))
        options = {"max_samples": 64, "max_iter": 5, "random_state": 0}
        few = AEOutlierDetector(**options).fit(rows)
        more = AEOutlierDetector(false_alarm_rate=0.002, **options).fit(rows)
        some = AEOutlierDetector(false_alarm_rate=5e-4, **options).fit(rows)
        n_rows = [len(d.calibration_scores_) + d.n_left_out_ for d in (few, more, some)]
        assert n_rows[0] == 400
        assert n_rows[1] == 10_000
        assert 19_950 <= n_rows[2] <= 20_000
        outlying = more.predict(fresh) == -1
        np.testing.assert_array_equal(outlying, more.p_values(fresh) <= 0.002)
        assert 15 < outlying.sum() < 75
        np.testing.assert_array_equal(few.score_samples(rows), more.score_samples(rows))

    @pytest.mark.parametrize(
        "judge", [None, AutoencoderTransformer(2, max_iter=2, random_state=0)]
    )
    def test_a_rate_that_the_rows_cannot_resolve_is_named(self, judge):
        detector = AEOutlierDetector(
            estimator=judge, false_alarm_rate=1e-4, random_state=0
        )
        message = r"false_alarm_rate=0.0001 needs 9999 calibration rows; \d+ resolve"
        with pytest.warns(UserWarning, match=message) as caught:
            detector.fit(X)
        assert caught[0].filename == __file__
        n_rows = len(detector.calibration_scores_)
        assert f"from {1 / (n_rows + 1):.2g} on" in str(caught[0].message)

    def test_a_rate_that_the_rows_resolve_just_so_is_not_named(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            AEOutlierDetector(random_state=0).fit(X[:33])
            AEOutlierDetector(false_alarm_rate=1 / 401, random_state=0).fit(X)
            AEOutlierDetector(contamination=0.1, random_state=0).fit(X[:10])


class TestSameRow:
    """Training rows that come back are judged by the same members."""

    FORMS = {
        "float32": lambda rows: rows.astype(np.float32),
        "six decimals": lambda rows: rows.round(6),
        "six digits": lambda rows: np.vectorize(lambda v: float(f"{v:.6g}"))(rows),
        "last bits": lambda rows: rows * (1 + 1e-9),
        "sparse": lambda rows: sparse.csr_matrix(rows.astype(np.float32)),
        "tensor": lambda rows: torch.tensor(rows, dtype=torch.float32),
    }

    @pytest.mark.parametrize("offset", [0.0, 1e3])
    @pytest.mark.parametrize("options", [{}, {"max_features": 3}, {"bootstrap": True}])
    def test_the_same_rows_are_flagged(self, offset, options):
        rows = offset + X
        fitted = AEOutlierDetector(max_iter=3, random_state=0, **options).fit(rows)
        expected = fitted.score_samples(rows)
        flagged = (fitted.predict(rows) == -1).sum()
        for form, converted in self.FORMS.items():
            again = converted(rows)
            # The absolute difference jumps where another code becomes the nearest.
            is_other = np.abs(fitted.score_samples(again) - expected) > 0.05
            assert np.mean(is_other) < 0.02, form
            assert abs((fitted.predict(again) == -1).sum() - flagged) <= 1, form

    def test_row_by_row_behind_a_projection(self):
        rows = np.random.default_rng(0).normal(size=(300, 20)).astype(np.float32)
        steps = StandardScaler(), PCA(8), AEOutlierDetector(random_state=0)
        pipeline = make_pipeline(*steps).fit(rows)
        one_by_one = [pipeline.predict(row[None])[0] for row in rows[:80]]
        np.testing.assert_array_equal(one_by_one, pipeline.predict(rows)[:80])

    def test_pickled_and_grown_detectors_recognise_them_too(self):
        grown = AEOutlierDetector(4, warm_start=True, random_state=0).fit(X)
        grown.set_params(n_estimators=8).fit(X)
        copied = pickle.loads(pickle.dumps(grown))
        expected = grown.score_samples(X)
        again = copied.score_samples(X.astype(np.float32))
        np.testing.assert_allclose(again, expected, rtol=1e-4)
        assert (grown.predict(X) == -1).mean() == pytest.approx(0.05, abs=0.02)

    def test_copies_of_a_row_come_back_with_one_score(self):
        rows = np.r_[X, X[:40], X[:20].astype(np.float32)]
        fitted = AEOutlierDetector(random_state=0).fit(rows)
        np.testing.assert_allclose(
            fitted.score_samples(rows.astype(np.float32)),
            fitted.score_samples(rows),
            rtol=1e-3,
        )

    @pytest.mark.parametrize("d", [1, 2, 5])
    def test_fresh_rows_are_not_taken_for_training_rows(self, d):
        p = []
        for seed in range(4):
            r = np.random.default_rng(seed)
            fitted = AEOutlierDetector(random_state=seed).fit(r.normal(size=(1500, d)))
            p.append(fitted.p_values(r.normal(size=(500, d))))
        assert stats.kstest(np.concatenate(p), "uniform").pvalue > 0.005
