"""torch's global generators, as modules see them that draw from nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator

__all__ = ["GlobalNumbers"]


class GlobalNumbers:
    """A state of their own for a with block; afterwards they are as they were.

    Parameters
    ----------
    generator : torch.Generator
        On the CPU; its state is the one at the beginning.
    device : torch.device
        Where the module is.
    """

    def __init__(self, generator: Generator, device: torch.device):
        self._generator = generator
        self._devices = [device] if device.type == "cuda" else []

    @contextmanager
    def apart(self) -> Iterator[None]:
        """The with block."""
        with torch.random.fork_rng(self._devices):
            torch.set_rng_state(self._generator.get_state())
            yield

    def state(self) -> list:
        """Inside the block, what `load` takes."""
        states = [torch.get_rng_state()]
        states += [torch.cuda.get_rng_state(device) for device in self._devices]
        return [state.numpy() for state in states]

    def load(self, state: list) -> None:
        """Go on from a state."""
        own, *others = map(torch.from_numpy, state)
        torch.set_rng_state(own)
        for device, other in zip(self._devices, others, strict=True):
            torch.cuda.set_rng_state(other, device)
