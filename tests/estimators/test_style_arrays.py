"""Styles carry their model, and say whether they are of one image or of several."""

import copy
import pickle
import warnings

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skae import GAN
from skae.estimators.style_arrays import Styles


@pytest.fixture(scope="module")
def images():
    return (load_digits().images[:60] / 16).astype(np.float32)


def fitted(images, seed):
    gan = GAN(architecture="style", channels=4, max_iter=1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return gan.fit(images)


@pytest.fixture(scope="module")
def gan(images):
    return fitted(images, 0)


@pytest.fixture(scope="module")
def foreign(images):
    return fitted(images, 1).styles(4)


@pytest.fixture(scope="module")
def layered(gan, images):
    return gan.project(images[:2], n_steps=1)[0]


def dumped(W, tmp_path):
    joblib.dump(W, tmp_path / "W.joblib")
    return joblib.load(tmp_path / "W.joblib")


KEEPING = {
    "slice": lambda W, _: W[1:3],
    "pickle": lambda W, _: pickle.loads(pickle.dumps(W)),
    "joblib": dumped,
    "copy": lambda W, _: copy.deepcopy(W),
    "stacked": lambda W, _: np.vstack([W, W[:1]]),
    "moved": lambda W, _: W + np.float32(0.1) * np.ones(W.shape[1], np.float32),
    "in place": lambda W, _: np.multiply(W, 2, out=W.copy()),
    "mean": lambda W, _: W.mean(axis=0, keepdims=True),
    "weighted": lambda W, _: np.average(W, axis=0, keepdims=True),
    "chosen": lambda W, _: np.where(W > 0, W, 0),
}


@pytest.mark.parametrize("how", KEEPING)
def test_what_is_computed_from_styles_belongs_to_their_model(
    gan, foreign, how, tmp_path
):
    assert gan.from_styles(KEEPING[how](gan.styles(4), tmp_path)).ndim == 3
    with pytest.raises(ValueError, match="W holds styles of another model"):
        gan.from_styles(KEEPING[how](foreign, tmp_path))


@pytest.mark.parametrize(
    "mixture",
    [
        lambda a, b: np.concatenate([a, b]),
        lambda a, b: (a + b) / 2,
        lambda a, b: np.stack([a, b], axis=1),
        lambda a, b: 0.5 * a.mean(axis=0, keepdims=True) - b,
    ],
)
def test_mixtures_of_models_are_refused(gan, foreign, mixture):
    with pytest.raises(ValueError, match="W mixes styles of several models"):
        gan.from_styles(mixture(gan.styles(4), foreign))


def test_comparisons_and_indices_are_plain_arrays(gan, foreign):
    W = gan.styles(4)
    assert not isinstance(foreign == W, Styles)
    assert not isinstance(np.argmax(W, axis=1), Styles)
    np.testing.assert_array_equal(W, np.array(W))


def test_a_part_of_layered_styles_is_one_image(gan, layered):
    every = gan.from_styles(layered)
    for one in (
        layered[0],
        next(iter(layered)),
        pickle.loads(pickle.dumps(layered))[0],
    ):
        np.testing.assert_array_equal(gan.from_styles(one), every[:1])
    mean = layered.mean(axis=0)
    assert len(gan.from_styles(mean)) == 1
    W = gan.styles(2)
    np.testing.assert_array_equal(gan.mix(layered[0], W, 1), gan.mix(layered[:1], W, 1))
    np.testing.assert_array_equal(
        gan.interpolate(layered[0], W[0], 3), gan.interpolate(layered[:1], W[:1], 3)
    )
    # Styles of one layer, and of the mean layer, are those of several images.
    assert len(gan.from_styles(layered[:, 0])) == len(layered)
    assert len(gan.from_styles(layered.mean(axis=1))) == len(layered)
    with pytest.raises(ValueError, match=r"got shape \(1, 1, 64\)"):
        gan.from_styles(layered[0][:1])


def test_as_many_plain_styles_as_layers_are_several(gan, layered):
    W = gan.styles(4)
    with pytest.raises(ValueError, match="a must be a single style; got 2"):
        gan.interpolate(W[:2], W[2:], 3)
    # Numbers without a mark go by their shape.
    rows = np.array(layered[0])
    assert len(gan.interpolate(rows, W[0], 3)) == 3
    assert len(gan.from_styles(rows)) == 2


@pytest.mark.parametrize("how", ["rows", "tuple"])
def test_lists_of_styles_belong_to_their_model(gan, foreign, layered, how):
    W, make = gan.styles(2), {"rows": list, "tuple": tuple}[how]
    np.testing.assert_array_equal(gan.from_styles(make(W)), gan.from_styles(W))
    both = gan.from_styles(make(layered))
    np.testing.assert_array_equal(both, gan.from_styles(layered))
    for call in (
        lambda W: gan.from_styles(W),
        lambda W: gan.mix(W, gan.styles(), 1),
        lambda W: gan.mix(gan.styles(), W, 1),
        lambda W: gan.interpolate(W[:1], gan.styles()),
    ):
        with pytest.raises(ValueError, match="holds styles of another model"):
            call(make(foreign))
    with pytest.raises(ValueError, match="W mixes styles of several models"):
        gan.from_styles(make([W[0], foreign[0]]))


def test_styles_of_another_model_that_are_written_into_an_array_are_found(gan, foreign):
    W = gan.styles(2)
    W[0] = gan.styles(random_state=5)[0]
    W[1] = 0
    assert len(gan.from_styles(W)) == 2
    W[1] = foreign[1]
    with pytest.raises(ValueError, match="W mixes styles of several models"):
        gan.from_styles(W)
    W = gan.styles(2)
    W += foreign[:2]
    with pytest.raises(ValueError, match="W mixes styles of several models"):
        gan.from_styles(W)
    W = gan.styles(2)
    np.copyto(dst=W, src=foreign[:2])
    with pytest.raises(ValueError, match="W mixes styles of several models"):
        gan.from_styles(W)
    W = gan.styles(2)
    np.put(W, [0], foreign)
    with pytest.raises(ValueError, match="W mixes styles of several models"):
        gan.from_styles(W)


def test_numbers_alone_say_nothing_of_a_model(gan, foreign):
    assert len(gan.from_styles(foreign.tolist())) == len(foreign)
    assert len(gan.from_styles(np.array(foreign))) == len(foreign)
