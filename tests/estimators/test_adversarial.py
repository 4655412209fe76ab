"""AdversarialAE: codes follow the requested prior."""

import pickle
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

from skae import AdversarialAE, AEOutlierDetector
from skae.parts.targets import TARGETS
from skae.statistics.energy import energy_distance

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
energy_test = runpy.run_path(BENCHMARKS / "energy_test.py")["energy_test"]

X = load_digits().data[np.random.default_rng(0).permutation(1797)]
TRAIN, TEST = X[:1300], X[1300:]


def quick(prior="normal", **parameters):
    parameters = {"max_iter": 3, "random_state": 0, **parameters}
    return AdversarialAE(prior=prior, hidden_layer_sizes=(32,), **parameters)


@pytest.fixture(scope="module")
def fitted():
    return quick().fit(TRAIN)


def prior_samples(name, n, seed=9):
    generator = torch.Generator().manual_seed(seed)
    return TARGETS[name]().sample(n, 2, generator).double().numpy()


def long(max_iter=60, **parameters):
    return AdversarialAE(max_iter=max_iter, random_state=1, **parameters).fit(TRAIN)


@pytest.fixture(scope="module")
def plain():
    return long(matching_weight=0)


@pytest.mark.parametrize("prior", TARGETS)
def test_held_out_codes_follow_the_prior(prior, plain):
    # One prior has the default length.
    ae = long(prior=prior, max_iter=None if prior == "normal" else 60)
    samples = prior_samples(prior, len(TEST))
    assert energy_test(ae.transform(TEST), samples, random_state=0) > 0.01
    assert energy_test(plain.transform(TEST), samples, random_state=0) <= 0.01
    # The critic takes something of the reconstruction, but not much.
    assert ae.score(TEST) > plain.score(TEST) - 0.15


def test_a_function_can_be_the_prior():
    def corner(n_samples, random_state):
        return random_state.exponential(size=(n_samples, 2))

    ae = quick(corner, max_iter=15).fit(TRAIN)
    samples = corner(len(TEST), np.random.RandomState(0))
    distance = energy_distance(ae.transform(TEST), samples)
    normal = energy_distance(prior_samples("normal", len(TEST)), samples)
    assert distance < 0.1 * normal


def test_a_higher_weight_brings_codes_closer():
    samples = prior_samples("normal", len(TEST))
    # Held-out rows would choose weights near the prior, however they came about.
    plain = {"max_iter": 10, "early_stopping": False}
    far, near = (
        energy_distance(
            quick(matching_weight=w, **plain).fit(TRAIN).transform(TEST), samples
        )
        for w in (0.0, 50.0)
    )
    assert near < 0.2 * far


def test_samples_are_decoded_samples_of_the_prior(fitted):
    samples = fitted.sample(5, random_state=3)
    assert samples.shape == (5, 64)
    assert samples.dtype == np.float64
    codes = fitted.transform(samples)
    assert np.isfinite(codes).all()
    assert fitted.sample(2).shape == (2, 64)


def test_the_seed_decides_fit_and_samples(fitted):
    again = quick().fit(TRAIN)
    np.testing.assert_array_equal(again.transform(TEST), fitted.transform(TEST))
    np.testing.assert_array_equal(again.sample(4), fitted.sample(4))
    first, second = (fitted.sample(4, random_state=seed) for seed in (1, 2))
    assert not np.array_equal(first, second)


def test_codes_are_in_the_units_of_the_prior(fitted):
    scaled = quick().fit(100 * TRAIN)
    np.testing.assert_allclose(
        scaled.transform(100 * TEST), fitted.transform(TEST), rtol=1e-3, atol=1e-3
    )
    rebuilt = fitted.inverse_transform(fitted.transform(TEST))
    np.testing.assert_allclose(rebuilt, fitted.reconstruct(TEST), atol=1e-4)


def test_interpolation_goes_from_one_reconstruction_to_the_other(fitted):
    path = fitted.interpolate(TEST[0], TEST[1], 5, method="linear")
    assert path.shape == (5, 64)
    np.testing.assert_allclose(
        path[[0, -1]], fitted.reconstruct(TEST[:2]), atol=1e-3, rtol=1e-4
    )


def test_a_pickle_gives_the_same_codes_and_samples(fitted):
    copied = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copied.transform(TEST), fitted.transform(TEST))
    np.testing.assert_array_equal(copied.sample(3), fitted.sample(3))


def test_the_history_has_both_losses(fitted):
    assert len(fitted.critic_loss_curve_) == len(fitted.loss_curve_) == fitted.n_iter_
    assert len(fitted.validation_scores_) == fitted.n_iter_
    assert quick(early_stopping=False).fit(TRAIN).validation_scores_ is None


def test_without_held_out_rows_the_last_weights_are_kept():
    ae = quick(early_stopping=False, max_iter=4).fit(TRAIN)
    assert ae.kept_round_ == ae.n_iter_ == 4


def test_divergence_is_an_error_that_names_the_way_out():
    with pytest.raises(FloatingPointError, match="smaller learning_rate_init"):
        quick(learning_rate_init=1e30).fit(TRAIN)


def test_warm_start_goes_on_with_the_critic_too():
    ae = quick(warm_start=True).fit(TRAIN)
    critic = ae.net_.critic.head.weight.detach().clone()
    before = ae.loss_curve_
    ae.fit(TRAIN)
    assert ae.loss_curve_[: len(before)] == before
    assert ae.loss_curve_[len(before)] < before[0]
    assert len(ae.critic_loss_curve_) == len(ae.loss_curve_)
    assert not torch.equal(ae.net_.critic.head.weight, critic)
    assert torch.allclose(ae.net_.critic.head.weight, critic, atol=0.5)


def test_partial_fit_trains_on():
    ae = quick().partial_fit(TRAIN)
    first = ae.loss_curve_[-1]
    for _ in range(5):
        ae.partial_fit(TRAIN)
    assert ae.loss_curve_[-1] < first
    assert ae.sample(3).shape == (3, 64)


def test_rows_of_weight_zero_do_not_count():
    weight = np.r_[np.ones(len(TRAIN)), np.zeros(100)]
    both = quick().fit(np.concatenate([TRAIN, TEST[:100]]), sample_weight=weight)
    alone = quick().fit(TRAIN, sample_weight=np.ones(len(TRAIN)))
    np.testing.assert_allclose(both.transform(TEST), alone.transform(TEST))


def test_float32_stays_float32(fitted):
    ae = quick().fit(TRAIN.astype(np.float32))
    assert ae.sample(2).dtype == np.float32
    assert ae.transform(TEST.astype(np.float32)).dtype == np.float32


def test_it_detects_outliers():
    detector = AEOutlierDetector(estimator=quick(max_iter=10), random_state=0)
    detector.fit(TRAIN)
    noise = np.random.default_rng(0).uniform(0, 16, size=(50, 64))
    assert (detector.predict(noise) == -1).mean() > 0.9


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("n_components", [1, 3])
def test_other_widths_and_likelihoods(likelihood, n_components):
    ae = quick("mixture", n_components=n_components, likelihood=likelihood)
    ae.fit(TRAIN / 16)
    assert ae.transform(TEST / 16).shape == (len(TEST), n_components)
    assert ae.sample(2).shape == (2, 64)


def wide(n_samples):
    return np.ones((n_samples, 3))


def lost(n_samples):
    return np.full((n_samples, 2), np.inf)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"prior": "swiss_roll", "n_components": 3}, "needs n_components=2; got n_c"),
        ({"prior": wide}, r"prior .* here \(8, 2\); wide returned \(8, 3\)"),
        ({"prior": lost}, "prior must return finite values; lost returned"),
        ({"prior": "spiral"}, "'prior' parameter of AdversarialAE must be"),
        ({"n_components": 0}, "'n_components' parameter of AdversarialAE must be"),
        ({"matching_weight": -1.0}, "'matching_weight' parameter"),
    ],
)
def test_bad_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        AdversarialAE(**parameters).fit(TRAIN[:50])


def test_samples_have_no_noise_to_ask_for(fitted):
    with pytest.raises(TypeError, match="noise"):
        fitted.sample(2, noise=True)


def test_scikit_learn_callbacks_see_the_critic_of_their_round():
    callback = pytest.importorskip("sklearn.callback")
    weights = []

    def scoring(model, X, y=None):
        weights.append(model.net_.critic.head.weight)
        return {"score": model.score(X)}

    quick().set_callbacks(callback.ScoringMonitor(scoring=scoring)).fit(TRAIN)
    assert not torch.equal(weights[0], weights[1])


def test_sampling_needs_a_fit_and_a_number(fitted):
    with pytest.raises(NotFittedError):
        AdversarialAE().sample()
    with pytest.raises(ValueError, match="n_samples must be a positive integer; got 0"):
        fitted.sample(0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("prior", [*TARGETS, lambda n, random_state: np.zeros((n, 2))])
def test_on_the_gpu_the_seed_decides_and_pickles_come_back(prior):
    first, again = (quick(prior, device="cuda").fit(TRAIN) for _ in range(2))
    np.testing.assert_array_equal(first.transform(TEST), again.transform(TEST))
    assert np.isfinite(first.sample(4)).all()
    state = first.__getstate__()
    assert next(state["net_"].parameters()).device.type == "cpu"
