"""One file for a tree: what goes in comes out, and what is no file is refused."""

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from skae.state import container
from skae.state.container import ModelFileError, allowance, check_format


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tree.safetensors"


def back(path, tree):
    container.write(path, tree)
    return container.read(path)[0]


@pytest.mark.parametrize(
    "tree",
    [
        None,
        3,
        "text",
        [],
        {},
        {"a": [1, 2.5, None, True, "ä"], "b": {"c": {}}},
        {"$": "tuple", "items": []},
        [0.1] * 3,
        [0.1 * i for i in range(1000)],
        [[float(i) for i in range(300)]] * 2,
        [1] * 1000,
        [2**80, -(2**63), 5e-324, float("inf")],
        {"": 1, "a.b/../c": [1.0] * 300, "ü" * 300: 2},
    ],
    ids=lambda tree: str(tree)[:30],
)
def test_plain_values_come_back(path, tree):
    again = back(path, tree)
    assert again == tree
    assert type(again) is type(tree)


def test_floats_keep_their_bits(path):
    values = [np.nan, np.inf, -np.inf, -0.0, 1 / 3]
    for tree in (values, values * 100):
        again = back(path, tree)
        assert all(type(each) is float for each in again)
        assert np.array(again).tobytes() == np.array(tree).tobytes()


ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.arange(6.0).reshape(2, 3).T,
    np.arange(10)[::2],
    np.arange(3, dtype=">i4"),
    np.array([1.5], dtype=">f8"),
    np.array(3.0),
    np.zeros((0, 3)),
    np.array([True, False]),
    np.float16([1, np.nan]),
    np.array([1 + 2j, 3], dtype=np.complex64),
    np.array([[1 + 2j]]),
    np.array(["a", "ää\U0001f600", ""]),
    np.array([["x"], ["yy"]], dtype=">U3"),
    np.array([""]),
    np.array([b"ab", b""]),
    np.array("text"),
    np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
    np.array([1, 2], dtype="m8[ns]"),
    np.array(["a", "ää"], dtype=object),
    np.array([1, None, "a", 2.5, True], dtype=object),
    np.array([["a"], ["b"]], dtype=object),
    np.zeros((2, 0), dtype=object),
    np.array("a", dtype=object),
    np.arange(3, dtype=np.uint64) + 2**63,
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype.str}{a.shape}")
def test_arrays_keep_dtype_shape_and_values(path, array):
    again = back(path, {"a": [array]})["a"][0]
    assert again.dtype == array.dtype.newbyteorder("=")
    assert again.shape == array.shape
    np.testing.assert_array_equal(again, array)
    if array.dtype == object:
        assert [type(each) for each in again.ravel()] == [
            type(each) for each in array.ravel()
        ]


def test_two_arrays_of_one_name_and_one_array_twice(path):
    array = np.ones(2)
    again = back(path, [{"a.b": array, "a": {"b": array + 1}}, {"a_b": array + 2}])
    assert again[0]["a.b"][0] == 1
    assert again[0]["a"]["b"][0] == 2
    assert again[1]["a_b"][0] == 3


@pytest.mark.parametrize(
    "value",
    [
        object(),
        (1, 2),
        {1},
        b"bytes",
        1j,
        {1: 2},
        np.array([object()]),
        np.array([(1, 2)], dtype=[("a", int), ("b", int)]),
        np.array([[1], [2, 3]], dtype=object),
        np.longdouble([1.0]),
        np.ma.masked_array([1.0], [True]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_none_of_them_is_refused(path, value):
    path.write_bytes(b"earlier")
    with pytest.raises(TypeError):
        container.write(path, [1, {"a": value}])
    assert path.read_bytes() == b"earlier"
    assert os.listdir(path.parent) == [path.name]


def test_a_file_is_one_of_safetensors(path):
    container.write(path, {"weights": np.ones(3, np.float32)}, {"about": 1})
    assert load_file(path)["weights"].tolist() == [1, 1, 1]
    with safe_open(path, "numpy") as file:
        assert json.loads(file.metadata()["skae"])["format"] == 1
    assert container.read_header(path) == ({"about": 1}, {"weights": (3,)})


def test_what_is_too_large_for_reading_is_refused_when_written(path):
    with pytest.raises(ValueError, match="too much to be read"):
        container.write(path, {"a": [[] for _ in range(3 * 10**5)]})
    assert os.listdir(path.parent) == []


def test_links_and_permissions_stay(tmp_path, path):
    container.write(path, 1)
    os.chmod(path, 0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    container.write(link, 2)
    assert link.is_symlink()
    assert container.read(path)[0] == 2
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640


@pytest.mark.parametrize("name", ["a" * 250, "ä" * 120, "with space", ".hidden", "x"])
def test_every_name_of_a_file(tmp_path, name):
    for kind in (str, Path):
        container.write(kind(tmp_path / name), [1])
        assert container.read(kind(tmp_path / name))[0] == [1]
    assert os.listdir(tmp_path) == [name]


def test_a_folder_is_not_replaced(tmp_path):
    with pytest.raises(OSError, match=r".+"):
        container.write(tmp_path, 1)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [0, -1, True, "1", None, 1.0, 10**30])
def test_formats_that_are_not_read(number):
    with pytest.raises(ModelFileError, match="This file"):
        check_format(number, "This file")


def content_of(path):
    with safe_open(path, "numpy") as file:
        return json.loads(file.metadata()["skae"])


def rewritten(path, tensors=None, **changes):
    """The file with other entries, and the checksum of those."""
    content = {**content_of(path), **changes}
    content["sha256"] = container._checksum(content)
    tensors = load_file(path) if tensors is None else tensors
    save_file(tensors, path, metadata={"skae": json.dumps(content)})


ENTRY = {"$": "array", "name": "a", "dtype": "<f8"}


@pytest.mark.parametrize(
    "tree",
    [
        [ENTRY, ENTRY],
        {**ENTRY, "name": "b"},
        {**ENTRY, "name": ["a"]},
        {**ENTRY, "dtype": "<f4"},
        {**ENTRY, "dtype": "O"},
        {**ENTRY, "dtype": "<U1000000000"},
        {**ENTRY, "dtype": "V8"},
        {**ENTRY, "dtype": 3},
        {"$": "array"},
        {"$": "floats", "name": "b"},
        {"$": "entries", "name": "a", "shape": [3]},
        [],
    ],
    ids=str,
)
def test_trees_that_do_not_belong_to_the_arrays(path, tree):
    container.write(path, np.zeros(3))
    rewritten(path, tree=json.dumps(tree))
    with pytest.raises(ModelFileError):
        container.read(path)


def test_arrays_in_the_place_of_others(path):
    container.write(path, {"a": np.zeros(3), "b": np.ones(3)})
    arrays = load_file(path)
    rewritten(path, tensors={"a": arrays["b"], "b": arrays["a"]})
    with pytest.raises(ModelFileError, match="checksum"):
        container.read(path)
    rewritten(path, tensors={**arrays, "c": np.zeros(1)})
    with pytest.raises(ModelFileError, match="belong to nothing"):
        container.read(path)
    rewritten(path, tensors={"a": arrays["a"]})
    with pytest.raises(ModelFileError, match="missing"):
        container.read(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"format": None},
        {"tree": 3},
        {"tree": "{"},
        {"tree": "[" * 10**5},
        {"header": []},
        {"arrays": 1},
    ],
    ids=lambda changes: str(changes)[:30],
)
def test_headers_that_are_none(path, changes):
    container.write(path, [1])
    rewritten(path, **changes)
    with pytest.raises(ModelFileError):
        container.read(path)


def test_text_that_would_fill_the_memory_is_refused(path):
    metadata = json.dumps({"format": 1, "tree": "[" + "[]," * 10**6 + "[]]"})
    header = json.dumps({"__metadata__": {"skae": metadata}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ModelFileError, match="in memory"):
        container.read(path)


def test_reading_may_take_twice_the_file_and_a_bit():
    assert allowance(10**9) - 2 * 10**9 == allowance(0) <= 2**25


@pytest.mark.parametrize("data", [b"", b"\x00" * 8, b"\xff" * 100, b"PK\x03\x04", b"{"])
def test_other_bytes_are_refused(path, data):
    path.write_bytes(data)
    for read in (container.read, container.read_header):
        with pytest.raises(ModelFileError):
            read(path)
