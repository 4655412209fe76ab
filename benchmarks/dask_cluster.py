"""Does a fit on several workers give what one process gives, in less time?

    python benchmarks/dask_cluster.py [--rows 2000000] [--batch-size 4096] [--repeats 3]

2,000,000 x 100 float32 rows in 40 chunks of a memory map, fitted in this process, on
one and on two worker processes of one thread each, on three of which one has no rows,
and by torchrun with two processes. Times are the shortest of three, taken in turn, as
two workers take all of a machine of two cores and share it with whatever else runs
there. Errors are those of 100,000 rows that no fit has
seen, over PCA's with as many components. Then a worker is killed during a fit: how long
until the error comes, and whether the next fit goes on from the checkpoint.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
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


def new_transformer(**options):
    """The estimator of all fits."""
    return skae.AutoencoderTransformer(**SETTINGS, **options)


class Cluster:
    """Worker processes of one thread, of which the first few get the rows."""

    def __init__(self, n_workers, folder):
        from dask.distributed import Client, LocalCluster

        self.cluster = LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            local_directory=folder,
            memory_limit="4GiB",
            silence_logs=logging.CRITICAL,
        )
        self.client = Client(self.cluster, timeout=60)
        # The import of torch takes seconds, and is no part of a fit.
        self.client.run(_import)

    def rows(self, path, n_rows, n_holders):
        from dask.distributed import wait

        from skae.distributed.placing import workers_of

        addresses = sorted(workers_of(self.client))[:n_holders]
        X = blocks_of(path, n_rows)
        X = self.client.persist(X, workers=addresses, allow_other_workers=False)
        wait(X, timeout=300)
        return X

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        self.cluster.close()


def _import():
    import skae.estimators.autoencoder  # noqa: F401


def fits(path, n_rows, held_out, folder, n_repeats):
    """The same fit in one process and on clusters, by the shortest of its times."""
    rows = np.load(path, mmap_mode="r")[:n_rows]
    pca = PCA(N_COMPONENTS).fit(rows[:: max(1, n_rows // 200_000)])
    rebuilt = pca.inverse_transform(pca.transform(held_out))
    of_pca = float(np.square(rebuilt - held_out).mean())
    lines = {}

    def add(where, took, estimator):
        line = {
            "fit": where,
            "seconds": min(took, lines.get(where, {"seconds": took})["seconds"]),
            "error over PCA's": error(estimator, held_out) / of_pca,
            "epochs": estimator.n_iter_,
        }
        lines[where] = line
        progress(f"{took:.3g} s: {line}")

    for _ in range(n_repeats):
        add("this process", *seconds(new_transformer().fit, rows))
        for n_workers, n_holders in ((1, 1), (2, 2), (3, 2)):
            with Cluster(n_workers, folder) as cluster:
                X = cluster.rows(path, n_rows, n_holders)
                where = f"{n_workers} worker{'s' * (n_workers > 1)}"
                where += ", one without rows" * (n_workers > n_holders)
                add(where, *seconds(new_transformer().fit, X))
        add("torchrun, 2 processes", *under_torchrun(path, n_rows, folder))
    return list(lines.values())


def under_torchrun(path, n_rows, folder):
    """Seconds within the fit and the estimator of two processes."""
    out = Path(folder) / "torchrun.skae"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", __file__, "--rank-of", str(out)]
    command += ["--rows", str(n_rows), "--path", str(path)]
    if "batch_size" in SETTINGS:
        command += ["--batch-size", str(SETTINGS["batch_size"])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, timeout=900, env=environment)
    return float(out.with_suffix(".seconds").read_text()), skae.load(out)


def fit_as_rank(path, n_rows, out):
    """What each process under torchrun does."""
    import skae.distributed

    rows = np.load(path, mmap_mode="r")[:n_rows]
    with one_thread():
        took, fitted = seconds(skae.distributed.fit, new_transformer(), rows)
    if os.environ["RANK"] == "0":
        skae.save(fitted, out)
        Path(out).with_suffix(".seconds").write_text(str(took))


def killed(path, n_rows, held_out, folder, usual):
    """A worker that is killed halfway, and the fit that follows."""
    from skae.callbacks import Checkpoint

    checkpoint = str(Path(folder) / "checkpoint")
    with Cluster(2, folder) as cluster:
        X = cluster.rows(path, n_rows, 2)
        (victim, *_) = cluster.client.run(os.getpid).values()
        moment = []

        def kill():
            moment.append(time.perf_counter())
            os.kill(victim, signal.SIGKILL)

        timer = threading.Timer(usual / 2, kill)
        timer.start()
        callbacks = [Checkpoint(checkpoint, every=1)]
        try:
            new_transformer(callbacks=callbacks).fit(X)
        except Exception as failure:
            waited, message = time.perf_counter() - moment[0], str(failure)
        else:
            waited, message = np.nan, "the fit ended before the kill"
        timer.cancel()
        # Dask starts another worker in its place.
        cluster.client.wait_for_workers(2, timeout=60)
        X = cluster.rows(path, n_rows, 2)
        again = new_transformer(callbacks=callbacks)
        took, fitted = seconds(again.fit, X)
    return {
        "seconds until the error": waited,
        "within the deadline": waited <= DEADLINE,
        "message": message[:200],
        "seconds of the next fit": took,
        "of the usual time": took / usual,
        "mean squared error": error(fitted, held_out),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--batch-size", type=int, help="of all workers together")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    parser.add_argument("--rank-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.batch_size:
        SETTINGS["batch_size"] = options.batch_size
    if options.rank_of:
        fit_as_rank(options.path, options.rows, options.rank_of)
        return
    with tempfile.TemporaryDirectory() as folder, one_thread():
        path = Path(folder) / "rows.npy"
        progress("writing rows")
        write_rows(path, options.rows)
        held_out = np.load(path, mmap_mode="r")[options.rows :]
        lines = fits(path, options.rows, held_out, folder, options.repeats)
        by_name = {line["fit"]: line for line in lines}
        usual = by_name["2 workers"]["seconds"]
        kill = killed(path, options.rows, held_out, folder, usual)
    local = by_name["this process"]["error over PCA's"]
    ratio = usual / by_name["1 worker"]["seconds"]
    summary = {
        "two workers over one": ratio,
        f"<= {TIME_RATIO}": ratio <= TIME_RATIO,
        "largest difference from one process": max(
            abs(line["error over PCA's"] / local - 1) for line in lines
        ),
    }
    print_table("Fits", lines)
    print_table("Time and error", [summary])
    print_table("A worker is killed", [kill])
    if options.rows == 2_000_000:
        save("dask_cluster", fits=lines, summary=[summary], killed=[kill])


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)
    main()
