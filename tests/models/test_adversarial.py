"""Codes that a critic cannot tell from samples of a prior."""

import math

import pytest
import torch
from torch.nn import functional as F

from skae.models.adversarial import (
    OPTIMIZER_SETTINGS,
    AdversarialAutoencoder,
    PriorDistanceJudge,
)
from skae.parts.corruption import NoCorruption
from skae.parts.critics import DenseCritic
from skae.parts.dense import Dense
from skae.parts.likelihoods import Gaussian
from skae.parts.penalties import L1Sparsity
from skae.parts.targets import Normal
from skae.statistics.energy import energy_distance
from skae.training.alternating import AlternatingTrainer
from skae.training.held_out import HoldOut
from skae.training.schedule import Schedule


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(n=64, seed=0):
    return torch.randn(n, 6, generator=generator(seed))


def model(weight=2.0, penalties=()):
    codec = Dense((8,)).build(6, 2, generator=generator())
    return AdversarialAutoencoder(
        codec,
        Gaussian(),
        NoCorruption(),
        Normal(),
        penalties,
        critic=DenseCritic((16, 16)).build(2, generator=generator()),
        matching_weight=weight,
    )


def test_the_autoencoders_loss_has_the_critics_part():
    module, x = model(), rows()
    code = module.codec.encode(x)
    expected = Gaussian().nll(module.codec.decode(code), x)
    expected = (expected - 2.0 * F.logsigmoid(module.critic(code))).mean()
    loss = module.group_loss("autoencoder", x, generator=generator())
    torch.testing.assert_close(loss, expected)


def test_penalties_come_on_top():
    x, penalty = rows(), L1Sparsity(0.5)
    plain, penalised = (
        each.group_loss("autoencoder", x, generator=generator())
        for each in (model(), model(penalties=[penalty]))
    )
    code = model().codec.encode(x)
    torch.testing.assert_close(
        penalised - plain, 0.5 * code.abs().sum(1).mean(), rtol=1e-4, atol=1e-5
    )


def test_the_critics_loss_is_a_cross_entropy_with_a_gradient_penalty():
    module, x = model(), rows()
    loss = module.group_loss("critic", x, generator=generator(3))
    real = Normal().sample(len(x), 2, generator(3)).requires_grad_()
    code = module.codec.encode(x)
    odds = torch.cat([module.critic(real), module.critic(code)])
    truth = torch.cat([torch.ones(len(x)), torch.zeros(len(x))])
    entropy = 2 * F.binary_cross_entropy_with_logits(odds, truth)
    norms = [
        torch.autograd.grad(module.critic(real[i : i + 1]).sum(), real)[0][i].norm()
        ** 2
        for i in range(len(x))
    ]
    torch.testing.assert_close(loss, entropy + 0.01 * torch.stack(norms).mean())


def test_weights_repeat_rows():
    module, x = model(), rows(4)
    weight = torch.tensor([2.0, 2.0, 0.0, 0.0])
    doubled = x[[0, 1, 0, 1]]
    for name in ("critic", "autoencoder"):
        weighted = module.group_loss(name, x, weight, generator=generator())
        repeated = module.group_loss(name, doubled, generator=generator())
        torch.testing.assert_close(weighted, repeated)


def test_the_critics_loss_has_no_gradient_for_the_encoder():
    module = model()
    module.group_loss("critic", rows(), generator=generator()).backward()
    assert all(p.grad is None for p in module.codec.parameters())


def test_each_parameter_is_in_one_group():
    module = model()
    groups = module.parameter_groups
    owned = [id(p) for group in groups.values() for p in group]
    assert sorted(owned) == sorted(id(p) for p in module.parameters())
    assert set(module.update_order) == set(groups)


def test_held_out_rows_are_judged_by_reconstruction_and_code():
    module, x, target = model(3.0).eval(), rows(), rows(64, 1)[:, :2]
    judge = PriorDistanceJudge(HoldOut(x), target)
    with torch.no_grad():
        code = module.codec.encode(x)
    expected = module(x).mean().item() + 3.0 * energy_distance(code, target)
    assert judge(module) == pytest.approx(expected)


def test_a_code_that_is_lost_is_judged_nan():
    module = model()
    with torch.no_grad():
        module.codec.encoder_biases[-1].fill_(float("nan"))
    judge = PriorDistanceJudge(HoldOut(rows()), rows(64, 1)[:, :2])
    assert math.isnan(judge(module.eval()))


def test_codes_come_to_the_prior():
    x = torch.randn(2000, 6, generator=generator()) * 0.3 + 1
    module = model(weight=20.0)
    with torch.no_grad():
        before = energy_distance(module.codec.encode(x), rows(2000)[:, :2])
    trainer = AlternatingTrainer(
        module,
        settings=OPTIMIZER_SETTINGS,
        schedule=Schedule(5, 300, 200, 5e-3, ema_decay=0.98),
        generator=generator(),
    )
    trainer.train([(part, None) for part in x.split(200)] * 30)
    with torch.no_grad():
        after = energy_distance(module.codec.encode(x), rows(2000)[:, :2])
    assert after < 0.1 * before
    assert {"critic_loss", "autoencoder_loss"} <= set(trainer.history[-1])
