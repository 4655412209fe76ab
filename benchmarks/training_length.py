"""What does the length of the default training gain on many rows?

`AutoencoderTransformer` is fitted to large standardised tables by default, which trains
longer the more rows there are, and with the ``max_iter`` that comes nearest to the
1,500 steps that small tables get. The table has the squared error over PCA's with as
many components, on 20,000 rows that were left out, and the seconds of a fit on one
thread.

Tables are ADBench's donors and skin under `SKAE_DATA`, where they are there, and two
that are drawn: clusters in planes and a curved surface, with noise.

    python benchmarks/training_length.py
    python benchmarks/training_length.py --sets clusters
"""

import argparse
import os

import numpy as np
from benchmark_data import adbench_tables, is_wanted
from report import one_thread, print_table, progress, save, seconds
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from skae import AutoencoderTransformer

N_HELD_OUT, N_DRAWN, SHORT_STEPS = 20_000, 300_000, 1500
# The names of tables, and numbers of components.
SETS = {"donors": (2, 5), "skin": (2,), "clusters": (5,), "surface": (8,)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    options = parser.parse_args()

    rows = []
    for name, X in tables(options.sets):
        for n_components in SETS[name]:
            rows.append(compare(name, X, n_components))
            progress(", ".join(f"{k} {v}" for k, v in rows[-1].items()))
    print_table("Error over PCA's on held-out rows, and seconds", rows)
    is_full = {row["table"].split()[0] for row in rows} == set(SETS)
    save("training_length" if is_full else "training_length-partial", rows=rows)


def tables(names):
    for path, X in adbench_tables():
        for name in ("donors", "skin"):
            if name in names and is_wanted(path, [name]):
                yield name, X
    for name, draw in (("clusters", clusters), ("surface", surface)):
        if name in names:
            yield name, draw(np.random.default_rng(0), N_DRAWN)


def clusters(rng, n_rows):
    """Twelve clusters in 20 dimensions, each in a plane of three of its own."""
    kinds = rng.integers(12, size=n_rows)
    centres = 3 * rng.standard_normal((12, 20))
    planes = rng.standard_normal((12, 3, 20))
    z = rng.standard_normal((n_rows, 3))
    X = centres[kinds] + np.einsum("ij,ijk->ik", z, planes[kinds])
    return X + 0.1 * rng.standard_normal(X.shape)


def surface(rng, n_rows):
    """A surface of eight dimensions that is bent in 40."""
    z = rng.standard_normal((n_rows, 8))
    bent = np.tanh(z @ rng.standard_normal((8, 40)) / 2)
    return bent @ rng.standard_normal((40, 40)) / 6 + 0.1 * rng.standard_normal(
        (n_rows, 40)
    )


def compare(name, X, n_components):
    """One line of the table."""
    order = np.random.default_rng(0).permutation(len(X))
    held_out, train = X[order[:N_HELD_OUT]], X[order[N_HELD_OUT:]]
    scaler = StandardScaler().fit(train)
    train, held_out = scaler.transform(train), scaler.transform(held_out)
    pca = PCA(n_components).fit(train)
    of_pca = error(held_out, pca.inverse_transform(pca.transform(held_out)))

    def fitted(max_iter=None):
        ae = AutoencoderTransformer(n_components, max_iter=max_iter, random_state=0)
        with one_thread():
            time, _ = seconds(ae.fit, train)
        return ae, error(held_out, ae.reconstruct(held_out)) / of_pca, time

    by_default = fitted()
    n_epochs = by_default[0].n_iter_
    # 15% of the rows are held out of the training.
    short = max(1, round(SHORT_STEPS * 256 / (0.85 * len(train))))
    lengths = {"short": fitted(short), "default": by_default}
    line = {"table": f"{name} {len(train)} x {X.shape[1]}", "codes": n_components}
    line |= {"short epochs": short, "default epochs": n_epochs}
    line |= {kind: ratio for kind, (_, ratio, _) in lengths.items()}
    line |= {f"{kind} s": time for kind, (*_, time) in lengths.items()}
    return line | {"load": os.getloadavg()[0]}


def error(X, rebuilt):
    return float(np.mean(np.square(X - rebuilt)))


if __name__ == "__main__":
    main()
