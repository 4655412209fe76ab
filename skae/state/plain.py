"""Objects as plain values and NumPy arrays, and back.

``to_plain`` turns an object of a registered class, with all that it holds, into nested
dictionaries and lists of arrays, numbers and strings; ``from_plain`` makes the object
again. Estimators pickle themselves that way, and files hold the same tree. Nothing is
imported by a name that stands in a tree: only registered classes and functions, and
those that the caller passes, are made. This module knows no class of skae.

A dictionary with the key ``"$"``, which names one of the kinds below, stands for what
is neither a plain value nor an array.
"""

import copy
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Foreign", "deep_copy", "from_plain", "register", "to_plain"]

_CLASSES: dict[str, Any] = {
    f"torch.nn.{name}": value
    for name, value in vars(nn).items()
    if isinstance(value, type) and issubclass(value, nn.Module)
}
_NAMES: dict[Any, str] = {value: name for name, value in _CLASSES.items()}
_VALUES = type(None), bool, int, float, str
_TORCH_DTYPES = {
    str(value).removeprefix("torch."): value
    for value in vars(torch).values()
    if isinstance(value, torch.dtype)
}
# An estimator is a few modules deep, and users' modules a few more.
_MOST_LEVELS = 100

Foreign = Callable[[Any], Any]


def register(*things: Any) -> None:
    """Allow these classes and functions in trees, under their names.

    Raises
    ------
    ValueError
        When another one has the name.
    """
    for thing in things:
        name = thing.__name__.strip("_")
        if _CLASSES.setdefault(name, thing) is not thing:
            raise ValueError(f"Two classes or functions are named {name}.")
        _NAMES[thing] = name


def to_plain(value: Any, foreign: Foreign | None = None) -> Any:
    """A value as plain values and arrays.

    Parameters
    ----------
    value : object
    foreign : callable, optional
        Maps an object, class or function that is not registered to what stands for it
        in the tree. By default these stay what they are, and only the insides of
        modules are taken apart.
    """
    return _Writer(foreign or (lambda thing: thing)).plain(value)


def from_plain(
    tree: Any,
    device: torch.device | str = "cpu",
    classes: Mapping[str, Any] | None = None,
) -> Any:
    """The value of a tree.

    Parameters
    ----------
    tree : object
        From `to_plain`.
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


def deep_copy(value: Any, memo: dict) -> Any:
    """A deep copy of an object by its ``__dict__``, on the device where it is."""
    duplicate = object.__new__(type(value))
    memo[id(value)] = duplicate
    vars(duplicate).update(copy.deepcopy(vars(value), memo))
    return duplicate


class _Writer:
    """One call of `to_plain`; what comes again is a reference to its number."""

    def __init__(self, foreign: Foreign):
        self._foreign = foreign
        self._numbers: dict[int, int] = {}
        # Objects stay alive, so that no two have one id.
        self._written: list[Any] = []

    def plain(self, value: Any) -> Any:
        if type(value) in _VALUES:
            return value
        if isinstance(value, np.ndarray):
            # Without what is no array of its own, such as a memory map.
            return value if type(value) is np.ndarray else np.array(value)
        if isinstance(value, np.generic | np.dtype | torch.dtype | torch.device):
            return _small(value)
        if type(value) is list:
            return [self.plain(each) for each in value]
        if type(value) in (dict, OrderedDict):
            return self._dictionary(value)
        if type(value) is tuple:
            return {"$": "tuple", "items": [self.plain(each) for each in value]}
        if type(value) is set:
            items = sorted(value, key=repr)
            return {"$": "set", "items": [self.plain(each) for each in items]}
        if isinstance(value, slice):
            parts = value.start, value.stop, value.step
            return {"$": "slice", "items": [self.plain(each) for each in parts]}
        return self._numbered(value)

    def _dictionary(self, value: dict) -> dict:
        if "$" not in value and all(type(key) is str for key in value):
            return {key: self.plain(each) for key, each in value.items()}
        items = [[self.plain(key), self.plain(each)] for key, each in value.items()]
        return {"$": "dict", "items": items}

    def _numbered(self, value: Any) -> Any:
        """What may be there several times: a tensor, an object, a function."""
        if id(value) in self._numbers:
            return {"$": "same", "number": self._numbers[id(value)]}
        if isinstance(value, Tensor):
            return {"$": "tensor", "number": self._number(value), **_tensor(value)}
        if isinstance(value, np.random.RandomState):
            state = self.plain(value.get_state(legacy=False))
            number = self._number(value)
            return {"$": "random_state", "number": number, "state": state}
        if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
            name = _name_of(value)
            return self._foreign(value) if name is None else {"$": "name", "name": name}
        return self._object(value)

    def _object(self, value: Any) -> Any:
        kind = type(value)
        name = _name_of(kind)
        if name is None:
            is_simple = kind.__reduce__ is object.__reduce__
            if not (isinstance(value, nn.Module) and is_simple):
                return self._foreign(value)
            name = self._foreign(kind)
        number = self._number(value)
        if isinstance(value, tuple):
            state = {"fields": [self.plain(each) for each in value]}
        else:
            state = {"state": self.plain(_state_of(value))}
        return {"$": "object", "class": name, "number": number, **state}

    def _number(self, value: Any) -> int:
        self._written.append(value)
        return self._numbers.setdefault(id(value), len(self._numbers))


class _Reader:
    """One call of `from_plain`."""

    def __init__(self, device: torch.device, classes: Mapping[str, Any]):
        self._device = device
        self._classes = classes
        self._made: dict[int, Any] = {}
        self._n_levels = 0

    def value(self, tree: Any) -> Any:
        if isinstance(tree, list):
            return self._deeper(lambda: [self.value(each) for each in tree])
        if not isinstance(tree, dict):
            return tree
        if "$" in tree:
            return self._deeper(lambda: self._special(tree))
        return self._deeper(
            lambda: {key: self.value(each) for key, each in tree.items()}
        )

    def _deeper(self, read: Callable[[], Any]) -> Any:
        self._n_levels += 1
        if self._n_levels > _MOST_LEVELS:
            raise ValueError(f"the state has more than {_MOST_LEVELS} levels")
        value = read()
        self._n_levels -= 1
        return value

    def _special(self, tree: dict) -> Any:
        kind = tree["$"]
        read = getattr(self, f"_read_{kind}", None) if isinstance(kind, str) else None
        if read is None:
            raise ValueError(f"{kind!r} is no kind of value")
        return read(tree)

    def _read_tuple(self, tree):
        return tuple(self.value(tree["items"]))

    def _read_set(self, tree):
        return set(self.value(tree["items"]))

    def _read_slice(self, tree):
        return slice(*self.value(tree["items"]))

    def _read_dict(self, tree):
        return {self.value(key): self.value(each) for key, each in tree["items"]}

    def _read_dtype(self, tree):
        return np.dtype(_text(tree["name"]))

    def _read_torch_dtype(self, tree):
        return _TORCH_DTYPES[tree["name"]]

    def _read_device(self, tree):
        return torch.device(_text(tree["name"]))

    def _read_scalar(self, tree):
        return _array(tree["data"])[()]

    def _read_random_state(self, tree):
        random_state = np.random.RandomState()
        random_state.set_state(self.value(tree["state"]))
        return self._keep(tree, random_state)

    def _read_tensor(self, tree):
        data = torch.from_numpy(_array(tree["data"]).copy(order="C")).to(self._device)
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
            return self._keep(tree, kind(*self.value(tree["fields"])))
        made = self._keep(tree, kind.__new__(kind))
        if isinstance(made, nn.Module):
            nn.Module.__init__(made)
        state = self.value(tree["state"])
        if not isinstance(state, dict):
            raise ValueError(f"the state of {kind.__name__} is no dictionary")
        if hasattr(made, "__setstate__"):
            made.__setstate__(state)
        else:
            vars(made).update(state)
        return made

    def _keep(self, tree: dict, value: Any) -> Any:
        if tree["number"] in self._made:
            raise ValueError(f"two objects have the number {tree['number']!r}")
        self._made[tree["number"]] = value
        return value

    def _class(self, name: Any) -> Any:
        # In a pickle, a class that is not registered stands for itself.
        if not isinstance(name, str):
            return name
        if name in self._classes:
            return self._classes[name]
        if name not in _CLASSES:
            raise ValueError(f"{name!r} is no class or function of skae")
        return _CLASSES[name]


def _name_of(thing: Any) -> str | None:
    return _NAMES.get(thing)


def _small(value: Any) -> dict:
    """Scalars, dtypes and devices."""
    if isinstance(value, np.generic):
        return {"$": "scalar", "data": np.asarray(value)}
    if isinstance(value, np.dtype):
        return {"$": "dtype", "name": value.str}
    if isinstance(value, torch.dtype):
        return {"$": "torch_dtype", "name": str(value).removeprefix("torch.")}
    return {"$": "device", "name": str(value)}


def _tensor(value: Tensor) -> dict:
    data = value.detach().cpu()
    by_columns = data.ndim > 1 and not data.is_contiguous() and data.mT.is_contiguous()
    # A copy, as a view would keep all of a larger buffer.
    array = (data.mT if by_columns else data).contiguous().numpy().copy()
    return {
        "data": array,
        "by_columns": by_columns,
        "is_parameter": isinstance(value, nn.Parameter),
        "requires_grad": value.requires_grad,
    }


def _state_of(value: Any) -> dict:
    """What an object holds, without what can be computed from it."""
    state = value.__getstate__() or {}
    usual = vars(nn.Module()) if isinstance(value, nn.Module) else {}
    return {
        name: each
        for name, each in state.items()
        if not (
            name in usual and type(each) is type(usual[name]) and each == usual[name]
        )
        and not isinstance(getattr(type(value), name, None), cached_property)
    }


def _array(data: Any) -> np.ndarray:
    if not isinstance(data, np.ndarray):
        raise ValueError(f"expected an array, got {type(data).__name__}")
    return data


def _text(name: Any) -> str:
    if not isinstance(name, str):
        raise ValueError(f"expected a name, got {name!r}")
    return name
