"""What modules and callbacks keep in attributes of their own, beside weights.

Checkpoints store and restore numbers, tensors, arrays, containers of these, generators
and objects that have ``state()`` and ``load(state)``. Functions, other objects and
what shares the memory of weights are left as they are.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skae.state.plain import from_plain, to_plain
from skae.training.agreement import digest

__all__ = [
    "attributes_of",
    "attributes_of_module",
    "digests_of_others",
    "load_attributes",
    "load_module",
]

_VALUES = (type(None), bool, int, float, str, np.generic, np.ndarray)
_USUAL = set(vars(nn.Module()))


def attributes_of(thing: Any, shared: set[int] | None = None) -> tuple[dict, dict]:
    """The attributes that can be stored, as plain values, and the others.

    Parameters
    ----------
    thing : object
    shared : set of int, optional
        Addresses of memory that is stored elsewhere.
    """
    stored, others = {}, {}
    for name, value in vars(thing).items():
        if isinstance(thing, nn.Module) and name in _USUAL:
            continue
        accessors = _accessors(value)
        if accessors is not None:
            stored[name] = {"own": to_plain(accessors[0](value))}
        elif _is_simple(value, shared or set()):
            stored[name] = {"value": to_plain(value)}
        else:
            others[name] = value
    return stored, others


def load_attributes(thing: Any, stored: dict) -> None:
    """Restore attributes that `attributes_of` returned."""
    own = vars(thing)
    for name, tree in stored.items():
        before = own.get(name)
        if "own" in tree:
            accessors = _accessors(before)
            if accessors is not None:
                accessors[1](before, from_plain(tree["own"]))
            continue
        device = before.device if isinstance(before, Tensor) else "cpu"
        value = from_plain(tree["value"], device)
        fits = isinstance(before, Tensor) and isinstance(value, Tensor)
        if fits and before.shape == value.shape and before.dtype == value.dtype:
            # In place, as others may refer to it.
            before.detach().copy_(value)
        else:
            own[name] = value


def attributes_of_module(module: nn.Module) -> dict:
    """Of the module and of all below it, by their names."""
    tensors = [*module.parameters(), *module.buffers()]
    shared = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    every = {name: attributes_of(m, shared)[0] for name, m in module.named_modules()}
    return {name: stored for name, stored in every.items() if stored}


def load_module(module: nn.Module, stored: dict) -> None:
    """Restore what `attributes_of_module` returned."""
    for name, own in module.named_modules():
        load_attributes(own, stored.get(name, {}))


def digests_of_others(module: nn.Module) -> dict[str, str]:
    """Digests of the objects in attributes of users' modules that are not stored.

    One that changes in the training is state that is lost.
    """
    return {
        f"{type(own).__name__}.{name}": digest(value)
        for own in module.modules()
        if type(own).__module__.partition(".")[0] not in ("skae", "torch")
        for name, value in attributes_of(own)[1].items()
        if hasattr(value, "__dict__")
        and not callable(value)
        and not isinstance(value, Tensor)
    }


def _is_simple(value: Any, shared: set[int]) -> bool:
    if isinstance(value, Tensor):
        is_weight = value.requires_grad or isinstance(value, nn.Parameter)
        return not is_weight and value.untyped_storage().data_ptr() not in shared
    if type(value) in (list, tuple, set):
        return all(_is_simple(each, shared) for each in value)
    if type(value) is dict:
        parts = [*value, *value.values()]
        return all(_is_simple(each, shared) for each in parts)
    return isinstance(value, _VALUES)


def _accessors(value: Any) -> tuple[Callable, Callable] | None:
    """How to read and set the state of an object that is not replaced, if it is one."""
    if isinstance(value, torch.Generator):
        return (
            lambda own: own.get_state().numpy(),
            lambda own, state: own.set_state(torch.from_numpy(state)),
        )
    if isinstance(value, np.random.RandomState):
        return lambda own: own.get_state(legacy=False), lambda own, s: own.set_state(s)
    if isinstance(value, np.random.Generator):

        def set_bits(own, state):
            own.bit_generator.state = state

        return lambda own: own.bit_generator.state, set_bits
    if isinstance(value, deque) and all(_is_simple(each, set()) for each in value):

        def refill(own, state):
            own.clear()
            own.extend(state)

        return list, refill
    is_type = isinstance(value, type)
    if not is_type and hasattr(value, "state") and hasattr(value, "load"):
        return lambda own: own.state(), lambda own, state: own.load(state)
    return None
