"""Names that trees may hold, and the classes and functions that they stand for."""

import pickle
from importlib import import_module

import pytest
from torch import nn

import skae
from skae.estimators import HOMES, estimator_classes
from skae.state.registry import (
    register,
    registered,
    registered_class_names,
    registered_name,
    strange_names,
)


@pytest.mark.parametrize("name", HOMES)
def test_public_estimators_are_registered(name):
    kind = getattr(skae, name)
    assert registered(name) is kind
    assert registered_name(kind) == name
    assert kind in estimator_classes()
    assert f"{HOMES[name]}.{name}" in registered_class_names()
    assert kind.__module__ == HOMES[name]
    # What pickles name can be imported.
    assert getattr(import_module(kind.__module__), kind.__qualname__) is kind
    assert pickle.loads(pickle.dumps(kind)) is kind


def test_modules_of_torch_are_registered():
    assert registered("torch.nn.Linear") is nn.Linear
    assert registered_name(nn.LSTM) == "torch.nn.LSTM"


@pytest.mark.parametrize(
    "name",
    ["os.system", "eval", "", "skae", "torch.nn.DataParallel", "torch.nn.LazyLinear"],
)
def test_others_are_not(name):
    assert registered(name) is None
    assert strange_names({"$": "name", "name": name}) == {name}


def test_a_name_stands_for_one_thing():
    def masked():
        pass

    with pytest.raises(ValueError, match="named masked"):
        register(masked)
    assert registered("masked") is not masked
    register(skae.GAN)
    assert registered("GAN") is skae.GAN


def test_strange_names_are_found_at_every_depth():
    tree = [
        {"a": {"$": "object", "class": "theirs.Net", "state": {"$": "x", "name": "y"}}},
        {"$": "tuple", "items": [{"$": "name", "name": "theirs.call"}]},
        {"$": "object", "class": "GAN", "state": {}},
        {"$": "object", "class": 3},
        {"$": ["object"], "class": "no.object"},
    ]
    assert strange_names(tree) == {"theirs.Net", "theirs.call"}
