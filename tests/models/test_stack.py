"""Normalised layers against batch normalisation, and stacks taken apart."""

import pytest
import torch
from torch.nn import functional as F

from skae.models.stack import NormalisedLayer, Product, Stack, normalised
from skae.parts.activations import ACTIVATIONS

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(n=30, width=6, seed=1):
    return torch.randn(n, width, generator=seeded(seed), dtype=torch.float64)


def layer_of(n_in, n_out, activation="tanh", *, seed=0):
    """A layer with weights, gain, shift and statistics as if it had been trained."""
    generator = seeded(seed)
    layer = NormalisedLayer(
        Product.random(n_in, n_out, 1.0, generator), n_in, n_out, activation
    )
    with torch.no_grad():
        layer.gain.copy_(0.5 + torch.rand(n_out, generator=generator))
        layer.shift.copy_(torch.randn(n_out, generator=generator))
        layer.mean.copy_(torch.randn(n_out, generator=generator))
        layer.var.copy_(0.5 + torch.rand(n_out, generator=generator))
    return layer.double()


def stack_of(*sizes, activation="tanh"):
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    return Stack(
        layer_of(*pair, activation, seed=number) for number, pair in enumerate(pairs)
    )


def layers_normalised_by_torch(stack, x):
    """z and h of each layer by torch's batch normalisation."""
    zs = []
    for layer in stack:
        pre = x @ layer.pre.weight
        zs.append(F.batch_norm(pre, None, None, training=True, eps=1e-5))
        scale, bias = layer.gain, layer.gain * layer.shift
        a = F.batch_norm(pre, None, None, scale, bias, training=True, eps=1e-5)
        x = ACTIVATIONS[layer.activation].forward(a)
    return zs, x


def test_random_weights_have_the_stated_variance():
    product = Product.random(400, 300, 2.0, seeded())
    assert product.weight.shape == (400, 300)
    assert product.weight.var().item() == pytest.approx(2 / 400, rel=0.02)
    assert product.weight.mean().item() == pytest.approx(0, abs=1e-3)


def test_a_product_keeps_weights_of_its_own():
    given = torch.ones(2, 2)
    product = Product(given)
    product.weight.data.zero_()
    assert (given == 1).all()


class TestLayer:
    @each_activation
    @pytest.mark.parametrize("training", [True, False])
    def test_an_untrained_layer_is_the_activation_of_pre_plus_shift(
        self, activation, training
    ):
        pre, shift = Product(rows(6, 4)), rows(1, 4, seed=2)[0]
        layer = NormalisedLayer(pre, 6, 4, activation, shift).train(training)
        x = rows()
        expected = ACTIVATIONS[activation].forward(x @ pre.weight + shift)
        torch.testing.assert_close(layer(x), expected)

    def test_a_trained_layer_is_the_formula(self):
        layer, x = layer_of(6, 4), rows()
        z = (x @ layer.pre.weight - layer.mean) / layer.var.sqrt()
        expected = torch.tanh(layer.gain * (z + layer.shift))
        torch.testing.assert_close(layer(x), expected)

    @each_activation
    def test_preserve_output_changes_nothing_that_is_computed(self, activation):
        layer, x = layer_of(6, 4, activation), rows()
        before, mean = layer(x), layer.mean.clone()
        returned = layer.calibrate(rows(50, seed=2) * 3 + 1, preserve_output=True)
        assert not torch.allclose(layer.mean, mean)
        torch.testing.assert_close(layer(x), before)
        torch.testing.assert_close(returned, layer(rows(50, seed=2) * 3 + 1))

    def test_calibration_gives_z_mean_zero_and_variance_one(self):
        layer, x = layer_of(6, 4), rows() * 3 + 1
        layer.calibrate(x)
        z = layer.normalised(x, uses_running_statistics=True)
        torch.testing.assert_close(z, normalised(layer.pre(x)))
        torch.testing.assert_close(z.mean(0), torch.zeros(4).double())
        torch.testing.assert_close(
            z.var(0, unbiased=False), torch.ones(4).double(), rtol=1e-4, atol=0
        )

    def test_calibration_keeps_gain_and_shift(self):
        layer = layer_of(6, 4)
        gain, shift = layer.gain.clone(), layer.shift.clone()
        layer.calibrate(rows())
        assert torch.equal(layer.gain, gain)
        assert torch.equal(layer.shift, shift)

    def test_calibration_returns_what_the_layer_then_computes(self):
        layer, x = layer_of(6, 4), rows()
        torch.testing.assert_close(layer.calibrate(x), layer(x))

    def test_a_constant_unit_stays_finite(self):
        layer, x = layer_of(6, 4), torch.ones(5, 6).double()
        before = layer(x)
        torch.testing.assert_close(layer.calibrate(x, preserve_output=True), before)
        torch.testing.assert_close(layer(x), before)
        layer.calibrate(x)
        assert (layer.normalised(x, uses_running_statistics=True) == 0).all()


class TestRun:
    @each_activation
    def test_without_noise_it_is_torchs_batch_normalisation(self, activation):
        stack, x = stack_of(6, 5, 3, activation=activation), rows() * 2 + 1
        found = stack.run(x)
        zs, logits = layers_normalised_by_torch(stack, x)
        assert found.x is x
        for z, expected in zip(found.z, zs, strict=True):
            torch.testing.assert_close(z, expected)
        torch.testing.assert_close(found.logits, logits)

    def test_its_gradient_is_that_of_torchs_batch_normalisation(self):
        stack, x = stack_of(6, 5, 3), rows()
        target = rows(30, 3, seed=2)
        parameters = list(stack.parameters())
        found, expected = (
            torch.autograd.grad((logits * target).sum(), parameters)
            for logits in (stack.run(x).logits, layers_normalised_by_torch(stack, x)[1])
        )
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)

    def test_it_leaves_the_layers_statistics_alone(self):
        stack = stack_of(6, 5, 3)
        before = {name: value.clone() for name, value in stack.state_dict().items()}
        stack.run(rows(), 0.3, seeded())
        for name, value in stack.state_dict().items():
            assert torch.equal(value, before[name])

    def test_with_the_layers_statistics_it_is_the_forward_pass(self):
        stack, x = stack_of(6, 5, 3), rows()
        found = stack.run(x, uses_running_statistics=True)
        torch.testing.assert_close(found.logits, stack(x))
        below = stack.below(1)(x)
        torch.testing.assert_close(
            found.z[1], stack.layers[1].normalised(below, uses_running_statistics=True)
        )

    def test_calibrated_to_the_batch_both_statistics_agree(self):
        stack, x = stack_of(6, 5, 3), rows()
        stack.calibrate(x)
        torch.testing.assert_close(stack.run(x).logits, stack(x))

    @pytest.mark.parametrize("uses_running_statistics", [False, True])
    def test_noise_on_each_layer_has_the_stated_standard_deviation(
        self, uses_running_statistics
    ):
        stack, x = stack_of(6, 5, 4), rows(6000)
        found = stack.run(
            x, 0.3, seeded(), uses_running_statistics=uses_running_statistics
        )
        h, noises = x, []
        for layer, z in zip(stack, found.z, strict=True):
            noises.append(
                z - layer.normalised(h, uses_running_statistics=uses_running_statistics)
            )
            h = layer.activate(z)
        torch.testing.assert_close(found.logits, h)
        every = torch.cat(noises, dim=1)
        # Nine units, all independent: sampling errors are about 1% and 0.4%.
        expected = 0.09 * torch.eye(9).double()
        torch.testing.assert_close(every.T.cov(), expected, rtol=0.1, atol=0.006)
        torch.testing.assert_close(
            every.mean(0), torch.zeros(9).double(), atol=0.02, rtol=0
        )

    def test_noise_follows_the_generator(self):
        stack, x = stack_of(6, 5, 3), rows()
        state = torch.get_rng_state()
        one, same, other = (
            stack.run(x, 0.3, seeded(seed)).logits for seed in (1, 1, 2)
        )
        assert torch.equal(one, same)
        assert not torch.equal(one, other)
        assert torch.equal(torch.get_rng_state(), state)

    def test_without_noise_nothing_is_drawn(self):
        generator = seeded()
        stack_of(6, 5, 3).run(rows(), 0.0, generator)
        assert torch.equal(generator.get_state(), seeded().get_state())


class TestStack:
    def test_sizes_are_the_widths_from_input_to_output(self):
        stack = stack_of(6, 5, 4, 3)
        assert stack.sizes == [6, 5, 4, 3]
        assert len(stack) == 3
        assert stack.below(2).sizes == [6, 5, 4]
        assert stack.above(1).sizes == [5, 4, 3]

    @pytest.mark.parametrize("n_layers", range(4))
    def test_parts_share_layers_and_compose_to_the_whole(self, n_layers):
        stack, x = stack_of(6, 5, 4, 3), rows()
        below, above = stack.below(n_layers), stack.above(n_layers)
        assert [*below, *above] == list(stack)
        assert torch.equal(above(below(x)), stack(x))

    def test_what_changes_above_changes_the_whole_and_nothing_below(self):
        stack, x = stack_of(6, 5, 4, 3), rows()
        whole, below = stack(x), stack.below(1)(x)
        stack.above(1).calibrate(stack.below(1)(x))
        assert not torch.allclose(stack(x), whole)
        assert torch.equal(stack.below(1)(x), below)

    def test_calibration_with_preserve_output_keeps_the_output(self):
        stack, x = stack_of(6, 5, 4, 3), rows()
        before = stack(x)
        stack.calibrate(rows(50, seed=2) * 3 + 1, preserve_output=True)
        torch.testing.assert_close(stack(x), before)

    def test_calibration_gives_every_z_mean_zero_and_variance_one(self):
        stack, x = stack_of(6, 5, 4, 3), rows(50) * 3 + 1
        stack.calibrate(x)
        for z in stack.run(x, uses_running_statistics=True).z:
            torch.testing.assert_close(z.mean(0), torch.zeros_like(z[0]))
            torch.testing.assert_close(
                z.var(0, unbiased=False), torch.ones_like(z[0]), rtol=1e-3, atol=0
            )

    def test_calibration_carries_no_gradient(self):
        stack = stack_of(6, 5, 3)
        stack.calibrate(rows(), preserve_output=True)
        assert all(not buffer.requires_grad for buffer in stack.buffers())
        assert all(p.is_leaf and p.requires_grad for p in stack.parameters())


class TestRowsApart:
    """In evaluation mode, without gradients, as rows are predicted."""

    @pytest.fixture
    def stack(self):
        return stack_of(6, 13, 7, 3).float().eval()

    @torch.no_grad()
    def test_a_prediction_does_not_depend_on_the_place_of_the_row(self, stack):
        x = rows(256).float()
        order = torch.randperm(256, generator=seeded(3))
        assert torch.equal(stack(x[order]), stack(x)[order])

    @torch.no_grad()
    def test_a_prediction_does_not_depend_on_the_other_rows(self, stack):
        x, others = rows(256).float(), 100 * rows(256, seed=4).float()
        others[100:110] = x[100:110]
        assert torch.equal(stack(others)[100:110], stack(x)[100:110])
        torch.testing.assert_close(stack(x[100:101]), stack(x)[100:101])

    def test_training_and_evaluation_predict_the_same(self, stack):
        x = rows(256).float()
        with torch.no_grad():
            evaluated = stack(x)
        torch.testing.assert_close(stack.train()(x), evaluated)


class TestTogether:
    """Several batches in one pass, each normalised by its own statistics."""

    @pytest.mark.parametrize("noise", [0.0, 0.3])
    def test_it_is_the_pass_of_each_batch_alone(self, noise):
        stack, batches = stack_of(6, 5, 4), (rows(9), rows(14, seed=2))
        generator = seeded()
        drawn = [stack.draw(x, noise, generator) for x in batches]
        found = stack.run_together(drawn, noise)
        generator = seeded()
        for x, own in zip(batches, found, strict=True):
            alone = stack.run(x, noise, generator)
            torch.testing.assert_close(own.logits, alone.logits)
            torch.testing.assert_close(own.z, alone.z)
            assert torch.equal(own.x, x)
