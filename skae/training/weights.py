"""Snapshots of the weights and the buffers of a module in training."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

__all__ = ["Weights"]

# Of the flat parameters, and of the buffers by name.
Values = tuple[Tensor, dict[str, Tensor]]


class Weights:
    """What a module has learned, to be copied and put back.

    Parameters
    ----------
    module : Module
    flat : Tensor of shape (n_parameters,)
        Its trained parameters, which are views of it.
    """

    def __init__(self, module: nn.Module, flat: Tensor):
        self._module = module
        self._flat = flat

    def values(self) -> Values:
        """Copies of the parameters and of the buffers as they are now."""
        buffers = self._module.named_buffers()
        return self._flat.clone(), {name: b.clone() for name, b in buffers}

    def restore(self, values: Values) -> None:
        """Put copies back."""
        parameters, buffers = values
        self._flat.copy_(parameters)
        for name, buffer in self._module.named_buffers():
            if name in buffers:
                buffer.copy_(buffers[name])

    @contextmanager
    def replaced(self, flat: Tensor) -> Iterator[None]:
        """Other parameters for a with block, after which all is as it was."""
        own = self.values()
        self._flat.copy_(flat)
        try:
            yield
        finally:
            self.restore(own)
