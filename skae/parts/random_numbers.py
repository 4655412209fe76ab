"""Random numbers in single precision or in a tensor's, from a generator on any device.

Without a generator they come from torch's global one, on the tensor's device.
"""

import torch
from torch import Generator, Tensor

__all__ = ["normal", "normal_numbers", "uniform", "uniform_numbers"]


def normal(like: Tensor, generator: Generator | None) -> Tensor:
    """Independent standard normal numbers of a tensor's shape and dtype, beside it."""
    return _drawn(torch.randn, like, generator)


def uniform(like: Tensor, generator: Generator | None) -> Tensor:
    """Independent numbers from [0, 1), likewise."""
    return _drawn(torch.rand, like, generator)


def normal_numbers(shape, generator: Generator) -> Tensor:
    """Independent standard normal numbers in single precision, beside the generator."""
    return torch.randn(
        shape, generator=generator, dtype=torch.float32, device=generator.device
    )


def uniform_numbers(shape, generator: Generator) -> Tensor:
    """Independent numbers from [0, 1), likewise."""
    return torch.rand(
        shape, generator=generator, dtype=torch.float32, device=generator.device
    )


def _drawn(draw, like: Tensor, generator: Generator | None) -> Tensor:
    device = like.device if generator is None else generator.device
    numbers = draw(like.shape, generator=generator, dtype=like.dtype, device=device)
    return numbers.to(like.device)
