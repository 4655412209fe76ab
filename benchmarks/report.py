"""What every benchmark does with its figures: the machine, tables and JSON.

Scripts collect rows as dictionaries; :func:`print_table` aligns them on standard
output, :func:`save` writes them with the machine's description to
`benchmarks/results/NAME.json`, and :func:`progress` talks on standard error.
"""

import json
import os
import platform
import sys
import time
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

__all__ = [
    "machine",
    "merge",
    "one_thread",
    "print_table",
    "progress",
    "save",
    "seconds",
]

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("skae", "torch", "scikit-learn", "skorch", "numpy", "scipy", "pyod")


def machine():
    """Describe processor, cores, threads and package versions, for the record."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2)
        if hasattr(os, "getloadavg")
        else None,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


@contextmanager
def one_thread():
    """Hold BLAS, OpenMP and torch to one thread, and put them back afterwards."""
    before = torch.get_num_threads()
    with threadpool_limits(1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def seconds(call, *args):
    """Return `(seconds, result)` of one call."""
    start = time.perf_counter()
    result = call(*args)
    return time.perf_counter() - start, result


def print_table(title, rows):
    """Print dictionaries with the same keys as an aligned table."""
    print(f"\n{title}")
    if not rows:
        print("  (nothing measured)")
        return
    cells = [list(rows[0])] + [[_cell(v) for v in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = [isinstance(value, str) for value in rows[0].values()]
    for number, line in enumerate(cells):
        parts = [
            text.ljust(width) if is_left else text.rjust(width)
            for text, width, is_left in zip(line, widths, left, strict=True)
        ]
        print("  " + "  ".join(parts).rstrip())
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths))


def save(name, **figures):
    """Write `figures` and the machine to `benchmarks/results/NAME.json`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    record = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), **figures}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    here = record["machine"]
    print(
        f"\n{here['cpu']}, {here['cores']} cores, "
        f"{here['torch_threads']} torch threads,"
        f" load {here['load_average']}; "
        + ", ".join(f"{k} {v}" for k, v in here["packages"].items() if v)
        + f"\nwritten to {os.path.relpath(path)}"
    )


def merge(name, figures):
    """`figures` beside those that an earlier run of another part has saved."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return figures
    before = json.loads(path.read_text(encoding="utf-8"))
    for key in ("date", "machine"):
        before.pop(key, None)
    return {**before, **figures}


def progress(message):
    """Say where the benchmark is, on standard error."""
    print(message, file=sys.stderr, flush=True)


def _cell(value):
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        is_plain = value == 0 or 1e-3 <= abs(value) < 1e5
        return f"{value:.4g}" if is_plain else f"{value:.1e}"
    return str(value)


def _cpu_name():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None
