"""Do files and pickles pass between the oldest supported versions and these?

    python benchmarks/versions.py
    python benchmarks/versions.py --old /path/to/python    # of an environment

Every estimator of `benchmarks/saved_estimators.py` is fitted, saved and pickled in an
environment with the lower bounds of skae's dependencies, and read in this one; and the
other way round. What all methods say of the same rows is compared, but for samples,
whose random numbers torch may draw otherwise in another version. p-values are compared
in ranks among the calibration rows, which the last digit of a score may change. Without
``--old`` the environment is made, which downloads some gigabytes, as the oldest torch
comes with its CUDA packages.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import venv
import warnings
from pathlib import Path

import numpy as np
import sklearn
import torch

ROOT = Path(__file__).resolve().parent.parent
LOWER_BOUNDS = [
    "torch==2.4.1",
    "scikit-learn==1.6.1",
    "numpy==1.26.4",
    "scipy==1.13.1",
    "skorch==1.1.0",
    "joblib==1.3.2",
    "threadpoolctl==3.5.0",
    "tqdm==4.66.6",
    "safetensors==0.5.0",
    "pandas==2.2.3",
]
APART = "sample", "p_values"


def write(folder):
    """Fit, save and pickle every estimator, and note what it says."""
    from saved_estimators import CASES, answers, fitted

    import skae

    for name in CASES:
        estimator = fitted(name)
        skae.save(estimator, folder / f"{name}.safetensors")
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(estimator))
        np.savez(folder / f"{name}.npz", **answers(estimator, name))
    (folder / "versions.json").write_text(json.dumps(versions()))


def read(folder):
    """Largest differences of what is read from what was noted, by estimator."""
    from saved_estimators import CASES, TRUSTED, answers

    import skae

    rows = []
    for name in CASES:
        with np.load(folder / f"{name}.npz") as noted:
            noted = dict(noted)
        row = {"estimator": name, "ranks": 0}
        for way in ("file", "pickle"):
            if way == "file":
                path = folder / f"{name}.safetensors"
                estimator = skae.load(path, trusted=TRUSTED)
            else:
                estimator = pickle.loads((folder / f"{name}.pickle").read_bytes())
            said = answers(estimator, name)
            pairs = [(said[k], noted[k]) for k in noted if k not in APART]
            row[way] = max(difference(*pair) for pair in pairs)
            if "p_values" in noted:
                apart = np.abs(said["p_values"] - noted["p_values"]).max()
                n_ranks = len(noted["calibration_scores_"]) + 1
                row["ranks"] = max(row["ranks"], round(float(apart * n_ranks)))
        rows.append(row)
    return rows


def difference(own, other):
    """Largest difference over the largest value; infinite between other classes."""
    if own.shape != other.shape:
        return np.inf
    if own.dtype.kind not in "fiu":
        return 0.0 if (own == other).all() else np.inf
    if not own.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        apart = np.where(own == other, 0.0, np.abs(own - other))
    apart = np.where(np.isnan(own) & np.isnan(other), 0.0, apart)
    unit = np.nanmax(np.abs(np.where(np.isfinite(other), other, 0.0))) or 1.0
    return float(np.nan_to_num(apart, nan=np.inf).max() / unit)


def versions():
    """Of this environment."""
    return {
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    }


def old_python(folder):
    """The interpreter of a new environment with the lower bounds."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [python, "-m", "pip", "install", "-q", *LOWER_BOUNDS]
    subprocess.run(command, check=True)
    return python


def run(python, role, folder):
    """This script in an environment; what it printed."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    done = subprocess.run(
        [python, __file__, "--role", role, "--folder", folder],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", help="interpreter of an environment")
    parser.add_argument("--role", choices=["write", "read"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.role == "write":
        write(options.folder)
        return
    if options.role == "read":
        print(json.dumps(read(options.folder)))
        return

    from report import print_table, progress, save

    with tempfile.TemporaryDirectory() as scratch:
        old = options.old or old_python(Path(scratch) / "environment")
        rows = []
        for writer, reader, way in (
            (old, sys.executable, "old to new"),
            (sys.executable, old, "new to old"),
        ):
            folder = Path(scratch) / way.replace(" ", "_")
            folder.mkdir()
            progress(way)
            run(writer, "write", folder)
            found = json.loads(run(reader, "read", folder))
            rows += [{"way": way, **row} for row in found]
            if writer == old:
                lowest = json.loads((folder / "versions.json").read_text())
    print(f"old: {lowest}\nnew: {versions()}\n")
    print_table("Largest relative difference", rows)
    worst = max(max(row["file"], row["pickle"]) for row in rows)
    print(f"\nlargest relative difference: {worst:.2g}")
    save("versions", rows=rows, old=lowest, new=versions(), largest=worst)


if __name__ == "__main__":
    main()
