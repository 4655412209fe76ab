"""Flat parameters, and AdamW on them against torch.optim."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from skae.training import optimizer as flat_module
from skae.training.flat_parameters import FlatParameters
from skae.training.optimizer import FlatAdamW


def network():
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return net


def weights(net):
    return [module.weight for module in net if isinstance(module, nn.Linear)]


def gradient_of(net, step):
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(step)).double()
    net(x).square().mean().backward()


def test_parameters_and_gradients_are_views_of_two_buffers():
    net = network()
    before = copy.deepcopy(net.state_dict())
    flat = FlatParameters(net, weights(net))
    assert flat.data.numel() == sum(p.numel() for p in net.parameters())
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter, before[name])
    flat.data.fill_(2.0)
    flat.grad.fill_(3.0)
    for parameter in net.parameters():
        assert isinstance(parameter, nn.Parameter)
        assert (parameter == 2).all()
        assert (parameter.grad == 3).all()


def test_decayed_parameters_come_first():
    net = network()
    flat = FlatParameters(net, weights(net))
    flat.decayed.zero_()
    assert all((weight == 0).all() for weight in weights(net))
    assert all((net[i].bias != 0).all() for i in (0, 2))


def test_frozen_parameters_stay_out():
    net = network()
    net[0].requires_grad_(False)
    flat = FlatParameters(net)
    assert flat.data.numel() == sum(p.numel() for p in net[2].parameters())


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_a_constant_rate_without_averaging_is_torchs_adamw(weight_decay):
    net, reference = network(), network()
    flat = FlatParameters(net, weights(net))
    ours = FlatAdamW(
        flat,
        lr=0.05,
        n_steps=20,
        weight_decay=weight_decay,
        ema_decay=0.0,
        constant=True,
    )
    biases = [reference[0].bias, reference[2].bias]
    groups = [
        {"params": weights(reference), "weight_decay": weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
    theirs = torch.optim.AdamW(groups, lr=0.05, betas=(0.9, 0.95))
    for step in range(20):
        flat.grad.zero_()
        gradient_of(net, step)
        ours.step()
        theirs.zero_grad()
        gradient_of(reference, step)
        theirs.step()
    for own, other in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(own, other)
    assert torch.equal(ours.average, flat.data)


def test_the_rate_warms_up_and_falls_as_a_cosine():
    flat = FlatParameters(network())
    optimizer = FlatAdamW(flat, lr=2.0, n_steps=100)
    rates = []
    for step in range(101):
        optimizer.step_count = step
        rates.append(optimizer.rate())
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert max(rates) == pytest.approx(2.0)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[52] == pytest.approx(1.0, abs=0.05)
    assert rates[100] == pytest.approx(2.0 * 0.001)


@pytest.mark.parametrize("plateau", [0.3, 0.5, 1.0])
def test_the_rate_stays_at_its_peak_for_the_plateau(plateau):
    flat = FlatParameters(network())
    optimizer = FlatAdamW(flat, lr=2.0, n_steps=100, plateau=plateau)
    rates = []
    for step in range(101):
        optimizer.step_count = step
        rates.append(optimizer.rate())
    end = round(100 * plateau)
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert rates[4 : end + 1] == [2.0] * (end - 3)
    done = torch.linspace(0, 1, 101 - end, dtype=torch.float64)
    cosine = 0.5 * (1 + torch.cos(torch.pi * done))
    assert rates[end:] == pytest.approx((2 * (0.001 + 0.999 * cosine)).tolist())


def test_a_plateau_shorter_than_the_warm_up_is_none():
    optimizers = (
        FlatAdamW(FlatParameters(network()), lr=2.0, n_steps=100, plateau=plateau)
        for plateau in (0.0, 0.05)
    )
    none, shortest = optimizers
    for step in range(101):
        none.step_count = shortest.step_count = step
        assert none.rate() == shortest.rate()


class TestShares:
    """Of one step from the same weights, gradients and moments."""

    @staticmethod
    def stepped(shares, n_steps=1):
        net = network()
        flat = FlatParameters(net, weights(net))
        start = flat.data.clone()
        optimizer = FlatAdamW(
            flat, lr=0.1, n_steps=30, weight_decay=0.3, ema_decay=0.0, shares=shares
        )
        generator = torch.Generator().manual_seed(1)
        for _ in range(n_steps):
            flat.grad.copy_(torch.randn(len(start), generator=generator))
            optimizer.step()
        return start, flat.data, optimizer.average

    def test_a_share_of_one_is_the_plain_step(self):
        plain = self.stepped(None, 5)
        whole = self.stepped(torch.ones(len(plain[0]), dtype=torch.float64), 5)
        for one, other in zip(plain, whole, strict=True):
            assert torch.equal(one, other)

    def test_an_entry_with_share_zero_keeps_its_bits(self):
        plain = self.stepped(None, 5)
        shares = (torch.arange(len(plain[0])) % 2).double()
        start, end, average = self.stepped(shares, 5)
        assert torch.equal(end[::2], start[::2])
        assert torch.equal(average[::2], start[::2])
        # Neither do the others notice.
        assert torch.equal(end[1::2], plain[1][1::2])
        assert (end[1::2] != start[1::2]).all()

    def test_a_share_in_between_moves_by_that_share(self):
        start, whole, _ = self.stepped(None)
        shares = torch.linspace(0, 1, len(start), dtype=torch.float64)
        _, end, _ = self.stepped(shares)
        torch.testing.assert_close(end - start, shares * (whole - start))

    def test_values_of_parameters_are_laid_out_as_the_parameters_are(self):
        net = network()
        # Stored column by column, as the flat buffer then stores it.
        net[0].weight.data = net[0].weight.data.T.contiguous().T
        flat = FlatParameters(net, weights(net))
        values = {net[0].weight: 0.5, net[2].bias: 0.0}
        flat.data.copy_(flat.like(values))
        for parameter in net.parameters():
            assert (parameter == values.get(parameter, 1.0)).all()
        assert flat.like(None) is None


def test_the_average_is_the_moving_average_of_the_weights():
    net = network()
    flat = FlatParameters(net)
    optimizer = FlatAdamW(flat, lr=0.1, n_steps=30, ema_decay=0.6)
    expected = flat.data.clone()
    for step in range(30):
        flat.grad.zero_()
        gradient_of(net, step)
        optimizer.step()
        decay = min(0.6, (step + 1) / (step + 10))
        expected = decay * expected + (1 - decay) * flat.data
    torch.testing.assert_close(optimizer.average, expected)


@pytest.mark.parametrize("betas", [(0.9, 0.95), (0.0, 0.99)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_torchs_kernel_the_steps_are_the_same(monkeypatch, betas, dtype):
    found = []
    for kernel in (flat_module._fused_adamw, None):
        monkeypatch.setattr(flat_module, "_fused_adamw", kernel)
        net = network().to(dtype)
        flat = FlatParameters(net, weights(net))
        optimizer = FlatAdamW(flat, lr=0.05, n_steps=30, weight_decay=0.3, betas=betas)
        generator = torch.Generator().manual_seed(1)
        for _ in range(30):
            flat.grad.copy_(torch.randn(len(flat.grad), generator=generator))
            optimizer.step()
        found.append(flat.data)
    assert flat_module._fused_adamw is None
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-6)


def steps(optimizer, n_steps, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_steps):
        optimizer.flat.grad.copy_(torch.randn(23, generator=generator))
        optimizer.step()


def optimizer_of(net, lr=0.1):
    flat = FlatParameters(net)
    return FlatAdamW(flat, lr=lr, n_steps=30, ema_decay=0.0, constant=True)


class TestState:
    def test_a_training_goes_on_from_a_state_as_without_a_break(self):
        whole = optimizer_of(network())
        steps(whole, 5, seed=1)
        again = optimizer_of(network())
        again.flat.data.copy_(whole.flat.data)
        again.load(pickle.loads(pickle.dumps(whole.state())))
        for optimizer in (whole, again):
            steps(optimizer, 5, seed=2)
        assert torch.equal(whole.flat.data, again.flat.data)

    def test_a_state_is_arrays_and_numbers_of_its_own(self):
        optimizer = optimizer_of(network())
        steps(optimizer, 1, seed=1)
        state = optimizer.state()
        kinds = {name: type(value) for name, value in state.items()}
        assert kinds == {
            "first": np.ndarray,
            "second": np.ndarray,
            "n_steps": int,
            "lr": float,
            "factor": float,
        }
        before = state["first"].copy()
        steps(optimizer, 1, seed=2)
        assert np.array_equal(state["first"], before)

    def test_the_factor_of_one_rate_is_not_taken_to_another(self):
        slowed = optimizer_of(network())
        slowed.restart(0.1)
        for lr, rate in ((0.1, 0.01), (0.2, 0.2)):
            other = optimizer_of(network(), lr)
            other.load(slowed.state())
            assert other.rate() == pytest.approx(rate)


def test_a_restart_forgets_the_moments():
    net, fresh = network(), network()
    flat, other = FlatParameters(net), FlatParameters(fresh)
    used = FlatAdamW(flat, lr=0.1, n_steps=30)
    flat.grad.fill_(1.0)
    used.step()
    used.restart(0.5)
    other.data.copy_(flat.data)
    new = FlatAdamW(other, lr=0.05, n_steps=30)
    for optimizer in (used, new):
        optimizer.flat.grad.fill_(-2.0)
        optimizer.step()
    torch.testing.assert_close(flat.data, other.data)
    torch.testing.assert_close(used.average, new.average)


def test_moments_of_gradients_that_stay_zero_become_zero():
    flat = FlatParameters(network())
    optimizer = FlatAdamW(flat, lr=0.1, n_steps=3000)
    flat.grad.fill_(1.0)
    optimizer.step()
    flat.grad.zero_()
    tiny = torch.finfo(torch.float32).tiny
    for _ in range(1500):
        optimizer.step()
        for moment in optimizer.moments:
            assert not ((moment > 0) & (moment < tiny)).any()
    assert not any(moment.any() for moment in optimizer.moments)


def test_the_gradient_of_a_loss_replaces_what_was_there():
    net = network()
    flat = FlatParameters(net, weights(net))
    x = torch.ones(5, 4).double()
    expected = torch.autograd.grad(net(x).square().sum(), weights(net))
    flat.grad.fill_(7.0)
    flat.backward(net(x).square().sum(1))
    for weight, slope in zip(weights(net), expected, strict=True):
        torch.testing.assert_close(weight.grad, slope)
