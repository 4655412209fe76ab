"""The importance-weighted bound against the likelihood itself."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from skae.models.autoencoder import Autoencoder
from skae.models.elbo import importance_weighted_bound
from skae.parts.base import Features
from skae.parts.corruption import NoCorruption
from skae.parts.dense import Dense
from skae.parts.likelihoods import Bernoulli, LearnedGaussian
from skae.parts.priors import StandardNormal

N, D, K = 7, 5, 2
ZEROS = torch.zeros(D, dtype=torch.float64)
FEATURES = Features(ZEROS, ZEROS + 1, (D,), lambda: None, lambda: None)


def model(likelihood, n_context=0):
    codec = Dense((), "identity").build(
        D,
        K,
        generator=torch.Generator().manual_seed(0),
        n_outputs=2 * K,
        n_context=n_context,
    )
    return Autoencoder(codec, likelihood, NoCorruption(), StandardNormal()).double()


def rows(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@torch.no_grad()
def test_many_draws_reach_the_likelihood_of_a_linear_model():
    gaussian = model(LearnedGaussian().bind(FEATURES))
    # The posterior is the prior: wide enough to be drawn from.
    gaussian.codec.encoder_weights[0].zero_()
    ((weight, bias),) = gaussian.codec.decoder_layers()
    covariance = weight.T @ weight + torch.eye(D, dtype=torch.float64)
    x = rows(N, D)
    expected = MultivariateNormal(bias, covariance).log_prob(x)
    found = importance_weighted_bound(gaussian, x, rows(100_000, K))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


@torch.no_grad()
def test_bound_is_the_mean_weight_written_out():
    bernoulli = model(Bernoulli(), n_context=1)
    x, context, epsilon = rows(N, D).sigmoid().round(), rows(N, 1), rows(3, K)
    h = bernoulli.codec.encode(x, context)
    posterior = Normal(h[:, :K], (0.5 * h[:, K:]).exp())
    weights = []
    for noise in epsilon:
        z = posterior.mean + posterior.stddev * noise
        p = bernoulli.codec.decode(z, context).sigmoid()
        log_x = (x * p.log() + (1 - x) * (1 - p).log()).sum(1)
        log_z = Normal(0.0, 1.0).log_prob(z) - posterior.log_prob(z)
        weights.append(log_x + log_z.sum(1))
    expected = torch.stack(weights).exp().mean(0).log()
    found = importance_weighted_bound(bernoulli, x, epsilon, context)
    torch.testing.assert_close(found, expected)


@torch.no_grad()
@pytest.mark.parametrize(("fewer", "more"), [(1, 5), (5, 50), (50, 1000)])
def test_bound_tightens_with_more_draws(fewer, more):
    gaussian, x = model(LearnedGaussian().bind(FEATURES)), rows(N, D)

    def mean_bound(n_draws):
        bounds = [
            importance_weighted_bound(gaussian, x, rows(n_draws, K, seed=seed)).mean()
            for seed in range(20)
        ]
        return torch.stack(bounds).mean()

    assert mean_bound(more) > mean_bound(fewer)


@torch.no_grad()
def test_one_draw_is_the_evidence_lower_bound_on_average():
    gaussian, x = model(LearnedGaussian().bind(FEATURES)), rows(1, D)
    many = x.expand(20_000, -1)
    elbo = -gaussian(many, torch.Generator().manual_seed(0)).mean()
    draws = rows(20_000, K)
    single = [importance_weighted_bound(gaussian, x, e[None]) for e in draws[:4000]]
    assert math.isclose(torch.stack(single).mean(), elbo, rel_tol=0.05)
