"""The classes and functions that trees may name, by their names.

Whoever defines what is stored registers it; modules of torch are there from the start.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from skae.state.errors import ModelFileError

__all__ = [
    "check_trusted",
    "register",
    "register_homes",
    "registered",
    "registered_class_names",
    "registered_name",
    "strange_names",
]

# Modules that start threads and move what they hold, or have no weights yet.
_LEFT_OUT = "Lazy", "DataParallel"
# Some modules hold others that torch.nn does not show.
_SHOWN = {**vars(nn.modules.linear), **vars(nn)}
_CLASSES: dict[str, Any] = {
    f"torch.nn.{name}": value
    for name, value in _SHOWN.items()
    if isinstance(value, type) and issubclass(value, nn.Module)
    if not name.startswith(_LEFT_OUT)
}
# Functions that modules hold, those of transformers for one.
_CLASSES |= {
    f"{home}.{name}": getattr(module, name)
    for home, module, names in (
        ("torch.nn.functional", functional, ("relu", "gelu", "silu", "elu")),
        ("torch", torch, ("relu", "tanh", "sigmoid")),
    )
    for name in names
}
_HOMES: dict[str, str] = {}
_NAMES: dict[Any, str] = {value: name for name, value in _CLASSES.items()}


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


def register_homes(homes: Mapping[str, str]) -> None:
    """Say which modules register a class of a name, once they are imported."""
    _HOMES.update(homes)


def registered(name: str) -> Any:
    """The class or function of a name, or None."""
    if name in _HOMES:
        import_module(_HOMES[name])
    return _CLASSES.get(name)


def registered_name(thing: Any) -> str | None:
    """The name of a class or function that is registered."""
    return _NAMES.get(thing)


def registered_class_names() -> set[str]:
    """Registered classes that store themselves as plain values, by module and name."""
    names = {
        f"{thing.__module__}.{thing.__qualname__}"
        for thing in _NAMES
        if hasattr(thing, "__plain__")
    }
    return names | {f"{module}.{name}" for name, module in _HOMES.items()}


def strange_names(tree: Any) -> set[str]:
    """Names of the classes and functions in a tree that are not registered."""
    names: set[str] = set()
    waiting = [tree]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting.extend(each)
        elif isinstance(each, dict):
            waiting.extend(each.values())
            key = {"object": "class", "name": "name"}.get(str(each.get("$")))
            name = each.get(key)
            if isinstance(name, str) and not (name in _CLASSES or name in _HOMES):
                names.add(name)
    return names


def check_trusted(names: set[str], classes: Mapping[str, Any], path: object) -> None:
    """Raise where the caller does not trust what a file needs.

    Parameters
    ----------
    names : set of str
        Of classes and functions that are not skae's.
    classes : mapping of str to class or function
        Those that the caller passed, by name.
    path : str or path-like
        Of the file.

    Raises
    ------
    ModelFileError
    """
    missing = sorted(names - set(classes))
    if missing:
        short = ", ".join(name.rpartition(".")[2] for name in missing[:10])
        own = [name for name in missing if name.startswith("skae.callbacks.")]
        why = "needs what is not skae's"
        if own == missing:
            why = "holds callbacks, which write to paths that it names"
        raise ModelFileError(
            f"{path} {why}: {', '.join(missing[:10])}. If you trust the file, import "
            f"and pass them: load(..., trusted=[{short}])."
        )
