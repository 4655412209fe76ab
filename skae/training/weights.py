"""Copies of the weights and the buffers of a module in training.

`Trainer` keeps the best of them; what makes them best it decides itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

__all__ = ["Weights"]

# Of the flat parameters, and of the buffers by name.
Values = tuple[Tensor, dict[str, Tensor]]


class Weights:
    """The weights and buffers of a module, to be copied and restored.

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
        """Restore copies that `values` made."""
        parameters, buffers = values
        self._flat.copy_(parameters)
        for name, buffer in self._module.named_buffers():
            if name in buffers:
                buffer.copy_(buffers[name])

    @contextmanager
    def replaced(self, flat: Tensor) -> Iterator[None]:
        """Context with other parameters; all is restored afterwards."""
        own = self.values()
        self._flat.copy_(flat)
        try:
            yield
        finally:
            self.restore(own)
