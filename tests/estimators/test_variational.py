"""VariationalAE: probabilistic PCA, the bound, samples, the way between samples."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import scale

from skae import AEOutlierDetector, VariationalAE
from skae.parts.likelihoods import Gaussian

DIGITS = load_digits()
PIXELS = DIGITS.data / 16


def rows(n_samples=200, n_features=6, seed=0):
    random = np.random.default_rng(seed)
    code = random.normal(size=(n_samples, 2))
    noise = 0.3 * random.normal(size=(n_samples, n_features))
    return code @ random.normal(size=(2, n_features)) + noise + 5


def small(**parameters):
    parameters = {"hidden_layer_sizes": (16,), "max_iter": 5, **parameters}
    return VariationalAE(2, random_state=0, **parameters)


@pytest.mark.parametrize("n_components", [1, 2])
@pytest.mark.parametrize(
    "X",
    [rows(400), scale(load_wine().data), DIGITS.data],
    ids=["toy", "wine", "digits"],
)
def test_linear_model_reaches_the_likelihood_of_probabilistic_pca(X, n_components):
    linear = VariationalAE(
        n_components,
        hidden_layer_sizes=(),
        activation="identity",
        early_stopping=False,
        max_iter=1000 * 128 // len(X),
        random_state=0,
    ).fit(X)
    pca = PCA(n_components).fit(X)
    assert linear.score(X) == pytest.approx(pca.score(X), rel=0.01)
    assert linear.noise_variance_ == pytest.approx(pca.noise_variance_, rel=0.1)


def test_bound_tightens_with_more_draws():
    # Draws are shared by all rows, so that few of them are far from their mean.
    X = PIXELS[:300]
    model = small(likelihood="bernoulli", max_iter=30).fit(X)
    scores = [model.set_params(n_importance_samples=n).score(X) for n in (5, 50, 500)]
    assert scores[0] < scores[1] < scores[2]


def test_score_is_the_density_in_the_units_of_x():
    X = rows()
    before, after = small().fit(X), small().fit(100 * X)
    change = X.shape[1] * np.log(100)
    np.testing.assert_allclose(
        after.score_samples(100 * X), before.score_samples(X) - change, rtol=1e-4
    )


def test_scores_do_not_depend_on_the_rows_they_come_with():
    X = rows()
    model = small().fit(X)
    together = model.score_samples(X)
    alone = [model.score_samples(row[None])[0] for row in X[:5]]
    np.testing.assert_array_equal(together[:5], alone)


def test_transform_gives_the_posterior():
    model = small().fit(rows())
    mean, std = model.transform(rows(), return_std=True)
    np.testing.assert_array_equal(mean, model.transform(rows()))
    assert mean.shape == std.shape == (200, 2)
    assert (std > 0).all()


def test_unused_units_are_not_active():
    X = np.random.default_rng(0).normal(size=(500, 1)) @ np.ones((1, 5))
    X += 0.1 * np.random.default_rng(1).normal(size=X.shape)
    model = VariationalAE(4, hidden_layer_sizes=(), activation="identity")
    model.set_params(random_state=0, early_stopping=False).fit(X)
    assert model.active_units_.sum() == 1


def test_beta_trades_reconstruction_for_the_prior():
    X = PIXELS[:500]
    near, far = (
        small(likelihood="bernoulli", beta=beta, max_iter=30).fit(X)
        for beta in (0.1, 20.0)
    )
    assert near.transform(X).std() > far.transform(X).std()
    lost = [((m.reconstruct(X) - X) ** 2).mean() for m in (near, far)]
    assert lost[0] < lost[1]


def test_warmup_ends_at_the_whole_divergence():
    net = small(kl_warmup=0.5, batch_size=17).fit(rows()).net_
    # 170 rows are trained on, in 5 epochs of 10 steps.
    assert net.kl_warmup == 0.5
    assert net.progress == 1.0
    shares = [net.train().kl_weight() for net.progress in (1 / 50, 5 / 50, 0.5, 0.8)]
    assert shares == pytest.approx([1 / 25, 5 / 25, 1.0, 1.0])


def test_noise_variance_of_each_feature_is_found():
    random = np.random.default_rng(0)
    std = np.array([0.1, 0.2, 0.5, 1.0, 1.0, 1.0])
    X = random.normal(size=(2000, 1)) + std * random.normal(size=(2000, 6))
    model = VariationalAE(
        1,
        noise_variance="per_feature",
        hidden_layer_sizes=(),
        activation="identity",
        random_state=0,
    ).fit(X)
    np.testing.assert_allclose(model.noise_variance_[2:], std[2:] ** 2, rtol=0.15)
    assert model.noise_variance_[0] < 0.03


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_come_like_the_training_rows(dtype):
    X = rows(2000).astype(dtype)
    model = VariationalAE(2, max_iter=40, random_state=0).fit(X)
    drawn = model.sample(2000, noise=True)
    assert drawn.dtype == dtype
    np.testing.assert_allclose(drawn.mean(axis=0), X.mean(axis=0), atol=0.15)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(X.T), atol=0.35)
    spread = model.sample(2000).var(axis=0) + model.noise_variance_
    np.testing.assert_allclose(drawn.var(axis=0), spread, rtol=0.1)


def test_same_seed_same_samples():
    model = small().fit(rows())
    np.testing.assert_array_equal(model.sample(5), small().fit(rows()).sample(5))
    np.testing.assert_array_equal(model.sample(5), model.sample(5))
    np.testing.assert_array_equal(
        model.sample(5, random_state=3), model.sample(5, random_state=3)
    )
    assert (model.sample(5, random_state=3) != model.sample(5)).any()
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(model)).sample(5), model.sample(5)
    )


@pytest.mark.parametrize("method", ["spherical", "linear"])
def test_interpolation_joins_the_reconstructions(method):
    X = rows()
    model = small().fit(X)
    found = model.interpolate(X[0], X[1], 7, method=method)
    assert found.shape == (7, 6)
    np.testing.assert_allclose(found[[0, -1]], model.reconstruct(X[:2]), rtol=1e-5)


def test_great_circle_keeps_the_distance_from_zero():
    from skae.estimators.generative import path

    codes = path(np.array([3.0, 0.0]), np.array([0.0, 3.0]), 9, "spherical")
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 3)
    line = path(np.array([3.0, 0.0]), np.array([0.0, 3.0]), 3, "linear")
    np.testing.assert_allclose(line[1], [1.5, 1.5])


@pytest.mark.parametrize("architecture", ["dense", "conv"])
def test_images_come_back_as_images(architecture):
    images = DIGITS.images[:200] / 16
    widths = {"hidden_layer_sizes": (256,)} if architecture == "conv" else {}
    model = small(architecture=architecture, **widths, likelihood="bernoulli").fit(
        images
    )
    assert model.sample(3).shape == (3, 8, 8)
    assert model.interpolate(images[0], images[1], 4).shape == (4, 8, 8)
    assert model.sample_shape_ == (1, 8, 8)
    assert 0 <= model.sample(10).min() <= model.sample(10).max() <= 1


def test_binary_samples_are_binary():
    model = small(likelihood="bernoulli").fit(PIXELS[:200].round())
    assert set(np.unique(model.sample(20, noise=True))) == {0.0, 1.0}


def test_outlier_detector_takes_it():
    X = rows(400)
    judge = VariationalAE(2, max_iter=100, random_state=0)
    detector = AEOutlierDetector(estimator=judge).fit(X)
    far = X[:1] + 40
    assert detector.predict(far)[0] == -1
    np.testing.assert_allclose(
        detector.explain(far).sum(), detector.score_samples(far)[0], rtol=1e-6
    )


def test_warm_start_goes_on_with_the_learned_variance():
    model = small(warm_start=True, max_iter=40).fit(rows())
    before = model.noise_variance_
    model.set_params(max_iter=1).fit(rows())
    assert model.noise_variance_ == pytest.approx(before, rel=0.1)


def test_partial_fit_learns_the_variance():
    X = rows(1000)
    model = small(learning_rate_init=1e-2)
    for _ in range(20):
        model.partial_fit(X)
    assert model.noise_variance_ == pytest.approx(0.09, rel=0.5)


def test_bernoulli_refuses_what_is_no_share():
    with pytest.raises(ValueError, match=r"likelihood='bernoulli' needs X within"):
        small(likelihood="bernoulli").fit(rows())


@pytest.mark.parametrize("n_samples", [0, -1, 2.5])
def test_number_of_samples_is_checked(n_samples):
    model = small().fit(rows())
    with pytest.raises(ValueError, match="n_samples must be a positive integer"):
        model.sample(n_samples)


def test_bad_input_is_refused_by_name():
    with pytest.raises(NotFittedError):
        small().sample()
    with pytest.raises(ValueError, match="'n_components' parameter .* Got 0"):
        small().set_params(n_components=0).fit(rows())
    model = small().fit(rows())
    with pytest.raises(ValueError, match="n_steps must be an integer"):
        model.interpolate(rows()[0], rows()[1], 1)
    with pytest.raises(ValueError, match="method must be one of"):
        model.interpolate(rows()[0], rows()[1], method="cubic")
    with pytest.raises(ValueError, match="a must be a single sample"):
        model.interpolate(rows()[:2], rows()[1])


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "conv", "hidden_layer_sizes": (256,)},
        {"likelihood": "bernoulli"},
        {"noise_variance": "per_feature"},
        {"hidden_layer_sizes": (8,)},
    ],
)
def test_warm_start_refuses_another_model(change):
    X = rows() - rows().min()
    X /= X.max()
    model = small(warm_start=True).fit(X)
    with pytest.raises(ValueError, match="differs from"):
        model.set_params(**change).fit(X)


def test_unit_gaussian_has_the_constants_of_a_density():
    model = small(likelihood=Gaussian(), max_iter=2).fit(rows())
    same = small(noise_variance=1.0, max_iter=2).fit(rows())
    np.testing.assert_array_equal(
        model.score_samples(rows()), same.score_samples(rows())
    )


@pytest.fixture(scope="module")
def long():
    return VariationalAE(2, max_iter=300, random_state=0).fit(rows())


@pytest.mark.parametrize("factor", [1e2, 1e6, 1e18, 1e30])
def test_rows_far_out_are_the_least_likely(factor, long):
    X, model = rows(), long
    with np.errstate(over="ignore"):
        far = model.score_samples(X[:20] * factor)
    assert not np.isnan(far).any()
    assert far.max() < model.score_samples(X).min()
    detector = AEOutlierDetector(estimator=model).fit(X)
    assert (detector.predict(X[:20] * factor) == -1).all()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_rows_are_drawn_as_they_are(value):
    X = np.full((60, 4), value)
    model = VariationalAE(2, likelihood="bernoulli", max_iter=300, random_state=0)
    model.fit(X)
    np.testing.assert_allclose(model.sample(5), X[:5], atol=0.02)


@pytest.mark.parametrize(
    ("shape", "parameters", "expected"),
    [
        ((8, 8), {}, True),
        ((3, 8, 9), {}, True),
        ((64,), {}, False),
        ((64,), {"sample_shape": (1, 8, 8)}, True),
        ((4, 16), {}, False),
        ((8, 8), {"hidden_layer_sizes": (20,)}, False),
        ((8, 8), {"architecture": "dense"}, False),
    ],
)
def test_images_get_convolutions(shape, parameters, expected):
    X = np.random.default_rng(0).random((20, *shape))
    channels = {"channels": 4} if "architecture" not in parameters else {}
    model = VariationalAE(2, max_iter=1, **channels, **parameters).fit(X)
    assert (model.net_.codec.code_shape is not None) == expected
    assert model.sample(3).shape == (3, *shape)


def test_images_that_are_all_the_same_are_refused():
    with pytest.raises(ValueError, match="all the same"):
        small().fit(np.ones((10, 8, 8)))
