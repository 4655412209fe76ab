"""Moments and principal axes against NumPy and scikit-learn's PCA."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA

from skae.training import batches, centred
from skae.training.principal import moments, principal, sequence_moments, share


def table(n_samples=60, n_features=6, seed=0):
    random = np.random.default_rng(seed)
    X = random.standard_normal((n_samples, n_features)) * np.arange(1, n_features + 1)
    return X @ random.standard_normal((n_features, n_features)) + 3


def check(found, X, n_components, rtol=1e-9):
    """The axes, variances and residual are those of scikit-learn's PCA."""
    pca = PCA(n_components, svd_solver="full").fit(X)
    k = pca.n_components_
    to_population = (len(X) - 1) / len(X)
    np.testing.assert_allclose(found.mean, pca.mean_, rtol=rtol)
    np.testing.assert_allclose(found.axes, pca.components_.T, rtol=1e-6, atol=1e-7)
    variance = found.axis_variance * found.unit**2
    np.testing.assert_allclose(variance, pca.explained_variance_ * to_population, rtol)
    np.testing.assert_allclose(found.variance * found.unit**2, X.var(0), rtol)
    lost = np.mean((X - pca.inverse_transform(pca.transform(X))) ** 2)
    rounding = 1e-12 * X.var()
    residual = found.residual * found.unit**2
    np.testing.assert_allclose(residual, lost, rtol=1e-6, atol=rounding)
    assert found.axes.shape == (X.shape[1], k)


@pytest.fixture
def by_chunks(monkeypatch):
    """Tables count as large, and are read seven rows at a time."""
    monkeypatch.setattr(centred, "_DIRECT", 0)
    monkeypatch.setattr(batches, "_BLOCK_BYTES", 7 * 8 * 6)


@pytest.mark.parametrize("n_samples", [60, 700])
def test_dense_tables_get_pca(n_samples):
    X = table(n_samples)
    check(principal(X, 3), X, 3)


def test_single_precision_tables_get_pca_in_double_precision():
    X = table().astype(np.float32)
    check(principal(X, 3), X.astype(np.float64), 3)


def test_large_tables_get_pca(by_chunks):
    X = table()
    check(principal(X, 3), X, 3)


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csr_matrix])
def test_sparse_tables_get_pca(container, by_chunks):
    X = table() * (np.random.default_rng(1).random((60, 6)) < 0.5)
    check(principal(container(X), 3), X, 3)


def test_integer_weights_repeat_rows():
    X = table()
    weight = np.random.default_rng(1).integers(1, 4, len(X))
    repeated = np.repeat(X, weight, axis=0)
    check(principal(X, 3, weight.astype(float)), repeated, 3)


@pytest.mark.parametrize("scale", [1e30, 1e-30])
@pytest.mark.parametrize("weighted", [False, True])
def test_axes_do_not_depend_on_the_scale(scale, weighted):
    X = table() - 3
    weight = np.ones(len(X)) if weighted else None
    found = principal(X * scale, 3, weight)
    check(found, X * scale, 3)
    assert np.isfinite(found.variance).all()


@pytest.mark.parametrize("wanted", [0.3, 0.8, 0.999])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_share_of_variance_gives_pcas_width(wanted, chunked, request):
    if chunked:
        request.getfixturevalue("by_chunks")
    X = table()
    check(principal(X, wanted), X, wanted)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n_samples", "rank"), [(4, 4), (60, 6)])
def test_axes_beyond_the_shape_are_zero(weighted, n_samples, rank):
    X = table(n_samples)
    found = principal(X, 9, np.ones(n_samples) if weighted else None)
    assert found.axes.shape == (6, 9)
    assert (found.axes[:, rank:] == 0).all()
    assert (found.axis_variance[rank:] == 0).all()
    kept = found.axes[:, : min(rank, n_samples - 1)]
    np.testing.assert_allclose(kept.T @ kept, np.eye(kept.shape[1]), atol=1e-9)
    assert found.residual < 1e-9 * found.variance.mean()


def test_constant_columns_have_no_variance():
    X = table()
    X[:, 2] = 5
    found = principal(X, 2)
    assert found.variance[2] == 0
    np.testing.assert_allclose(found.axes[2], 0, atol=1e-9)


@pytest.mark.parametrize("covariance", [False, True])
def test_moments_are_numpys(covariance, by_chunks):
    X = table()
    weight = np.random.default_rng(1).random(len(X))
    found = moments(X, weight, covariance=covariance)
    np.testing.assert_allclose(found.mean, np.average(X, 0, weight))
    expected = np.cov(X.T, ddof=0, aweights=weight)
    np.testing.assert_allclose(found.variance, np.diag(expected))
    if covariance:
        np.testing.assert_allclose(found.covariance, expected, rtol=1e-6)
    else:
        assert found.covariance is None


def test_share_counts_until_more_than_the_share_is_kept():
    values = np.array([5.0, 3.0, 2.0])
    assert [share(values, wanted) for wanted in (0.4, 0.6, 0.9)] == [1, 2, 3]
    assert share(np.zeros(3), 0.5) <= 3


def sequences():
    """Rows of three steps of two features, NaN after the end of some."""
    X = table()
    X[::3, 4:] = np.nan
    X[1::5, 2:] = np.nan
    return X


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("as_rows", [np.asarray, sparse.csr_array])
def test_moments_of_sequences_are_those_of_all_their_steps(
    weighted, as_rows, by_chunks
):
    X = sequences()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X)) if weighted else None
    found = sequence_moments(as_rows(X), weight, 2)
    steps = X.reshape(-1, 2)
    seen = ~np.isnan(steps[:, 0])
    of_steps = np.repeat(np.ones(len(X)) if weight is None else weight, 3)[seen]
    center = np.average(steps[seen], axis=0, weights=of_steps)
    variance = np.average((steps[seen] - center) ** 2, axis=0, weights=of_steps)
    np.testing.assert_allclose(found.center, np.tile(center, 3))
    np.testing.assert_allclose(found.variance, np.tile(variance, 3))
    if not weighted:
        np.testing.assert_allclose(found.mean, np.nanmean(X, axis=0))


def test_steps_that_no_sequence_has_take_the_center_as_their_mean():
    X = table()
    X[:, 4:] = np.nan
    found = sequence_moments(X, None, 2)
    np.testing.assert_array_equal(found.mean[4:], found.center[4:])


def test_moments_of_huge_sequences_are_finite():
    X = sequences()
    found, of_huge = sequence_moments(X, None, 2), sequence_moments(1e200 * X, None, 2)
    np.testing.assert_allclose(of_huge.center, 1e200 * found.center)
    np.testing.assert_allclose(
        np.sqrt(of_huge.variance) * of_huge.unit, 1e200 * np.sqrt(found.variance)
    )
