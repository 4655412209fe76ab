"""Single rows: what is remembered of a fitted model never changes a result.

The first calls with few rows try smaller products; `transform` and the like of one row
have the bits that the row has among many, before and after the trials, and whatever is
done to the estimator in between.
"""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone

import skae

TRAINING = {"max_iter": 20, "random_state": 0}
SHORT = TRAINING | {"max_iter": 2}
METHODS = (
    "transform",
    "reconstruct",
    "inverse_transform",
    "score_samples",
    "predict_proba",
    "decision_function",
    "explain",
)
CASES = {
    "deep from PCA": skae.AutoencoderTransformer(3, **TRAINING),
    "deep from random weights": skae.AutoencoderTransformer(
        3, init="random", hidden_layer_sizes=(21, 9), activation="gelu", **TRAINING
    ),
    "tied": skae.AutoencoderTransformer(
        3, init="random", hidden_layer_sizes=(21,), tied_weights=True, **TRAINING
    ),
    "linear": skae.AutoencoderTransformer(3, activation="identity", **TRAINING),
    "contractive": skae.ContractiveAE(3, **TRAINING),
    "denoising": skae.DenoisingAE(3, **TRAINING),
    "variational": skae.VariationalAE(3, **TRAINING),
    "adversarial": skae.AdversarialAE(3, **TRAINING),
    "images": skae.ConvAE(3, sample_shape=(1, 4, 4), **SHORT),
    "sequences": skae.RecurrentAE(3, sample_shape=(4, 4), **SHORT),
    "GAN": skae.GAN(3, **TRAINING),
    "detector": skae.AEOutlierDetector(random_state=0),
    "novelty": skae.AEOutlierDetector(random_state=0, novelty=True),
    "classifier": skae.StackedAEClassifier((20, 10), pretrain_max_iter=1, **TRAINING),
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:No weights were better on held-out"),
    pytest.mark.filterwarnings("ignore:.*max_iter"),
    pytest.mark.filterwarnings("ignore:.*converge"),
]


@pytest.fixture(scope="module")
def X():
    """A surface in sixteen columns, one of them constant, with a few outliers."""
    random = np.random.default_rng(0)
    t = random.uniform(-2, 2, (400, 2))
    curves = t, np.sin(2 * t), np.cos(3 * t), t**2, t[:, :1] * t[:, 1:]
    noise = 0.1 * random.normal(size=(400, 6))
    X = np.hstack([*curves, noise, np.full((400, 1), 3.0)])
    X[::50, 3] *= 5
    return X


@pytest.fixture(scope="module")
def y(X):
    return (X[:, 0] > 0).astype(int)


@pytest.fixture(scope="module")
def deep(X):
    model = clone(CASES["deep from PCA"]).fit(X)
    assert model.departure_ > 0
    return model


def assert_same_bits(model, X, n_alone=14):
    """Of rows alone, few together and all, by every method."""
    for name in METHODS:
        method = getattr(model, name, None)
        if method is None:
            continue
        rows = model.transform(X) if name == "inverse_transform" else X
        expected = method(rows)
        for row in range(n_alone):
            assert np.array_equal(method(rows[row : row + 1])[0], expected[row]), name
        for some in ([3, 50], [100, 4, 2, 7, 51], list(range(40, 56))):
            assert np.array_equal(method(rows[some]), expected[some]), name


@pytest.mark.parametrize("name", CASES)
def test_a_row_alone_has_the_bits_it_has_among_many(X, y, name):
    takes_labels = name == "classifier"
    model = clone(CASES[name]).fit(X, y if takes_labels else None)
    assert_same_bits(model, X)


def test_in_single_precision_and_sparse(X):
    model = clone(CASES["deep from PCA"]).fit(X.astype(np.float32))
    assert model.transform(X[:1].astype(np.float32)).dtype == np.float32
    assert_same_bits(model, X.astype(np.float32))
    held = sparse.csr_array(X)
    assert np.array_equal(model.transform(held[:1]), model.transform(X)[:1])


def warm(model, X):
    for row in range(12):
        model.transform(X[row : row + 1])


def add_to_data(parameter):
    parameter.data.add_(0.5)


def copy_in_place(parameter):
    with torch.no_grad():
        parameter.copy_(parameter + 0.5)


def write_to_memory(parameter):
    parameter.detach().numpy()[...] += 0.5


def set_data(parameter):
    parameter.data = parameter.data + 0.5


@pytest.mark.parametrize(
    "edit", [add_to_data, copy_in_place, write_to_memory, set_data]
)
def test_weights_that_are_edited_in_place_count_at_once(X, deep, edit):
    model = copy.deepcopy(deep)
    warm(model, X)
    before = model.transform(X[:1])
    for parameter in model.net_.parameters():
        edit(parameter)
    assert not np.allclose(model.transform(X[:1]), before)
    assert_same_bits(model, X)


def test_weights_of_another_model_and_another_precision(X, deep):
    model = copy.deepcopy(deep)
    other = clone(deep).set_params(random_state=1).fit(X)
    warm(model, X)
    model.net_, model.units_ = other.net_, other.units_
    assert np.array_equal(model.transform(X[:1]), other.transform(X)[:1])
    model = copy.deepcopy(deep)
    warm(model, X)
    model.net_.double()
    assert_same_bits(model, X)
    np.testing.assert_allclose(model.transform(X), deep.transform(X), atol=1e-3)


@pytest.mark.parametrize("again", ["fit", "warm_start", "partial_fit"])
def test_more_training_counts_at_once(X, deep, again):
    model = copy.deepcopy(deep)
    warm(model, X)
    before = model.transform(X[:1])
    if again == "partial_fit":
        model.partial_fit(X[:200])
    else:
        model.set_params(warm_start=again == "warm_start", random_state=3)
        model.fit(2 * X + 1 if again == "fit" else X)
    assert not np.array_equal(model.transform(X[:1]), before)
    assert_same_bits(model, X)


def test_parameters_set_after_the_fit_change_nothing(X, deep):
    model = copy.deepcopy(deep)
    warm(model, X)
    model.set_params(n_components=5, hidden_layer_sizes=(3,), activation="tanh")
    assert np.array_equal(model.transform(X[:1]), deep.transform(X)[:1])


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_copies_go_on_by_themselves(X, deep, copied):
    warm(deep, X)
    model = copied(deep)
    assert_same_bits(model, X)
    for parameter in model.net_.parameters():
        parameter.data.zero_()
    assert_same_bits(model, X)
    assert_same_bits(deep, X)


def test_nothing_is_kept_in_the_estimator(X, deep):
    model = copy.deepcopy(deep)
    before, attributes = pickle.dumps(model), set(vars(model))
    warm(model, X)
    assert set(vars(model)) == attributes
    assert pickle.dumps(model) == before


def test_threads_that_call_at_the_same_time(X, deep):
    model = copy.deepcopy(deep)
    expected = model.transform(X)
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda row: model.transform(X[[row]]), range(64)))
    assert np.array_equal(np.concatenate(codes), expected[:64])


@pytest.mark.parametrize(
    "context",
    [
        torch.no_grad,
        torch.inference_mode,
        torch.enable_grad,
        lambda: torch.autocast("cpu", torch.bfloat16),
    ],
)
def test_modes_around_the_call_change_no_bit(X, deep, context):
    model, expected = copy.deepcopy(deep), deep.transform(X)
    with context():
        for row in range(12):
            assert np.array_equal(model.transform(X[[row]])[0], expected[row])
    assert_same_bits(model, X)


def test_the_default_dtype_changes_no_bit(X, deep):
    model, expected = copy.deepcopy(deep), deep.transform(X)
    torch.set_default_dtype(torch.float64)
    try:
        for row in range(12):
            assert np.array_equal(model.transform(X[[row]])[0], expected[row])
    finally:
        torch.set_default_dtype(torch.float32)


def test_noise_does_not_depend_on_earlier_calls(X):
    model = clone(CASES["denoising"]).fit(X)
    first = model.corrupt(X[:1], random_state=0)
    for _ in range(12):
        assert np.array_equal(model.corrupt(X[:1], random_state=0), first)
