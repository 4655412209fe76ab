"""What a graph can hold of a training step: which code, and which operations.

`GraphedStep` asks before it captures. A graph repeats what ran on the device, with the
same numbers and addresses; what Python decides or counts, and what the host reads from
the device, it does not repeat.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Watcher", "foreign_code", "leaves_of"]

_VALUES = type(None), bool, int, float, complex, str, bytes, Tensor, Generator
_OWN = {"skae", "torch", "builtins", "numpy", "math", "_operator", "weakref"}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
_OPEN = torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output


def foreign_code(module: nn.Module) -> str | None:
    """Why the Python code of a module may differ from step to step, if it may.

    What is not of skae or torch may count, draw or decide on the host, which a
    recording would not repeat, unless its class says ``capturable = True``.
    """
    # With what has the address, which could be another's later.
    seen: dict[int, Any] = {}
    ahead: list[Any] = [module]
    while ahead:
        value = ahead.pop()
        if id(value) in seen or isinstance(value, (*_VALUES, type)):
            continue
        seen[id(value)] = value
        if isinstance(value, dict):
            ahead += value.values()
        elif isinstance(value, list | tuple | set | deque):
            ahead += value
        elif isinstance(value, partial):
            ahead += [value.func, value.args, value.keywords]
        elif callable(value) and hasattr(value, "__name__"):
            if not _is_own(value):
                return f"{value.__name__} is a function of yours"
            for cell in getattr(value, "__closure__", None) or ():
                with suppress(ValueError):  # It may be empty.
                    ahead.append(cell.cell_contents)
            ahead.append(getattr(value, "__self__", None))
        else:
            if not _is_own(type(value)) and not getattr(value, "capturable", False):
                return f"{type(value).__name__} is a class of yours"
            ahead.append(getattr(value, "__dict__", None))
    return None


class Watcher(TorchDispatchMode):
    """Notes what of the operations in its context no graph can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.reason: str | None = None
        self.generators: dict[int, Generator] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if self.reason is None:
            leaves = [*leaves_of((args, *(kwargs or {}).values(), result))]
            self.reason = self._reason(function, args, leaves)
        return result

    def _reason(self, function, args, leaves) -> str | None:
        own = [leaf for leaf in leaves if isinstance(leaf, Generator)]
        self.generators |= {id(generator): generator for generator in own}
        placed = [leaf for leaf in leaves if isinstance(leaf, Generator | Tensor)]
        if any(each.device.type == "cpu" for each in placed):
            return f"{function} works on the CPU"
        name = function.overloadpacket.__name__
        if name in _INDEXING:
            masks = torch.bool, torch.uint8
            is_open = any(i is not None and i.dtype in masks for i in args[1])
        else:
            is_open = any(tag in function.tags for tag in _OPEN)
        return (
            f"the shape or value of {function} is needed by the CPU" * is_open or None
        )


def leaves_of(value: Any) -> Iterator[Any]:
    """The values in nested lists and tuples."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from leaves_of(each)
    else:
        yield value


def _is_own(thing: Any) -> bool:
    package = getattr(thing, "__module__", None) or "builtins"
    return package.partition(".")[0] in _OWN
