"""Critics: values of a row, of its context and of the rows beside it."""

import pytest
import torch
from torch.nn import functional as F

from skae.parts.critics import ConvCritic, DenseCritic, MinibatchDiscrimination

N, D, C = 7, 5, 3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(n=N, d=D, seed=0):
    return torch.randn(n, d, generator=seeded(seed))


def dense(n_context=0, **parameters):
    return DenseCritic((16, 8), **parameters).build(
        D, n_context=n_context, generator=seeded()
    )


def test_the_dense_critic_is_a_perceptron_with_leaky_rectifiers():
    critic, h = dense(), rows()
    for layer in critic.layers:
        h = F.leaky_relu(h @ layer.weight + layer.bias, 0.2)
    expected = (h @ critic.head.weight + critic.head.bias)[:, 0]
    torch.testing.assert_close(critic(rows()), expected)


def test_a_context_enters_by_projection():
    critic = dense(n_context=C)
    x, context = rows(), torch.eye(C)[torch.arange(N) % C]
    inner = ((context @ critic.projection.weight) * critic.features(x)).sum(1)
    torch.testing.assert_close(critic(x, context), critic(x) + inner)
    nothing = torch.zeros(N, C)
    assert torch.equal(critic(x, nothing), critic(x))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 6), (1, 1, 5)])
def test_convolutions_judge_images_of_any_size(shape):
    width = torch.Size(shape).numel()
    part = ConvCritic(shape, (4, 6), min(shape[-1], 4), 1 if shape[1] == 1 else 2)
    critic = part.build(width, n_context=2, generator=seeded())
    values = critic(rows(4, width), torch.eye(2)[[0, 1, 0, 1]])
    assert values.shape == (4,)


class TestMinibatchDiscrimination:
    def test_it_is_the_loop_over_pairs_of_rows(self):
        layer = MinibatchDiscrimination(D, n_kernels=3, kernel_width=2)
        layer.kernels.reset(seeded(), 1.0)
        h = rows()
        found = layer(h)
        assert torch.equal(found[:, :D], h)
        m = (h @ layer.kernels.weight).view(N, 3, 2)
        for i in range(N):
            for b in range(3):
                others = [
                    torch.exp(-(m[i, b] - m[j, b]).abs().sum())
                    for j in range(N)
                    if j != i
                ]
                torch.testing.assert_close(
                    found[i, D + b], torch.stack(others).mean(), rtol=1e-5, atol=1e-6
                )

    def test_equal_rows_are_near_each_other(self):
        layer = MinibatchDiscrimination(D)
        layer.kernels.reset(seeded(), 1.0)
        near = layer(rows(1).expand(N, D))[:, D:]
        torch.testing.assert_close(near, torch.ones_like(near))
        assert (layer(3 * rows())[:, D:] < 0.9).all()

    def test_outside_training_rows_are_compared_with_the_reference(self):
        layer = MinibatchDiscrimination(D, n_kernels=3, kernel_width=2)
        layer.kernels.reset(seeded(), 1.0)
        kept = rows(4, seed=1)
        layer.set_reference(kept)
        found = layer.eval()(rows())
        for i, h in enumerate(rows()):
            with_kept = torch.cat([h[None], kept])
            m = (with_kept @ layer.kernels.weight).view(5, 3, 2)
            similarity = torch.exp(-(m[0] - m[1:]).abs().sum(-1)).mean(0)
            torch.testing.assert_close(found[i, D:], similarity)

    def test_outside_training_no_row_depends_on_the_others(self):
        critic = dense(minibatch_discrimination=True)
        critic.set_reference(rows(20, seed=1))
        critic.eval()
        with torch.no_grad():
            together = critic(rows())
            alone = torch.cat([critic(x[None]) for x in rows()])
        torch.testing.assert_close(together, alone)
        assert not torch.allclose(critic.train()(rows()), together)


def test_the_same_seed_draws_the_same_weights():
    first, again = dense(C), dense(C)
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_biases_are_not_decayed():
    critic = dense(C, minibatch_discrimination=True)
    decayed = {id(p) for p in critic.decayed_parameters()}
    for name, parameter in critic.named_parameters():
        assert (id(parameter) in decayed) == name.endswith("weight")
