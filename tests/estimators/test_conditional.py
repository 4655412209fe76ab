"""ConditionalVAE: it draws what it is asked for, and does without y where it can."""

import pickle

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skae import AEOutlierDetector, ConditionalVAE, VariationalAE

X, Y = load_digits(return_X_y=True)
X = X / 16
LONG = {"max_iter": 60, "random_state": 0}


def small(**parameters):
    parameters = {"hidden_layer_sizes": (16,), "max_iter": 5, **parameters}
    return ConditionalVAE(2, likelihood="bernoulli", random_state=0, **parameters)


@pytest.fixture(scope="module")
def digits():
    return ConditionalVAE(likelihood="bernoulli", **LONG).fit(X, Y)


def test_synthetic_rows_train_a_classifier_of_real_ones(digits):
    y = np.repeat(np.arange(10), 100)
    classifier = LogisticRegression(max_iter=2000).fit(digits.sample(1000, y=y), y)
    assert classifier.score(X, Y) > 0.9


def test_rows_are_likelier_under_their_own_class(digits):
    own = digits.score_samples(X[:100], Y[:100])
    other = digits.score_samples(X[:100], (Y[:100] + 1) % 10)
    assert np.mean(own > other) > 0.95


def test_density_without_y_sums_over_the_classes(digits):
    shares = np.bincount(Y) / len(Y)
    joint = [digits.score_samples(X[:20], np.full(20, k)) for k in range(10)]
    expected = np.log(shares @ np.exp(joint))
    np.testing.assert_allclose(digits.score_samples(X[:20]), expected)


def test_one_row_without_y_is_hardly_more_work_than_a_block(digits, monkeypatch):
    decode, n_decoded = digits.net_.decode, []

    def counted(z, *conditions):
        n_decoded.append(len(z))
        return decode(z, *conditions)

    monkeypatch.setattr(digits.net_, "decode", counted)
    digits.reconstruct(X[:1])
    # Of ten classes and five draws; the trial of smaller products is the other half.
    assert sum(n_decoded) < 1500
    n_decoded.clear()
    digits.score_samples(X[:1])
    assert sum(n_decoded) <= 1024


def test_few_rows_are_scored_as_many_are(digits):
    every = digits.score_samples(X[:150])
    np.testing.assert_array_equal(digits.score_samples(X[:3]), every[:3])
    np.testing.assert_array_equal(
        digits.score_samples(sparse.csr_array(X[:3])), every[:3]
    )


def test_reconstruction_without_y_takes_the_likeliest_class(digits):
    found = digits.reconstruct(X[:50]) == digits.reconstruct(X[:50], Y[:50])
    assert np.mean(found.all(axis=1)) > 0.9


def test_encoder_does_without_y(digits):
    conditioned, plain = digits.transform(X, Y), digits.transform(X)
    assert (conditioned != plain).any()
    active = digits.active_units_
    for column in np.flatnonzero(active):
        assert np.corrcoef(conditioned[:, column], plain[:, column])[0, 1] > 0.8


def test_transform_takes_y_by_metadata_routing():
    with sklearn.config_context(enable_metadata_routing=True):
        model = small().set_transform_request(y=True)
        pipeline = make_pipeline(model).fit(X, Y)
        conditioned = pipeline.transform(X, y=Y)
        np.testing.assert_array_equal(conditioned, pipeline[-1].transform(X, Y))
        plain = make_pipeline(small(), LogisticRegression()).fit(X, Y)
        assert plain.predict(X).shape == Y.shape


def test_sparse_and_dense_rows_give_the_same():
    dense, thin = small().fit(X, Y), sparse.csr_array(X)
    other = small().fit(thin, Y)
    np.testing.assert_allclose(
        other.transform(thin, Y), dense.transform(X, Y), atol=1e-5
    )


def test_rows_of_weight_zero_are_left_out_with_their_y():
    weight = (Y < 8).astype(float)
    model = small().fit(X, Y, weight)
    same = small().fit(X[Y < 8], Y[Y < 8])
    np.testing.assert_array_equal(model.sample(5), same.sample(5))
    with pytest.raises(ValueError, match=r"got \[9\]"):
        model.sample(2, y=9)


def test_classes_are_drawn_as_often_as_they_weigh():
    model = small().fit(X, Y % 2, np.where(Y % 2, 3.0, 1.0))
    np.testing.assert_allclose(model._context.shares, [0.25, 0.75], atol=0.02)


def test_classes_that_a_chunk_lacks_can_still_be_drawn():
    model = small().partial_fit(X, Y)
    model.partial_fit(X[Y < 5], Y[Y < 5])
    assert np.isfinite(model.sample(20, y=9)).all()
    assert all(mixture is not None for mixture in model._density.mixtures)


def test_augmented_whole_numbers_become_floats(digits):
    more, _ = digits.augment((X[:50] * 1).astype(np.uint8), Y[:50], 2)
    assert more.dtype.kind == "f"
    with pytest.raises(ValueError, match="dense X"):
        digits.augment(sparse.csr_array(X[:50]), Y[:50], 2)


@pytest.mark.parametrize("y", [0, [0], Y[:-1]])
def test_y_has_one_entry_a_row(y):
    with pytest.raises(ValueError, match="one entry for each of 1797 samples"):
        small().fit(X, y)


def test_augment_adds_rows_of_each_class(digits):
    more, labels = digits.augment(X[:50], Y[:50], 7, random_state=1)
    n_classes = len(np.unique(Y[:50]))
    assert more.shape == (50 + 7 * n_classes, 64)
    np.testing.assert_array_equal(more[:50], X[:50])
    np.testing.assert_array_equal(labels[:50], Y[:50])
    assert (np.bincount(labels[50:]) == 7).all()


def test_strings_are_classes():
    names = np.array(["even", "odd"])[Y % 2]
    model = small().fit(X, names)
    assert model.sample(4, y="odd").shape == (4, 64)
    assert model.sample(2, y=["even", "odd"]).shape == (2, 64)


def test_numbers_are_a_context_too():
    random = np.random.default_rng(0)
    level = random.uniform(-1, 1, size=1000)
    rows = np.column_stack([level, -level, np.ones(1000)])
    rows = rows + 0.1 * random.normal(size=rows.shape)
    model = ConditionalVAE(1, max_iter=100, random_state=0).fit(rows, level)
    for asked in (-0.5, 0.8):
        drawn = model.sample(500, y=asked).mean(axis=0)
        np.testing.assert_allclose(drawn, [asked, -asked, 1], atol=0.15)
    assert model.sample(3, y=[0.1, 0.2, 0.3]).shape == (3, 3)
    both = ConditionalVAE(1, max_iter=2, random_state=0)
    both.fit(rows, np.column_stack([level, level**2]))
    assert both.sample(4, y=[0.5, 0.25]).shape == (4, 3)
    assert both.sample(2, y=[0.5, 0.25]).shape == (2, 3)
    with pytest.raises(ValueError, match="y must be passed"):
        model.score_samples(rows)
    with pytest.raises(ValueError, match="fitted with classes"):
        model.augment(rows, level, 3)


def test_same_seed_same_samples(digits):
    np.testing.assert_array_equal(digits.sample(5), digits.sample(5))
    loaded = pickle.loads(pickle.dumps(digits))
    np.testing.assert_array_equal(loaded.sample(5, y=3), digits.sample(5, y=3))


def test_interpolation_stays_in_the_class(digits):
    two = np.flatnonzero(Y == 2)[:2]
    found = digits.interpolate(X[two[0]], X[two[1]], 5, y=2)
    np.testing.assert_allclose(
        found[[0, -1]], digits.reconstruct(X[two], Y[two]), atol=1e-4
    )


def test_interpolation_arrives_in_the_class_of_the_other_end(digits):
    vae = VariationalAE(likelihood="bernoulli", **LONG).fit(X)
    pairs = [np.flatnonzero(Y == a)[:2].tolist() for a in range(10)]
    errors = {"conditional": [], "plain": []}
    for (a, _), (_, b) in zip(pairs, pairs[1:] + pairs[:1], strict=True):
        for name, model in (("conditional", digits), ("plain", vae)):
            steps = model.interpolate(X[a], X[b], 5)
            errors[name].append(
                [np.mean((steps[0] - X[a]) ** 2), np.mean((steps[-1] - X[b]) ** 2)]
            )
    conditional, plain = (np.mean(errors[name], axis=0) for name in errors)
    assert (conditional < 1.1 * plain).all()


def test_ends_may_have_a_class_each_or_one_for_both(digits):
    found = digits.interpolate(X[0], X[1], 5, y=[Y[0], Y[1]])
    expected = digits.reconstruct(X[:2], Y[:2])
    np.testing.assert_allclose(found[[0, -1]], expected, atol=1e-4)
    np.testing.assert_array_equal(
        digits.interpolate(X[0], X[1], 5, y=3),
        digits.interpolate(X[0], X[1], 5, y=[3, 3]),
    )
    with pytest.raises(ValueError, match="one entry for each of 2 samples; got 3"):
        digits.interpolate(X[0], X[1], y=[1, 2, 3])


def test_numbers_lead_from_one_end_to_the_other():
    random = np.random.default_rng(0)
    level = random.uniform(-1, 1, size=500)
    rows = np.column_stack([level, -level]) + 0.02 * random.normal(size=(500, 2))
    both = np.column_stack([level, level**2])
    model = ConditionalVAE(1, max_iter=40, random_state=0).fit(rows, both)
    ends = [[-0.8, 0.64], [0.8, 0.64]]
    found = model.interpolate([-0.8, 0.8], [0.8, -0.8], 3, y=ends)
    np.testing.assert_allclose(found[[0, -1], 0], [-0.8, 0.8], atol=0.15)
    assert model.interpolate(rows[0], rows[1], 3, y=ends[0]).shape == (3, 2)
    with pytest.raises(ValueError, match="y must be passed"):
        model.interpolate(rows[0], rows[1])


def test_images_and_convolutions():
    images = X.reshape(-1, 8, 8)[:200]
    model = small(architecture="conv", hidden_layer_sizes=(256,)).fit(images, Y[:200])
    assert model.sample(3, y=1).shape == (3, 8, 8)
    assert model.augment(images, Y[:200], 2)[0].shape == (220, 8, 8)


def test_fitted_one_judges_outliers(digits):
    detector = AEOutlierDetector(estimator=digits).fit(X[:500])
    assert detector.predict(1 - X[:5]).tolist() == [-1] * 5


def test_one_that_is_not_fitted_needs_more_than_a_detector_has():
    with pytest.raises(ValueError, match="fit it first"):
        AEOutlierDetector(estimator=ConditionalVAE()).fit(X)


def test_missing_and_unseen_y_are_refused(digits):
    with pytest.raises(ValueError, match="requires y to be passed"):
        small().fit(X, None)
    with pytest.raises(ValueError, match="y must be passed"):
        digits.inverse_transform(np.zeros((1, 10)))
    with pytest.raises(ValueError, match="y must be of the classes of the fit"):
        digits.sample(2, y=11)
    with pytest.raises(ValueError, match="one entry for each of 3 samples; got 2"):
        digits.sample(3, y=[1, 2])
    with pytest.raises(ValueError, match="n_per_class must be a positive integer"):
        digits.augment(X, Y, 0)


@pytest.mark.parametrize("kind", [int, bool, float])
def test_objects_are_the_classes_that_they_hold(kind):
    y = (Y % 2).astype(kind)
    model, same = small().fit(X, np.array(y.tolist(), dtype=object)), small().fit(X, y)
    assert model.classes_.dtype == y.dtype
    np.testing.assert_array_equal(model.sample(4), same.sample(4))
    objects = np.array([y[0], y[1]], dtype=object)
    np.testing.assert_array_equal(model.sample(2, y=objects), same.sample(2, y=y[:2]))
    with pytest.raises(ValueError, match="y must be of the classes of the fit"):
        model.sample(2, y=1.5)


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        (None, "must not contain NaN or None"),
        (np.nan, "must not contain NaN or None"),
        (3, "Mix of label input types"),
        ("-1", r"strings \['-1'\]"),
        ("nan", r"strings \['nan'\]"),
    ],
)
def test_rows_without_a_class_are_refused(mark, message):
    y = np.array(["even", "odd"], dtype=object)[Y % 2]
    y[5] = mark
    for form in (list, np.asarray):
        with pytest.raises(ValueError, match=message):
            small().fit(X, form(y))
    weight = np.arange(len(Y)) != 5
    assert len(small().fit(X, y, sample_weight=weight).classes_) == 2


def test_failed_fit_leaves_the_earlier_one(digits):
    before = digits.sample(3)
    with pytest.raises(ValueError, match="within"):
        digits.fit(X * 3, Y)
    np.testing.assert_array_equal(digits.sample(3), before)


def test_classes_count_as_often_as_all_chunks_had_them():
    rng = np.random.default_rng(0)
    X = rng.random((120, 3))
    first, later = np.arange(20) % 2, np.zeros(100, dtype=int)
    model = ConditionalVAE(
        2, random_state=0, hidden_layer_sizes=4, code_density="prior"
    )
    model.partial_fit(X[:20], first)
    before = model.score_samples(X)
    bounds = np.stack([model.score_samples(X, np.full(120, y)) for y in (0, 1)])
    np.testing.assert_allclose(before, np.logaddexp(*bounds) - np.log(2))
    weight = np.r_[np.full(90, 2.0), np.zeros(10)]
    model.partial_fit(X[20:], later, weight)
    # 10 rows of each, then 90 of weight two.
    bounds = np.stack([model.score_samples(X, np.full(120, y)) for y in (0, 1)])
    shares = np.array([[190], [10]]) / 200
    np.testing.assert_allclose(
        model.score_samples(X), np.logaddexp(*(bounds + np.log(shares)))
    )
    with pytest.raises(ValueError, match="y must be of the classes of the fit"):
        model.partial_fit(X[:20], first + 1)
    np.testing.assert_allclose(
        model.score_samples(X), np.logaddexp(*(bounds + np.log(shares)))
    )
