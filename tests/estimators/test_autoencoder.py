"""`AutoencoderTransformer` against PCA, and the ways to fit it."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback
from torch import nn

from skae import AutoencoderTransformer, ConvAE, DenoisingAE, RecurrentAE
from skae.parts.corruption import GaussianNoise, NoCorruption, SaltAndPepperNoise
from skae.parts.likelihoods import LearnedGaussian
from skae.parts.penalties import Contraction, KLSparsity, L1Sparsity
from skae.parts.priors import StandardNormal

FAST = {"max_iter": 3, "random_state": 0}


@pytest.fixture(scope="module")
def X():
    """Rows on a curved surface, correlated enough for two codes to matter."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(200, 2))
    wide = latent @ rng.normal(size=(2, 6))
    return np.tanh(wide) * 3 + 0.05 * rng.normal(size=(200, 6)) + 10


def subspace_distance(a, b):
    return np.linalg.norm(a.T @ a - b.T @ b)


# Against PCA


def test_default_reconstructs_held_out_digits_better_than_pca():
    train, test = train_test_split(load_digits().data, random_state=0)
    pca = PCA(2).fit(train)
    error = np.square(test - pca.inverse_transform(pca.transform(test))).sum()
    pca_score = 1 - error / np.square(test - pca.mean_).sum()
    model = AutoencoderTransformer(2, random_state=0).fit(train)
    assert model.score(test) > pca_score + 0.15
    assert model.departure_ > 0


def test_identity_from_pca_is_pca(X):
    pca = PCA(3).fit(X)
    model = AutoencoderTransformer(3, activation="identity").fit(X)
    np.testing.assert_allclose(model.components_, pca.components_)
    np.testing.assert_allclose(model.mean_, pca.mean_)
    np.testing.assert_allclose(model.explained_variance_, pca.explained_variance_)
    np.testing.assert_allclose(
        model.explained_variance_ratio_, pca.explained_variance_ratio_
    )
    codes = pca.transform(X)
    np.testing.assert_allclose(model.transform(X), codes, atol=1e-10)
    np.testing.assert_allclose(
        model.inverse_transform(codes), pca.inverse_transform(codes)
    )
    assert model.score(X) == pytest.approx(pca.explained_variance_ratio_.sum())


@pytest.mark.parametrize("tied", [True, False])
def test_gradient_training_of_the_linear_model_arrives_at_pca(X, tied):
    pca = PCA(3).fit(X)
    model = AutoencoderTransformer(
        3, activation="identity", init="random", tied_weights=tied, random_state=0
    ).fit(X)
    np.testing.assert_allclose(model.components_, pca.components_, atol=1e-4)
    np.testing.assert_allclose(model.transform(X), pca.transform(X), atol=2e-3)
    assert model.n_iter_ == len(model.loss_curve_) > 3


def test_linear_training_warns_when_iterations_run_out(X):
    model = AutoencoderTransformer(2, activation="identity", init="random", max_iter=2)
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        model.fit(X)


def test_deep_linear_network_is_turned_to_principal_axes(X):
    model = AutoencoderTransformer(
        2,
        activation="identity",
        init="random",
        hidden_layer_sizes=(5,),
        max_iter=500,
        n_iter_no_change=np.inf,
        random_state=0,
    ).fit(X)
    np.testing.assert_allclose(
        model.components_ @ model.components_.T, np.eye(2), atol=1e-6
    )
    variance = model.transform(X).var(axis=0)
    assert variance[0] > variance[1]
    assert subspace_distance(model.components_, PCA(2).fit(X).components_) < 0.3


def test_share_of_variance_chooses_the_width_as_in_pca(X):
    for share in (0.5, 0.8, 0.999):
        model = AutoencoderTransformer(share, activation="identity").fit(X)
        assert model.n_components_ == PCA(share).fit(X).n_components_


def test_noise_without_structure_stays_at_pca():
    X = np.random.default_rng(0).normal(size=(300, 8))
    model = AutoencoderTransformer(2, random_state=0).fit(X)
    assert model.departure_ == 0
    np.testing.assert_allclose(model.components_, PCA(2).fit(X).components_)


# Ways to fit


@pytest.mark.parametrize(
    "parameters",
    [
        {"init": "random"},
        {"tied_weights": True},
        {"tied_weights": True, "init": "random"},
        {"hidden_layer_sizes": (16, 8)},
        {"hidden_layer_sizes": ()},
        {"early_stopping": False},
        {"activation": "tanh"},
        {"activation": "gelu", "init": "random"},
        {"alpha": 0.0, "batch_size": 16, "learning_rate_init": 1e-3},
        {"n_components": 9, "init": "random"},
        {"corruption": NoCorruption()},
        {"corruption": NoCorruption(), "n_components": 8},
    ],
)
def test_every_choice_fits_and_round_trips(X, parameters):
    model = AutoencoderTransformer(**{"n_components": 2, **FAST, **parameters}).fit(X)
    codes = model.transform(X)
    assert codes.shape == (len(X), model.n_components_)
    np.testing.assert_allclose(
        model.inverse_transform(codes), model.reconstruct(X), rtol=1e-4
    )
    assert np.isfinite(model.score_samples(X)).all()
    assert model.score(X) > 0


def test_hidden_layers_are_those_asked_for(X):
    model = AutoencoderTransformer(
        3, hidden_layer_sizes=(16, 8), init="random", **FAST
    ).fit(X)
    shapes = [tuple(w.shape) for w in model.net_.codec.encoder_weights]
    assert shapes == [(6, 16), (16, 8), (8, 3)]


def test_bernoulli_likelihood_reconstructs_probabilities():
    X = load_digits().data[:300] / 16
    model = AutoencoderTransformer(5, likelihood="bernoulli", random_state=0).fit(X)
    reconstruction = model.reconstruct(X)
    assert reconstruction.min() >= 0
    assert reconstruction.max() <= 1
    assert model.score(X) > 0.5
    p = np.clip(reconstruction, 1e-12, 1 - 1e-12)
    entropy = (X * np.log(p) + (1 - X) * np.log1p(-p)).sum(axis=1)
    np.testing.assert_allclose(model.score_samples(X), entropy, rtol=1e-2)


def test_bernoulli_fits_a_handful_of_rows():
    X = load_digits().data[:5] / 16
    model = AutoencoderTransformer(2, likelihood="bernoulli", random_state=0).fit(X)
    assert np.isfinite(model.reconstruct(X)).all()


def test_pickles_hold_the_weights_once(X):
    model = AutoencoderTransformer(2, random_state=0).fit(X)
    n_bytes = sum(p.numel() * 4 for p in model.net_.parameters())
    assert len(pickle.dumps(model)) < 2 * n_bytes + 20_000


def test_dropout_of_own_modules_is_reproducible(X):
    encoder = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.5), nn.Linear(16, 3))
    pair = encoder, nn.Linear(3, 6)
    state = torch.get_rng_state()
    codes = [
        AutoencoderTransformer(architecture=pair, **FAST).fit_transform(X)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*codes)
    assert torch.equal(torch.get_rng_state(), state)


def test_partial_fit_in_small_chunks_learns_as_much_as_in_large(X):
    scores = []
    for size in (20, 100):
        model = AutoencoderTransformer(2, random_state=0, batch_size=20)
        model.partial_fit(X[:100])
        for _ in range(10):
            for start in range(0, 200, size):
                model.partial_fit(X[start : start + size])
        scores.append(model.score(X))
    assert abs(scores[0] - scores[1]) < 0.02


def test_wide_sparse_rows_need_no_square_of_the_width():
    X = sparse.random(30, 60_000, density=1e-3, format="csr", random_state=0)
    model = AutoencoderTransformer(2, activation="identity", random_state=0).fit(X)
    pca = PCA(2, svd_solver="arpack", random_state=0).fit(X)
    np.testing.assert_allclose(
        model.explained_variance_, pca.explained_variance_, rtol=1e-6
    )


def test_bernoulli_needs_the_unit_interval(X):
    with pytest.raises(ValueError, match=r"bernoulli.*\[0, 1\]"):
        AutoencoderTransformer(2, likelihood="bernoulli").fit(X)


def test_own_modules_are_trained_as_copies(X):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    decoder = nn.Linear(3, 6)
    before = encoder[0].weight.detach().clone()
    model = AutoencoderTransformer(
        architecture=(encoder, decoder), max_iter=30, random_state=0
    ).fit(X)
    assert model.n_components_ == 3
    assert model.score(X) > 0.5
    assert torch.equal(encoder[0].weight, before)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ((nn.Linear(5, 2), nn.Linear(2, 6)), "samples of shape \\(6,\\)"),
        ((nn.Linear(6, 2), nn.Linear(2, 5)), "reconstruction"),
        ((nn.Linear(6, 2),), "pair"),
    ],
)
def test_modules_that_do_not_fit_are_named(X, architecture, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderTransformer(architecture=architecture).fit(X)


def test_zero_weights_are_removed_rows(X):
    weight = np.r_[np.ones(150), np.zeros(50)]
    weighted = AutoencoderTransformer(2, **FAST).fit(X, sample_weight=weight)
    fewer = AutoencoderTransformer(2, **FAST).fit(X[:150])
    np.testing.assert_array_equal(weighted.transform(X), fewer.transform(X))


def test_weights_have_no_scale(X):
    weight = np.random.default_rng(0).uniform(0.5, 2, size=len(X))
    one = AutoencoderTransformer(2, **FAST).fit(X, sample_weight=weight)
    ten = AutoencoderTransformer(2, **FAST).fit(X, sample_weight=10 * weight)
    np.testing.assert_allclose(one.transform(X), ten.transform(X), atol=1e-2)


def test_weights_move_the_linear_model_as_repeated_rows_do(X):
    weight = np.random.default_rng(0).integers(1, 4, size=len(X))
    weighted = AutoencoderTransformer(2, activation="identity")
    weighted.fit(X, sample_weight=weight)
    repeated = AutoencoderTransformer(2, activation="identity")
    repeated.fit(np.repeat(X, weight, axis=0))
    np.testing.assert_allclose(weighted.components_, repeated.components_, atol=1e-9)
    np.testing.assert_allclose(weighted.mean_, repeated.mean_)


def test_warm_start_goes_on_and_never_ends_worse_on_its_held_out_rows(X):
    model = AutoencoderTransformer(2, init="random", warm_start=True, **FAST).fit(X)
    first = model.score(X)
    for _ in range(3):
        model.fit(X)
    assert model.score(X) > first


def test_warm_start_says_when_the_width_has_changed(X):
    model = AutoencoderTransformer(2, init="random", warm_start=True, **FAST).fit(X)
    with pytest.raises(ValueError, match="n_components=3"):
        model.set_params(n_components=3).fit(X)


@pytest.mark.parametrize("init", ["pca", "random"])
def test_partial_fit_learns_from_chunks(X, init):
    model = AutoencoderTransformer(2, init=init, random_state=0, batch_size=20)
    model.partial_fit(X[:100])
    first = model.score(X)
    for _ in range(30):
        model.partial_fit(X[:100]).partial_fit(X[100:])
    assert model.score(X) > first
    restored = pickle.loads(pickle.dumps(model))
    restored.partial_fit(X)
    assert np.isfinite(restored.transform(X)).all()


def test_partial_fit_goes_on_after_fit(X):
    model = AutoencoderTransformer(2, random_state=0).fit(X)
    before = model.score(X)
    model.partial_fit(X)
    assert model.score(X) > before - 0.05


def test_linear_partial_fit_tracks_the_rows(X):
    model = AutoencoderTransformer(2, activation="identity", random_state=0)
    model.fit(X[:50])
    for _ in range(5):
        model.partial_fit(X)
    assert not hasattr(model, "components_")
    assert model.score(X) > PCA(2).fit(X).explained_variance_ratio_.sum() - 0.05


# Training control


def test_skorch_callbacks_see_rounds_and_batches(X):
    class Count(Callback):
        def __init__(self):
            self.rounds = self.batches = 0

        def on_epoch_end(self, net, **kwargs):
            self.rounds += 1

        def on_batch_end(self, net, **kwargs):
            self.batches += 1

    count = Count()
    model = AutoencoderTransformer(2, init="random", callbacks=[count], **FAST).fit(X)
    assert count.rounds == model.n_iter_ == len(model.loss_curve_)
    assert count.batches >= count.rounds


def test_interrupt_keeps_a_usable_model_and_warns(X):
    class Interrupt(Callback):
        def on_batch_end(self, net, **kwargs):
            if len(net.history) == 3:
                raise KeyboardInterrupt

    model = AutoencoderTransformer(
        2, init="random", callbacks=[Interrupt()], random_state=0
    )
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model.fit(X)
    assert model.interrupted_
    assert np.isfinite(model.reconstruct(X)).all()
    assert not model.set_params(callbacks=None).fit(X).interrupted_


class NaNs(NoCorruption):
    def __call__(self, x, generator):
        return x * torch.nan


def test_divergence_raises_with_the_reason_and_leaves_the_earlier_fit(X):
    model = AutoencoderTransformer(2, init="random", early_stopping=False, **FAST)
    codes = model.fit(X).transform(X)
    model.set_params(corruption=NaNs())
    with pytest.raises(FloatingPointError, match="learning_rate_init"):
        model.fit(X)
    np.testing.assert_array_equal(model.transform(X), codes)


def test_huge_learning_rate_never_leaves_nan(X):
    model = AutoencoderTransformer(
        2, init="random", learning_rate_init=1e30, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            model.fit(X)
        except FloatingPointError:
            return
    assert np.isfinite(model.reconstruct(X)).all()


def test_verbose_shows_a_progress_bar(X, capsys):
    AutoencoderTransformer(2, init="random", verbose=1, **FAST).fit(X)
    assert "training" in capsys.readouterr().err


def test_scikit_learn_callbacks_score_every_round(X):
    callback = pytest.importorskip("sklearn.callback")
    seen = []

    def scoring(model, X, y=None):
        seen.append(model.score(X))
        return {"variance": seen[-1]}

    model = AutoencoderTransformer(2, init="random", **FAST)
    model.set_callbacks(callback.ScoringMonitor(scoring=scoring)).fit(X)
    assert len(seen) >= model.n_iter_
    assert np.isfinite(seen).all()


def test_wrong_device_is_named(X):
    with pytest.raises(ValueError, match="device='gpu'"):
        AutoencoderTransformer(2, device="gpu").fit(X)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": ("a",)}, "hidden_layer_sizes"),
        ({"n_components": 0}, "n_components"),
        ({"n_components": 1.5}, "n_components"),
        ({"activation": "sine"}, "activation"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"architecture": "conv"}, "architecture"),
    ],
)
def test_bad_parameters_are_named(X, parameters, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderTransformer(**parameters).fit(X)


# State


def test_same_seed_same_bits_whatever_ran_before(X):
    def codes():
        return AutoencoderTransformer(2, random_state=0).fit_transform(X)

    first = codes()
    np.random.default_rng().normal(size=5)
    torch.rand(3)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    np.testing.assert_array_equal(codes(), first)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(
        np.random.get_state()[1],  # noqa: NPY002
        numpy_state,
    )


def test_copies_give_the_same_codes(X, tmp_path):
    import joblib

    model = AutoencoderTransformer(2, random_state=0).fit(X)
    codes = model.transform(X)
    joblib.dump(model, tmp_path / "model.joblib")
    for other in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        joblib.load(tmp_path / "model.joblib"),
    ):
        np.testing.assert_array_equal(other.transform(X), codes)


def test_sparse_and_dense_rows_give_the_same_model():
    X = load_digits().data[:200]
    dense = AutoencoderTransformer(4, **FAST).fit(X)
    for form in (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array):
        model = AutoencoderTransformer(4, **FAST).fit(form(X))
        np.testing.assert_allclose(model.score(form(X)), dense.score(X), atol=5e-3)
        np.testing.assert_allclose(
            model.reconstruct(form(X)), model.reconstruct(X), atol=1e-4
        )


def test_iris_script_for_pca_reads_on():
    X = load_iris().data
    for estimator in (PCA(2), AutoencoderTransformer(2, activation="identity")):
        codes = estimator.fit_transform(X)
        assert estimator.components_.shape == (2, 4)
        assert estimator.explained_variance_ratio_.sum() > 0.97
        back = estimator.inverse_transform(codes)
        assert np.square(X - back).mean() < 0.03


class TestPartsThatCannotWork:
    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"penalty": L1Sparsity(-1)}, "at least 0; got -1"),
            ({"penalty": Contraction(-1)}, "at least 0; got -1"),
            ({"penalty": L1Sparsity}, r"an object, such as L1Sparsity\(\)"),
            ({"penalty": ["l0"]}, "one of .*'contraction', 'kl', 'l1'.*; got 'l0'"),
            ({"corruption": GaussianNoise}, r"an object, such as GaussianNoise\(\)"),
            ({"corruption": GaussianNoise(-1)}, "must not be negative; got -1"),
            (
                {"corruption": SaltAndPepperNoise(0.2, low=1, high=0)},
                "low=1 must not exceed high=0",
            ),
            ({"corruption": lambda x, g: x[..., :3]}, "of the shape that came"),
            ({"penalty": KLSparsity(0.1)}, "needs code_activation='logistic'"),
            (
                {
                    "penalty": KLSparsity(2),
                    "code_activation": "logistic",
                    "init": "random",
                },
                r"target must be in \(0, 1\); got 2",
            ),
        ],
    )
    def test_they_are_named_and_leave_an_earlier_fit(self, parameters, message):
        X = load_digits().data[:100]
        ae = AutoencoderTransformer(3, max_iter=2, random_state=0).fit(X)
        before = ae.transform(X)
        with pytest.raises(ValueError, match=message):
            ae.set_params(**parameters).fit(X)
        np.testing.assert_array_equal(ae.transform(X), before)

    @pytest.mark.parametrize(
        "parameters", [{"code_activation": "relu"}, {"tied_weights": True}]
    )
    def test_pairs_of_modules_have_their_own(self, parameters):
        pair = torch.nn.Linear(64, 4), torch.nn.Linear(4, 64)
        ae = AutoencoderTransformer(architecture=pair, init="random", **parameters)
        with pytest.raises(ValueError, match="is for architecture='dense'"):
            ae.fit(load_digits().data)


@pytest.mark.parametrize(
    ("estimator", "changed"),
    [
        (DenoisingAE(8), {"hidden_layer_sizes": (5,)}),
        (DenoisingAE(8), {"activation": "tanh"}),
        (ConvAE(kernel_size=2, stride=2, channels=4), {"channels": (8,)}),
        (ConvAE(kernel_size=2, stride=2, channels=4), {"n_residual_layers": 2}),
        (RecurrentAE(hidden_size=4), {"cell": "gru"}),
    ],
)
def test_another_network_can_not_be_continued(estimator, changed):
    X = load_digits().data[:60]
    estimator = clone(estimator).set_params(max_iter=1, warm_start=True).fit(X)
    with pytest.raises(ValueError, match="that is to be continued"):
        estimator.set_params(**changed).fit(X)
    with pytest.raises(ValueError, match="that is to be continued"):
        estimator.partial_fit(X)


@pytest.mark.parametrize(
    "architecture", ["dense", (nn.Linear(64, 10), nn.Linear(5, 64))], ids=type
)
def test_code_can_be_drawn_from_a_prior(architecture):
    X = load_digits().data
    prior = StandardNormal(0.01)
    ae = AutoencoderTransformer(
        5, architecture=architecture, prior=prior, init="random", max_iter=60
    )
    ae.set_params(random_state=0).fit(X)
    assert ae.n_components_ == 5
    assert ae.transform(X).shape == (len(X), 5)
    assert ae.score(X) > 0.4


def test_a_drawn_code_starts_as_probabilistic_pca():
    X = load_digits().data
    ae = AutoencoderTransformer(5, prior=StandardNormal(), max_iter=1, random_state=0)
    share = PCA(5).fit(X).explained_variance_ratio_.sum()
    assert ae.fit(X).score(X) > share - 0.02


def test_learned_variance_starts_from_pca_too():
    X = load_digits().data
    ae = AutoencoderTransformer(5, likelihood=LearnedGaussian(), max_iter=40)
    ae.set_params(random_state=0)
    assert ae.fit(X).score(X) >= PCA(5).fit(X).explained_variance_ratio_.sum() - 1e-6
