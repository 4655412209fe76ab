"""`AEOutlierDetector` with an autoencoder as judge, of samples in their own shape."""

import functools
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import make_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skae import (
    AEOutlierDetector,
    AutoencoderTransformer,
    ConvAE,
    DenoisingAE,
    RecurrentAE,
    VariationalAE,
)
from skae.parts.conv import Conv

RNG = np.random.default_rng(0)
PHASE = RNG.uniform(0, 6, size=(120, 1))
WAVES = np.sin(0.4 * np.arange(20) + PHASE)[:, :, None] * [1, 2]
LENGTHS = RNG.integers(8, 21, 120)
RAGGED = [wave[:n] for wave, n in zip(WAVES, LENGTHS, strict=True)]
IMAGES = np.cos(0.3 * np.add.outer(np.arange(8), np.arange(8)) + PHASE[:, :, None])

FORMS = {
    "images": (ConvAE(4, max_iter=2), IMAGES),
    "grey levels": (ConvAE(4, max_iter=2), (100 * (IMAGES + 1)).astype(np.uint8)),
    "channels": (ConvAE(4, max_iter=2), np.stack([IMAGES, -IMAGES], axis=1)),
    "densities": (VariationalAE(2, architecture="conv", max_iter=2), IMAGES),
    "an architecture": (
        DenoisingAE(4, architecture=Conv((1, 8, 8)), max_iter=2),
        IMAGES,
    ),
    "sequences": (RecurrentAE(2, max_iter=2), WAVES),
    "a list of sequences": (RecurrentAE(2, max_iter=2), RAGGED),
    "one feature": (RecurrentAE(2, max_iter=2), [wave[:, 0] for wave in RAGGED]),
    "lists": (RecurrentAE(2, max_iter=2), [wave[:, 0].tolist() for wave in RAGGED]),
    "equal lengths": (RecurrentAE(2, max_iter=2), [wave[:, 0] for wave in WAVES]),
}
each_form = pytest.mark.parametrize("form", FORMS)


@functools.cache
def state_of(form):
    estimator, X = FORMS[form]
    return pickle.dumps(AEOutlierDetector(estimator=estimator, random_state=0).fit(X))


def fitted_to(form):
    """A detector for a test of its own, fitted to the samples, and these."""
    return pickle.loads(state_of(form)), FORMS[form][1]


@each_form
def test_samples_are_judged_in_their_own_shape(form):
    estimator, X = FORMS[form]
    detector = AEOutlierDetector(estimator=estimator, random_state=0).fit(X)
    inner = detector.estimator_
    scores = detector.score_samples(X)
    np.testing.assert_array_equal(scores, inner.score_samples(X))
    np.testing.assert_array_equal(
        detector.decision_function(X), scores - detector.offset_
    )
    p = detector.p_values(X)
    np.testing.assert_array_equal(detector.predict(X) == -1, p <= 0.05)
    assert detector.n_features_in_ == inner.n_features_in_
    assert len(detector.calibration_scores_) <= 30
    copied = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(copied.score_samples(X), scores)
    again = clone(detector).fit(X)
    np.testing.assert_array_equal(again.score_samples(X), scores)


@each_form
def test_explanations_have_the_form_of_the_samples(form):
    detector, X = fitted_to(form)
    contributions = detector.explain(X)
    assert isinstance(contributions, list) == isinstance(X, list)
    for sample, part in zip(X, contributions, strict=True):
        assert np.shape(part) == np.shape(sample)
    np.testing.assert_allclose(
        [part.sum() for part in contributions], detector.score_samples(X)
    )
    table = detector.explain(X, top=2)
    assert len(table) == 2 * len(X)
    rebuilt = detector.estimator_.reconstruct(X)
    for entry in table[:6]:
        sample, place = np.asarray(X[entry.row]), entry.feature
        assert contributions[entry.row][place] == entry.contribution
        assert sample[place] == entry.observed
        assert rebuilt[entry.row][place] == pytest.approx(entry.expected)
    first = table[::2]
    assert [part.min() for part in contributions] == first.contribution.tolist()


def test_a_wrong_pixel_is_named_by_its_place():
    detector, X = fitted_to("images")
    wrong = X[:5].copy()
    wrong[:, 2, 6] += 9
    assert (detector.predict(wrong) == -1).all()
    table = detector.explain(wrong, top=1)
    assert table.feature.tolist() == [(2, 6)] * 5


def test_flat_rows_and_samples_are_the_same():
    detector, X = fitted_to("images")
    flat = X.reshape(len(X), -1)
    np.testing.assert_array_equal(
        detector.score_samples(flat), detector.score_samples(X)
    )
    np.testing.assert_array_equal(
        detector.explain(flat), detector.explain(X).reshape(len(X), -1)
    )
    with pytest.raises(ValueError, match="expecting 64 features"):
        detector.score_samples(flat[:, 1:])
    with pytest.raises(ValueError, match=r"samples of shape \(7, 8\)"):
        detector.score_samples(X[:, 1:])


def test_frames_before_samples_leave_no_names():
    frame = pd.DataFrame(IMAGES.reshape(120, 64), columns=[f"p{n}" for n in range(64)])
    detector = AEOutlierDetector(estimator=ConvAE(4, max_iter=1), random_state=0)
    assert len(detector.fit(frame).feature_names_in_) == 64
    assert not hasattr(detector.fit(IMAGES), "feature_names_in_")
    assert detector.n_features_in_ == 64


@pytest.mark.parametrize("form", ["images", "a list of sequences"])
def test_samples_of_weight_zero_are_left_out(form):
    estimator, X = FORMS[form]
    weight = np.r_[np.ones(100), np.zeros(20)]
    weighted = AEOutlierDetector(estimator=estimator, random_state=0)
    weighted.fit(X, sample_weight=weight)
    plain = AEOutlierDetector(estimator=estimator, random_state=0).fit(X[:100])
    np.testing.assert_array_equal(weighted.score_samples(X), plain.score_samples(X))
    weight[:50] = 2
    uneven = AEOutlierDetector(estimator=estimator, random_state=0)
    assert np.isfinite(uneven.fit(X, sample_weight=weight).score_samples(X)).all()
    with pytest.raises(ValueError, match="sample_weight"):
        uneven.fit(X, sample_weight=weight[:-1])


@pytest.mark.parametrize("form", ["images", "a list of sequences"])
def test_fitted_judges_stay_fitted(form):
    estimator, X = FORMS[form]
    inner = clone(estimator).set_params(random_state=0).fit(X)
    frozen = AEOutlierDetector(estimator=FrozenEstimator(inner)).fit(X[:60])
    for detector in (AEOutlierDetector(estimator=inner).fit(X[:60]), clone(frozen)):
        scores = detector.fit(X[:60]).score_samples(X)
        np.testing.assert_array_equal(scores, inner.score_samples(X))
        assert len(detector.calibration_scores_) <= 60


@pytest.mark.parametrize("form", ["images", "a list of sequences"])
def test_searches_folds_and_pipelines_take_samples(form):
    estimator, X = FORMS[form]
    # Every fold has a longest sequence.
    X = [*X[:60], *X[:60]] if isinstance(X, list) else X
    y = np.where(np.arange(120) % 10, 1, -1)
    detector = AEOutlierDetector(estimator=estimator, random_state=0)
    auc = make_scorer(roc_auc_score, response_method="decision_function")
    grid = {"estimator__n_components": [1, 2], "false_alarm_rate": [0.05]}
    search = GridSearchCV(detector, grid, scoring=auc, cv=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    pipeline = make_pipeline(FunctionTransformer(), detector)
    labels = cross_val_predict(pipeline, X, y, cv=2)
    assert set(labels) <= {-1, 1}


def test_tune_threshold_takes_samples():
    detector, X = fitted_to("images")
    y = np.r_[np.zeros(100, int), np.ones(20, int)]
    far = X.copy()
    far[100:] += 30 * RNG.normal(size=(20, 8, 8))
    np.testing.assert_array_equal(
        detector.tune_threshold(far, y).predict(far), 1 - 2 * y
    )


@pytest.mark.parametrize(
    ("estimator", "X", "message"),
    [
        (AutoencoderTransformer(2), IMAGES, "dim 3.*AutoencoderTransformer"),
        (RecurrentAE(2), np.stack([IMAGES, IMAGES], 1), r"of shape \(2, 8, 8\)"),
        (RecurrentAE(2), [*RAGGED, np.zeros((5, 3))], "same features"),
        (ConvAE(2), WAVES[:3], "at least 4 rows"),
        (None, IMAGES, "estimator=ConvAE"),
        (None, RAGGED, "estimator=RecurrentAE"),
    ],
)
def test_what_the_judge_refuses_is_named(estimator, X, message):
    detector = AEOutlierDetector(estimator=estimator)
    with pytest.raises(ValueError, match=message):
        detector.fit(X)
    assert not hasattr(detector, "offset_")


def test_longer_sequences_than_in_training_are_refused_with_the_way_out():
    detector, _ = fitted_to("a list of sequences")
    with pytest.raises(ValueError, match="sample_shape="):
        detector.predict([np.zeros((99, 2))])


class TestMissingSteps:
    @pytest.fixture
    def flat(self):
        X = WAVES[:, :, 0].copy()
        X[np.arange(20) >= LENGTHS[:, None]] = np.nan
        inner = RecurrentAE(2, max_iter=2, sample_shape=(20, 1))
        return AEOutlierDetector(estimator=inner, random_state=0).fit(X), X

    def test_they_contribute_nothing(self, flat):
        detector, X = flat
        contributions = detector.explain(X)
        assert (contributions[np.isnan(X)] == 0).all()
        np.testing.assert_allclose(contributions.sum(1), detector.score_samples(X))

    def test_they_come_last(self, flat):
        detector, X = flat
        table = detector.explain(X, top=20)
        missing = np.isnan(table.observed).reshape(len(X), 20)
        assert (np.diff(missing.astype(int), axis=1) >= 0).all()

    def test_padded_arrays_and_lists_agree(self):
        padded = WAVES.copy()
        padded[np.arange(20) >= LENGTHS[:, None]] = np.nan
        inner = RecurrentAE(2, max_iter=2, random_state=0).fit(padded)
        detector = AEOutlierDetector(estimator=inner).fit(padded)
        of_array, of_list = detector.explain(padded), detector.explain(RAGGED)
        for sample, part, n in zip(of_array, of_list, LENGTHS, strict=True):
            np.testing.assert_allclose(sample[:n], part)
            assert (sample[n:] == 0).all()
        table = detector.explain(RAGGED, top=99)
        assert len(table) == 2 * LENGTHS.sum()


class TestLogDensities:
    """Judges whose scores may be positive."""

    @staticmethod
    def draw(n):
        mixing = np.random.default_rng(0).normal(size=(3, 10))
        return RNG.normal(size=(n, 3)) @ mixing + 0.3 * RNG.normal(size=(n, 10))

    @pytest.mark.parametrize("unit", [0.01, 0.23, 1.0])
    @pytest.mark.parametrize("variance", ["shared", "per_feature"])
    def test_the_lowest_entry_is_the_feature_that_moved(self, unit, variance):
        inner = VariationalAE(3, noise_variance=variance, max_iter=30)
        detector = AEOutlierDetector(estimator=inner, random_state=0)
        detector.fit(unit * self.draw(1000))
        rows = unit * self.draw(200)
        rows[:, 4] += 3 * unit
        contributions, scores = detector.explain(rows), detector.score_samples(rows)
        np.testing.assert_allclose(contributions.sum(1), scores, rtol=1e-6)
        residual = detector.estimator_.reconstruct(rows) - rows
        in_noise = np.abs(residual) / detector.estimator_.noise_variance_**0.5
        np.testing.assert_array_equal(contributions.argmin(1), in_noise.argmax(1))
        assert (contributions.argmin(1) == 4).mean() > 0.5

    def test_units_of_the_columns_do_not_matter(self):
        units = 10.0 ** np.arange(-5, 5)
        inner = VariationalAE(3, max_iter=30)
        detector = AEOutlierDetector(estimator=inner, random_state=0)
        detector.fit(self.draw(1000) * units)
        rows = self.draw(200)
        rows[:, 4] += 3
        assert (detector.explain(rows * units).argmin(1) == 4).mean() > 0.5

    def test_rows_better_than_all_before_are_ranked_too(self):
        class Sharp(BaseEstimator):
            """A log-density with a known form."""

            n_features_in_ = 3

            def fit(self, X):
                self.fitted_ = True
                return self

            def reconstruct(self, X):
                return np.zeros_like(X)

            def score_samples(self, X):
                return 50 - 0.5 * (X**2).sum(1)

        detector = AEOutlierDetector(estimator=Sharp().fit(None))
        detector.fit(1 + RNG.random((50, 3)))
        rows = np.array([[0.1, 0.2, 0.0], [3.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
        contributions = detector.explain(rows)
        np.testing.assert_allclose(contributions.sum(1), detector.score_samples(rows))
        assert contributions.argmin(1)[:2].tolist() == [1, 0]


def test_a_judge_stays_on_its_device():
    class Elsewhere(AutoencoderTransformer):
        """Pickling brings the model to the CPU."""

        def __getstate__(self):
            raise AssertionError("copied by pickling")

    X = RNG.normal(size=(60, 4))
    inner = Elsewhere(2, max_iter=1, random_state=0).fit(X)
    for judge in (inner, FrozenEstimator(inner)):
        detector = AEOutlierDetector(estimator=judge).fit(X)
        assert detector.estimator_.net_ is inner.net_
        assert np.isfinite(detector.score_samples(X)).all()
