"""Distributions for codes to match."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest, multivariate_normal, norm

from skae.parts.targets import TARGETS, Custom, Mixture, SwissRoll


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def samples(target, n_components=2, n_samples=50_000, seed=0):
    return target.sample(n_samples, n_components, generator(seed)).double().numpy()


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("n_components", [1, 2, 5])
def test_named_ones_have_a_variance_of_about_one(name, n_components):
    if name == "swiss_roll" and n_components != 2:
        pytest.skip("lies in the plane")
    z = samples(TARGETS[name](), n_components)
    assert z.shape == (50_000, n_components)
    np.testing.assert_allclose(z.var(axis=0), 1, atol=0.2)


@pytest.mark.parametrize("name", TARGETS)
def test_the_generator_decides_the_samples(name):
    target = TARGETS[name]()
    first, second = (samples(target, seed=seed) for seed in (0, 0))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, samples(target, seed=1))


@pytest.mark.parametrize("name", TARGETS)
def test_the_code_is_deterministic_and_free(name):
    target, h = TARGETS[name](), torch.randn(4, 2)
    assert target.draw(h, None) is h
    assert target.location(h) is h
    assert target.n_outputs(2) == 2
    assert torch.equal(target.divergence(h), torch.zeros(4))


def test_normal_entries_are_standard_normal():
    z = samples(TARGETS["normal"](), 3, n_samples=5000)
    assert min(kstest(column, norm.cdf).pvalue for column in z.T) > 0.01


def test_the_swiss_roll_is_an_even_spiral():
    z = samples(SwissRoll(spread=0.0))
    radius = np.linalg.norm(z, axis=1)
    turns = radius * 2.5 / 2.1
    angle = np.arctan2(z[:, 1], z[:, 0]) / (2 * math.pi)
    # The radius says the angle.
    np.testing.assert_allclose((turns - angle) % 1 % 0.9999, 0, atol=2e-4)
    # The arc up to t is about t^2 long.
    share = (turns**2 - 0.25) / 6
    assert kstest(share, "uniform").pvalue > 0.01


def test_the_mixture_has_ten_equal_petals():
    z = samples(Mixture())
    turn = np.arctan2(z[:, 1], z[:, 0]) / (2 * math.pi) * 10
    petal = np.round(turn).astype(int) % 10
    assert np.allclose(np.bincount(petal) / len(z), 0.1, atol=0.01)
    angle = petal * (2 * math.pi / 10)
    along = z[:, 0] * np.cos(angle) + z[:, 1] * np.sin(angle)
    far = along > 1.35
    across = (z[:, 1] * np.cos(angle) - z[:, 0] * np.sin(angle))[far]
    assert np.median(along) == pytest.approx(1.35, abs=0.02)
    assert across.std() == pytest.approx(0.1, abs=0.01)


def test_on_a_line_the_mixture_has_ten_places():
    z = samples(Mixture(across=0.01), 1)[:, 0]
    places = np.linspace(-1.6, 1.6, 10)
    nearest = np.abs(z[:, None] - places).argmin(axis=1)
    assert np.allclose(np.bincount(nearest) / len(z), 0.1, atol=0.01)
    assert np.abs(z - places[nearest]).max() < 0.06


def test_the_swiss_roll_needs_the_plane():
    with pytest.raises(ValueError, match=r"prior='swiss_roll'.*n_components=3"):
        SwissRoll().check(3)


def test_functions_get_a_random_state_from_the_generator():
    def ring(n_samples, random_state):
        angle = random_state.uniform(0, 2 * np.pi, n_samples)
        return np.c_[np.cos(angle), np.sin(angle)]

    z = samples(Custom(ring), n_samples=100)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-6)
    assert np.array_equal(z, samples(Custom(ring), n_samples=100))


def test_scipys_distributions_are_functions_of_this_kind():
    square = Custom(multivariate_normal([1.0, 2.0]).rvs)
    assert np.allclose(samples(square).mean(axis=0), [1, 2], atol=0.05)
    line = Custom(norm(3.0).rvs)
    assert samples(line, 1).shape == (50_000, 1)


def test_functions_without_random_state_decide_by_themselves():
    constant = Custom(lambda n_samples: np.ones((n_samples, 2)))
    assert np.array_equal(samples(constant, n_samples=3), np.ones((3, 2)))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda n: np.ones((n, 3)), r"here \(8, 2\); <lambda> returned \(8, 3\)"),
        (lambda n: np.ones(n), r"here \(8, 2\); <lambda> returned \(8,\)"),
        (lambda n: np.full((n, 2), np.nan), "finite values; <lambda> returned NaN"),
        (lambda n: (np.ones((n, 2)), np.ones(n)), "returned a tuple that is none"),
    ],
)
def test_what_functions_return_is_checked(function, message):
    with pytest.raises(ValueError, match=f"prior must return .*{message}"):
        Custom(function).check(2)
