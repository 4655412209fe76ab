"""Shards: the same bits for any number of threads, and what a whole batch gives."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

import skae
from skae.rows import threads
from skae.training import optimizer, shards

RNG = np.random.default_rng(0)
X = RNG.normal(size=(192, 16)).cumsum(1)
IMAGES = RNG.uniform(size=(192, 64))
Y = RNG.integers(0, 3, 192)
WEIGHT = RNG.uniform(0.2, 3, 192)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(threads, "_n_processors", lambda: 7)
    monkeypatch.setattr(shards, "LEAST_WORK", 1)
    monkeypatch.setattr(shards, "LEAST_ROWS", 0)
    monkeypatch.setattr(shards, "MOST_SHARDS", 4)
    monkeypatch.setattr(optimizer, "STRETCH", 64)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def n_runs(monkeypatch):
    """How many batches were cut."""
    runs = []
    run = shards.Shards.run
    monkeypatch.setattr(
        shards.Shards, "run", lambda *args: runs.append(args[2]) or run(*args)
    )
    return runs


def fitted(estimator, X=X, y=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, y, **options)


def weights(model):
    net = model.net_
    net = net if isinstance(net, torch.nn.Module) else model.generator_
    return torch.cat([p.detach().flatten() for p in net.parameters()]).numpy()


SHORT = {"max_iter": 2, "batch_size": 64, "random_state": 0, "device": "cpu"}
FAMILIES = {
    "transformer": (skae.AutoencoderTransformer(3, **SHORT), X),
    "denoising": (skae.DenoisingAE(3, **SHORT), X),
    "contractive": (skae.ContractiveAE(3, **SHORT), X),
    "variational": (skae.VariationalAE(3, **SHORT), X),
    "adversarial": (skae.AdversarialAE(2, **SHORT), X),
    "convolutional": (skae.ConvAE(3, sample_shape=(1, 8, 8), **SHORT), IMAGES),
    "recurrent": (skae.RecurrentAE(3, sample_shape=(8, 2), **SHORT), X),
    "gan": (skae.GAN(3, **SHORT), X),
    "gan with groups": (skae.GAN(3, minibatch_discrimination=True, **SHORT), X),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_bits_do_not_depend_on_threads(name, n_runs):
    estimator, rows = FAMILIES[name]
    found = []
    for n_threads in (1, 2, 3, 7):
        torch.set_num_threads(n_threads)
        found.append(weights(fitted(estimator, rows)))
    assert n_runs
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
