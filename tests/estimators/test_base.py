"""Fitted autoencoders in use: dtypes, frames, odd shapes, meta-estimators."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skae import AutoencoderTransformer


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(120, 2))
    return np.tanh(latent @ rng.normal(size=(2, 5))) + 0.05 * rng.normal(size=(120, 5))


@pytest.fixture(scope="module")
def fitted(X):
    return AutoencoderTransformer(2, random_state=0).fit(X)


def quick():
    """A short training, which learns most of what a long one does."""
    return AutoencoderTransformer(2, max_iter=40, random_state=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept(X, dtype):
    model = quick().fit(X.astype(dtype))
    codes = model.transform(X.astype(dtype))
    assert codes.dtype == dtype
    assert model.inverse_transform(codes).dtype == dtype
    assert model.reconstruct(X.astype(dtype)).dtype == dtype


def test_integers_and_booleans_are_numbers():
    X = np.random.default_rng(0).integers(0, 2, size=(60, 4))
    of_int = quick().fit_transform(X)
    of_bool = quick().fit_transform(X.astype(bool))
    np.testing.assert_array_equal(of_int, of_bool)


def test_frames_go_in_and_come_out(X):
    frame = pd.DataFrame(X, columns=list("abcde"), index=range(5, 125))
    model = quick().set_output(transform="pandas")
    codes = model.fit_transform(frame)
    assert list(codes) == ["autoencodertransformer0", "autoencodertransformer1"]
    assert list(codes.index) == list(frame.index)
    assert list(model.feature_names_in_) == list("abcde")
    with pytest.raises(ValueError, match="feature names"):
        model.transform(frame[list("edcba")])


def test_a_row_does_not_depend_on_its_company(X, fitted):
    codes = fitted.transform(X)
    for rows in (slice(0, 1), slice(7, 60), slice(3, 120, 2)):
        np.testing.assert_array_equal(fitted.transform(X[rows]), codes[rows])
    np.testing.assert_array_equal(fitted.transform(np.asfortranarray(X)), codes)
    many = np.tile(X, (30, 1))
    np.testing.assert_array_equal(fitted.transform(many)[-120:], codes)


def test_scores_follow_from_the_reconstruction(X, fitted):
    error = np.square(X - fitted.reconstruct(X))
    np.testing.assert_allclose(
        fitted.score_samples(X), -0.5 * error.sum(axis=1), rtol=1e-4
    )
    spread = np.square(X - X.mean(axis=0)).sum()
    assert fitted.score(X) == pytest.approx(1 - error.sum() / spread)
    weight = np.arange(120)
    spread = (weight[:, None] * np.square(X - X.mean(axis=0))).sum()
    lost = (weight[:, None] * error).sum()
    expected = pytest.approx(1 - lost / spread)
    assert fitted.score(X, sample_weight=weight) == expected


def test_memory_map_gives_the_same_as_the_array(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    of_map = quick().fit(mapped).transform(mapped)
    of_array = quick().fit_transform(X)
    np.testing.assert_array_equal(of_map, of_array)


# Odd shapes and scales


@pytest.mark.parametrize("k", [5, 7, 20])
def test_width_beyond_the_rank_reconstructs_exactly(X, k):
    model = AutoencoderTransformer(k, random_state=0).fit(X)
    assert model.transform(X).shape == (120, k)
    np.testing.assert_allclose(model.reconstruct(X), X, atol=1e-10)


@pytest.mark.parametrize(
    "X",
    [
        np.array([[0.0, 1.0], [1.0, 3.0]]),
        np.arange(10.0)[:, None],
        np.ones((20, 3)),
        np.vstack([np.zeros((19, 3)), np.ones((1, 3))]),
        np.tile([1.0, 2.0, 3.0], (5, 1)),
    ],
    ids=["two rows", "one feature", "all equal", "one spike", "repeated row"],
)
def test_degenerate_tables_are_reconstructed(X):
    model = AutoencoderTransformer(1, random_state=0).fit(X)
    np.testing.assert_allclose(model.reconstruct(X), X, atol=1e-6)
    assert np.isfinite(model.transform(X)).all()
    assert model.score(X) == pytest.approx(1)


def test_constant_columns_stay_constant(X):
    wide = np.hstack([X, np.full((120, 2), 7.0)])
    model = AutoencoderTransformer(2, random_state=0).fit(wide)
    np.testing.assert_allclose(model.reconstruct(wide)[:, 5:], 7, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_of_the_units_changes_nothing(X, scale, dtype):
    plain = quick().fit(X.astype(dtype))
    scaled = (X * scale).astype(dtype)
    model = quick().fit(scaled)
    assert np.isfinite(model.reconstruct(scaled)).all()
    assert model.score(scaled) == pytest.approx(plain.score(X.astype(dtype)), abs=0.02)


def test_one_huge_column_is_what_pca_would_keep(X):
    X = X * np.array([1e30, 1, 1, 1, 1e-30])
    model = AutoencoderTransformer(1, random_state=0).fit(X)
    assert model.score(X) == pytest.approx(1)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.array([[np.nan, 1.0], [1.0, 2.0]]), "NaN"),
        (np.array([[np.inf, 1.0], [1.0, 2.0]]), "infinity"),
        (np.array([["a", "b"], ["c", "d"]]), "could not convert string"),
        (np.empty((0, 3)), "0 sample"),
        (np.empty((3, 0)), "0 feature"),
        (np.zeros((2, 2, 2)), "dim 3"),
        (np.zeros((1, 3)), "minimum of 2"),
    ],
)
def test_bad_rows_are_refused_with_the_cause(bad, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderTransformer(1).fit(bad)


def test_wrong_widths_are_named(X, fitted):
    with pytest.raises(ValueError, match="4 features"):
        fitted.transform(X[:, :4])
    with pytest.raises(ValueError, match="n_components_=2"):
        fitted.inverse_transform(X)


def test_unfitted_calls_say_so(X):
    model = AutoencoderTransformer(2)
    for call in (
        model.transform,
        model.inverse_transform,
        model.reconstruct,
        model.score,
        model.score_samples,
    ):
        with pytest.raises(NotFittedError):
            call(X)


# Company


def test_grid_search_does_not_depend_on_n_jobs():
    X, y = load_digits(return_X_y=True)
    X, y = X[:240], y[:240]
    pipeline = make_pipeline(
        StandardScaler(),
        AutoencoderTransformer(max_iter=5, random_state=0),
        LogisticRegression(max_iter=200),
    )
    grid = {"autoencodertransformer__n_components": [2, 4]}
    searches = [
        GridSearchCV(pipeline, grid, cv=2, n_jobs=n_jobs, error_score="raise").fit(X, y)
        for n_jobs in (1, 2)
    ]
    one, two = (search.cv_results_["mean_test_score"] for search in searches)
    np.testing.assert_array_equal(one, two)
    codes = [search.best_estimator_[:-1].transform(X) for search in searches]
    np.testing.assert_array_equal(*codes)


def test_union_and_column_transformer(X):
    union = FeatureUnion([("a", AutoencoderTransformer(1)), ("b", StandardScaler())])
    assert union.fit_transform(X).shape == (120, 6)
    columns = ColumnTransformer([("a", AutoencoderTransformer(2), [0, 1, 2])])
    assert columns.fit_transform(X).shape == (120, 2)


def test_bits_do_not_depend_on_the_number_of_threads():
    X = np.random.default_rng(0).normal(size=(800, 300)) ** 3
    threads = torch.get_num_threads()
    codes = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        with threadpool_limits(n_threads):
            model = AutoencoderTransformer(4, max_iter=2, random_state=0)
            codes.append(model.fit_transform(X))
    torch.set_num_threads(threads)
    np.testing.assert_array_equal(*codes)


def test_two_fits_in_two_threads_are_the_same_as_alone(X):
    threads = torch.get_num_threads()
    ae = AutoencoderTransformer(2, max_iter=60, random_state=0)
    alone = ae.fit_transform(X)
    with ThreadPoolExecutor(2) as pool:
        fits = [pool.submit(clone(ae).fit_transform, X) for _ in range(4)]
        for fit in fits:
            np.testing.assert_array_equal(fit.result(), alone)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("parameters", [{}, {"activation": "identity"}])
@pytest.mark.parametrize("k", [1, 3, 8])
def test_rows_come_out_alike_wherever_they_stand(k, parameters):
    X = load_breast_cancer().data
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    ae = AutoencoderTransformer(k, max_iter=2, random_state=0, **parameters).fit(X)
    for method in (ae.transform, ae.reconstruct, ae.score_samples):
        in_parts = np.concatenate([method(X[:7]), method(X[7:18]), method(X[18:])])
        np.testing.assert_array_equal(in_parts, method(X))
