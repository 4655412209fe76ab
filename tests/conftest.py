"""How the worker processes of pytest-xdist share a machine, and when they free memory.

pytest calls this in the process that starts the workers; they inherit its environment.
"""

import gc
import os

# Python's thresholds are for small heaps; those of torch, scikit-learn and ONNX are
# large, and tracing a network for ONNX took a third longer with them.
_OBJECTS_BEFORE_A_COLLECTION = 10_000, 20, 50


def pytest_configure(config):
    gc.set_threshold(*_OBJECTS_BEFORE_A_COLLECTION)
    n_workers = config.getoption("numprocesses", None)
    if not n_workers:
        return
    has_affinity = hasattr(os, "sched_getaffinity")
    n_cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    # Threads of several workers on one core wait for each other most of the time.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, n_cores // n_workers)))
    # Files in order: those of few but long tests would come last otherwise.
    config.option.loadscopereorder = False


def pytest_collection_finish():
    """What was imported stays to the end; collections pass over it."""
    gc.collect()
    gc.freeze()
