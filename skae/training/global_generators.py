"""torch's global generators, for modules that draw from nothing else, such as dropout.

`Trainer` runs inside their context, and checkpoints keep their state.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
        self._device = device
        self._module: Any = None
        if device.type != "cpu":
            self._module = torch.get_device_module(device)
        # There is one of Apple's devices, and its functions take no number.
        self._place = () if device.type == "mps" else (device,)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Context in which the global generators have the separate state."""
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
        """The state inside the context, as `load` takes it."""
        states = [torch.get_rng_state()]
        if self._module is not None:
            states.append(self._module.get_rng_state(*self._place))
        return [state.numpy() for state in states]

    def load(self, state: list) -> None:
        """Set the state inside the context."""
        own, *others = map(torch.from_numpy, state)
        torch.set_rng_state(own)
        for other in others:
            self._module.set_rng_state(other, *self._place)
