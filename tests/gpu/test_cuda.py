"""Estimators on a CUDA device, against the CPU."""

import pickle
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

import skae
from skae.parts.base import Penalty
from skae.rows.devices import resolve_device
from skae.training import captured

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore"),
]

own = runpy.run_path(str(Path(__file__).with_name("cases.py")))
CASES = own["cases"]("cuda")
X = own["X"]
# They return the same for the same weights, up to rounding; TF32 convolutions round
# to three digits.
DETERMINISTIC = (
    "transform",
    "reconstruct",
    "score_samples",
    "score",
    "discriminate",
    "decision_function",
    "predict_proba",
    "explain",
)
TOLERANCE = 2e-2


@pytest.mark.parametrize("name", CASES)
def test_what_cuda_has_fitted_computes_the_same_on_the_cpu(name):
    model, *data = CASES[name]
    fitted = own["on"](model, "cuda").fit(*data)
    assert "cuda" in own["devices_of"](fitted)
    loaded = pickle.loads(pickle.dumps(fitted))
    assert own["devices_of"](loaded) <= {"cpu"}
    for method in DETERMINISTIC:
        if callable(getattr(fitted, method, None)):
            here, there = (own["METHODS"][method](m, *data) for m in (loaded, fitted))
            own["assert_alike"](there, here, method, TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_the_same_seed_gives_nearly_the_same_on_cuda(name):
    model, *data = CASES[name]
    one, again = (own["on"](model, "cuda").fit(*data) for _ in range(2))
    use = own["METHODS"]["score" if hasattr(one, "score") else "score_samples"]
    own["assert_alike"](use(one, *data), use(again, *data), name, TOLERANCE)


@pytest.mark.parametrize("name", ["AutoencoderTransformer", "linear", "SparseAE"])
def test_training_without_noise_gives_what_the_cpus_gives(name):
    model, *data = CASES[name]
    here, there = (own["on"](model, device).fit(*data) for device in ("cpu", "cuda"))
    assert there.loss_curve_ == pytest.approx(here.loss_curve_, rel=1e-3)
    own["assert_alike"](there.transform(X), here.transform(X), name, TOLERANCE)


REPLAYED = [
    "AutoencoderTransformer",
    "DenoisingAE",
    "SparseAE",
    "VariationalAE",
    "ConditionalVAE",
    "AdversarialAE",
    "GAN",
    "convolutional GAN",
    "ConvAE",
    "RecurrentAE",
    "StackedAEClassifier",
]
# cuDNN adds up gradients in an order of its own.
INEXACT = {"convolutional GAN", "ConvAE", "RecurrentAE"}


@pytest.mark.parametrize("name", REPLAYED)
def test_replayed_steps_are_those_that_are_launched(name, monkeypatch):
    model, *data = CASES[name]
    steps, results = [], []
    step = captured.GraphedStep.__init__

    def noted(self, *args):
        step(self, *args)
        steps.append(self)

    monkeypatch.setattr(captured.GraphedStep, "__init__", noted)
    for least_steps in (8, np.inf):
        monkeypatch.setattr(captured, "_LEAST_STEPS", least_steps)
        steps.clear()
        fitted = own["on"](model, "cuda").set_params(max_iter=30, batch_size=32)
        fitted.fit(*data)
        use = own["METHODS"]["score" if hasattr(fitted, "score") else "score_samples"]
        results.append(use(fitted, *data))
        n_replayed = sum(each.n_replayed for each in steps)
        assert (n_replayed > 0) == (least_steps == 8)
        assert {each.reason for each in steps} == {None}
    own["assert_alike"](*results, name, TOLERANCE if name in INEXACT else 1e-6)


class Late(Penalty):
    """Reads from the device once it is captured."""

    capturable = True
    n_calls = 0

    def __call__(self, state):
        self.n_calls += 1
        cost = 0.1 * state.h.square().sum(-1)
        return cost * float(cost.sum() > 0) if self.n_calls > 4 else cost


def test_after_a_capture_that_failed_all_goes_on():
    options = {"penalty": Late(), "max_iter": 30, "random_state": 0, "device": "cuda"}
    model = skae.AutoencoderTransformer(3, init="random", **options).fit(X)
    assert np.isfinite(model.loss_curve_).all()
    # Generators draw, and other steps are captured.
    torch.rand(3, device="cuda")
    other = skae.DenoisingAE(3, max_iter=30, random_state=0, device="cuda").fit(X)
    assert np.isfinite(other.loss_curve_).all()


def test_partial_fit_keeps_the_optimiser():
    results = []
    for device in ("cpu", "cuda"):
        model = skae.AutoencoderTransformer(3, device=device, random_state=0)
        for part in (slice(None, 50), slice(50, None)):
            model.partial_fit(X[part])
        results.append(model.transform(X))
    own["assert_alike"](*reversed(results), "codes", TOLERANCE)


def test_a_row_does_not_depend_on_its_neighbours():
    model = skae.AutoencoderTransformer(3, device="cuda", random_state=0).fit(X)
    alone = np.concatenate([model.transform(row[None]) for row in X[:5]])
    np.testing.assert_array_equal(alone, model.transform(X)[:5])


def test_products_are_exact_whatever_the_user_has_set():
    expected = skae.AutoencoderTransformer(3, device="cpu", random_state=0).fit(X)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        model = skae.AutoencoderTransformer(3, device="cuda", random_state=0).fit(X)
        assert torch.get_float32_matmul_precision() == "medium"
        codes = model.transform(X)
    finally:
        torch.set_float32_matmul_precision(before)
    own["assert_alike"](codes, expected.transform(X), "codes", 1e-3)


def test_auto_takes_the_gpu_for_much_work_only():
    assert resolve_device("auto") == torch.device("cuda:0")
    small = skae.AutoencoderTransformer(3, random_state=0, max_iter=1).fit(X)
    assert own["devices_of"](small) == {"cpu"}


def test_too_large_a_batch_is_named():
    rows = np.zeros((400, 64), dtype=np.float32)
    rows[::2] = 1
    model = skae.DenoisingAE(3, hidden_layer_sizes=(2**20,), device="cuda")
    free = torch.cuda.mem_get_info()[0]
    filled = torch.empty(max(1, free - 2**28), dtype=torch.uint8, device="cuda")
    with pytest.raises(MemoryError, match="batch_size=.*device='cpu'"):
        model.fit(rows)
    del filled
