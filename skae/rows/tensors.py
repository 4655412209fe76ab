"""New tensors: float32 or float64 on the CPU, whatever torch's defaults are.

The defaults belong to the process and are the user's. Modules are built here and move
to their device as a whole; tensors that go with others are made by ``new_zeros``,
``ones_like`` and the like.
"""

from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

__all__ = ["SINGLE", "as_double", "permutation"]

# Of torch's functions that make tensors.
SINGLE: dict[str, Any] = {"dtype": torch.float32, "device": torch.device("cpu")}


def as_double(values) -> Tensor:
    """Numbers or an array as float64; shares the memory of an array of that dtype."""
    return torch.as_tensor(values, dtype=torch.float64, device="cpu")


def permutation(n_rows: int, generator: Generator) -> np.ndarray:
    """Row numbers in random order, from a generator on the CPU."""
    return torch.randperm(n_rows, generator=generator, device="cpu").numpy()
