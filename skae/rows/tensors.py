"""New tensors: float32 or float64 on the CPU, whatever torch's defaults are.

The defaults belong to the process and are the user's. Modules are built here and move
to their device as a whole; tensors that go with others are made by ``new_zeros``,
``ones_like`` and the like.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

__all__ = ["SINGLE", "as_double", "moved_together", "permutation"]

# Of torch's functions that make tensors.
SINGLE: dict[str, Any] = {"dtype": torch.float32, "device": torch.device("cpu")}


def as_double(values) -> Tensor:
    """Numbers or an array as float64; shares the memory of an array of that dtype."""
    return torch.as_tensor(values, dtype=torch.float64, device="cpu")


def moved_together(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Tensors of the CPU on a device, for which the host waits once.

    Of float32 and int64, contiguous.
    """
    if device.type == "cpu":
        return list(tensors)
    # Those of eight bytes first: theirs have to begin at a multiple of that.
    order = sorted(range(len(tensors)), key=lambda i: -tensors[i].element_size())
    bits = [tensors[i].detach().reshape(-1).view(torch.int32) for i in order]
    parts = torch.cat(bits).to(device).split([len(each) for each in bits])
    moved = dict(zip(order, parts, strict=True))
    return [
        moved[i].view(tensor.dtype).view(tensor.shape)
        for i, tensor in enumerate(tensors)
    ]


def permutation(n_rows: int, generator: Generator) -> np.ndarray:
    """Row numbers in random order, from a generator on the CPU."""
    return torch.randperm(n_rows, generator=generator, device="cpu").numpy()
