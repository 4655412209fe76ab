"""Likelihoods against torch.distributions."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch.distributions import Bernoulli as BernoulliDistribution
from torch.distributions import Normal
from torch.nn import functional as F

from skae.parts.base import Features, Likelihood
from skae.parts.likelihoods import (
    LIKELIHOODS,
    Bernoulli,
    Gaussian,
    LearnedGaussian,
    Masked,
)

each_likelihood = pytest.mark.parametrize("name", LIKELIHOODS)
with_gradient = pytest.mark.parametrize(
    "name", [name for name, part in LIKELIHOODS.items() if part.has_gradient]
)


def features(n_features):
    """Columns in units of one, of which nothing is measured."""
    zeros = torch.zeros(n_features, dtype=torch.float64)
    return Features(zeros, zeros + 1, (n_features,), lambda: None, lambda: None)


def rows(*shape):
    generator = torch.Generator().manual_seed(0)
    raw = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return raw, torch.rand(shape, generator=generator, dtype=torch.float64)


def test_gaussian_is_the_unit_normal_up_to_its_constant():
    raw, x = rows(6, 4)
    expected = -Normal(raw, 1.0).log_prob(x).sum(-1)
    constant = 4 / 2 * math.log(2 * math.pi)
    torch.testing.assert_close(Gaussian().nll(raw, x) + constant, expected)


def test_bernoulli_is_the_distribution_for_zeros_and_ones():
    raw, x = rows(6, 4)
    x = x.round()
    expected = -BernoulliDistribution(logits=raw).log_prob(x).sum(-1)
    torch.testing.assert_close(Bernoulli().nll(raw, x), expected)


def test_bernoulli_is_cross_entropy_for_grey_levels():
    raw, x = rows(6, 4)
    entropy = F.binary_cross_entropy_with_logits(raw, x, reduction="none")
    torch.testing.assert_close(Bernoulli().nll(raw, x), entropy.sum(-1))


def test_bernoulli_is_finite_for_large_logits():
    raw = torch.tensor([[1e4, -1e4]])
    assert Bernoulli().nll(raw, torch.tensor([[0.0, 1.0]])).isfinite().all()


@each_likelihood
def test_nll_of_members_is_that_of_each_member(name):
    likelihood = LIKELIHOODS[name]()
    raw, x = rows(3, 6, 4)
    expected = torch.stack([likelihood.nll(own, x[0]) for own in raw])
    torch.testing.assert_close(likelihood.nll(raw, x[0]), expected)


@with_gradient
def test_gradient_by_the_raw_output_is_mean_minus_x(name):
    likelihood = LIKELIHOODS[name]()
    raw, x = rows(6, 4)
    raw.requires_grad_()
    (gradient,) = torch.autograd.grad(likelihood.nll(raw, x).sum(), raw)
    torch.testing.assert_close(gradient, likelihood.mean(raw.detach()) - x)
    assert likelihood.has_gradient
    torch.testing.assert_close(likelihood.gradient(raw.detach().clone(), x), gradient)


@each_likelihood
def test_link_inverts_the_mean(name):
    likelihood = LIKELIHOODS[name]()
    raw, _ = rows(6, 4)
    raw = raw.clamp(-4, 4)
    torch.testing.assert_close(likelihood.link(likelihood.mean(raw)), raw)


@each_likelihood
def test_link_derivative_is_the_derivative_of_the_link(name):
    likelihood = LIKELIHOODS[name]()
    mean = torch.linspace(0.05, 0.95, 9, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(likelihood.link(mean).sum(), mean)
    torch.testing.assert_close(likelihood.link_derivative(mean.detach()), expected)


def test_bernoulli_link_is_finite_for_constant_pixels():
    mean = torch.tensor([0.0, 1.0])
    assert Bernoulli().link(mean).abs().max() <= math.log(99) + 1e-4
    assert Bernoulli().link_derivative(mean).isfinite().all()


@each_likelihood
def test_is_clonable(name):
    likelihood = LIKELIHOODS[name]()
    assert clone(likelihood).get_params() == likelihood.get_params()


def with_missing(x):
    missing = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    return x.masked_fill(missing, torch.nan), missing


@each_likelihood
def test_masked_entries_change_neither_loss_nor_gradient(name):
    likelihood = LIKELIHOODS[name]()
    raw, x = rows(6, 4)
    padded, missing = with_missing(x)
    raw.requires_grad_()
    expected = torch.stack(
        [
            likelihood.nll(row[seen], target[seen])
            for row, target, seen in zip(raw, x, ~missing, strict=True)
        ]
    )
    (slope,) = torch.autograd.grad(expected.sum(), raw)
    found = Masked(likelihood).nll(raw, padded)
    torch.testing.assert_close(found, expected)
    (found_slope,) = torch.autograd.grad(found.sum(), raw)
    torch.testing.assert_close(found_slope, slope)
    assert (found_slope[missing] == 0).all()


@each_likelihood
def test_masked_rows_without_nan_are_judged_as_ever(name):
    likelihood = LIKELIHOODS[name]()
    raw, x = rows(3, 6, 4)
    masked = Masked(likelihood)
    torch.testing.assert_close(masked.nll(raw, x), likelihood.nll(raw, x))
    assert torch.equal(masked.mean(raw), likelihood.mean(raw))
    torch.testing.assert_close(masked.entry_nll(raw, x).sum(-1), masked.nll(raw, x))
    scale = torch.tensor([0.5, 1, 2, 3], dtype=torch.float64)
    expected = likelihood.log_likelihood(raw, x, scale)
    torch.testing.assert_close(masked.log_likelihood(raw, x, scale), expected)


def test_masked_likelihoods_refuse_the_same_values_and_have_the_same_noise():
    with pytest.raises(ValueError, match="needs X within"):
        Masked(Bernoulli()).check(lambda: (-np.ones(2), np.ones(2)))
    Masked(Bernoulli()).check(lambda: (np.zeros(2), np.array([1, np.nan])))
    assert Masked(Gaussian()).noise_std() is Gaussian().noise_std()
    bound = LearnedGaussian(0.25).bind(features(3))
    assert torch.equal(Masked(bound).noise_std(), bound.noise_std())


def test_a_copy_of_a_masked_likelihood_is_independent():
    masked = Masked(LearnedGaussian().bind(features(3)))
    before = masked.noise_std().item()
    copied = copy.deepcopy(masked)
    torch.nn.init.constant_(copied.likelihood.log_std, 1.0)
    assert copied.noise_std().item() == pytest.approx(math.e)
    assert masked.noise_std().item() == before


def test_entries_of_several_outputs_are_judged_one_by_one():
    class OfTwo(Likelihood):
        def nll(self, raw, x):
            location, scale = raw.unflatten(-1, (-1, 2)).unbind(-1)
            return -Normal(location, scale.exp()).log_prob(x).sum(-1)

        def mean(self, raw):
            return raw.unflatten(-1, (-1, 2))[..., 0]

    raw, _ = rows(6, 8)
    _, x = rows(6, 4)
    entries = OfTwo().entry_nll(raw, x)
    assert entries.shape == (6, 4)
    torch.testing.assert_close(entries.sum(-1), OfTwo().nll(raw, x))
    padded, missing = with_missing(x)
    expected = entries.masked_fill(missing, 0).sum(-1)
    torch.testing.assert_close(Masked(OfTwo()).nll(raw, padded), expected)


def test_masked_likelihoods_have_no_explicit_gradient():
    assert not Masked(Gaussian()).has_gradient


@pytest.mark.parametrize("variance", ["shared", "per_feature", 0.25])
def test_learned_gaussian_is_the_normal_with_all_constants(variance):
    raw, x = rows(6, 4)
    likelihood = clone(LearnedGaussian(variance)).bind(features(4))
    if variance != 0.25:
        std = torch.linspace(0.2, 2, len(likelihood.log_std), dtype=torch.float64)
        likelihood.log_std = torch.nn.Parameter(std.log())
    else:
        std = torch.tensor(0.5)
        assert not likelihood.log_std.requires_grad
    expected = -Normal(raw, std.expand(4)).log_prob(x).sum(-1)
    torch.testing.assert_close(likelihood.nll(raw, x), expected)


def test_variance_of_features_without_noise_stays_positive():
    likelihood = LearnedGaussian().bind(features(2))
    torch.nn.init.constant_(likelihood.log_std, -50.0)
    assert likelihood.noise_std() > 0
    assert torch.isfinite(likelihood.nll(torch.zeros(1, 2), torch.zeros(1, 2))).all()


@pytest.mark.parametrize(
    ("likelihood", "std"),
    [
        (Gaussian(), 1.0),
        (LearnedGaussian(0.25).bind(features(3)), 0.5),
        (Bernoulli(), None),
    ],
)
def test_draws_have_the_moments_of_the_likelihood(likelihood, std):
    raw = torch.tensor([-1.0, 0.0, 2.0]).expand(100_000, -1)
    drawn = likelihood.draw(raw, torch.Generator().manual_seed(0))
    mean = likelihood.mean(raw)[0]
    torch.testing.assert_close(drawn.mean(0), mean, rtol=0, atol=0.02)
    expected = (mean * (1 - mean)).sqrt() if std is None else torch.full((3,), std)
    torch.testing.assert_close(drawn.std(0), expected, rtol=0, atol=0.02)
