"""Shards: the same bits for any number of threads, and what a whole batch gives."""

import warnings

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from torch import nn

import skae
from skae.callbacks import Checkpoint
from skae.models.autoencoder import Autoencoder
from skae.parts.base import Corruption
from skae.parts.corruption import NoCorruption
from skae.parts.dense import Dense
from skae.parts.likelihoods import BoundGaussian
from skae.parts.penalties import Contraction, KLSparsity, L1Sparsity
from skae.parts.priors import NoPrior
from skae.rows import chunks, threads
from skae.rows.threads import together
from skae.training import flat_parameters, shards
from skae.training.flat_parameters import FlatParameters
from skae.training.shards import n_shards
from skae.training.steps import gradient_of

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
    monkeypatch.setattr(shards, "LEAST_TRACED_WORK", 1)
    monkeypatch.setattr(shards, "MOST_SHARDS", 4)
    monkeypatch.setattr(flat_parameters, "STRETCH", 64)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def n_runs(monkeypatch):
    """How many batches were cut."""
    runs = []
    each = shards.Shards.each
    monkeypatch.setattr(
        shards.Shards, "each", lambda *args: runs.append(args[2]) or each(*args)
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
# Three groups of rows, of which the critic sees the deviation, in two shards.
GROWING = {**SHORT, "batch_size": 96, "sample_shape": (1, 8, 8), "channels": 4}
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
    "progressive gan": (skae.GAN(3, **GROWING, architecture="progressive"), IMAGES),
    "style gan": (
        skae.GAN(3, **GROWING, architecture="style", style_mixing=0.5),
        IMAGES,
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_bits_do_not_depend_on_threads(name, n_runs):
    estimator, rows = FAMILIES[name]
    found = []
    for n_threads in (1, 3):
        torch.set_num_threads(n_threads)
        found.append(weights(fitted(estimator, rows)))
    assert n_runs
    np.testing.assert_array_equal(*found)


def test_bits_are_those_of_any_number_of_threads(n_runs):
    estimator, rows = FAMILIES["variational"]
    found = []
    for n_threads in (1, 2, 7):
        torch.set_num_threads(n_threads)
        found.append(weights(fitted(estimator, rows)))
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
    assert set(n_runs) == {4}


def gradients(module, batch, *, autograd=False):
    """Loss and flat gradient of a batch, whole and cut."""
    flat = FlatParameters(module)
    whole = []
    for most in (1, 4):
        # Put back by the fixture.
        shards.MOST_SHARDS = shards.MOST_TRACED_SHARDS = most
        generator = torch.Generator().manual_seed(0)
        gradient = gradient_of(module, flat, generator, autograd=autograd)
        flat.grad.fill_(torch.nan)
        whole.append((gradient(*batch), flat.grad.clone()))
    return whole


# Members, whether weights are tied, penalties, and whether autograd is to do it.
CODECS = {
    "formula": (None, False, (), False),
    "tied": (None, True, (), False),
    "members": (2, True, (), False),
    "autograd": (None, False, (), True),
    "members with autograd": (2, False, (), True),
    "gradients of gradients": (None, False, (Contraction(0.1),), True),
}


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("n_rows", [64, 61])
@pytest.mark.parametrize("weighted", [False, True])
def test_shards_add_up_to_the_whole_batch(name, n_rows, weighted):
    members, tied, penalties, autograd = CODECS[name]
    codec = Dense((8,), tied_weights=tied).build(
        16, 3, generator=torch.Generator().manual_seed(0), members=members
    )
    parts = codec, BoundGaussian(1), NoCorruption(), NoPrior(), penalties
    module = Autoencoder(*parts).double()
    lead = () if members is None else (members,)
    weight = torch.from_numpy(RNG.uniform(0.2, 3, (*lead, n_rows)))
    batch = torch.from_numpy(X[:n_rows]), weight if weighted else None
    whole, cut = gradients(module, batch, autograd=autograd)
    torch.testing.assert_close(cut[0], whole[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(cut[1], whole[1], rtol=1e-9, atol=1e-12)


class Unsaid(L1Sparsity):
    """Says nothing of its rows, though its base does."""


@pytest.mark.parametrize("penalty", [KLSparsity(), Unsaid()])
def test_batches_stay_whole_where_a_part_may_mix_rows(penalty, n_runs):
    dense = Dense((8,), code_activation="logistic")
    fitted(
        skae.AutoencoderTransformer(
            5, architecture=dense, penalty=penalty, init="random", **SHORT
        )
    )
    pair = nn.Linear(16, 2), nn.Linear(2, 16)
    fitted(skae.AutoencoderTransformer(architecture=pair, **SHORT))
    fitted(skae.GAN(3, replay=0.5, **SHORT))
    assert not n_runs


def test_the_number_of_shards_follows_from_the_work_alone(monkeypatch):
    monkeypatch.undo()
    assert n_shards(256, 64 * 32 * 2, 64 * 32 * 2) == 1
    assert n_shards(256, 820_000, 820_000) == 4
    assert n_shards(128, 820_000, 820_000) == 2
    assert n_shards(4096, 820_000, 820_000) == 8
    # Few rows: adding up would take as long.
    assert n_shards(32, 10**7, 10**7) == 1
    # With autograd, a shard is worth a thread later.
    assert n_shards(64, 400_000, 10_000, is_traced=True) == 1
    assert n_shards(64, 3_900_000, 400_000, is_traced=True) == 2
    assert n_shards(256, 4_000_000, 300_000, is_traced=True) == 4


@pytest.mark.parametrize("name", ["variational", "denoising"])
def test_a_resumed_fit_has_the_bits_of_one_that_was_not_killed(
    name, tmp_path, monkeypatch, n_runs
):
    estimator, rows = FAMILIES[name]
    whole = weights(fitted(clone(estimator), rows))
    checkpoint = Checkpoint(tmp_path / "fit.skae", every=0)
    estimator = clone(estimator).set_params(callbacks=[checkpoint])
    torch.set_num_threads(3)
    n_all, each = len(n_runs), shards.Shards.each

    def killed(*args):
        if len(n_runs) == n_all + 3:
            raise OSError("killed")
        return each(*args)

    with monkeypatch.context() as patched:
        patched.setattr(shards.Shards, "each", killed)
        with pytest.raises(OSError, match="killed"):
            fitted(clone(estimator), rows)
    resumed = fitted(clone(estimator), rows)
    assert n_all + 3 < len(n_runs) < 2 * n_all + 3
    np.testing.assert_array_equal(weights(resumed), whole)


class Failing(Corruption):
    """Raises in one of the threads."""

    is_rowwise = True
    n_calls = 0

    def __call__(self, x, generator):
        Failing.n_calls += len(x) < 64
        if Failing.n_calls == 3:
            raise ValueError("no such rows")
        return x.clone()


def test_an_error_in_a_shard_ends_the_fit():
    torch.set_num_threads(3)
    model = fitted(skae.DenoisingAE(3, **SHORT))
    before = weights(model)
    with pytest.raises(ValueError, match="no such rows"):
        fitted(model.set_params(noise=Failing()))
    np.testing.assert_array_equal(weights(model), before)


class Rising(Callback):
    """Makes a penalty heavier from round to round, or from batch to batch."""

    def __init__(self, factor, hook):
        self.factor = factor
        self.hook = hook

    def on_epoch_end(self, net, **kwargs):
        self._raise(net, "epoch")

    def on_batch_begin(self, net, **kwargs):
        self._raise(net, "batch")

    def _raise(self, net, hook):
        if hook == self.hook:
            net.module_.penalties[0].weight *= self.factor


@pytest.mark.parametrize("hook", ["epoch", "batch"])
def test_shards_follow_what_callbacks_change(hook, monkeypatch, n_runs):
    options = SHORT | {"max_iter": 4, "init": "random", "penalty": L1Sparsity(0.1)}
    found = []
    for most, factor in ((4, 1.5), (1, 1.5), (1, 1.0)):
        monkeypatch.setattr(shards, "MOST_TRACED_SHARDS", most)
        callbacks = [Rising(factor, hook)]
        model = skae.AutoencoderTransformer(3, callbacks=callbacks, **options)
        found.append(weights(fitted(model)))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3, atol=1e-4)
    assert np.abs(found[1] - found[2]).max() > 1e-2


class Fits(Callback):
    """Fits another estimator within the training."""

    def on_epoch_end(self, net, **kwargs):
        self.weights = weights(fitted(FAMILIES["transformer"][0]))


def test_fits_within_fits_and_beside_one_another_have_the_same_bits():
    torch.set_num_threads(3)
    estimator, rows = FAMILIES["variational"]
    own, other = (
        weights(fitted(FAMILIES[n][0])) for n in ("variational", "transformer")
    )
    inner = Fits()
    np.testing.assert_array_equal(
        weights(fitted(clone(estimator).set_params(callbacks=[inner]), rows)), own
    )
    np.testing.assert_array_equal(inner.weights, other)
    several = Parallel(3, require="sharedmem")(
        delayed(fitted)(clone(estimator), rows) for _ in range(3)
    )
    for model in several:
        np.testing.assert_array_equal(weights(model), own)


def in_process():
    """Weights of a fit, in a process with limits of joblib's."""
    shards.LEAST_WORK, shards.LEAST_ROWS, shards.MOST_SHARDS = 1, 0, 4
    flat_parameters.STRETCH = 64
    return torch.get_num_threads(), weights(fitted(FAMILIES["variational"][0]))


def test_processes_with_inner_limits_have_the_same_bits():
    torch.set_num_threads(2)
    own = weights(fitted(FAMILIES["variational"][0]))
    with parallel_config(backend="loky", inner_max_num_threads=1):
        (n_threads, found), _ = Parallel(2)(delayed(in_process)() for _ in range(2))
    assert n_threads == 1
    np.testing.assert_array_equal(found, own)


def test_scores_and_codes_do_not_depend_on_threads(monkeypatch):
    monkeypatch.setattr(chunks, "_CACHE_BYTES", 1)
    many = np.tile(X, (20, 1))
    detector = fitted(
        skae.AEOutlierDetector(n_estimators=2, random_state=0, max_iter=2)
    )
    model = fitted(skae.VariationalAE(3, **SHORT))
    used = []
    monkeypatch.setattr(
        chunks, "together", lambda f: used.append(len(f)) or together(f)
    )
    found = []
    for n_threads in (1, 3):
        torch.set_num_threads(n_threads)
        found.append([detector.score_samples(many), model.transform(many)])
    assert min(used) > 3
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
