"""torch's global generators, as modules see them that draw from nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
        self._device = device
        self._module: Any = None
        if device.type != "cpu":
            self._module = torch.get_device_module(device)
        # There is one of Apple's devices, and its functions take no number.
        self._place = () if device.type == "mps" else (device,)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """The with block."""
        before = self.state()
        try:
            torch.set_rng_state(self._generator.get_state())
            if self._module is not None:
                seed = self._generator.initial_seed()
                seeded = Generator(self._device).manual_seed(seed)
                self._module.set_rng_state(seeded.get_state(), *self._place)
            yield
        finally:
            self.load(before)

    def state(self) -> list:
        """Inside the block, what `load` takes."""
        states = [torch.get_rng_state()]
        if self._module is not None:
            states.append(self._module.get_rng_state(*self._place))
        return [state.numpy() for state in states]

    def load(self, state: list) -> None:
        """Go on from a state."""
        own, *others = map(torch.from_numpy, state)
        torch.set_rng_state(own)
        for other in others:
            self._module.set_rng_state(other, *self._place)
