"""torch's global generators, for modules that draw from nothing else, such as dropout.

`Trainer` runs inside their context, and checkpoints keep their state.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator

__all__ = ["GlobalGenerators"]


class GlobalGenerators:
    """torch's global generators with a separate state, restored afterwards.

    Parameters
    ----------
    generator : torch.Generator
        On the CPU; the global ones start from its state.
    device : torch.device
        Where the module is.
    """

    def __init__(self, generator: Generator, device: torch.device):
        self._generator = generator
        self._devices = [device] if device.type == "cuda" else []

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Context in which the global generators have the separate state."""
        with torch.random.fork_rng(self._devices):
            torch.set_rng_state(self._generator.get_state())
            yield

    def state(self) -> list:
        """The state inside the context, as `load` takes it."""
        states = [torch.get_rng_state()]
        states += [torch.cuda.get_rng_state(device) for device in self._devices]
        return [state.numpy() for state in states]

    def load(self, state: list) -> None:
        """Set the state inside the context."""
        own, *others = map(torch.from_numpy, state)
        torch.set_rng_state(own)
        for device, other in zip(self._devices, others, strict=True):
            torch.cuda.set_rng_state(other, device)
