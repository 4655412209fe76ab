"""Every exported estimator on the pretended device, against the CPU.

`test_pretend_device.py` runs these checks in a process of their own.
"""

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch
from cases import METHODS, X, assert_alike, cases, devices_of, on, uses
from pretend_device import NAME, log
from sklearn.base import BaseEstimator

import skae
from skae.rows import devices

pytestmark = pytest.mark.filterwarnings("ignore")

CASES = cases(NAME)
# As on the CPU: the device is not faster with more.
devices._PRODUCT_ROWS[NAME] = 256
# Of those that differ in what they compute in float64 elsewhere.
WITHOUT_DOUBLE = [
    "AutoencoderTransformer",
    "Bernoulli",
    "linear",
    "VariationalAE",
    "GAN",
    "novelty",
    "StackedAEClassifier",
]
ESTIMATORS = {
    value
    for value in (getattr(skae, name) for name in skae.__all__)
    if inspect.isclass(value) and issubclass(value, BaseEstimator)
}
# Of scikit-learn, or another name for fit and a method above.
OTHERS = {"fit", "partial_fit", "fit_transform", "fit_predict"}


@pytest.fixture
def _without_double(monkeypatch):
    monkeypatch.setattr(devices, "_WITHOUT_DOUBLE", {NAME})
    log.refuses_double = True
    yield
    log.refuses_double = False


def with_dropout():
    layers = torch.nn.Linear(64, 8), torch.nn.Tanh(), torch.nn.Dropout(0.5)
    return torch.nn.Sequential(*layers, torch.nn.Linear(8, 3)), torch.nn.Linear(3, 64)


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
    expected = uses(on(model, "cpu").fit(*data), *data)
    fitted = on(model, NAME).fit(*data)
    assert NAME in devices_of(fitted)
    results = uses(fitted, *data)
    for method in expected:
        assert_alike(results[method], expected[method], method)
    assert devices_of(copy.deepcopy(fitted)) == devices_of(fitted)
    assert devices_of(copy.copy(fitted)) == devices_of(fitted)
    loaded = pickle.loads(pickle.dumps(fitted))
    assert devices_of(loaded) <= {"cpu"}
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
        fitted[device] = own = on(model, device)
        for part in (slice(None, 30), slice(30, None)):
            classes = {"classes": np.arange(3)} if hasattr(own, "predict") else {}
            labels = [labels[part] for labels in y]
            own.partial_fit(rows[part], *labels, **classes)
    use = METHODS["transform" if hasattr(model, "transform") else "sample"]
    assert_alike(*(use(own, rows) for own in reversed(fitted.values())), name)


def test_a_warm_start_goes_on_from_members_on_the_device():
    results = []
    for device in ("cpu", NAME):
        detector = skae.AEOutlierDetector(
            n_estimators=4, max_iter=3, warm_start=True, random_state=0, device=device
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
    fitted = on(model, NAME).fit(*data)
    uses(fitted, *data)
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
    expected = on(CASES["DenoisingAE"][0], "cpu").fit(X).transform(X)
    torch.set_default_device(NAME)
    try:
        result = on(CASES["DenoisingAE"][0], "cpu").fit(X).transform(X)
    finally:
        torch.set_default_device("cpu")
    np.testing.assert_array_equal(result, expected)
