"""Gaussian noise: its moments, its generator and the row it leaves alone."""

import pytest
import torch
from sklearn.base import clone

from skae.parts.corruption import CORRUPTIONS, GaussianNoise, KeepMissing


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(*shape):
    return torch.randn(shape, generator=generator(9))


@pytest.mark.parametrize("scale", [0.1, 0.3, 2.0])
def test_noise_has_mean_zero_and_the_scale_as_standard_deviation(scale):
    x = rows(20_000, 4)
    noise = GaussianNoise(scale)(x, generator()) - x
    # Four standard errors.
    assert (noise.mean(0).abs() < 4 * scale / 20_000**0.5).all()
    torch.testing.assert_close(
        noise.std(0), torch.full((4,), scale), rtol=4 / 40_000**0.5, atol=0
    )


def test_noise_is_independent_between_entries_and_of_the_row():
    x = rows(20_000, 2)
    noise = GaussianNoise(1.0)(x, generator()) - x
    columns = torch.cat([x, noise], dim=1)
    correlation = torch.corrcoef(columns.T)[2:]
    expected = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    torch.testing.assert_close(correlation, expected, rtol=0, atol=4 / 20_000**0.5)


def test_the_generator_alone_decides_the_noise():
    x, noise = rows(3, 5, 4), GaussianNoise()
    before = torch.random.get_rng_state()
    first = noise(x, generator(1))
    assert torch.equal(first, noise(x, generator(1)))
    assert not torch.equal(first, noise(x, generator(2)))
    drawing = generator(1)
    assert torch.equal(first, noise(x, drawing))
    assert not torch.equal(first, noise(x, drawing))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_target_stays_clean():
    x = rows(5, 4)
    before = x.clone()
    x_tilde = GaussianNoise()(x, generator())
    assert torch.equal(x, before)
    assert x_tilde.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(4,), (5, 4), (3, 5, 4)])
def test_shape_and_precision_are_those_of_the_row(shape, dtype):
    x = rows(*shape).to(dtype)
    x_tilde = GaussianNoise()(x, generator())
    assert x_tilde.shape == x.shape
    assert x_tilde.dtype == dtype


def test_no_scale_is_no_noise():
    x = rows(5, 4)
    assert torch.equal(GaussianNoise(0.0)(x, generator()), x)


def test_the_part_is_clonable():
    noise = GaussianNoise(0.7)
    assert noise.get_params() == {"level": 0.7, "relative": True, "clip": None}
    assert clone(noise).get_params() == noise.get_params()
    assert GaussianNoise().set_params(level=0.2).level == 0.2


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_missing_entries_stay_missing_and_the_others_are_corrupted_as_ever(name):
    x = rows(50, 4)
    missing = rows(50, 4) > 1
    padded = x.masked_fill(missing, torch.nan)
    noise = CORRUPTIONS[name](0.5)
    if name == "salt_and_pepper":
        noise.set_params(low=-1.0, high=1.0)
    found = KeepMissing(noise)(padded, generator())
    assert torch.equal(found.isnan(), missing)
    expected = noise(x, generator())
    assert torch.equal(found[~missing], expected[~missing])
