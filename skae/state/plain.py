"""Objects as plain values and NumPy arrays, and back.

``to_plain`` turns an object of a registered class, with all that it holds, into nested
dictionaries and lists of arrays, numbers and strings; ``from_plain`` makes the object
again. Estimators pickle themselves that way, and files hold the same tree. Nothing is
imported by a name that stands in a tree: only registered classes and functions, and
those that the caller passes, are made. This module knows no class of skae.

A dictionary with the key ``"$"``, which names one of the kinds below, stands for what
is neither a plain value nor an array. A tree may come from anyone: whatever is read is
checked, and takes no memory but that of the tree.
"""

import copy
import copyreg
import types
from collections import OrderedDict
from collections.abc import Callable
from contextlib import contextmanager
from functools import cached_property
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skae.state.reading import MOST_LEVELS, NUMBERS, from_plain
from skae.state.registry import register, registered_name

__all__ = ["Foreign", "deep_copy", "from_plain", "register", "to_plain"]

_TENSORS = Tensor, nn.Parameter
_VALUES = type(None), bool, int, float, str
_SMALL = np.generic, np.dtype, torch.dtype, torch.device, PurePath
# Tensors that NumPy cannot hold, by the integers that have their bits.
_AS_INTEGERS = {1: torch.uint8, 2: torch.int16}
_IN_NUMPY = torch.float16, torch.float32, torch.float64

Foreign = Callable[[Any], str]


def to_plain(value: Any, foreign: Foreign | None = None) -> Any:
    """A value as plain values and arrays.

    Parameters
    ----------
    value : object
        Objects may have a method ``__plain__``, which returns the attributes to keep,
        and another, ``__from_plain__``, which takes them over.
    foreign : callable, optional
        Maps a class or function that is not registered to the name that stands for it
        in the tree. By default such classes and functions, and their objects that are
        not modules, stay what they are.

    Raises
    ------
    TypeError
        When there is a ``foreign`` and the value holds what is more than its attributes
        or cannot be in a file; the message says where it is.
    """
    return _Writer(foreign).plain(value)


def deep_copy(value: Any, memo: dict) -> Any:
    """A deep copy of an object by its ``__dict__``, on the device where it is."""
    duplicate = object.__new__(type(value))
    memo[id(value)] = duplicate
    vars(duplicate).update(copy.deepcopy(vars(value), memo))
    return duplicate


class _Writer:
    """One call of `to_plain`; what comes again is a reference to its number."""

    def __init__(self, foreign: Foreign | None):
        self._foreign = foreign
        self._numbers: dict[int, int] = {}
        # Objects stay alive, so that no two have one id.
        self._written: list[Any] = []
        self._path: list[str] = []
        self._n_levels = 0

    def plain(self, value: Any) -> Any:
        if type(value) in _VALUES:
            return value
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, _SMALL):
            return self._small(value)
        with self._level():
            return self._nested(value)

    def _array(self, value: np.ndarray) -> Any:
        if type(value) is np.ndarray:
            return value
        # A mask, say, would be lost.
        return np.array(value) if isinstance(value, np.memmap) else self._refused(value)

    def _nested(self, value: Any) -> Any:
        if type(value) is list:
            return self._items(value)
        if type(value) in (dict, OrderedDict):
            return self._dictionary(value)
        if type(value) is tuple:
            return {"$": "tuple", "items": self._items(value)}
        if type(value) is set:
            return {"$": "set", "items": self._items(sorted(value, key=repr))}
        if isinstance(value, slice):
            parts = value.start, value.stop, value.step
            return {"$": "slice", "items": self._items(parts)}
        return self._numbered(value)

    def _items(self, values) -> list:
        return [self._at(f"[{i}]", each) for i, each in enumerate(values)]

    def _dictionary(self, value: dict) -> dict:
        if "$" not in value and all(type(key) is str for key in value):
            return {key: self._at(f".{key}", each) for key, each in value.items()}
        items = [
            [self.plain(key), self._at(f"[{key!r}]", each)]
            for key, each in value.items()
        ]
        return {"$": "dict", "items": items}

    def _at(self, place: str, value: Any) -> Any:
        self._path.append(place)
        plain = self.plain(value)
        self._path.pop()
        return plain

    @contextmanager
    def _level(self):
        self._n_levels += 1
        if self._n_levels > MOST_LEVELS:
            raise ValueError(f"The state has more than {MOST_LEVELS} levels.")
        yield
        self._n_levels -= 1

    def _numbered(self, value: Any) -> Any:
        """What may be there several times: a tensor, an object, a function."""
        if id(value) in self._numbers:
            return {"$": "same", "number": self._numbers[id(value)]}
        if isinstance(value, Tensor):
            if type(value) not in _TENSORS or value.layout is not torch.strided:
                return self._refused(value)
            return {"$": "tensor", "number": self._number(value), **_tensor(value)}
        if isinstance(value, np.random.RandomState):
            state = self.plain(value.get_state(legacy=False))
            number = self._number(value)
            return {"$": "random_state", "number": number, "state": state}
        if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
            name = self._name_of(value)
            return name if name is value else {"$": "name", "name": name}
        return self._object(value)

    def _object(self, value: Any) -> Any:
        kind = type(value)
        if registered_name(kind) is None:
            if self._foreign is None and not isinstance(value, nn.Module):
                return value
            if not (hasattr(kind, "__plain__") or _is_simple(value)):
                return self._refused(value)
        name = self._name_of(kind)
        number = self._number(value)
        if isinstance(value, tuple):
            state = {"fields": self._items(value)}
        else:
            state = {"state": self._nested(self._state(value))}
        return {"$": "object", "class": name, "number": number, **state}

    def _state(self, value: Any) -> dict:
        try:
            return _state_of(value)
        except Exception as error:
            raise TypeError(
                f"{self._place()} has no state to store: {error}"
            ) from error

    def _name_of(self, thing: Any) -> Any:
        name = registered_name(thing)
        if name is not None:
            return name
        if self._foreign is None:
            return thing
        if not isinstance(thing, type) and "<" in thing.__qualname__:
            raise TypeError(
                f"{self._place()} is {thing.__qualname__}, a function without a name "
                "of its own, which a file cannot hold. Define it at the top of a "
                "module."
            )
        return self._foreign(thing)

    def _refused(self, value: Any) -> Any:
        """What is more than its attributes: pickle may know how to store it."""
        if self._foreign is None:
            return value
        kind = type(value)
        raise TypeError(
            f"{self._place()} is of the class {kind.__module__}.{kind.__qualname__}, "
            "which a file cannot hold: its objects are more than their attributes."
        )

    def _place(self) -> str:
        return "".join(self._path).lstrip(".") or "It"

    def _small(self, value: Any) -> dict:
        """Scalars, dtypes, devices and paths."""
        if isinstance(value, np.generic):
            return {"$": "scalar", "data": np.asarray(value)}
        if isinstance(value, np.dtype):
            if value.kind not in NUMBERS:
                raise TypeError(
                    f"{self._place()} is the dtype {value}, not of numbers."
                )
            return {"$": "dtype", "name": value.str}
        if isinstance(value, torch.dtype):
            return {"$": "torch_dtype", "name": str(value).removeprefix("torch.")}
        if isinstance(value, PurePath):
            return {"$": "path", "name": str(value)}
        return {"$": "device", "name": str(value)}

    def _number(self, value: Any) -> int:
        self._written.append(value)
        return self._numbers.setdefault(id(value), len(self._numbers))


def _is_simple(value: Any) -> bool:
    """Whether an object is no more than its class and its attributes or fields."""
    if isinstance(value, tuple):
        return hasattr(value, "_fields")
    try:
        made = value.__reduce_ex__(2)
    except Exception:
        return False
    if not isinstance(made, tuple) or made[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
        return False
    state = made[2] or {}
    return len(made[1]) == 1 and isinstance(state, dict) and not any(made[3:])


def _tensor(value: Tensor) -> dict:
    data = value.detach().cpu().resolve_conj().resolve_neg()
    by_columns = data.ndim > 1 and not data.is_contiguous() and data.mT.is_contiguous()
    data = (data.mT if by_columns else data).contiguous()
    about: dict[str, Any] = {
        "by_columns": by_columns,
        "is_parameter": isinstance(value, nn.Parameter),
        "requires_grad": value.requires_grad,
    }
    if data.dtype.is_floating_point and data.dtype not in _IN_NUMPY:
        about["dtype"] = str(data.dtype).removeprefix("torch.")
        data = data.view(_AS_INTEGERS[data.element_size()])
    # A copy, as a view would keep all of a larger buffer.
    return {"data": data.numpy().copy(), **about}


def _state_of(value: Any) -> dict:
    """What an object holds, without what can be computed from it."""
    if hasattr(type(value), "__plain__"):
        return value.__plain__()
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
