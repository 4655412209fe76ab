"""Networks that grow: sizes, levels and fades, with generator and critic alike."""

import pytest
import torch

from skae.parts.growing import GrowingCritic, Levels
from skae.parts.growing_generators import ProgressiveGenerator, StyleGenerator

SHAPE, D, K, C, N = (3, 32, 16), 1536, 5, 2, 6
GENERATORS = [ProgressiveGenerator, StyleGenerator]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(n=N, k=K, seed=1):
    return torch.randn(n, k, generator=seeded(seed))


def context(n=N):
    return torch.eye(C)[torch.arange(n) % C]


def generator_of(part, n_context=C):
    net = part(SHAPE, (4, 6)).build(D, K, n_context=n_context, generator=seeded())
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    return net.eval()


def critic_of(**options):
    part = GrowingCritic(SHAPE, (4, 6), **options)
    critic = part.build(D, n_context=C, generator=seeded())
    critic.set_reference(noise(20, D))
    return critic.eval()


class TestLevels:
    @pytest.mark.parametrize(
        ("size", "sizes"),
        [
            ((8, 8), [(4, 4), (8, 8)]),
            ((24, 24), [(6, 6), (12, 12), (24, 24)]),
            ((32, 16), [(8, 4), (16, 8), (32, 16)]),
            ((40, 40), [(5, 5), (10, 10), (20, 20), (40, 40)]),
            ((8, 64), [(4, 32), (8, 64)]),
        ],
    )
    def test_sizes_are_halved_as_long_as_four_pixels_are_left(self, size, sizes):
        levels = Levels.of((1, *size))
        assert levels.sizes == sizes
        assert len(levels.channels) == len(sizes) - 1
        assert levels.last == len(sizes) - 1

    def test_channels_come_from_the_image_on(self):
        assert Levels.of((1, 64, 64)).channels == [64, 64, 64, 32]
        assert Levels.of((1, 32, 32), (4, 5, 6)).channels == [6, 5, 4]
        assert Levels.of((1, 32, 32), (7,)).channels == [7, 7, 7]
        with pytest.raises(ValueError, match=r"3 of them.* 16 x 16, .*got 2"):
            Levels.of((1, 32, 32), (4, 5))

    @pytest.mark.parametrize("size", [(28, 28), (32, 20), (4, 4), (1, 64)])
    def test_other_sizes_are_refused(self, size):
        with pytest.raises(ValueError, match=f"multiples of 8; got {size[0]} x"):
            Levels.of((1, *size))


@pytest.mark.parametrize("part", GENERATORS)
class TestGenerators:
    def test_a_level_that_is_not_faded_in_is_the_one_below(self, part):
        net = generator_of(part)
        for level in (1, 2):
            net.grow(level - 1, 1.0, is_fading=False)
            below = net(noise(), context())
            net.grow(level, 0.0, is_fading=True)
            torch.testing.assert_close(net(noise(), context()), below)

    def test_a_level_that_is_faded_in_is_the_larger_network(self, part):
        net = generator_of(part)
        for level in (1, 2):
            net.grow(level, 1.0, is_fading=False)
            larger = net(noise(), context())
            net.grow(level, 1.0, is_fading=True)
            torch.testing.assert_close(net(noise(), context()), larger)
            net.grow(level, 0.5, is_fading=True)
            assert not torch.allclose(net(noise(), context()), larger)

    def test_images_of_a_level_are_its_pixels_repeated(self, part):
        net = generator_of(part)
        net.grow(0, 1.0, is_fading=False)
        image = net(noise(), context()).view(N, *SHAPE)
        blocks = image.unflatten(2, (8, 4)).unflatten(4, (4, 4))
        assert torch.equal(blocks, blocks[:, :, :, :1, :, :1].expand_as(blocks))

    def test_the_state_follows_the_buffer(self, part):
        net = generator_of(part)
        for level, alpha in ((0, 1.0), (1, 0.25), (2, 1.0)):
            net.grow(level, alpha, is_fading=alpha < 1)
            made = net(noise(), context())
            other = generator_of(part)
            other.load_state_dict(net.state_dict())
            other.load_level()
            assert (other.level, other.is_fading) == (level, alpha < 1)
            torch.testing.assert_close(other(noise(), context()), made)

    def test_the_same_seed_draws_the_same_weights(self, part):
        first, again = generator_of(part), generator_of(part)
        assert torch.equal(first(noise(), context()), again(noise(), context()))
        assert not torch.equal(
            first(noise(), context()), first(noise(), context().flip(0))
        )


class TestStyles:
    def test_images_are_those_of_the_styles_of_the_noise(self):
        net = generator_of(StyleGenerator)
        net.styled[0].strength.fill_(0.5)
        w = net.styles(noise(), context())
        assert w.shape == (N, K)
        torch.testing.assert_close(net.images(w), net(noise(), context()))
        each = w[:, None].expand(-1, net.n_layers, -1)
        assert torch.equal(net.images(each), net.images(w))

    def test_layers_follow_their_own_styles(self):
        net = generator_of(StyleGenerator)
        w = net.styles(noise(), context())[:, None].repeat(1, net.n_layers, 1)
        for layer in range(net.n_layers):
            changed = w.clone()
            changed[:, layer] += 1
            assert not torch.allclose(net.images(changed), net.images(w))

    def test_a_share_of_rows_follows_the_next_one_in_fine_layers(self):
        net = generator_of(StyleGenerator)
        w = torch.arange(2000.0)[:, None].expand(-1, K)
        rows = net.mixed(w, 0.3, torch.Generator().manual_seed(0))[:, :, 0]
        own = rows == w[:, :1]
        assert own[:, 0].all()
        assert ((rows == w.roll(1, 0)[:, :1]) | own).all()
        # Layers after one that follows the other row do so too.
        assert (own[:, :-1] | ~own[:, 1:]).all()
        assert (~own[:, -1]).float().mean().item() == pytest.approx(0.3, abs=0.04)
        assert 0 < (~own[:, 1]).sum() < (~own[:, -1]).sum()

    def test_noise_inputs_count_as_much_as_their_strength(self):
        net = generator_of(StyleGenerator)
        inputs = noise(N, net.n_noise, seed=7)
        plain = net(noise(), context())
        assert torch.equal(net(noise(), context(), inputs), plain)
        net.styled[1].strength.fill_(0.5)
        made = net(noise(), context(), inputs)
        assert not torch.allclose(made, plain)
        fixed = net.texture.expand(N, -1)
        torch.testing.assert_close(
            net(noise(), context(), fixed), net(noise(), context())
        )

    def test_the_average_is_the_mean_of_many_styles(self):
        net = generator_of(StyleGenerator)
        average = net.average(torch.eye(C))
        many = noise(20_000, seed=9)
        for c, mean in zip(torch.eye(C), average, strict=True):
            expected = net.styles(many, c.expand(len(many), -1)).mean(0)
            torch.testing.assert_close(mean, expected, rtol=0, atol=0.15)
        free = generator_of(StyleGenerator, n_context=0)
        assert free.average(None).shape == (1, K)


class TestCritic:
    def test_a_level_that_is_not_faded_in_is_the_one_below(self):
        critic, x = critic_of(), noise(N, D)
        for level in (1, 2):
            critic.grow(level - 1, 1.0, is_fading=False)
            below = critic(x, context())
            critic.grow(level, 0.0, is_fading=True)
            torch.testing.assert_close(critic(x, context()), below)

    def test_a_level_that_is_faded_in_is_the_larger_network(self):
        critic, x = critic_of(), noise(N, D)
        for level in (1, 2):
            critic.grow(level, 1.0, is_fading=False)
            larger = critic(x, context())
            critic.grow(level, 1.0, is_fading=True)
            torch.testing.assert_close(critic(x, context()), larger)
            critic.grow(level, 0.5, is_fading=True)
            assert not torch.allclose(critic(x, context()), larger)

    def test_details_below_its_level_do_not_count(self):
        critic, x = critic_of(), noise(N, D)
        critic.grow(0, 1.0, is_fading=False)
        image = x.view(N, *SHAPE)
        means = image.unflatten(2, (8, 4)).unflatten(4, (4, 4)).mean((3, 5))
        coarse = means.repeat_interleave(4, 2).repeat_interleave(4, 3).flatten(1)
        torch.testing.assert_close(critic(x), critic(coarse))

    @pytest.mark.parametrize("minibatch", [False, True])
    def test_outside_training_no_row_depends_on_the_others(self, minibatch):
        critic, x = critic_of(minibatch_discrimination=minibatch), noise(N, D)
        alone = torch.cat([critic(row[None]) for row in x])
        torch.testing.assert_close(critic(x), alone)
        assert critic.row_group == 32
        assert not torch.allclose(critic.train()(x), alone)
