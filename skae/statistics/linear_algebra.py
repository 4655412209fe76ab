"""Products and decompositions of arrays, by torch.

The sums of NumPy's and SciPy's BLAS depend on how many threads the process gives it,
and its number of threads belongs to the whole process; torch's is the thread's own, one
inside `isolated`. What the statistics here multiply and decompose goes through these
functions; arguments and results are float64 arrays, and nothing is written to.
"""

from functools import reduce

import numpy as np
import torch
from torch import Tensor

__all__ = ["eigh", "inverse", "norms", "orthonormal", "product", "square_of", "svd"]

# Of a square, so many strips of columns; what lies below the diagonal is copied.
_STRIPS = 4
_NARROW = 64


def _tensor(array) -> Tensor:
    # torch takes neither reversed nor read-only arrays without complaint.
    array = np.asarray(array, dtype=np.float64)
    if min(array.strides, default=0) < 0 or not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array)


def product(*factors) -> np.ndarray:
    """The matrix product of two arrays or more, from the left."""
    return reduce(torch.matmul, map(_tensor, factors)).numpy()


def square_of(block: np.ndarray) -> np.ndarray:
    """block^T block, at little more than half the work of a product."""
    x = _tensor(block)
    width = x.shape[1]
    if width < _NARROW:
        return (x.mT @ x).numpy()
    square = x.new_empty(width, width)
    step = -(-width // _STRIPS)
    for start in range(0, width, step):
        strip = slice(start, min(start + step, width))
        torch.matmul(x[:, strip].mT, x[:, start:], out=square[strip, start:])
        square[strip.stop :, strip] = square[strip, strip.stop :].mT
    return square.numpy()


def eigh(square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of a symmetric matrix, ascending, and their vectors as columns."""
    values, vectors = torch.linalg.eigh(_tensor(square))
    return values.numpy(), vectors.numpy()


def svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left singular vectors, singular values, and right vectors as rows."""
    parts = torch.linalg.svd(_tensor(matrix), full_matrices=False)
    return tuple(part.numpy() for part in parts)


def orthonormal(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q with orthonormal columns and the triangular R of QR = matrix."""
    q, r = torch.linalg.qr(_tensor(matrix))
    return q.numpy(), r.numpy()


def inverse(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a square matrix."""
    return torch.linalg.inv(_tensor(matrix)).numpy()


def norms(matrix: np.ndarray) -> np.ndarray:
    """The Euclidean norm of each column."""
    return np.sqrt(np.square(matrix).sum(axis=0))
