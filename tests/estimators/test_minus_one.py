"""-1 as a class of conditional models, and classes that are none."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone

from skae import GAN, ConditionalVAE

X = np.random.default_rng(0).random((30, 4))
MODELS = [
    GAN(hidden_layer_sizes=(4,), max_iter=1, random_state=0, early_stopping=False),
    ConditionalVAE(2, hidden_layer_sizes=(4,), max_iter=1, random_state=0),
]


@pytest.mark.parametrize("dtype", [int, float, object])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_minus_one_among_several_classes_is_warned_of(model, method, dtype):
    y = (np.arange(30) % 3 - 1).astype(dtype)
    with pytest.warns(UserWarning, match="-1 is learned like the others") as caught:
        model = getattr(clone(model), method)(X, y)
    if method == "fit":
        assert caught[0].filename == __file__
    assert model.classes_.tolist() == [-1, 0, 1]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("y", [np.arange(30) % 2 * 2 - 1, np.linspace(-1, 1, 30)])
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_two_classes_and_numbers_may_have_it(model, y):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", message="No weights|max_iter")
        model.fit(X, y)


def test_classes_that_are_named_may_have_it():
    gan = clone(MODELS[0])
    gan.partial_fit(X, np.arange(30) % 3 - 1, classes=[-1, 0, 1, 2])
    assert gan.classes_.tolist() == [-1, 0, 1, 2]


@pytest.mark.parametrize("missing", [np.nan, None])
def test_classes_hold_no_marks(missing):
    gan = clone(MODELS[0])
    with pytest.raises(ValueError, match="classes must not contain NaN or None"):
        gan.partial_fit(X, np.arange(30) % 3, classes=[missing, 0, 1, 2])
