"""Does a fit on several workers give what one process gives, in less time?

    python benchmarks/dask_cluster.py [--rows 2000000]

2,000,000 x 100 float32 rows in 40 chunks of a memory map, fitted in this process, on
one and on two worker processes of one thread each, on three of which one has no rows,
and by torchrun with two processes. Errors are those of 100,000 rows that no fit has
seen, over PCA's with as many components. Then a worker is killed during a fit: how long
until the error comes, and whether the next fit goes on from the checkpoint.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from report import one_thread, print_table, progress, save, seconds
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning

import skae

N_FEATURES, N_COMPONENTS, N_CHUNKS, N_HELD_OUT = 100, 10, 40, 100_000
TOLERANCE, TIME_RATIO, DEADLINE = 0.05, 0.65, 30
SETTINGS = {"n_components": N_COMPONENTS, "random_state": 0, "device": "cpu"}


def write_rows(path, n_rows):
    """Rows near a curved surface of ten dimensions, block after block."""
    random = np.random.default_rng(0)
    first = random.normal(size=(N_COMPONENTS, 40))
    second = random.normal(size=(40, N_FEATURES)) / 40**0.5
    shape = n_rows + N_HELD_OUT, N_FEATURES
    rows = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    for start in range(0, len(rows), 50_000):
        block = rows[start : start + 50_000]
        codes = random.normal(size=(len(block), N_COMPONENTS))
        noise = random.normal(size=block.shape)
        block[:] = np.tanh(codes @ first / 2) @ second + 0.1 * noise
    rows.flush()


def blocks_of(path, n_rows):
    """The rows as a Dask array, whose blocks are read where they are needed."""
    import dask
    import dask.array as da

    size = -(-n_rows // N_CHUNKS)
    blocks = [
        da.from_delayed(
            dask.delayed(_read)(path, start, min(start + size, n_rows)),
            (min(start + size, n_rows) - start, N_FEATURES),
            np.float32,
        )
        for start in range(0, n_rows, size)
    ]
    return da.concatenate(blocks)


def _read(path, start, stop):
    return np.load(path, mmap_mode="r")[start:stop].copy()


def error(estimator, held_out):
    return float(np.square(estimator.reconstruct(held_out) - held_out).mean())
