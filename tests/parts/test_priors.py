"""The prior against torch.distributions."""

import pytest
import torch
from sklearn.base import clone
from torch.distributions import Normal, kl_divergence

from skae.parts.priors import StandardNormal

K = 3


def outputs(*lead, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*lead, 2 * K, generator=generator, dtype=torch.float64)


def posterior(h):
    return Normal(h[..., :K], (0.5 * h[..., K:]).exp())


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_divergence_is_that_of_torch_distributions(beta):
    h = outputs(2, 5)
    expected = kl_divergence(posterior(h), Normal(0.0, 1.0)).sum(-1)
    found = clone(StandardNormal(beta)).divergence(h)
    torch.testing.assert_close(found, beta * expected)


def test_gradient_of_the_divergence_is_autograds():
    h = outputs(5).requires_grad_()
    prior = StandardNormal(2.0)
    (expected,) = torch.autograd.grad(prior.divergence(h).sum(), h)
    torch.testing.assert_close(prior.divergence_gradient(h.detach()), expected)


def test_draws_have_the_moments_of_the_posterior():
    h = outputs(1).expand(200_000, -1)
    prior = StandardNormal()
    z = prior.draw(h, torch.Generator().manual_seed(0))
    torch.testing.assert_close(z.mean(0), prior.location(h)[0], rtol=0, atol=0.02)
    torch.testing.assert_close(z.std(0), prior.scale(h)[0], rtol=0.01, atol=0)


def test_reparameterised_gradient_is_that_of_finite_differences():
    """Of E[f(z)] with common random numbers, f a sum of cubes."""
    h, eps = outputs(4), 1e-6
    prior = StandardNormal()

    def value(h):
        z = prior.draw(h, torch.Generator().manual_seed(1))
        return (z**3).sum()

    leaf = h.clone().requires_grad_()
    (found,) = torch.autograd.grad(value(leaf), leaf)
    for index in range(h.numel()):
        step = torch.zeros_like(h)
        step.view(-1)[index] = eps
        slope = (value(h + step) - value(h - step)) / (2 * eps)
        torch.testing.assert_close(found.view(-1)[index], slope, rtol=1e-6, atol=1e-8)


def test_log_ratio_is_the_difference_of_log_densities():
    h = outputs(6)
    prior = StandardNormal()
    epsilon = prior.noise(prior.location(h), torch.Generator().manual_seed(2))
    z = prior.location(h) + prior.scale(h) * epsilon
    expected = Normal(0.0, 1.0).log_prob(z) - posterior(h).log_prob(z)
    torch.testing.assert_close(prior.log_ratio(z, h, epsilon), expected.sum(-1))


def test_samples_are_standard_normal():
    z = StandardNormal().sample(100_000, K, torch.Generator().manual_seed(0))
    assert z.shape == (100_000, K)
    torch.testing.assert_close(z.T.cov(), torch.eye(K), rtol=0, atol=0.02)
