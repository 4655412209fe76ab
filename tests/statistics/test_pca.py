"""Moments and principal axes against NumPy and scikit-learn's PCA."""

import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA

from skae.rows import chunks as batches
from skae.statistics import centred_rows as centred
from skae.statistics.centred_rows import n_components_for_share
from skae.statistics.pca import moments, pooled_moments, principal

# Three steps of two features, laid out flat.
STEPS = np.array([0, 1, 0, 1, 0, 1])


def table(n_samples=60, n_features=6, seed=0):
    random = np.random.default_rng(seed)
    X = random.standard_normal((n_samples, n_features)) * np.arange(1, n_features + 1)
    return X @ random.standard_normal((n_features, n_features)) + 3


def check(found, X, n_components, rtol=1e-9, mean=None):
    """The axes, variances and residual are those of scikit-learn's PCA."""
    pca = PCA(n_components, svd_solver="full").fit(X)
    k = pca.n_components_
    to_population = (len(X) - 1) / len(X)
    mean = pca.mean_ if mean is None else mean
    np.testing.assert_allclose(found.mean, mean, rtol=rtol, atol=1e-14)
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
    for wanted, n_components in ((0.4, 1), (0.6, 2), (0.9, 3)):
        assert n_components_for_share(values, wanted, 10.0) == n_components
    assert n_components_for_share(np.zeros(3), 0.5, 0.0) <= 3


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
    found = pooled_moments(as_rows(X), weight, STEPS)
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
    found = pooled_moments(X, None, STEPS)
    np.testing.assert_array_equal(found.mean[4:], found.center[4:])


def test_moments_of_huge_sequences_are_finite():
    X = sequences()
    found = pooled_moments(X, None, STEPS)
    of_huge = pooled_moments(1e200 * X, None, STEPS)
    np.testing.assert_allclose(of_huge.center, 1e200 * found.center)
    np.testing.assert_allclose(
        np.sqrt(of_huge.variance) * of_huge.unit, 1e200 * np.sqrt(found.variance)
    )


def test_columns_of_one_group_share_a_center_and_a_variance(by_chunks):
    X = table()
    X[::4, 1] = np.nan
    found = pooled_moments(X, None, np.array([7, 2, 7, 2, 5, 5]))
    for columns in ([0, 2], [1, 3], [4, 5]):
        np.testing.assert_allclose(found.center[columns], np.nanmean(X[:, columns]))
        np.testing.assert_allclose(found.variance[columns], np.nanvar(X[:, columns]))
    np.testing.assert_allclose(found.mean, np.nanmean(X, axis=0))


def test_a_group_without_an_entry_has_no_variance():
    X = table()
    X[:, 4:] = np.nan
    found = pooled_moments(X, None, np.array([0, 0, 1, 1, 2, 2]))
    for values in (found.mean, found.center, found.variance):
        np.testing.assert_array_equal(values[4:], 0)


@pytest.mark.parametrize("as_rows", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("weighted", [False, True])
def test_what_is_missing_counts_as_the_mean_of_its_column(as_rows, weighted, by_chunks):
    random = np.random.default_rng(1)
    X = table()
    X[random.random(X.shape) < 0.2] = np.nan
    X[:, 3] = np.nan
    weight = random.integers(1, 4, len(X)) if weighted else np.ones(len(X), int)
    present = ~np.isnan(X)
    total = (np.nan_to_num(X) * weight[:, None]).sum(axis=0)
    mean = total / np.maximum((present * weight[:, None]).sum(axis=0), 1)
    filled = np.repeat(np.where(present, X, mean), weight, axis=0)
    asked = weight.astype(float) if weighted else None
    found = moments(as_rows(X), asked, covariance=True)
    np.testing.assert_allclose(found.mean, mean)
    np.testing.assert_allclose(found.variance, filled.var(axis=0))
    np.testing.assert_allclose(found.covariance, np.cov(filled.T, ddof=0), atol=1e-12)
    check(principal(as_rows(X), 3, asked), filled, 3)


def test_entries_of_a_sparse_table_may_come_in_parts_that_stay_as_they_were():
    parts = [1.0, 2.0, 5.0, 4.0, 3.0], [2, 0, 2, 1, 1], [0, 3, 5, 5]
    X = sparse.csr_array(tuple(map(np.array, parts)), (3, 3))
    dense = np.array([[2.0, 0, 6], [0, 7, 0], [0, 0, 0]])
    found = moments(X, covariance=True)
    np.testing.assert_allclose(found.variance, dense.var(axis=0))
    np.testing.assert_allclose(found.covariance, np.cov(dense.T, ddof=0))
    check(principal(X, 2), dense, 2)
    for kept, given in zip((X.data, X.indices, X.indptr), parts, strict=True):
        np.testing.assert_array_equal(kept, given)


@pytest.fixture
def by_products(monkeypatch):
    """The square of 100 features or rows counts as too large to be formed."""
    monkeypatch.setattr(centred, "_DIRECT", 0)
    monkeypatch.setattr(centred, "_FORMED", 99)
    monkeypatch.setattr(centred, "_FORMED_FOR_MANY", 99)


def spread(n_samples, n_features, seed=0):
    """Rows of a rotated Gaussian whose variances fall like 1, 1/4, 1/9."""
    random = np.random.default_rng(seed)
    X = random.standard_normal((n_samples, n_features)) / np.arange(1, n_features + 1)
    return X @ np.linalg.qr(random.standard_normal((n_features, n_features)))[0]


FORMS = {
    "dense": np.asarray,
    "sparse": sparse.csr_array,
    "single precision": np.float32,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(300, 120), (120, 300)])
@pytest.mark.parametrize("way", ["direct", "formed", "by_products"])
def test_every_way_leads_to_pca(form, shape, way, request, monkeypatch):
    if way == "by_products":
        request.getfixturevalue("by_products")
    if way == "formed":
        monkeypatch.setattr(centred, "_DIRECT", 0)
    X = spread(*shape)
    if form == "single precision":
        X = X.astype(np.float32).astype(np.float64)
    check(principal(FORMS[form](X), 4), X, 4)


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("shape", [(200, 120), (120, 200)])
def test_weights_repeat_rows_also_without_a_square(form, shape, by_products):
    X = spread(*shape)
    weight = np.random.default_rng(1).integers(1, 4, len(X))
    found = principal(FORMS[form](X), 4, weight.astype(float))
    check(found, np.repeat(X, weight, axis=0), 4)


@pytest.mark.parametrize("way", ["formed", "by_products"])
@pytest.mark.parametrize("shape", [(4000, 110), (110, 4000)])
def test_sparse_rows_of_few_entries_get_pca(shape, way, request, monkeypatch):
    if way == "by_products":
        request.getfixturevalue("by_products")
    monkeypatch.setattr(centred, "_DIRECT", 0)
    random = np.random.default_rng(0)
    X = sparse.random_array(shape, density=0.02, format="csr", rng=random)
    X.data *= np.geomspace(1, 9, shape[1])[X.indices]
    check(principal(X, 3), X.toarray(), 3)


def test_equal_variances_are_found_as_often_as_they_occur(by_products):
    deviation = np.r_[[5.0] * 8, [2.0] * 4, np.linspace(1, 0, 138)]
    X = np.concatenate([np.diag(deviation), -np.diag(deviation)])
    for rows in (X, sparse.csr_array(X)):
        found = principal(rows, 12)
        np.testing.assert_allclose(found.axis_variance * 150, deviation[:12] ** 2)
        np.testing.assert_allclose(found.axes.T @ found.axes, np.eye(12), atol=1e-9)


def test_axes_beyond_the_rank_are_orthonormal(by_products):
    random = np.random.default_rng(0)
    X = random.standard_normal((200, 3)) @ random.standard_normal((3, 150))
    for rows in (X, sparse.csr_array(X), np.ascontiguousarray(X.T)):
        found = principal(rows, 8)
        np.testing.assert_allclose(found.axes.T @ found.axes, np.eye(8), atol=1e-9)
        assert found.residual < 1e-12 * found.variance.mean()


def test_equal_rows_have_no_variance_in_any_direction(by_products):
    found = principal(np.full((150, 130), 7.0), 3)
    np.testing.assert_array_equal(found.axis_variance, 0)
    np.testing.assert_array_equal(found.variance, 0)


@pytest.mark.parametrize("shape", [(400, 250), (250, 400)])
@pytest.mark.parametrize("wanted", [0.5, 0.9, 0.97])
def test_components_are_added_until_the_share_is_reached(shape, wanted, by_products):
    X = spread(*shape)
    check(principal(X, wanted), X, wanted)


def test_a_share_that_takes_too_many_components_is_refused_with_their_size(
    by_products,
):
    X = np.random.default_rng(0).standard_normal((300, 250))
    with pytest.raises(ValueError, match=r"300 rows and 250 features.* 250 x 250"):
        principal(X, 0.9)


def test_wide_and_sparse_rows_cost_no_square_of_their_features():
    random = np.random.default_rng(0)
    wide = random.standard_normal((60, 30_000)).astype(np.float32)
    of_few = sparse.random_array((500, 100_000), density=1e-4, format="csr", rng=random)
    of_many = sparse.random_array((7000, 6000), density=1e-3, format="csr", rng=random)
    for X, weight in [
        (wide, random.random(60)),
        (of_few, None),
        (of_few, random.random(500)),
        (of_many, None),
        (of_many, random.random(7000)),
    ]:
        tracemalloc.start()
        found = principal(X, 2, weight)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100 * 2**20
        assert (np.diff(found.axis_variance) <= 0).all()


@pytest.mark.parametrize("offset", [1e7, 1e8])
@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_samples", [60, 20_000])
def test_an_offset_costs_no_variance(offset, form, weighted, n_samples):
    X = table(n_samples) + offset
    weight = np.ones(n_samples)
    weight[0] = 2 if weighted else 1
    repeated = np.concatenate([X, X[:1]]) if weighted else X
    found = principal(FORMS[form](X), 3, weight if weighted else None)
    check(found, repeated - offset, 3, mean=repeated.mean(axis=0))


def test_covariance_of_many_features_is_multiplied():
    X = np.random.default_rng(0).standard_normal((30, 2500))
    weight = np.random.default_rng(1).random(30)
    right = np.random.default_rng(2).standard_normal((2500, 3))
    expected = np.cov(X.T, ddof=0, aweights=weight)
    for rows in (X, sparse.csr_array(X)):
        square = moments(rows, weight, covariance=True).covariance
        np.testing.assert_allclose(square @ right, expected @ right, atol=1e-12)
        np.testing.assert_allclose((square * 0.25) @ right, expected @ right / 4)
