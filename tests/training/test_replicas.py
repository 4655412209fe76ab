"""Replicas: the same memory, leaves of their own, and the state of the module."""

import torch
from torch import nn

from skae.training.replicas import Replica


class Net(nn.Module):
    """Two layers that share a weight, with a number in a part of its own."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.second.level = 1
        self.unused = nn.Parameter(torch.ones(2))
        self.register_buffer("scale", torch.ones(3))
        self.parts = [self.first]

    def forward(self, x):
        h = self.second(torch.tanh(self.parts[0](x))) * self.scale
        return h.square().sum() * self.second.level


def followed(net):
    replica = Replica(net)
    replica.follow()
    return replica


def test_gradients_are_those_of_the_module():
    net, x = Net(), torch.randn(5, 3)
    parameters = list(net.parameters())
    expected = torch.autograd.grad(net(x), parameters, allow_unused=True)
    replica = followed(net)
    found = replica.gradients(replica.module(x), parameters)
    for one, other in zip(expected, found, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)
    assert all(p.grad is None for p in parameters)


def test_replicas_share_memory_and_no_leaf():
    net = Net()
    replica = followed(net)
    own, copied = list(net.parameters()), list(replica.module.parameters())
    assert [p.data_ptr() for p in own] == [p.data_ptr() for p in copied]
    assert not {*map(id, own)} & {*map(id, copied)}
    assert replica.module.scale is net.scale
    assert replica.module.parts[0] is replica.module.first


def test_replicas_follow_weights_numbers_modes_and_what_is_trained():
    net, x = Net(), torch.randn(5, 3)
    replica = followed(net)
    net.second.level = 3
    net.first.eval()
    net.first.weight.requires_grad_(False)
    net.first.bias.data = torch.randn(3)
    net.scale.fill_(2.0)
    replica.follow()
    copied = replica.module
    assert (copied.second.level, copied.first.training, copied.training) == (3, 0, 1)
    assert torch.equal(copied(x), net(x))
    weight, bias = replica.gradients(copied(x), [net.first.weight, net.first.bias])
    assert weight is None
    assert torch.equal(bias, torch.autograd.grad(net(x), net.first.bias)[0])
