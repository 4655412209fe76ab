"""Attributes of modules and callbacks that are stored and put back."""

from collections import deque

import numpy as np
import pytest
import torch
from torch import nn

from skae.state import container
from skae.training.attributes import (
    attributes_of,
    attributes_of_module,
    load_attributes,
    load_module,
)


class Counting(nn.Module):
    """Keeps something of each kind."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("mean", torch.zeros(2))
        self.n_calls, self.last, self.past = 0, None, []
        self.drawn, self.recent = {}, deque(maxlen=3)
        self.generator = torch.Generator().manual_seed(0)
        self.random = np.random.default_rng(0)
        self.random_state = np.random.RandomState(0)
        self.cache = torch.zeros(2)
        self.view = self.cache[:1]
        self.weights = [self.layer.weight]
        self.function = torch.relu

    def call(self):
        self.n_calls += 1
        self.last = torch.rand(2, generator=self.generator)
        self.past.append((self.n_calls, float(self.random.random())))
        self.drawn[str(self.n_calls)] = self.random_state.rand(2)
        self.recent.append(self.n_calls)
        self.cache += self.last
        return self.last.sum().item() + self.past[-1][1] + self.view.item()


@pytest.fixture
def through_a_file(tmp_path):
    def through(tree):
        container.write(tmp_path / "file", {"tree": tree})
        return container.read(tmp_path / "file")[0]["tree"]

    return through


def test_a_module_goes_on_as_it_was(through_a_file):
    whole, other = nn.Sequential(Counting()), nn.Sequential(Counting())
    for _ in range(5):
        whole[0].call()
    load_module(other, through_a_file(attributes_of_module(whole)))
    assert [other[0].call() for _ in range(4)] == [whole[0].call() for _ in range(4)]
    assert other[0].recent == deque([7, 8, 9], maxlen=3)
    assert other[0].recent.maxlen == 3
    # What refers to weights still does.
    assert other[0].weights[0] is other[0].layer.weight
    assert other[0].view.data_ptr() == other[0].cache.data_ptr()


def test_what_is_left_out_has_a_name():
    class Thing:
        def __init__(self):
            self.number, self.module, self.any = 1, nn.Linear(1, 1), object()
            self.mixed = [1, object()]

    stored, others = attributes_of(Thing())
    assert list(stored) == ["number"]
    assert list(others) == ["module", "any", "mixed"]


def test_objects_say_what_their_state_is(through_a_file):
    class Averages:
        def __init__(self):
            self.total = 0.0

        def state(self):
            return {"total": self.total}

        def load(self, state):
            self.total = state["total"]

    class Thing:
        def __init__(self):
            self.averages = Averages()

    one, other = Thing(), Thing()
    one.averages.total = 2.5
    averages = other.averages
    load_attributes(other, through_a_file(attributes_of(one)[0]))
    assert other.averages is averages
    assert averages.total == 2.5
