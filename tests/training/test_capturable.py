"""What may be captured: code that is foreign, and operations that need the CPU."""

import functools

import pytest
import torch
from torch import nn

from skae.models.autoencoder import Autoencoder
from skae.parts.corruption import GaussianNoise
from skae.parts.dense import Dense
from skae.parts.likelihoods import Gaussian
from skae.parts.penalties import Contraction
from skae.parts.priors import StandardNormal
from skae.training.capturable import Watcher, foreign_code, leaves_of


def autoencoder(**parts):
    codec = Dense((4,)).build(3, 2, generator=torch.Generator(), n_outputs=4)
    own = {
        "likelihood": Gaussian(),
        "corruption": GaussianNoise(0.1),
        "prior": StandardNormal(),
    }
    return Autoencoder(codec, **(own | parts))


class Own(nn.Module):
    def forward(self, x):
        return x


class Steady(Own):
    capturable = True


class TestForeignCode:
    def test_parts_of_the_package_are_own(self):
        assert foreign_code(autoencoder(penalties=[Contraction(0.1)])) is None
        layers = nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(), nn.LSTM(2, 2)
        assert foreign_code(nn.ModuleList(layers)) is None

    @pytest.mark.parametrize(
        "part",
        [
            {"penalties": [lambda state: state.h.sum(-1)]},
            {"corruption": functools.partial(lambda x, generator: x)},
            {"prior": Own()},
            {"likelihood": nn.Sequential(nn.Sequential(Own()))},
        ],
    )
    def test_a_users_part_is_found_wherever_it_is(self, part):
        assert foreign_code(autoencoder(**part)).endswith("of yours")

    def test_hooks_and_methods_that_were_replaced_are_found(self):
        layer = nn.Linear(2, 2)
        layer.register_forward_pre_hook(lambda *_: None)
        assert foreign_code(nn.Sequential(layer)) == "<lambda> is a function of yours"
        layer = nn.Linear(2, 2)
        layer.forward = lambda x: x
        assert foreign_code(nn.Sequential(layer)) is not None

    def test_classes_may_say_that_they_can_be_captured(self):
        assert foreign_code(nn.Sequential(Steady())) is None
        assert foreign_code(nn.Sequential(Own())) == "Own is a class of yours"


class TestWatcher:
    @pytest.mark.parametrize("use", [torch.Tensor.item, torch.Tensor.nonzero, abs])
    def test_the_first_operation_that_no_graph_holds_is_named(self, use):
        x = torch.ones(1)
        with Watcher() as watcher:
            use(x)
            x.add(1)
        assert "works on the CPU" in watcher.reason
        assert "add" not in watcher.reason


def test_leaves_are_those_of_nested_tuples_and_lists():
    assert [*leaves_of((1, [2, (None, "text")], []))] == [1, 2, None, "text"]
