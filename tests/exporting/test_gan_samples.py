"""Samples of a GAN as modules and files: every architecture, in X's units and range."""

import functools
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

import skae

ARCHITECTURES = ["dense", "conv", "progressive", "style"]
COLOURS = np.random.default_rng(0).integers(0, 256, size=(20, 3, 8, 8), dtype=np.uint8)
Y = np.array(["cat", "dog"])[np.arange(20) % 2]


@functools.cache
def fitted(architecture, *, is_conditional=True):
    widths = {"hidden_layer_sizes": 4} if architecture == "dense" else {"channels": 4}
    gan = skae.GAN(2, architecture=architecture, max_iter=1, random_state=0, **widths)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return gan.fit(COLOURS, Y if is_conditional else None)


@pytest.mark.parametrize("is_conditional", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_colour_bytes_come_back_in_their_range(architecture, is_conditional):
    gan = fitted(architecture, is_conditional=is_conditional)
    # Noise far out, whose images are black and white.
    Z = 20 * torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    y = [torch.tensor([0, 1, 0, 1, 0, 1])] if is_conditional else []
    made = gan.to_torch("sample")(Z, *y)
    assert made.dtype == torch.float32
    assert made.shape == (6, 3, 8, 8)
    assert 0 <= made.min() < made.max() <= 255
    assert made.max() > 100


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_files_keep_samples_and_values(architecture, tmp_path):
    gan = fitted(architecture)
    skae.save(gan, tmp_path / "gan.skae")
    again = skae.load(tmp_path / "gan.skae")
    np.testing.assert_array_equal(
        again.sample(5, y="dog", random_state=1), gan.sample(5, y="dog", random_state=1)
    )
    np.testing.assert_array_equal(
        again.discriminate(COLOURS, Y), gan.discriminate(COLOURS, Y)
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_modules_are_traced_for_any_number_of_rows(architecture):
    module = fitted(architecture).to_torch("sample")
    inputs = module.example_inputs
    batch = torch.export.Dim("batch")
    shapes = {"X": {0: batch}, "y": {0: batch}}
    traced = torch.export.export(module, inputs, dynamic_shapes=shapes).module()
    few = [each[:3] for each in inputs]
    torch.testing.assert_close(traced(*few), module(*few), rtol=1e-4, atol=1e-2)
