"""How much memory do `fit` and `transform` need on data larger than memory?

Writes a float32 memory map (2,000,000 x 100, 800 MB: ten latent directions and noise)
to a temporary folder. A fresh process imports everything, notes its anonymous memory
(RssAnon of /proc/self/status: what the process allocated, without the pages of mapped
files), then fits `AutoencoderTransformer(10)` and transforms the map, while a thread
samples RssAnon every 5 ms. The table has the peaks above the note, and for
`transform` also without its own output. Linux only.

    python benchmarks/memory.py
    python benchmarks/memory.py --rows 200000 --folder /var/tmp
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from anonymous_memory import Peak, in_fresh_process, is_measurable, rss_anon_mb

N_FEATURES, N_COMPONENTS = 100, 10
CHUNK = 50_000


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument(
        "--folder", help="where to write the map; not in memory (tmpfs)"
    )
    parser.add_argument("--measure", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    if not is_measurable():
        parser.error("RssAnon is read from /proc/self/status, which only Linux has")

    from report import print_table, progress, save

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "X.npy"
        progress(f"writing {options.rows} x {N_FEATURES} float32 to {path}")
        write_map(path, options.rows)
        progress("fitting and transforming it in a fresh process")
        rows = in_fresh_process(__file__, "--measure", path)
    print_table(f"A {options.rows} x {N_FEATURES} float32 memory map", rows)
    is_full = options.rows == 2_000_000
    save("memory" if is_full else "memory-partial", n_rows=options.rows, rows=rows)


def write_map(path, n_rows):
    """Ten latent directions of falling size, bent by tanh, and noise."""
    rng = np.random.default_rng(0)
    scale = np.linspace(3, 1, N_COMPONENTS, dtype=np.float32)
    mixing = rng.normal(size=(N_COMPONENTS, N_FEATURES)).astype(np.float32)
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, N_FEATURES))
    for start in range(0, n_rows, CHUNK):
        size = min(CHUNK, n_rows - start)
        z = scale * rng.standard_normal((size, N_COMPONENTS), dtype=np.float32)
        noise = rng.standard_normal((size, N_FEATURES), dtype=np.float32)
        X[start : start + size] = np.tanh(z) @ mixing + 0.3 * noise
    X.flush()


def measure(path):
    """Run in the fresh process: fit and transform under the sampling thread."""
    import gc

    from report import seconds

    from skae import AutoencoderTransformer

    X = np.load(path, mmap_mode="r")
    model = AutoencoderTransformer(N_COMPONENTS, random_state=0, device="cpu")
    gc.collect()
    baseline = rss_anon_mb()
    with Peak() as fit_peak:
        fit_seconds, _ = seconds(model.fit, X)
    gc.collect()
    after_fit = rss_anon_mb()
    with Peak() as transform_peak:
        transform_seconds, code = seconds(model.transform, X)
    output = code.nbytes / 2**20
    return [
        {
            "call": "fit",
            "seconds": fit_seconds,
            "before MB": baseline,
            "peak MB": fit_peak.mb,
            "peak above imports MB": fit_peak.mb - baseline,
            "output MB": 0.0,
            "without output MB": fit_peak.mb - baseline,
        },
        {
            "call": "transform",
            "seconds": transform_seconds,
            "before MB": after_fit,
            "peak MB": transform_peak.mb,
            "peak above imports MB": transform_peak.mb - baseline,
            "output MB": output,
            "without output MB": transform_peak.mb - baseline - output,
        },
    ]


if __name__ == "__main__":
    main()
