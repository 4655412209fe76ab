"""Memory of arrays during a fit, in a process like those that Dask starts."""

import os
import subprocess
import sys

import pytest

from skae.distributed import kept_memory

# Pages that are cleared anew for a hundred arrays of 480 kB.
COUNT = """
import importlib.util, resource, sys
import numpy as np

def n_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        np.ones(60_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

spec = importlib.util.spec_from_file_location("kept_memory", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
before = n_faults()
with module.memory_kept():
    n_faults()
    during = n_faults()
print(before, during, n_faults())
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(os, "confstr"), reason="needs glibc"
)
def test_arrays_take_no_new_pages_during_a_fit():
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", COUNT, kept_memory.__file__]
    said = subprocess.check_output(command, env=environment, text=True, timeout=300)
    before, during, after = map(int, said.split())
    assert during < 1000 < 10_000 < before
    assert after > 10_000


def test_other_processes_are_left_as_they_are(monkeypatch):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.setattr(kept_memory, "_set", pytest.fail)
    with kept_memory.memory_kept():
        pass
