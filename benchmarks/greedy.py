"""Does training a 1000-300-100 stack layer by layer pay?

Rows (float32, a memory map) have 100 latent directions, bent by tanh and mixed into
1,000 features, and a little noise. What the best linear map of 100 components loses of
the variance is known: the noise outside of it. Two tied autoencoders, one after the
other (`pretrain`), are compared with the same network trained end to end, with batches,
rates and epochs alike, so that every layer sees each row equally often; only the
decoder's hidden layer is linear in the first and rectified in the second. PCA is for
reference.

Each runs in a fresh process that opens the map, notes its anonymous memory and then
samples it. Greedy training should need one copy of the rows coded by its first layer
more than training end to end, which needs batches only. Linux only.

Five epochs, because at a rate of 2e-3 one of 200,000 rows is too short for
both: after as many steps on fewer rows greedy training lost 0.09 of the variance and
training end to end 0.08. What lags is the narrow layer: with no more units than
directions nearly all units have to be active for every row; 83% were after those steps,
99% after five times as many. At 5e-3 greedy training came to 0.03 in the same steps,
training end to end hardly further, hence both rates.

    python benchmarks/greedy.py               # about 5 minutes
    python benchmarks/greedy.py --rows 20000 --epochs 50 --ways greedy
"""

import argparse
import gc
import json
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
from anonymous_memory import Peak, in_fresh_process, is_measurable, rss_anon_mb

N_FEATURES, WIDTHS = 1000, (300, 100)
NOISE, BEND = 0.1, 0.7
N_HELD_OUT = 10_000
CHUNK = 10_000
BATCH = 128
WAYS = ("greedy", "end to end", "PCA")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--epochs", type=int, default=5, help="of each layer, of all")
    parser.add_argument("--rates", type=float, nargs="+", default=[2e-3, 5e-3])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument(
        "--folder", help="where to write the map; not in memory (tmpfs)"
    )
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        way, rate, folder = options.measure
        print(json.dumps(measure(way, float(rate), options.epochs, folder)))
        return
    if not is_measurable():
        parser.error("RssAnon is read from /proc/self/status, which only Linux has")

    from report import print_table, progress, save

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        progress(f"writing {options.rows} x {N_FEATURES} float32 to {folder}")
        best = write_rows(folder, options.rows)
        lines = []
        for way in options.ways:
            for rate in options.rates[: 1 if way == "PCA" else None]:
                at = "" if way == "PCA" else f" at {rate:g}"
                progress(f"{way}{at}, in a fresh process")
                asked = "--measure", way, rate, folder, "--epochs", options.epochs
                lines.append(in_fresh_process(__file__, *asked))
    print_table(f"{options.rows} rows; the best linear map loses {best:.4g}", lines)
    print(f"  A coded copy has {coded_mb(options.rows):.1f} MB.")
    name = "greedy" if options.rows == 200_000 else "greedy-partial"
    save(name, options=vars(options), best_linear=best, lines=lines)


def write_rows(folder, n_rows):
    """Training and held-out rows; what the best linear map loses of their variance."""
    rng = np.random.default_rng(0)
    n_latent = WIDTHS[-1]
    mixing = rng.normal(size=(n_latent, N_FEATURES)) / np.sqrt(n_latent)
    mixing = mixing.astype(np.float32)
    for name, size in {"train": n_rows, "held_out": N_HELD_OUT}.items():
        shape = size, N_FEATURES
        X = np.lib.format.open_memmap(path_of(folder, name), "w+", np.float32, shape)
        for start in range(0, size, CHUNK):
            block = X[start : start + CHUNK]
            z = rng.standard_normal((len(block), n_latent), dtype=np.float32)
            noise = rng.standard_normal(block.shape, dtype=np.float32)
            block[:] = np.tanh(BEND * z) / BEND @ mixing + NOISE * noise
        X.flush()
    points, weights = np.polynomial.hermite_e.hermegauss(50)
    variance = weights @ np.square(np.tanh(BEND * points) / BEND) / weights.sum()
    total = variance * np.square(mixing).sum() + N_FEATURES * NOISE**2
    return float((N_FEATURES - n_latent) * NOISE**2 / total)


def path_of(folder, name):
    return Path(folder) / f"{name}.npy"


def coded_mb(n_rows):
    """Size of the codes of the first layer."""
    return n_rows * WIDTHS[0] * 4 / 2**20


def measure(way, rate, epochs, folder):
    """Run in the fresh process: one way of training under the sampling thread."""
    from report import one_thread, seconds

    from skae.fitting import pretraining

    X = np.load(path_of(folder, "train"), mmap_mode="r")
    fit = {"greedy": greedy, "end to end": end_to_end, "PCA": pca}[way]
    coding = mock.patch.object(pretraining, "codes_of", wraps=pretraining.codes_of)
    gc.collect()
    before, cpu_before = rss_anon_mb(), time.process_time()
    with one_thread(), coding as codes_of, Peak() as peak:
        spent, reconstruct = seconds(fit, X, rate, epochs)
        cpu = time.process_time() - cpu_before
    above = peak.mb - before
    return {
        "training": way,
        "rate": None if way == "PCA" else rate,
        "lost": lost(reconstruct, np.load(path_of(folder, "held_out"))),
        "seconds": spent,
        "CPU seconds": cpu,
        "coding passes": codes_of.call_count,
        "peak above data MB": above,
        "in coded copies": above / coded_mb(len(X)),
    }


def greedy(X, rate, epochs):
    """One tied autoencoder after the other; the second learns the first one's codes."""
    from skae import AutoencoderTransformer
    from skae.fitting.pretraining import pretrain
    from skae.parts.corruption import NoCorruption

    layers = list(
        pretrain(
            X,
            WIDTHS,
            AutoencoderTransformer,
            corruption=NoCorruption(),
            hidden_noise=0,
            tied_weights=True,
            batch_size=BATCH,
            learning_rate_init=rate,
            max_iter=epochs,
            device="cpu",
            random_state=0,
        )
    )

    def reconstruct(X):
        for layer in layers:
            X = layer.transform(X)
        for layer in reversed(layers):
            X = layer.inverse_transform(X)
        return X

    return reconstruct


def end_to_end(X, rate, epochs):
    """The same network as one autoencoder."""
    from skae import AutoencoderTransformer

    autoencoder = AutoencoderTransformer(
        WIDTHS[-1],
        hidden_layer_sizes=WIDTHS[:-1],
        code_activation="relu",
        tied_weights=True,
        init="random",
        alpha=0.0,
        batch_size=BATCH,
        learning_rate_init=rate,
        max_iter=epochs,
        early_stopping=False,
        device="cpu",
        random_state=0,
    )
    return autoencoder.fit(X).reconstruct


def pca(X, rate, epochs):
    from sklearn.decomposition import PCA

    model = PCA(WIDTHS[-1], random_state=0).fit(X)
    return lambda X: model.inverse_transform(model.transform(X))


def lost(reconstruct, X):
    """Squared error of the reconstruction as a share of the variance."""
    error = np.square(X - reconstruct(X), dtype=np.float64).sum()
    return float(error / X.var(axis=0, dtype=np.float64).sum() / len(X))


if __name__ == "__main__":
    main()
