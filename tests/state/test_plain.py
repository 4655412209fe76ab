"""Objects as trees of plain values and arrays, and back: values and sharing."""

import json
import struct
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import skae.estimators.stored  # noqa: F401  registers classes
from skae.fitting.pca_start import Units
from skae.state.plain import deep_copy, from_plain, register, to_plain
from skae.state.registry import strange_names


def name_of(thing):
    return f"{thing.__module__}.{thing.__qualname__}"


def back(value, device="cpu", classes=None):
    return from_plain(to_plain(value, name_of), device, classes)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        2**70,
        0.1,
        float("inf"),
        "ä\U0001f600",
        [],
        [1, [2, "3"]],
        (),
        (1, (2, None)),
        {},
        {"a": {"b": [1]}},
        {1: "one", None: 2, ("x", 3): 4},
        {"$": "tensor", "number": 0},
        {"$": {"$": 1}},
        {3, 1, 2},
        slice(1, None, 2),
        Path("folder") / "file",
        np.dtype("<f4"),
        torch.float16,
        torch.device("cuda:1"),
    ],
    ids=repr,
)
def test_plain_values_come_back(value):
    again = back(value)
    assert again == value
    assert type(again) is type(value)


def test_a_number_that_is_none_stays_so():
    assert np.isnan(back(float("nan")))
    assert struct.pack("d", back(-0.0)) == struct.pack("d", -0.0)


@pytest.mark.parametrize(
    "value", [np.float32(0.1), np.float64(np.nan), np.int8(-3), np.bool_(True)]
)
def test_scalars_of_numpy_keep_their_dtype(value):
    again = back(value)
    assert type(again) is type(value)
    np.testing.assert_array_equal(again, value)


def test_arrays_are_taken_over_and_views_of_files_are_copied(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    assert back(array) is array
    np.save(tmp_path / "array.npy", array)
    for mapped in (np.load(tmp_path / "array.npy", mmap_mode=mode) for mode in "rc"):
        again = back([mapped])[0]
        assert type(again) is np.ndarray
        again[0, 0] = 9
        assert mapped[0, 0] == 0
    fixed = array.T.copy(order="F")
    fixed.setflags(write=False)
    assert back(fixed).flags.writeable
    assert back(fixed).flags.f_contiguous


DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.complex64,
    torch.int64,
    torch.uint8,
    torch.bool,
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 1, 4)], ids=str)
def test_tensors_keep_shape_dtype_and_bits(dtype, shape):
    value = torch.arange(float(np.prod(shape))).reshape(shape).to(dtype)
    again = back(value)
    assert (again.dtype, again.shape) == (dtype, torch.Size(shape))
    assert again.stride() == value.stride() or not value.numel()
    assert again.tolist() == value.tolist()


def test_tensors_by_columns_stay_so():
    for value in (torch.rand(4, 3).mT, torch.rand(2, 4, 3).mT, torch.rand(3, 4)):
        assert back(value).stride() == value.stride()
        assert torch.equal(back(value), value)


def test_a_view_takes_only_its_own_numbers():
    large = torch.rand(1000, 10)
    tree = to_plain(large[:, 2])
    assert tree["data"].nbytes == 4000
    assert tree["data"].base is None
    assert torch.equal(from_plain(tree), large[:, 2])


@pytest.mark.parametrize("needs", [True, False])
def test_parameters_stay_parameters(needs):
    again = back(nn.Parameter(torch.rand(3), requires_grad=needs))
    assert type(again) is nn.Parameter
    assert again.requires_grad is needs
    assert not isinstance(back(torch.rand(3)), nn.Parameter)


def test_what_is_shared_stays_shared():
    weight = nn.Parameter(torch.rand(2, 2))
    units = Units(np.zeros(2), 1.0)
    again = back([weight, (units, {"a": weight}), units])
    assert again[0] is again[1][1]["a"]
    assert again[1][0] is again[2]


def test_objects_that_died_while_writing_are_not_mixed_up():
    class Makes:
        def __plain__(self):
            return {"made": torch.full((2,), float(next(numbers)))}

    numbers = iter(range(100))
    trees = to_plain([Makes() for _ in range(50)], name_of)
    made = [each["state"]["made"] for each in trees]
    assert all(each["$"] == "tensor" for each in made)
    assert [each["data"][0] for each in made] == list(range(50))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.2)),
        lambda: nn.Sequential(OrderedDict(first=nn.Linear(3, 3, bias=False))),
        lambda: nn.LSTM(3, 2, num_layers=2, batch_first=True),
        lambda: nn.ModuleDict({"a": nn.Linear(3, 1), "b": nn.ModuleList()}),
        lambda: nn.ParameterList([torch.rand(2), torch.rand(3)]),
        lambda: nn.ParameterDict({"a": torch.rand(2)}),
        lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
        lambda: nn.Embedding(4, 2, padding_idx=0),
    ],
)
def test_modules_of_torch_come_back(make):
    module = make().eval()
    next(module.parameters()).requires_grad_(False)
    again = back(module)
    assert repr(again) == repr(module)
    state = again.state_dict()
    assert list(state) == list(module.state_dict())
    for name, value in module.state_dict().items():
        assert torch.equal(state[name], value)
    for here, there in zip(module.parameters(), again.parameters(), strict=True):
        assert here.requires_grad == there.requires_grad
        assert type(there) is nn.Parameter
    assert [each.training for each in again.modules()] == [
        each.training for each in module.modules()
    ]
    assert set(vars(again)) == set(vars(module))


def test_a_recurrent_net_runs_after_it_came_back():
    net = nn.GRU(3, 2, batch_first=True).eval()
    x = torch.rand(2, 5, 3)
    assert torch.equal(back(net)(x)[0], net(x)[0])


@pytest.mark.parametrize("function", [torch.tanh, torch.relu, nn.functional.gelu])
def test_functions_of_torch_come_back(function):
    assert back([function]) == [function]


def test_tied_weights_stay_tied():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    again = back(net)
    assert again[0].weight is again[1].weight
    assert len(list(again.parameters())) == 3


def test_generators_of_random_numbers_go_on():
    state = np.random.RandomState(3)
    state.normal(size=3)
    again, same = back([state, state])
    assert again is same
    assert again.normal() == state.normal()
    assert again.randint(2**31) == state.randint(2**31)


class Pair(NamedTuple):
    first: object
    second: object


class Plain:
    """A user's class with no more than attributes."""

    def __init__(self):
        self.weights = np.ones(3)
        self.inner = {"a": (1, 2)}

    @cached_property
    def total(self):
        return self.weights.sum()


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a


class Counted(dict):
    """More than attributes."""


def test_classes_of_users_come_back_where_they_are_allowed():
    value = Plain()
    assert value.total == 3
    tree = to_plain([value, Pair(1, value), Plain], name_of)
    names = {name_of(Plain), name_of(Pair)}
    assert strange_names(tree) == names
    with pytest.raises(ValueError, match="no class or function of skae"):
        from_plain(tree)
    classes = {name_of(kind): kind for kind in (Plain, Pair)}
    again, pair, kind = from_plain(tree, classes=classes)
    assert kind is Plain
    assert type(pair) is Pair
    assert pair.second is again
    assert again.inner == value.inner
    # What can be computed is not kept.
    assert "total" not in vars(again)
    assert again.total == 3


@pytest.mark.parametrize(
    "value",
    [
        Slotted(1),
        Counted(a=1),
        np.random.default_rng(0),
        torch.Generator(),
        iter([1]),
        frozenset([1]),
        b"bytes",
        1j,
        range(3),
        lambda: None,
        np.dtype("O"),
        np.dtype([("a", int)]),
        torch.rand(2).to_sparse(),
        nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
        nn.Sequential(nn.utils.parametrizations.orthogonal(nn.Linear(2, 2))),
        np.ma.masked_array([1.0, 2.0], [True, False]),
        np.rec.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_file_cannot_hold_is_refused_with_its_place(value):
    with pytest.raises(TypeError, match=r"^a\[1\]"):
        to_plain({"a": [0, value]}, name_of)


def test_a_pickle_keeps_the_arrays_that_files_refuse():
    masked = np.ma.masked_array([1.0, 2.0], [True, False])
    assert from_plain(to_plain([masked]))[0].mask.tolist() == [True, False]


def test_conjugates_and_buffers():
    value = torch.tensor([1 + 2j]).conj()
    assert back(value).tolist() == [1 - 2j]
    assert back(nn.Buffer(torch.ones(2))).tolist() == [1, 1]


def test_what_is_too_deep_is_refused():
    value = []
    for _ in range(200):
        value = [value]
    with pytest.raises(ValueError, match="100 levels"):
        to_plain(value)
    with pytest.raises(ValueError, match="100 levels"):
        from_plain(value)
    endless = []
    endless.append(endless)
    with pytest.raises(ValueError, match="100 levels"):
        to_plain(endless)


def test_deep_copies_share_within_and_not_without():
    value = Plain()
    value.other = value.weights
    again = deep_copy(value, {})
    assert again.weights is again.other
    assert again.weights is not value.weights


def test_two_things_of_one_name_are_refused():
    class Units:
        pass

    with pytest.raises(ValueError, match="named Units"):
        register(Units)


# Trees of others

TENSOR = to_plain(torch.zeros(2))
STATE = to_plain(np.random.RandomState(0))


@pytest.mark.parametrize(
    "tree",
    [
        {"$": "nothing"},
        {"$": 3},
        {"$": ["tuple"]},
        {"$": "tuple"},
        {"$": "tuple", "items": 3},
        {"$": "dict", "items": [[1]]},
        {"$": "dict", "items": [[[], 1]]},
        {"$": "slice", "items": [1, 2, 3, 4]},
        {"$": "set", "items": [[]]},
        {"$": "same", "number": 7},
        {"$": "name", "name": "os.system"},
        {"$": "name", "name": 3},
        {"$": "dtype", "name": "O"},
        {"$": "dtype", "name": "V1000000000"},
        {"$": "dtype", "name": "f4,f4"},
        {"$": "torch_dtype", "name": "save"},
        {"$": "device", "name": "nonsense"},
        {"$": "path", "name": 3},
        {"$": "scalar", "data": np.zeros(3)},
        {"$": "scalar", "data": 3},
        {**TENSOR, "data": [1.0]},
        {**TENSOR, "dtype": "int64", "data": np.zeros(3, np.uint8)},
        {**TENSOR, "data": np.array(["a"])},
        [TENSOR, TENSOR],
        [TENSOR, {**TENSOR, "number": 5}],
        {"$": "object", "class": "os.system", "number": 0, "state": {}},
        {"$": "object", "class": "masked", "number": 0, "state": {}},
        {"$": "object", "class": "torch.nn.Linear", "number": 0, "state": []},
        {
            "$": "object",
            "class": "torch.nn.Linear",
            "number": 0,
            "state": {"forward": 1},
        },
        {**STATE, "state": {**STATE["state"], "bit_generator": "PCG64"}},
        {
            **STATE,
            "state": {
                **STATE["state"],
                "state": {**STATE["state"]["state"], "pos": 10**6},
            },
        },
    ],
    ids=lambda tree: str(tree)[:40],
)
def test_forged_trees_are_refused(tree):
    with pytest.raises((ValueError, TypeError, LookupError, RuntimeError)):
        from_plain(tree)


def test_trees_without_arrays_are_json():
    tree = to_plain({"a": (1, slice(2)), 3: {None}, "path": Path("x")}, name_of)
    assert from_plain(json.loads(json.dumps(tree))) == from_plain(tree)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_modules_go_from_device_to_device():
    net = nn.Linear(3, 2).cuda()
    here = back(net)
    assert here.weight.device.type == "cpu"
    there = back(here, "cuda")
    assert there.weight.device.type == "cuda"
    assert torch.equal(there.weight, net.weight)
