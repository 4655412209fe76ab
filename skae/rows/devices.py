"""Devices: which one to use, and what each of them can do and hold.

Whoever makes tensors or maps rows asks here; every limit that belongs to a kind of
device stands here. Nothing here knows models.
"""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = [
    "as_double_on",
    "full_precision",
    "is_out_of_memory",
    "memory_for",
    "place_of_doubles",
    "product_rows",
    "resident_bytes",
    "resolve_device",
]

# What "auto" looks for, in this order.
_ACCELERATORS = ("cuda", "xpu", "mps")
# Multiplications of a step's batch below which the CPU is done before a GPU's kernels
# are launched; an estimate from the 25 to 100 launches of a step, 6 us each.
_LEAST_WORK = 5e6
# Apple's devices have no float64.
_WITHOUT_DOUBLE = {"mps"}
# Of the processor, whose memory holds X already; elsewhere a share of what is free.
_RESIDENT_BYTES, _RESIDENT_SHARE = 128 * 2**20, 0.5
# Rows of a product: of the processor, and the most and the fewest of other devices,
# which compute the widest layer of so many bytes at a time.
_PRODUCT_ROWS = {"cpu": 256}
_MOST_ROWS, _FEWEST_ROWS, _LAYER_BYTES = 8192, 16, 64 * 2**20


def resolve_device(device: str | torch.device, work: float = math.inf) -> torch.device:
    """The device named, with its number, or the one that suits for ``"auto"``.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` is the best one there is, and the CPU for little work.
    work : float, optional
        Multiplications in one pass of a training step's batch through the model;
        infinite where they are many or cannot be counted.

    Raises
    ------
    ValueError
        When the name is unknown to torch or the device is not available.
    """
    if isinstance(device, str) and device == "auto":
        device = _best() if work >= _LEAST_WORK else "cpu"
    try:
        named = torch.device(device)
        if named.type == "meta":
            raise NotImplementedError("a device without memory computes nothing")
        # Of a tensor: "cuda" has no number and is not equal to "cuda:0".
        return torch.empty(0, dtype=torch.float32, device=named).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device={device!r} cannot be used here: {error}. Use 'auto', 'cpu', "
            "'cuda', 'cuda:1', 'xpu' or 'mps'."
        ) from error


def place_of_doubles(device: torch.device) -> torch.device:
    """The device, or the CPU where it does not compute in float64."""
    return torch.device("cpu") if device.type in _WITHOUT_DOUBLE else device


def as_double_on(tensor: Tensor) -> Tensor:
    """The tensor as float64 on its device, or on the CPU where the device has none."""
    return tensor.to(place_of_doubles(tensor.device)).double()


def resident_bytes(device: torch.device) -> int:
    """How many bytes of rows may stay on the device for the length of a training."""
    if device.type == "cpu":
        return _RESIDENT_BYTES
    module = torch.get_device_module(device)
    if hasattr(module, "mem_get_info"):
        free, _ = module.mem_get_info(device)
    elif hasattr(module, "recommended_max_memory"):
        free = module.recommended_max_memory() - module.current_allocated_memory()
    else:
        return _RESIDENT_BYTES
    return max(_RESIDENT_BYTES, int(_RESIDENT_SHARE * free))


def product_rows(device: torch.device, widest: int | Callable[[], int] = 1) -> int:
    """Rows of every product of a mapped function on a device.

    Every product has this many rows, padded if need be, so that a row's result does not
    depend on which rows it came with.

    Parameters
    ----------
    device : torch.device
    widest : int or callable, default=1
        Values that the largest layer holds of a row, or what returns it. The processor
        has the same number of rows for all.
    """
    if device.type in _PRODUCT_ROWS:
        return _PRODUCT_ROWS[device.type]
    n_values = widest() if callable(widest) else widest
    n_fitting = max(1, _LAYER_BYTES // (4 * max(1, n_values)))
    power = 2 ** (n_fitting.bit_length() - 1)
    return min(_MOST_ROWS, max(_FEWEST_ROWS, power))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device had too little memory, by what torch raises."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "out of memory" in str(error)
    )


@contextmanager
def memory_for(device: torch.device, what: str) -> Iterator[None]:
    """Say what needed too much of a device's memory, and the way out.

    Raises
    ------
    MemoryError
        For what torch raises inside the with block.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(
            f"The memory of device {str(device)!r} is too small for {what}, or set "
            "device='cpu'."
        ) from error


class _Precision:
    """How many computations need full precision, and what the user had set."""

    lock = threading.Lock()
    n_open = 0
    before: object = None


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """On CUDA, products with all digits of float32 for the length of a with block.

    TF32 has three digits, with which nothing is as exact as PCA. The setting belongs to
    the process: it is the user's again when the last of such blocks ends.
    """
    if device.type != "cuda":
        yield
        return
    matmul = torch.backends.cuda.matmul
    # Mixing torch's old and new names for it makes torch raise later.
    new = hasattr(matmul, "fp32_precision")
    name, full = ("fp32_precision", "ieee") if new else ("allow_tf32", False)
    with _Precision.lock:
        if _Precision.n_open == 0:
            _Precision.before = getattr(matmul, name)
            setattr(matmul, name, full)
        _Precision.n_open += 1
    try:
        yield
    finally:
        with _Precision.lock:
            _Precision.n_open -= 1
            if _Precision.n_open == 0:
                setattr(matmul, name, _Precision.before)


def _best() -> str:
    for name in _ACCELERATORS:
        # Older versions of torch have it of Apple's devices among the backends only.
        module = torch.backends.mps if name == "mps" else getattr(torch, name)
        if module.is_available():
            return name
    return "cpu"
