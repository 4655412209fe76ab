"""Errors that say what to pass instead."""

import os

import numpy as np
import pytest

from skae import GAN, AutoencoderTransformer, ConvAE, RecurrentAE, VariationalAE
from skae.callbacks import SampleGrid
from skae.inspection import (
    GrowthDisplay,
    InterpolationDisplay,
    StyleMixingDisplay,
    TruncationDisplay,
)

IMAGES = np.random.default_rng(0).random((40, 8, 8))
OWN = {"channels": 4, "max_iter": 1, "early_stopping": False, "random_state": 0}


@pytest.fixture(scope="module")
def gan(tmp_path_factory):
    grid = SampleGrid(tmp_path_factory.mktemp("grids") / "a.png", n_samples=3)
    return GAN(architecture="style", callbacks=[grid], **OWN).fit(IMAGES)


@pytest.fixture(scope="module")
def progressive():
    return GAN(architecture="progressive", **OWN).fit(IMAGES)


@pytest.mark.parametrize("truncations", [(), 0.5])
def test_truncations_are_one_or_more_numbers(gan, truncations):
    with pytest.raises(ValueError, match="truncations must be one or more numbers"):
        TruncationDisplay.from_estimator(gan, truncations=truncations)


def test_displays_of_styles_name_the_architecture(progressive):
    for call in (
        lambda: StyleMixingDisplay.from_estimator(progressive, n_layers=1),
        lambda: TruncationDisplay.from_estimator(progressive),
    ):
        with pytest.raises(ValueError, match="architecture='style'.*'progressive'"):
            call()


def test_growth_has_no_more_samples_than_were_kept(gan):
    with pytest.raises(ValueError, match="n_samples=4 is more than the 3 samples"):
        GrowthDisplay.from_estimator(gan, 4)


def test_a_single_style_becomes_an_array_of_one(gan):
    w = gan.styles(2)
    with pytest.raises(ValueError, match=r"W\[None\]"):
        gan.from_styles(w[0])
    with pytest.raises(ValueError, match=r"coarse\[None\]"):
        gan.mix(w[0], w[1], 1)


def test_images_are_no_styles(gan):
    width = gan.n_components_
    wrong = np.zeros((1, width + 1))
    with pytest.raises(ValueError, match=rf"a must be a style of {width} numbers"):
        InterpolationDisplay.from_estimator(gan, wrong[0], gan.styles(1))


def test_one_sample_is_no_array_of_samples(gan):
    vae = VariationalAE(2, **OWN).fit(IMAGES)
    flat = VariationalAE(2, sample_shape=(1, 8, 8), **OWN).fit(IMAGES.reshape(40, -1))
    colour = ConvAE(2, **OWN).fit(np.repeat(IMAGES[:, None], 3, axis=1))
    sequences = RecurrentAE(2, max_iter=1).fit(IMAGES)
    for call in (gan.project, vae.reconstruct, flat.transform, sequences.transform):
        with pytest.raises(ValueError, match=r"\(8, 8\) is one sample.*X\[None\]"):
            call(IMAGES[0])
    with pytest.raises(ValueError, match=r"\(3, 8, 8\) is one sample"):
        colour.reconstruct(np.repeat(IMAGES[:1], 3, axis=0))
    assert flat.transform(IMAGES.reshape(40, -1)[:1]).shape == (1, 2)


def test_classes_of_callbacks_are_made_without_arguments():
    with pytest.raises(ValueError, match=r"class SampleGrid.*SampleGrid\(\.\.\.\)"):
        GAN(architecture="style", **OWN, callbacks=[SampleGrid]).fit(IMAGES)


def test_grids_are_of_gans(tmp_path):
    grid = SampleGrid(tmp_path / "a.png")
    with pytest.raises(ValueError, match="of a GAN only.*SampleDisplay"):
        VariationalAE(2, **OWN, callbacks=[grid]).fit(IMAGES)


@pytest.mark.parametrize("name", ["f{epoch:03d}.png", "{foo}.png"])
def test_grids_have_one_placeholder(tmp_path, name):
    grid = SampleGrid(os.path.join(tmp_path, name))
    with pytest.raises(ValueError, match=r"only placeholder is \{epoch\}"):
        GAN(architecture="style", **OWN, callbacks=[grid]).fit(IMAGES)


def test_reconstructions_of_other_ranges_are_refused():
    own = {"likelihood": "bernoulli", "max_iter": 1, "random_state": 0}
    for model in (
        ConvAE(2, channels=4, **own),
        VariationalAE(2, channels=4, **own),
        AutoencoderTransformer(2, **own),
    ):
        is_flat = isinstance(model, AutoencoderTransformer)
        X = IMAGES.reshape(40, -1) if is_flat else IMAGES
        with pytest.raises(ValueError, match=r"needs X within \[0, 1\]"):
            model.fit(X).reconstruct(2 * X)
    cleaning = ConvAE(2, channels=4, noise="gaussian", **own).fit(IMAGES)
    assert cleaning.denoise(2 * IMAGES).shape == IMAGES.shape
    pairs = ConvAE(2, channels=4, **own).fit(2 * IMAGES, IMAGES)
    assert pairs.denoise(2 * IMAGES).shape == IMAGES.shape
