"""Generators: shapes, contexts and bounds."""

import pytest
import torch
from torch.nn import functional as F

from skae.parts.generators import ConvGenerator, DenseGenerator

N, D, K, C = 6, 5, 3, 2


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(n=N, k=K):
    return torch.randn(n, k, generator=seeded(1))


def test_the_dense_generator_is_a_perceptron_of_noise_and_context():
    net = DenseGenerator((8, 4)).build(D, K, n_context=C, generator=seeded())
    context = torch.eye(C)[torch.arange(N) % C]
    h = torch.cat([noise(), context], dim=1)
    for layer in net.layers[:-1]:
        h = F.relu(h @ layer.weight + layer.bias)
    expected = h @ net.layers[-1].weight + net.layers[-1].bias
    torch.testing.assert_close(net(noise(), context), expected)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 6), (2, 7, 7)])
def test_convolutions_make_images_of_any_size(shape):
    width = torch.Size(shape).numel()
    net = ConvGenerator(shape, (4, 6)).build(width, K, generator=seeded())
    assert net(noise()).shape == (N, width)


def test_rows_between_bounds_start_near_the_mean():
    net = DenseGenerator((8,)).build(D, K, generator=seeded())
    mean = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    net.confine(torch.tensor(0.0), torch.tensor(1.0), mean)
    assert net.is_confined
    with torch.no_grad():
        wild = net(1e4 * noise())
        assert ((wild >= 0) & (wild <= 1)).all()
        for layer in net.layers:
            layer.weight.zero_()
        torch.testing.assert_close(net(noise()), mean.expand(N, D))


def test_bounds_go_with_the_weights():
    net = DenseGenerator((8,)).build(D, K, generator=seeded())
    net.confine(torch.tensor(0.0), torch.tensor(1.0), torch.full((D,), 0.5))
    assert {"low", "span", "middle"} <= set(net.state_dict())
    assert net.double()(noise().double()).dtype == torch.float64
