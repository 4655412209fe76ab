"""Random numbers in a tensor's shape, from a generator on any device.

Without a generator they come from torch's global one, on the tensor's device.
"""

import torch
from torch import Generator, Tensor

__all__ = ["normal", "uniform"]


def normal(like: Tensor, generator: Generator | None) -> Tensor:
    """Independent standard normal numbers."""
    return _drawn(torch.randn, like, generator)


def uniform(like: Tensor, generator: Generator | None) -> Tensor:
    """Independent numbers from [0, 1)."""
    return _drawn(torch.rand, like, generator)


def _drawn(draw, like: Tensor, generator: Generator | None) -> Tensor:
    device = like.device if generator is None else generator.device
    numbers = draw(like.shape, generator=generator, dtype=like.dtype, device=device)
    return numbers.to(like.device)
