"""Penalties against torch.distributions and the full Jacobian."""

import pytest
import torch
from sklearn.base import clone
from torch import nn
from torch.distributions import Bernoulli, kl_divergence

from skae.parts.anchored import Anchor, AnchoredCodec
from skae.parts.base import Codec, State
from skae.parts.dense import Dense
from skae.parts.modules import ModulePair
from skae.parts.penalties import Contraction, KLSparsity, L1Sparsity


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def state_of(codec, x, generator=None):
    h = codec.encode(x)
    return State(x, x, h, h, codec.decode(h), codec, generator)


def codec_of(hidden=(), width=4, activation="logistic", members=None, **options):
    dense = Dense(hidden, activation, code_activation=activation)
    codec = dense.build(
        6, width, generator=seeded(), members=members, same_start=False, **options
    )
    return codec.double()


def rows(*shape):
    return torch.randn(*shape, 6, generator=seeded(1), dtype=torch.float64)


def exact(codec, x):
    """Squared Frobenius norm of each row's Jacobian."""
    norms = []
    for row in x:
        jacobian = torch.autograd.functional.jacobian(
            lambda one: codec.encode(one[None])[0], row
        )
        norms.append(jacobian.square().sum())
    return torch.stack(norms)


class TestKLSparsity:
    def test_matches_the_divergence_of_bernoulli_distributions(self):
        h = torch.rand(50, 7, generator=seeded(), dtype=torch.float64)
        target = torch.tensor(0.05, dtype=torch.float64)
        expected = kl_divergence(Bernoulli(target), Bernoulli(h.mean(0))).sum()
        found = KLSparsity(0.05, 0.3)(State(h, h, h, h, h, codec=Codec()))
        torch.testing.assert_close(found, (0.3 * expected).expand(50))

    def test_is_zero_at_the_target(self):
        h = torch.full((9, 3), 0.2)
        found = KLSparsity(0.2)(State(h, h, h, h, h, codec=Codec()))
        torch.testing.assert_close(found, torch.zeros(9), atol=1e-6, rtol=0)

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_saturated_units_cost_a_finite_amount_and_have_a_finite_gradient(
        self, value
    ):
        h = torch.full((9, 3), value, requires_grad=True)
        found = KLSparsity(0.1)(State(h, h, h, h, h, codec=Codec()))
        found.sum().backward()
        assert found.isfinite().all()
        assert h.grad.isfinite().all()

    def test_a_weight_stands_for_repeated_rows(self):
        h = torch.rand(12, 3, generator=seeded(), dtype=torch.float64)
        weight = torch.arange(12) % 3
        again = h.repeat_interleave(weight, dim=0)
        repeated = KLSparsity()(State(h, h, again, h, h, codec=Codec()))[0]
        weighted = State(h, h, h, h, h, codec=Codec(), weight=weight.double())
        torch.testing.assert_close(KLSparsity()(weighted)[0], repeated)

    def test_members_are_measured_apart(self):
        h = torch.rand(2, 20, 3, generator=seeded())
        both = KLSparsity()(State(h, h, h, h, h, codec=Codec()))
        for index in range(2):
            one = KLSparsity()(State(h, h, h[index], h, h, codec=Codec()))
            torch.testing.assert_close(both[index], one)


def test_l1_is_the_sum_of_magnitudes():
    h = torch.tensor([[1.0, -2.0], [0.0, 0.5]])
    found = L1Sparsity(2.0)(State(h, h, h, h, h, codec=Codec()))
    assert found.tolist() == [6.0, 1.0]


class TestContraction:
    @pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
    def test_closed_form_matches_the_jacobian(self, activation):
        codec, x = codec_of(activation=activation), rows(8)
        found = Contraction(0.7)(state_of(codec, x))
        torch.testing.assert_close(found, 0.7 * exact(codec, x))

    def test_closed_form_sees_the_scale_of_the_inputs(self):
        scale = torch.rand(6, generator=seeded(2)) + 0.5
        codec, x = codec_of(input_scale=scale), rows(8)
        found = Contraction(1.0)(state_of(codec, x))
        torch.testing.assert_close(found, exact(codec, x))

    @pytest.mark.parametrize("activation", ["silu", "gelu", "tanh"])
    @pytest.mark.parametrize("hidden", [(), (5,), (5, 3)])
    def test_backward_passes_match_the_jacobian(self, hidden, activation):
        codec, x = codec_of(hidden, activation=activation), rows(8)
        found = Contraction(1.0)(state_of(codec, x))
        torch.testing.assert_close(found, exact(codec, x))

    def test_modules_and_anchored_codecs_match_the_jacobian(self):
        axes, center = torch.eye(6)[:, :3], torch.zeros(6)
        one, ones = torch.ones(3), torch.ones(6)
        anchor = Anchor(axes, one, center, center, ones, one)
        dense = Dense((4,)).build(6, 3, generator=seeded())
        anchored = AnchoredCodec(dense, anchor, ones, ones).double()
        layers = nn.Linear(6, 2).double(), nn.Linear(2, 6).double()
        pair = ModulePair(*layers).build(6).double()
        for codec in (anchored, pair):
            x = rows(8)
            found = Contraction(1.0)(state_of(codec, x))
            torch.testing.assert_close(found, exact(codec, x))

    @pytest.mark.parametrize("hidden", [(), (5,)])
    def test_members_match_one_by_one(self, hidden):
        codec, x = codec_of(hidden, members=3), rows(3, 8)
        found = Contraction(1.0)(state_of(codec, x))
        assert found.shape == (3, 8)
        for index in range(3):
            expected = exact(codec.member(index), x[index])
            torch.testing.assert_close(found[index], expected)

    def test_projections_are_unbiased(self):
        codec, x = codec_of((5,)), rows(4)
        contraction = Contraction(1.0, n_projections=20_000, exact_width=3)
        found = contraction(state_of(codec, x, seeded(3)))
        torch.testing.assert_close(found, exact(codec, x), rtol=0.05, atol=0)

    def test_projections_follow_the_generator(self):
        codec, x = codec_of((5,)), rows(4)
        contraction = Contraction(1.0, exact_width=3)
        one, same, other = (
            contraction(state_of(codec, x, seeded(seed))) for seed in (1, 1, 2)
        )
        assert torch.equal(one, same)
        assert not torch.equal(one, other)

    @pytest.mark.parametrize("hidden", [(), (5,)])
    def test_gradient_of_the_weights_matches_finite_differences(self, hidden):
        codec, x = codec_of(hidden), rows(3)

        def penalty(weight):
            # A copy in which the first layer's weights are these.
            state = {**dict(codec.named_parameters()), "encoder_weights.0": weight}
            return torch.func.functional_call(_Penalised(codec), _prefixed(state), x)

        weight = codec.encoder_weights[0].detach().clone().requires_grad_()
        assert torch.autograd.gradcheck(penalty, weight)

    def test_is_judged_without_gradients_too(self):
        codec, x = codec_of((5,)), rows(3)
        with torch.no_grad():
            found = Contraction(1.0)(state_of(codec, x))
        torch.testing.assert_close(found.detach(), exact(codec, x))

    def test_is_clonable(self):
        assert clone(Contraction(0.3, 5)).get_params() == {
            "weight": 0.3,
            "n_projections": 5,
            "exact_width": 32,
        }


class _Penalised(nn.Module):
    def __init__(self, codec):
        super().__init__()
        self.codec = codec

    def forward(self, x):
        return Contraction(1.0)(state_of(self.codec, x))


def _prefixed(state):
    return {f"codec.{name}": tensor for name, tensor in state.items()}
