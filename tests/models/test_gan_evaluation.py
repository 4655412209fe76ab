"""What held-out rows and the critic say of a generator."""

import pytest
import torch
from torch import nn

from skae.models.gan_evaluation import CollapseCheck, HeldOutSamples
from skae.statistics.energy import Modes, energy_distance

X = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))


class Stub(nn.Module):
    """Samples that are normal noise times a factor, shifted by the context."""

    def __init__(self, factor=1.0, uses_context=True):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.uses_context = uses_context

    def generate(self, n_samples, context=None, generator=None):
        made = self.factor * torch.randn(n_samples, 2, generator=generator)
        return made if context is None or not self.uses_context else made + 4 * context

    def critic(self, x, context=None):
        return self.factor * x.sum(1)


def test_the_judge_says_the_energy_distance_to_the_same_samples():
    judge = HeldOutSamples(X)
    assert judge.n_samples == 200
    made = Stub().generate(200, generator=torch.Generator().manual_seed(0))
    assert judge(Stub()) == pytest.approx(energy_distance(X, made.detach()))
    assert judge(Stub()) == judge(Stub())
    assert judge(Stub(3.0)) > judge(Stub()) + judge.tolerance


def test_the_tolerance_is_the_distance_of_samples_of_one_distribution():
    judge = HeldOutSamples(X)
    distances = []
    for seed in range(30):
        rows = torch.randn(40, 2, generator=torch.Generator().manual_seed(100 + seed))
        distances.append(HeldOutSamples(rows)(Stub()))
    mean = sum(distances) / len(distances)
    assert mean == pytest.approx(judge.tolerance, rel=0.5)


def test_a_generator_that_ignores_the_context_is_far_from_the_rows():
    context = torch.eye(2)[torch.arange(40) % 2]
    judge = HeldOutSamples(X + 4 * context, context=context)
    assert judge(Stub(uses_context=False)) > 10 * judge(Stub())


def test_samples_weigh_what_the_rows_of_their_context_weigh():
    context = torch.eye(2)[torch.arange(40) % 2]
    weight = torch.tensor([1.8, 0.2])[torch.arange(40) % 2]
    judge = HeldOutSamples(X + 4 * context, weight, context)
    assert judge(Stub()) < 2 * judge.tolerance


def test_samples_that_are_nan_are_infinitely_bad():
    judged = HeldOutSamples(X)(Stub(float("nan")))
    assert judged != judged


def test_samples_like_the_rows_are_no_collapse():
    check = CollapseCheck.of(Stub(), X, None, Modes(X, 2, random_state=0))
    assert check.coverage == 1
    assert check.spread == pytest.approx(1, rel=0.3)
    assert check.messages() == []


def test_collapse_is_reported():
    modes = Modes(torch.cat([X, X + 50]), 2, random_state=0)
    (lost,) = CollapseCheck.of(Stub(), X, None, modes).messages()
    assert "50% of the modes" in lost
    (near,) = CollapseCheck.of(Stub(0.01), X, None, None).messages()
    assert "Mode collapse: two samples" in near
    still = CollapseCheck(spread=1.0, critic_deviation=0.0, coverage=None)
    assert "discriminator has collapsed" in still.messages()[0]
