"""Terms of rows without labels against hand-written errors and torch's losses."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from skae.models.semi_supervised_losses import (
    Consistency,
    GraphLabels,
    LadderReconstruction,
    TwoPasses,
)
from skae.models.stack import Pass

N, SIZES, K = 12, [6, 5, 4, 3], 3


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def pass_of(seed, sizes=SIZES):
    x, *z, logits = (
        drawn(N, size, seed=10 * seed + level)
        for level, size in enumerate([*sizes, sizes[-1]])
    )
    return Pass(x, z, logits)


class Told(nn.Module):
    """A decoder of constant estimates that records its input."""

    def __init__(self, estimates):
        super().__init__()
        self.estimates = estimates
        self.seen = None

    def forward(self, noisy):
        self.seen = noisy
        return self.estimates


def evidence_of(sizes=SIZES, **graph):
    estimates = [drawn(N, k, seed=90 + level) for level, k in enumerate(sizes)]
    clean, noisy = pass_of(1, sizes), pass_of(2, sizes)
    return TwoPasses(
        clean, noisy, Told(estimates), drawn(N, sizes[0], seed=80), **graph
    )


def graph_of():
    confidence = torch.linspace(0, 1, N, dtype=torch.float64)
    return {"target": drawn(N, K, seed=70).softmax(1), "confidence": confidence}


class TestLadderReconstruction:
    @pytest.mark.parametrize("sizes", [[6, 3], [6, 5, 3], SIZES, [6, 5, 4, 4, 3]])
    def test_is_the_weighted_mean_squared_error_of_the_levels(self, sizes):
        state = evidence_of(sizes)
        found = LadderReconstruction(7.0, 3.0, 2.0)(state)
        assert found.shape == (N,)
        weights = [7.0, 3.0, 2.0, 2.0, 2.0]
        levels = zip(state.decoder.estimates, [state.x, *state.clean.z], strict=True)
        expected = sum(
            weight * (z_hat - z).pow(2).sum(1) / z.shape[1]
            for weight, (z_hat, z) in zip(weights, levels, strict=False)
        )
        torch.testing.assert_close(found, expected)

    def test_the_decoder_sees_the_noisy_pass(self):
        state = evidence_of()
        LadderReconstruction()(state)
        assert state.decoder.seen is state.noisy

    def test_is_zero_where_the_estimates_are_the_clean_levels(self):
        state = evidence_of()
        state.decoder.estimates = [state.x, *state.clean.z]
        assert (LadderReconstruction()(state) == 0).all()

    @pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
    def test_weight_is_constant(self, progress):
        assert LadderReconstruction().weight(progress) == 1


class TestConsistency:
    def test_is_torchs_cross_entropy_to_the_clean_prediction(self):
        state = evidence_of()
        target = state.clean.logits.softmax(1)
        expected = F.cross_entropy(state.noisy.logits, target, reduction="none")
        torch.testing.assert_close(Consistency()(state), expected)

    def test_agreeing_predictions_cost_their_entropy_and_no_gradient(self):
        logits = drawn(N, K).requires_grad_()
        state = evidence_of()
        state = replace(
            state,
            clean=state.clean._replace(logits=logits.detach()),
            noisy=state.noisy._replace(logits=logits),
        )
        found = Consistency()(state)
        entropy = torch.distributions.Categorical(logits=logits.detach()).entropy()
        torch.testing.assert_close(found, entropy)
        (slope,) = torch.autograd.grad(found.sum(), logits)
        torch.testing.assert_close(slope, torch.zeros_like(slope))

    def test_extreme_logits_cost_a_finite_amount(self):
        state = evidence_of()
        state = replace(
            state,
            clean=state.clean._replace(logits=1e4 * state.clean.logits),
            noisy=state.noisy._replace(logits=1e4 * state.noisy.logits),
        )
        assert Consistency()(state).isfinite().all()

    def test_its_weight_rises_linearly_and_stays(self):
        term = Consistency(size=3.0, ramp=0.5)
        weights = [term.weight(progress) for progress in (0, 0.1, 0.25, 0.5, 0.7, 1)]
        assert weights == pytest.approx([0, 0.6, 1.5, 3, 3, 3])


class TestGraphLabels:
    def test_is_torchs_cross_entropy_to_the_target_by_confidence(self):
        graph = graph_of()
        state = evidence_of(**graph)
        nats = F.cross_entropy(state.noisy.logits, graph["target"], reduction="none")
        found = GraphLabels()(state)
        torch.testing.assert_close(found, graph["confidence"] * nats)
        assert found[0] == 0

    def test_certain_targets_cost_what_labels_cost(self):
        y = torch.arange(N) % K
        target = F.one_hot(y, K).double()
        state = evidence_of(target=target, confidence=torch.ones(N).double())
        expected = F.cross_entropy(state.noisy.logits, y, reduction="none")
        torch.testing.assert_close(GraphLabels()(state), expected)

    def test_is_zero_for_every_row_without_a_target(self):
        found = GraphLabels()(evidence_of())
        assert torch.equal(found, torch.zeros(N, dtype=torch.float64))

    def test_its_weight_falls_linearly_by_the_stated_share(self):
        term = GraphLabels(size=2.0, fall=0.75)
        weights = [term.weight(progress) for progress in (0, 0.5, 1)]
        assert weights == pytest.approx([2, 1.25, 0.5])
