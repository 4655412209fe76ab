"""Do estimators fit files larger than memory, how fast, and in how much memory?

Writes 1,000,000 x 1,000 float32 (4 GB: 25 latent directions bent by tanh, and noise) to
a temporary folder as a memory map, to HDF5, zarr and Parquet, one after the other; each
is deleted before the next is written, unless ``--keep``. For every format and estimator
a fresh process imports everything, notes its anonymous memory (RssAnon of
/proc/self/status) and fits, while a thread samples RssAnon every 5 ms:

- ``AutoencoderTransformer(50)``, with its error on 10,000 held-out rows over that of
  `IncrementalPCA`, which the same process fits by ``partial_fit`` to blocks of 5,000
  rows of the same file, the first 100,000 unless ``--whole-pca``; its time is scaled to
  all of them;
- ``AEOutlierDetector()``, ``StackedAEClassifier()`` with 10,000 labels of ten classes,
  and ``VariationalAE()``.

Then the fitted estimator codes or scores the file, codes by ``transform(X, out=)`` into
a memory map. Linux only; needs h5py, zarr and pyarrow for their formats.

    python benchmarks/out_of_core.py                            # hours
    python benchmarks/out_of_core.py --rows 100000
    python benchmarks/out_of_core.py --formats h5py --add       # beside earlier runs
    python benchmarks/out_of_core.py --folder DATA --keep --add \
        --formats zarr --estimators detector
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from anonymous_memory import Peak, in_fresh_process, is_measurable, rss_anon_mb

N_FEATURES, N_LATENT, N_HIDDEN, N_CLASSES = 1000, 25, 150, 10
N_COMPONENTS, N_LABELLED, N_HELD_OUT = 50, 10_000, 10_000
FULL_ROWS, CHUNK = 1_000_000, 5_000
PCA_ROWS = 100_000
FORMATS = ("memmap", "h5py", "zarr", "parquet")
ESTIMATORS = ("transformer", "detector", "classifier", "variational")
MOST_MB, MOST_OF_PCA, MOST_OF_MAP = 600, 0.5, 1.5


def main():
    options = parse_options()
    if options.measure:
        print(json.dumps(measure(*options.measure, options.rows, options.whole_pca)))
        return
    from report import merge, print_table, progress, save

    lines = []
    for kind in options.formats:
        with written(kind, options) as path:
            for name in options.estimators:
                arguments = ["--rows", options.rows, "--measure", kind, name, path]
                if options.whole_pca:
                    arguments.insert(0, "--whole-pca")
                line = in_fresh_process(__file__, *arguments)
                lines.append({"format": kind, "estimator": name} | line)
                progress(", ".join(f"{k} {v}" for k, v in lines[-1].items()))
    name = "out_of_core" if options.rows == FULL_ROWS else "out_of_core-partial"
    if options.add:
        earlier = merge(name, {})
        if earlier.get("n_rows") == options.rows:
            lines = together(earlier["rows"], lines)
    add_ratios(lines)
    print_table(f"{options.rows} x {N_FEATURES} float32 on disk", lines)
    save(name, n_rows=options.rows, rows=lines)


@contextmanager
def written(kind, options):
    """The path of the file, which stays only where the user wants to keep it."""
    from report import progress

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        kept = Path(options.folder or folder) / f"{kind}-{options.rows}"
        if options.keep and kept.exists():
            yield kept
            return
        free = shutil.disk_usage(folder).free
        if free < 1.2 * 4 * N_FEATURES * options.rows:
            raise SystemExit(f"{folder} has only {free / 2**30:.1f} GiB left")
        progress(f"writing {options.rows} x {N_FEATURES} float32 as {kind}")
        path = Path(folder) / "X"
        WRITERS[kind](path, options.rows)
        yield path.rename(kept) if options.keep else path


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=FULL_ROWS)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument(
        "--estimators", nargs="+", choices=ESTIMATORS, default=ESTIMATORS
    )
    parser.add_argument("--folder", help="where to write; not in memory (tmpfs)")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave the files in the folder, and use those that an earlier run left",
    )
    parser.add_argument(
        "--add",
        action="store_true",
        help="keep what earlier runs of so many rows saved",
    )
    parser.add_argument("--whole-pca", action="store_true")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.keep and not options.folder:
        parser.error("--keep needs --folder")
    if not is_measurable():
        parser.error("RssAnon is read from /proc/self/status, which only Linux has")
    return options


def together(earlier, lines):
    """The lines of two runs, in the order of formats and estimators; later ones win."""
    by_run = {(line["format"], line["estimator"]): line for line in earlier + lines}
    heads = dict.fromkeys(head for line in (*lines, *earlier) for head in line)
    return [
        {head: by_run[run].get(head) for head in heads}
        for run in product(FORMATS, ESTIMATORS)
        if run in by_run
    ]


def add_ratios(lines):
    """Times over those on a memory map, and whether the promises are kept."""
    on_map = {x["estimator"]: x for x in lines if x["format"] == "memmap"}
    for line in lines:
        base = on_map.get(line["estimator"])
        for ratio, time_of in (("x memmap", "fit s"), ("CPU x memmap", "fit CPU s")):
            line[ratio] = line[time_of] / base[time_of] if base else None
        kept = line["peak MB"] <= MOST_MB
        if line["estimator"] == "transformer":
            kept &= line["x PCA's time"] <= MOST_OF_PCA and line["error/PCA"] < 1
            kept &= base is None or line["x memmap"] <= MOST_OF_MAP
        line["kept"] = kept


# The data ------------------------------------------------------------------------


def rows_of(number, n_rows):
    """A chunk of rows and their classes; the held-out rows are number -1."""
    fixed = np.random.default_rng(0)
    bend = fixed.normal(size=(N_LATENT, N_HIDDEN)).astype(np.float32) / 3
    mixing = fixed.normal(size=(N_HIDDEN, N_FEATURES)).astype(np.float32) / 5
    kinds = fixed.normal(size=(N_LATENT, N_CLASSES)).astype(np.float32)
    rng = np.random.default_rng([1, number + 1])
    z = rng.standard_normal((n_rows, N_LATENT), dtype=np.float32)
    noise = rng.standard_normal((n_rows, N_FEATURES), dtype=np.float32)
    return np.tanh(z @ bend) @ mixing + 0.3 * noise, (z @ kinds).argmax(1)


def chunks(n_rows):
    edges = [*range(0, n_rows, CHUNK), n_rows]
    for number, (start, stop) in enumerate(pairwise(edges)):
        yield slice(start, stop), rows_of(number, stop - start)[0]


def labels(n_rows):
    """Classes of the first rows of every so many chunks, -1 for all others."""
    y = np.full(n_rows, -1)
    n_chunks = -(-n_rows // CHUNK)
    each = max(1, N_LABELLED // n_chunks)
    for number in range(n_chunks):
        start = number * CHUNK
        size = min(CHUNK, n_rows - start)
        y[start : start + min(each, size)] = rows_of(number, size)[1][:each]
    return y


def write_memmap(path, n_rows):
    shape = n_rows, N_FEATURES
    X = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    for rows, block in chunks(n_rows):
        X[rows] = block
    X.flush()


def write_h5py(path, n_rows):
    import h5py

    with h5py.File(path, "w") as file:
        options = {"chunks": (1000, N_FEATURES), "dtype": "f4"}
        X = file.create_dataset("X", (n_rows, N_FEATURES), **options)
        for rows, block in chunks(n_rows):
            X[rows] = block


def write_zarr(path, n_rows):
    import zarr

    shape = n_rows, N_FEATURES
    X = zarr.open(path, mode="w", shape=shape, chunks=(1000, N_FEATURES), dtype="f4")
    for rows, block in chunks(n_rows):
        X[rows] = block


def write_parquet(path, n_rows):
    import pyarrow as pa
    from pyarrow import parquet

    names = [f"x{number}" for number in range(N_FEATURES)]
    schema = pa.schema([(name, pa.float32()) for name in names])
    with parquet.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for _, block in chunks(n_rows):
            columns = [np.ascontiguousarray(column) for column in block.T]
            writer.write_table(pa.table(dict(zip(names, columns, strict=True))))


WRITERS = {
    "memmap": write_memmap,
    "h5py": write_h5py,
    "zarr": write_zarr,
    "parquet": write_parquet,
}


def opened(kind, path):
    """X as a user passes it."""
    if kind == "memmap":
        return np.load(path, mmap_mode="r")
    if kind == "h5py":
        import h5py

        return h5py.File(path)["X"]
    if kind == "zarr":
        import zarr

        return zarr.open(path, mode="r")
    return str(path)


def blocks(kind, path, n_rows):
    """Blocks as a user would feed them to ``partial_fit``."""
    if kind != "parquet":
        X = opened(kind, path)
        yield from (np.asarray(X[i : i + CHUNK]) for i in range(0, n_rows, CHUNK))
        return
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    for number in range(-(-n_rows // CHUNK)):
        table = file.read_row_group(number)
        yield np.column_stack([column.to_numpy() for column in table.columns])


# In the fresh process --------------------------------------------------------------


def measure(kind, name, path, n_rows, whole_pca):
    import gc

    from report import seconds

    import skae

    X = opened(kind, path)
    options = {"random_state": 0, "device": "cpu"}
    model = {
        "transformer": lambda: skae.AutoencoderTransformer(N_COMPONENTS, **options),
        "detector": lambda: skae.AEOutlierDetector(**options),
        "classifier": lambda: skae.StackedAEClassifier(**options),
        "variational": lambda: skae.VariationalAE(**options),
    }[name]()
    y = labels(n_rows) if name == "classifier" else None
    held_out, classes = rows_of(-1, N_HELD_OUT)
    gc.collect()
    before = rss_anon_mb()
    with Peak() as fit:
        cpu_before = time.process_time()
        fit_seconds, _ = seconds(model.fit, X, y)
        cpu_seconds = time.process_time() - cpu_before
    with Peak() as use:
        if name == "detector":
            use_seconds, _ = seconds(model.score_samples, X)
        else:
            shape = n_rows, model.n_components_
            codes = Path(path).with_name("codes")
            out = np.lib.format.open_memmap(codes, "w+", np.float32, shape)
            use_seconds, _ = seconds(partial(model.transform, out=out), X)
            codes.unlink()
    line = {
        "fit s": fit_seconds,
        "fit CPU s": cpu_seconds,
        "peak MB": fit.mb - before,
        "use s": use_seconds,
        "use MB": use.mb - before,
        "epochs": float(model.n_iter_),
        "load": os.getloadavg()[0],
        "score": None,
        **dict.fromkeys(("error/PCA", "PCA s", "x PCA's time", "x PCA's CPU time")),
    }
    if name == "classifier":
        line["score"] = model.score(held_out, classes)
    if name == "variational":
        line["score"] = model.score(held_out)
    if name == "transformer":
        times = fit_seconds, cpu_seconds
        line |= beside_pca(kind, path, n_rows, whole_pca, model, held_out, times)
    return line


def beside_pca(kind, path, n_rows, whole_pca, model, held_out, times):
    """Error and time over those of IncrementalPCA on the same file."""
    from report import seconds
    from sklearn.decomposition import IncrementalPCA

    pca = IncrementalPCA(N_COMPONENTS)
    n_used = n_rows if whole_pca else min(n_rows, PCA_ROWS)

    def fit():
        for block in blocks(kind, path, n_used):
            pca.partial_fit(block)

    cpu_before = time.process_time()
    pca_seconds = seconds(fit)[0] * n_rows / n_used
    pca_cpu_seconds = (time.process_time() - cpu_before) * n_rows / n_used
    errors = [
        float(np.mean(np.square(held_out - rebuilt), dtype=np.float64))
        for rebuilt in (
            model.reconstruct(held_out),
            pca.inverse_transform(pca.transform(held_out)),
        )
    ]
    return {
        "error/PCA": errors[0] / errors[1],
        "PCA s": pca_seconds,
        "x PCA's time": times[0] / pca_seconds,
        "x PCA's CPU time": times[1] / pca_cpu_seconds,
    }


if __name__ == "__main__":
    main()
