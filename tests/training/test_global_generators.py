"""torch's global generators, for modules that draw from nothing else."""

import numpy as np
import torch

from skae.training.global_generators import GlobalGenerators

CPU = torch.device("cpu")


def numbers():
    return GlobalGenerators(torch.Generator().manual_seed(3), CPU)


def test_numbers_inside_are_seeded_and_those_outside_go_on():
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    first = torch.rand(1)
    drawn = []
    for _ in range(2):
        with numbers().apart():
            drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)


def test_a_state_is_gone_on_from():
    own = numbers()
    with own.apart():
        torch.rand(3)
        state = [np.array(part) for part in own.state()]
        expected = torch.rand(3)
    with own.apart():
        own.load(state)
        assert torch.equal(torch.rand(3), expected)
