"""From trees of plain values and arrays back to objects, see `skae.state.plain`.

A tree may come from anyone: whatever is read is checked, and takes no memory but that
of the tree.
"""

import inspect
import types
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from skae.state.registry import registered

__all__ = ["MOST_LEVELS", "NUMBERS", "check_attributes", "from_plain"]

# An estimator is a few modules deep, and users' modules a few more.
MOST_LEVELS = 100
_MOST_OBJECTS = 2**31
# Keys of a dictionary with one hash: looking them up takes time.
_MOST_ALIKE = 50
# Kinds of dtypes that a tree may name.
NUMBERS = "biufc"
_COMPUTED = property, classmethod, staticmethod, cached_property
_TORCH_DTYPES = {
    str(value).removeprefix("torch."): value
    for value in vars(torch).values()
    if isinstance(value, torch.dtype)
}


def from_plain(
    tree: Any,
    device: torch.device | str = "cpu",
    classes: Mapping[str, Any] | None = None,
) -> Any:
    """The value of a tree.

    Parameters
    ----------
    tree : object
        From `skae.state.plain.to_plain`; its arrays may become parts of the value.
    device : torch.device or str
        Where the modules go.
    classes : mapping of str to class or function, optional
        Allowed in addition to those that are registered.

    Raises
    ------
    ValueError
        When the tree is not one of `to_plain`, or names what is not allowed.
    """
    return _Reader(torch.device(device), classes or {}).value(tree)


class _Reader:
    """One call of `from_plain`."""

    def __init__(self, device: torch.device, classes: Mapping[str, Any]):
        self._device = device
        self._classes = classes
        self._made: dict[int, Any] = {}
        self._used: set[int] = set()
        self._n_levels = 0

    def value(self, tree: Any) -> Any:
        if type(tree) not in (dict, list):
            return tree
        self._n_levels += 1
        if self._n_levels > MOST_LEVELS:
            raise ValueError(f"the state has more than {MOST_LEVELS} levels")
        if type(tree) is list:
            value: Any = [self.value(each) for each in tree]
        elif "$" in tree:
            value = self._special(tree)
        else:
            value = {key: self.value(each) for key, each in tree.items()}
        self._n_levels -= 1
        return value

    def _special(self, tree: dict) -> Any:
        kind = tree["$"]
        read = getattr(self, f"_read_{kind}", None) if isinstance(kind, str) else None
        if read is None:
            raise ValueError(f"{kind!r} is no kind of value")
        return read(tree)

    def _items(self, tree: dict) -> list:
        return self.value(_instance(tree["items"], list))

    def _read_tuple(self, tree):
        return tuple(self._items(tree))

    def _read_set(self, tree):
        return set(_apart(self._items(tree)))

    def _read_slice(self, tree):
        return slice(*self._items(tree))

    def _read_dict(self, tree):
        items = self._items(tree)
        _apart([key for key, _ in items])
        return dict(items)

    def _read_dtype(self, tree):
        # Read by numpy where it is short: it would also make dtypes of any size.
        dtype = np.dtype(_instance(tree["name"], str)[:4])
        if dtype.kind not in NUMBERS or dtype.str != tree["name"]:
            raise ValueError(f"{tree['name']!r} is no dtype of numbers")
        return dtype

    def _read_torch_dtype(self, tree):
        return _TORCH_DTYPES[tree["name"]]

    def _read_device(self, tree):
        return torch.device(_instance(tree["name"], str))

    def _read_scalar(self, tree):
        data = self._array(tree)
        if data.ndim:
            raise ValueError(f"a scalar has the shape {data.shape}")
        return data[()]

    def _read_random_state(self, tree):
        state = self.value(_instance(tree["state"], dict))
        _check_random_state(state)
        random_state = np.random.RandomState()
        random_state.set_state(state)
        return self._keep(tree, random_state)

    def _read_tensor(self, tree):
        data = torch.from_numpy(self._own(self._array(tree)))
        if "dtype" in tree:
            data = data.view(_TORCH_DTYPES[tree["dtype"]])
        data = data.to(self._device)
        data = data.mT if tree["by_columns"] is True else data
        if tree["is_parameter"] is True:
            data = nn.Parameter(data, requires_grad=False)
        return self._keep(tree, data.requires_grad_(tree["requires_grad"] is True))

    def _read_same(self, tree):
        return self._made[tree["number"]]

    def _read_name(self, tree):
        return self._class(tree["name"])

    def _read_object(self, tree):
        kind = self._class(tree["class"])
        if not isinstance(kind, type):
            raise ValueError(f"{tree['class']!r} is no class")
        if issubclass(kind, tuple):
            return self._keep(tree, kind(*self.value(_instance(tree["fields"], list))))
        made = self._keep(tree, kind.__new__(kind))
        if isinstance(made, nn.Module):
            nn.Module.__init__(made)
        state = _instance(self.value(tree["state"]), dict)
        check_attributes(kind, state)
        if hasattr(kind, "__from_plain__"):
            made.__from_plain__(state)
        elif hasattr(kind, "__setstate__"):
            made.__setstate__(state)
        else:
            vars(made).update(state)
        return made

    def _keep(self, tree: dict, value: Any) -> Any:
        number = tree["number"]
        if type(number) is not int or not 0 <= number < _MOST_OBJECTS:
            raise ValueError(f"an object has the number {str(number)[:50]}")
        if number in self._made:
            raise ValueError(f"two objects have the number {number}")
        self._made[number] = value
        return value

    def _array(self, tree: dict) -> np.ndarray:
        return _instance(tree["data"], np.ndarray)

    def _own(self, data: np.ndarray) -> np.ndarray:
        """An array that nothing else holds: itself, unless it is a view of a file."""
        if id(data) in self._used:
            raise ValueError("an array stands in two places")
        self._used.add(id(data))
        is_own = type(data) is np.ndarray and data.flags.writeable
        return data if is_own and data.flags.c_contiguous else data.copy(order="C")

    def _class(self, name: Any) -> Any:
        # In a pickle, a class that is not registered stands for itself.
        if isinstance(name, type | types.FunctionType | types.BuiltinFunctionType):
            return name
        name = _instance(name, str)
        if name in self._classes:
            return self._classes[name]
        thing = registered(name)
        if thing is None:
            raise ValueError(f"{name!r} is no class or function of skae")
        return thing


def _apart(keys: list) -> list:
    """Keys of which few have the same hash."""
    if keys and max(Counter(map(hash, keys)).values()) > _MOST_ALIKE:
        raise ValueError("keys are made to be slow to look up")
    return keys


def check_attributes(kind: type, state: dict) -> None:
    """Raise where attributes would take the place of methods.

    Parameters
    ----------
    kind : type
        It may have ``most_axes``, which its arrays have at most.
    state : dict

    Raises
    ------
    ValueError
    """
    most_axes = getattr(kind, "most_axes", None)
    for name, value in state.items():
        if most_axes is not None and np.ndim(value) > most_axes:
            raise ValueError(f"{name!r} has the shape {np.shape(value)}")
        own = inspect.getattr_static(kind, _instance(name, str), None)
        if callable(own) or isinstance(own, _COMPUTED):
            raise ValueError(f"{name!r} is no attribute of {kind.__name__} to be set")


def _check_random_state(state: dict) -> None:
    """Raise where numpy would read beyond the generator's numbers."""
    inner = _instance(state["state"], dict)
    key = _instance(inner["key"], np.ndarray)
    is_complete = (
        state["bit_generator"] == "MT19937"
        and (key.dtype, key.shape) == (np.uint32, (624,))
        and type(inner["pos"]) is int
        and 0 <= inner["pos"] <= len(key)
        and state["has_gauss"] in (0, 1)
        and isinstance(state["gauss"], float)
    )
    if not is_complete:
        raise ValueError("the state of a generator of random numbers is none")


def _instance(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(
            f"{kind.__name__} was expected instead of {type(value).__name__}"
        )
    return value
