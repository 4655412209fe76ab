"""Statistics of batch-norm layers that belong to averaged weights."""

from collections import deque
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["BatchNorms"]

_N_BATCHES = 20


class BatchNorms:
    """The layers of a module with statistics over rows, and the latest batches.

    Parameters
    ----------
    module : Module
    """

    def __init__(self, module: nn.Module):
        self.layers = [
            layer
            for layer in module.modules()
            if isinstance(layer, _BatchNorm) and layer.running_mean is not None
        ]
        self.batches: deque = deque(maxlen=_N_BATCHES if self.layers else 0)

    def renew(self, run: Callable[[Any], object]) -> None:
        """Take the statistics anew from the latest batches, which ``run`` passes on."""
        momenta = [layer.momentum for layer in self.layers]
        for layer in self.layers:
            layer.reset_running_stats()
            # All batches are weighted equally.
            layer.momentum = None
            layer.train()
        try:
            for batch in self.batches:
                run(batch)
        finally:
            for layer, momentum in zip(self.layers, momenta, strict=True):
                layer.momentum = momentum
                layer.eval()
