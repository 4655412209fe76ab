"""Every exported estimator on the pretended device, against the CPU.

`test_pretend_device.py` runs these checks in a process of their own.
"""

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch
from pretend_device import NAME, log
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator

import skae
from skae.rows import devices

pytestmark = pytest.mark.filterwarnings("ignore")

DIGITS = load_digits()
X, Y = DIGITS.data[:150] / 16, DIGITS.target[:150] % 3
IMAGES = X.reshape(-1, 8, 8)
FEW = np.where(np.arange(len(Y)) < 60, Y, -1)
# As on the CPU: the device is not faster with more.
devices._PRODUCT_ROWS[NAME] = 256
SHORT = {"max_iter": 1, "random_state": 0}


def with_dropout():
    layers = torch.nn.Linear(64, 8), torch.nn.Tanh(), torch.nn.Dropout(0.5)
    return torch.nn.Sequential(*layers, torch.nn.Linear(8, 3)), torch.nn.Linear(3, 64)


def encoder():
    conv = skae.ConvAE(4, sample_shape=(1, 8, 8), channels=(2,), device="cpu", **SHORT)
    return FrozenEstimator(conv.fit(IMAGES))


CASES = {
    "AutoencoderTransformer": (skae.AutoencoderTransformer(3, **SHORT), X),
    "Bernoulli": (skae.AutoencoderTransformer(3, likelihood="bernoulli", **SHORT), X),
    "linear": (skae.AutoencoderTransformer(3, activation="identity", **SHORT), X),
    "DenoisingAE": (skae.DenoisingAE(3, **SHORT), X),
    "masking": (skae.DenoisingAE(3, noise="masking", **SHORT), X),
    "peppering": (skae.DenoisingAE(3, noise="salt_and_pepper", **SHORT), X),
    "SparseAE": (skae.SparseAE(9, **SHORT), X),
    "ContractiveAE": (skae.ContractiveAE(3, **SHORT), X),
    "ConvAE": (skae.ConvAE(3, channels=(4,), **SHORT), IMAGES),
    "RecurrentAE": (skae.RecurrentAE(3, hidden_size=4, **SHORT), IMAGES),
    "GRU": (skae.RecurrentAE(3, hidden_size=4, cell="gru", **SHORT), IMAGES),
    "VariationalAE": (skae.VariationalAE(3, code_density="mixture", **SHORT), X),
    "ConditionalVAE": (skae.ConditionalVAE(3, **SHORT), X, Y),
    "AdversarialAE": (skae.AdversarialAE(2, prior="swiss_roll", **SHORT), X),
    "GAN": (skae.GAN(3, replay=0.5, minibatch_discrimination=True, **SHORT), X, Y),
    "convolutional GAN": (
        skae.GAN(3, architecture="conv", channels=(4,), **SHORT),
        IMAGES,
    ),
    "AEOutlierDetector": (skae.AEOutlierDetector(n_estimators=4, random_state=0), X),
    "features": (
        skae.AEOutlierDetector(n_estimators=4, max_features=0.5, random_state=0),
        X,
    ),
    "novelty": (
        skae.AEOutlierDetector(n_estimators=4, novelty=True, random_state=0),
        X,
    ),
    "few rows": (skae.AEOutlierDetector(n_estimators=4, random_state=0), X[:25]),
    "reconstruction": (
        skae.AEOutlierDetector(
            estimator=skae.VariationalAE(3, device=NAME, **SHORT), random_state=0
        ),
        X,
    ),
    "StackedAEClassifier": (
        skae.StackedAEClassifier((8, 6), pretrain_max_iter=1, **SHORT),
        X,
        FEW,
    ),
    "classifier on images": (
        skae.StackedAEClassifier(
            (6,), encoder=encoder(), pretrain_max_iter=1, early_stopping=True, **SHORT
        ),
        X,
        Y,
    ),
}
# Of those that differ in what they compute in float64 elsewhere.
WITHOUT_DOUBLE = [
    "AutoencoderTransformer",
    "Bernoulli",
    "linear",
    "RecurrentAE",
    "VariationalAE",
    "AdversarialAE",
    "GAN",
    "novelty",
    "StackedAEClassifier",
]
ESTIMATORS = {
    value
    for value in (getattr(skae, name) for name in skae.__all__)
    if inspect.isclass(value) and issubclass(value, BaseEstimator)
}
_EXPORTED = {skae.StackedAEClassifier: "predict_proba"}
# In this order: the last ones change the estimator.
METHODS = {
    "transform": lambda m, X, *y: m.transform(X),
    "inverse_transform": lambda m, X, *y: m.inverse_transform(
        m.transform(X)[:5], *(part[:5] for part in y if _is_conditional(m))
    ),
    "reconstruct": lambda m, X, *y: m.reconstruct(X),
    "score_samples": lambda m, X, *y: m.score_samples(X),
    "score": lambda m, X, *y: m.score(X, *y),
    "corrupt": lambda m, X, *y: m.corrupt(X),
    "denoise": lambda m, X, *y: m.denoise(X),
    "sample": lambda m, X, *y: m.sample(5),
    "interpolate": lambda m, X, *y: m.interpolate(X[0], X[1]),
    "augment": lambda m, X, *y: m.augment(X, *y, 5)[0] if y else None,
    "discriminate": lambda m, X, *y: m.discriminate(X),
    "decision_function": lambda m, X, *y: m.decision_function(X),
    "predict": lambda m, X, *y: m.predict(X),
    "predict_proba": lambda m, X, *y: m.predict_proba(X),
    "predict_log_proba": lambda m, X, *y: m.predict_log_proba(X),
    "p_values": lambda m, X, *y: m.p_values(X),
    "explain": lambda m, X, *y: m.explain(X[:2]),
    "to_torch": lambda m, X, *y: (
        m.to_torch(_EXPORTED.get(type(m), "score_samples")) and None
    ),
    "drift": lambda m, X, *y: m.drift(X).p_value,
    "tune_threshold": lambda m, X, *y: (
        m.tune_threshold(X, np.arange(len(X)) % 9 == 0).offset_
    ),
    "set_alert_rate": lambda m, X, *y: m.set_alert_rate(0.1).offset_,
    "refresh": lambda m, X, *y: m.refresh(X).offset_,
}
# Of scikit-learn, or another name for fit and a method above.
OTHERS = {"fit", "partial_fit", "fit_transform", "fit_predict"}


@pytest.fixture
def _without_double(monkeypatch):
    monkeypatch.setattr(devices, "_WITHOUT_DOUBLE", {NAME})
    log.refuses_double = True
    yield
    log.refuses_double = False


def _is_conditional(model):
    return isinstance(model, skae.ConditionalVAE)


def _on(model, device):
    return clone(model).set_params(device=device)


def _uses(model, *data):
    """What the methods of a fitted model return."""
    return {
        name: use(model, *data)
        for name, use in METHODS.items()
        if callable(getattr(model, name, None))
    }


def _devices(value, depth=0):
    """Devices of the tensors that a value holds."""
    if isinstance(value, torch.Tensor):
        return {value.device.type}
    if isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    else:
        parts = vars(value).values() if hasattr(value, "__dict__") else ()
    if depth > 8:
        return set()
    return set().union(*(_devices(part, depth + 1) for part in parts))


def assert_alike(result, expected, what):
    if expected is None:
        return
    result, expected = (np.asarray(value, dtype=float) for value in (result, expected))
    spread = np.nanstd(expected) or 1.0
    np.testing.assert_allclose(
        result, expected, rtol=0, atol=1e-3 * spread, err_msg=what
    )


def test_every_estimator_and_method_is_here():
    assert {type(case[0]) for case in CASES.values()} == ESTIMATORS
    for estimator in ESTIMATORS:
        methods = {
            name
            for name, _ in inspect.getmembers(estimator, callable)
            if not name.startswith(("_", "get_", "set_")) or name == "set_alert_rate"
        }
        assert methods <= METHODS.keys() | OTHERS


@pytest.mark.parametrize("name", CASES)
def test_an_estimator_computes_the_cpus_numbers(name):
    model, *data = CASES[name]
    expected = _uses(_on(model, "cpu").fit(*data), *data)
    fitted = _on(model, NAME).fit(*data)
    assert NAME in _devices(fitted)
    results = _uses(fitted, *data)
    for method in expected:
        assert_alike(results[method], expected[method], method)
    assert _devices(copy.deepcopy(fitted)) == _devices(fitted)
    assert _devices(copy.copy(fitted)) == _devices(fitted)
    loaded = pickle.loads(pickle.dumps(fitted))
    assert _devices(loaded) <= {"cpu"}
    use = METHODS["score" if hasattr(fitted, "score") else "score_samples"]
    assert_alike(use(loaded, *data), use(fitted, *data), "loaded")


@pytest.mark.parametrize(
    "name",
    [name for name, (model, *_) in CASES.items() if hasattr(model, "partial_fit")],
)
def test_partial_fit_goes_on_with_the_same_optimiser(name):
    model, rows, *y = CASES[name]
    fitted = {}
    for device in ("cpu", NAME):
        fitted[device] = own = _on(model, device)
        for part in (slice(None, 75), slice(75, None)):
            classes = {"classes": np.arange(3)} if hasattr(own, "predict") else {}
            labels = [labels[part] for labels in y]
            own.partial_fit(rows[part], *labels, **classes)
    assert_alike(*(own.transform(rows) for own in reversed(fitted.values())), name)


def test_a_warm_start_goes_on_from_members_on_the_device():
    results = []
    for device in ("cpu", NAME):
        detector = skae.AEOutlierDetector(
            n_estimators=4, warm_start=True, random_state=0, device=device
        ).fit(X)
        members = detector.estimators_
        detector.set_params(n_estimators=6).fit(X)
        assert detector.estimators_[0] is members[0]
        results.append(detector.score_samples(X))
    assert_alike(*reversed(results), "score_samples")


@pytest.mark.usefixtures("_without_double")
@pytest.mark.parametrize("name", WITHOUT_DOUBLE)
def test_devices_without_float64_are_enough(name):
    model, *data = CASES[name]
    fitted = _on(model, NAME).fit(*data)
    _uses(fitted, *data)
    if hasattr(model, "partial_fit"):
        fitted.partial_fit(*data)


def test_dropout_in_modules_is_seeded():
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        model = skae.AutoencoderTransformer(
            architecture=with_dropout(), device=NAME, random_state=0, max_iter=3
        )
        before = torch.get_device_module(NAME).get_rng_state()
        losses.append(model.fit(X).loss_curve_)
        after = torch.get_device_module(NAME).get_rng_state()
        assert torch.equal(before, after)
        torch.get_device_module(NAME).set_rng_state(
            torch.Generator(NAME).manual_seed(len(losses)).get_state()
        )
    assert losses[0] == losses[1]


def test_a_default_device_of_the_users_changes_nothing():
    expected = _on(CASES["DenoisingAE"][0], "cpu").fit(X).transform(X)
    torch.set_default_device(NAME)
    try:
        result = _on(CASES["DenoisingAE"][0], "cpu").fit(X).transform(X)
    finally:
        torch.set_default_device("cpu")
    np.testing.assert_array_equal(result, expected)
