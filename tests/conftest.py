"""How the worker processes of pytest-xdist share a machine.

pytest calls this in the process that starts the workers; they inherit its environment.
"""

import os


def pytest_configure(config):
    n_workers = config.getoption("numprocesses", None)
    if not n_workers:
        return
    has_affinity = hasattr(os, "sched_getaffinity")
    n_cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    # Threads of several workers on one core wait for each other most of the time.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, n_cores // n_workers)))
    # Files in order: those of few but long tests would come last otherwise.
    config.option.loadscopereorder = False
