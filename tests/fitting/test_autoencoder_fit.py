"""Linear autoencoders are PCA all the same; a start as PCA keeps X's metric."""

import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA

from skae import AutoencoderTransformer, VariationalAE

LINEAR = {"hidden_layer_sizes": (), "activation": "identity", "random_state": 0}


def wide(n_samples=40, n_features=2600):
    random = np.random.default_rng(0)
    X = random.standard_normal((n_samples, 12)) * 0.7 ** np.arange(12)
    return X @ random.standard_normal((12, n_features))


def ratios(X, n_components=3, offset=0.0):
    pca = PCA(n_components, svd_solver="full").fit(X - offset)
    return pca.explained_variance_ratio_


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("as_rows", [np.asarray, sparse.csr_array])
def test_training_from_random_weights_arrives_at_pca_of_wide_rows(tied, as_rows):
    X = wide()
    linear = AutoencoderTransformer(3, init="random", tied_weights=tied, **LINEAR)
    tracemalloc.start()
    linear.fit(as_rows(X))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The covariance would take 54 MB.
    assert peak < 30e6
    np.testing.assert_allclose(linear.explained_variance_ratio_, ratios(X), rtol=1e-5)


def test_a_share_of_the_variance_of_wide_rows_gives_pcas_width():
    X = wide()
    linear = AutoencoderTransformer(0.9, init="random", **LINEAR).fit(X)
    assert linear.n_components_ == PCA(0.9, svd_solver="full").fit(X).n_components_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_deep_linear_codecs_of_wide_rows_are_turned_to_axes():
    X = wide()
    deep = AutoencoderTransformer(
        3,
        hidden_layer_sizes=(8,),
        activation="identity",
        init="random",
        random_state=0,
        max_iter=5,
    ).fit(X)
    np.testing.assert_allclose(
        deep.components_ @ deep.components_.T, np.eye(3), atol=1e-9
    )
    Z = deep.transform(X)
    np.testing.assert_allclose(Z.var(axis=0, ddof=1), deep.explained_variance_)


@pytest.mark.parametrize("offset", [1e7, 3e7, 1e8])
def test_rows_far_from_zero_keep_pcas_share_of_the_variance(offset):
    random = np.random.default_rng(0)
    X = random.standard_normal((500, 5)) @ random.standard_normal((5, 20))
    X = X + 0.3 * random.standard_normal(X.shape) + offset
    expected = ratios(X, offset=offset)
    linear = AutoencoderTransformer(3, **LINEAR).fit(X)
    np.testing.assert_allclose(linear.explained_variance_ratio_, expected)
    assert linear.score(X) == pytest.approx(expected.sum(), rel=1e-6)


def test_a_start_as_pca_keeps_the_metric_of_columns_of_different_units():
    random = np.random.default_rng(0)
    X = random.standard_normal((80, 2)) @ random.standard_normal((2, 4))
    X = (X + 0.1 * random.standard_normal(X.shape)) * [1, 1e3, 1, 1]
    model = VariationalAE(2, init="pca", max_iter=1, random_state=0).fit(X)
    assert model.net_.codec.is_anchored
    assert np.ndim(model.units_.scale) == 0
