"""The package on a second device that is no GPU, in a process of its own.

The device changes torch for good, and has to be there before skae is imported.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
OLDEST = (2, 13)


@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST,
    reason="this torch has no devices that are written in Python",
)
def test_the_package_works_on_a_second_device():
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest"]
    command += ["-p", "no:cacheprovider", "-o", "python_files=check_*.py"]
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    checks = subprocess.run(
        [*command, *map(str, sorted(HERE.glob("check_*.py")))],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert checks.returncode == 0, checks.stdout[-20_000:] + checks.stderr
