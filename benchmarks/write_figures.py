"""Write ``docs/figures.md`` from the figures in ``benchmarks/results``.

    python benchmarks/write_figures.py [PATH]

Each section says how its table is read, which script measured it and on what machine.
`LOST` holds figures whose JSON was not kept; the page marks them.
"""

import json
import sys
from pathlib import Path
from textwrap import fill

__all__ = ["page"]

ROOT = Path(__file__).parent.parent
HEAD = """\
# Figures

`python benchmarks/write_figures.py` writes this page from `benchmarks/results`. Every
section names its script, the date of the run, the version of skae where the run
recorded it, and the machine. The code has changed since these dates.
"""
LOST = {
    "pca_ratio": """\
*JSON not kept:* a later run of skae, by itself, had a geometric mean of .437, .812 up
to 600 rows, a worst ratio of 1.000 and none of 222 worse than PCA. A plain
autoencoder (64, k, 64) with Adam: .560, .946 up to 600 rows, worst 30.4, 39 of 222
worse. Images, error over PCA's for k = 2, 32, 128 (20,000 rows, pixels divided by
255): MNIST .785, .623, .697; Fashion-MNIST .669, .732, .835; MNIST standardised pixel
by pixel, k = 32, 128: .997, 1.000.""",
    "generative_modes": """\
*JSON not kept:* with `minibatch_discrimination=True`, `replay=0.5` and
`loss="wasserstein_gp"` (2 seeds each) all 25 modes were found, with 91.6 and 94.0%,
89.9 and 92.4%, 91.5 and 93.8% near a centre; with `gradient_penalty=0` 24 and 7
modes, with 93.6 and 17.0%.""",
}
# Title, name of the JSON, how to read it, and which rows and columns are shown.
SECTIONS = [
    (
        "AutoencoderTransformer against PCA",
        "pca_ratio",
        "Held-out squared error over that of PCA with as many components, on "
        "standardised tables with d/4, d/2 and 2 components: below 1 is better than "
        "PCA. `worse` counts fits worse by more than 1e-5, `at PCA` those that are "
        "PCA.",
        lambda r: [r["summary"]],
    ),
    (
        "Other architectures that start as PCA",
        "anchored",
        "Held-out squared error over that of PCA with k components; `worse` counts "
        "fits worse by more than .001, `kept` is the "
        "share of the learned part that held-out rows confirmed, 0 where the result "
        "is PCA. The figures of ConvAE and VariationalAE are of earlier networks for "
        "images; the section on photographs has ConvAE as it is.",
        lambda r: [r["summary"], _without(r["fits"], "seed")],
    ),
    (
        "The linear autoencoder against PCA",
        "linear_is_pca",
        "Trained by gradient from random weights: training error over PCA's minus "
        "one, and the largest principal angle to PCA's subspace in radians.",
        lambda r: [r["rows"]],
    ),
    (
        "Time of a training step",
        "engine",
        "Microseconds, and their ratio to the contender in `of`; one thread. Below "
        "1 is faster.",
        lambda r: [_without(r["steps"], "goal", "met")],
    ),
    (
        "A second core",
        "threads",
        "Seconds on one thread and on two of a machine with two cores, the shortest "
        "of some turns, and beside them a bare PyTorch loop on two; `inside` is the "
        "share of a fit on one thread that threads divide. 784 columns, 4,096 rows, "
        "and four times as many to score.",
        lambda r: [t for t in (_without(r["fits"], "load"), r["scoring"]) if t],
    ),
    (
        "Memory",
        "memory",
        "2,000,000 x 100 memory-mapped float32 rows (800 MB), with the default "
        "network; megabytes and seconds.",
        lambda r: [r["rows"]],
    ),
    (
        "More rows than memory",
        "out_of_core",
        "1,000,000 x 1,000 float32 rows (4 GB) on disk: seconds of the fit, by the "
        "clock and of the processor, and of coding or scoring all rows (`use`); "
        "anonymous memory above the imports in MB; the transformer's held-out error "
        "and time over those of IncrementalPCA on the same file. Other work loaded the "
        "machine as much as `load` says, so that seconds by the clock cannot be "
        "compared between lines.",
        lambda r: [_without(r["rows"], "score", "x memmap", "kept")],
    ),
    (
        "Length of the default training",
        "training_length",
        "Held-out squared error over PCA's with as many components on large tables: by "
        "default, and with the epochs nearest to the 1,500 steps of small tables "
        "(`short`). Seconds on one thread of a machine that other work loaded.",
        lambda r: [r["rows"]],
    ),
    (
        "Denoising images",
        "denoise_images",
        "Fashion-MNIST, mean squared error to the clean held-out images, and time "
        "over that of ten epochs of a bare PyTorch loop. The textbook network "
        "reaches .0068 after ten epochs in Keras (published).",
        lambda r: [
            _without(r["default"], "goal of time", "goal of error"),
            r["noises"],
        ],
    ),
    (
        "Codes for a linear classifier",
        "representations",
        "Test error of a linear support vector machine on codes of 10,000 images, "
        "learned without labels.",
        lambda r: [r["lines"]],
    ),
    (
        "Photographs",
        "photographs",
        "Patches of two photographs: squared error of ConvAE(k) over that of PCA(k), "
        "on patches from the same places (`test`) and from a third of each photograph "
        "that no training patch touches (`elsewhere`); `kept` is the share of the "
        "learned part that held-out images confirmed. Then feature maps as codes: "
        "their error over the Gaussian likelihood's, and the error at the borders of "
        "4 x 4 patches over that inside. Settings were measured one by one.",
        lambda r: [r[name] for name in ("codes", "maps", "samples") if name in r],
    ),
    (
        "Sequences",
        "sequences",
        "ECG5000 with codes of 8 numbers: share of the variance lost, and time of "
        "an epoch over a bare loop's.",
        lambda r: [r["errors"], _without(r["epochs"], "goal", "met")],
    ),
    (
        "Few labels",
        "few_labels",
        "Test error in %, means over draws of as many labels of each class; all "
        "other training rows have no label.",
        lambda r: _few_labels(r),
    ),
    (
        "Layer by layer or end to end",
        "greedy",
        "200,000 x 1,000 rows, widths 300 and 100, five epochs: share of the "
        "variance lost, time and memory.",
        lambda r: [r["lines"]],
    ),
    (
        "Models that generate",
        "generative",
        "Bounds in nats per image; accuracy in % on MNIST's test images of "
        "classifiers trained on these rows; quality of 5,000 generated Fashion- "
        "MNIST images (a lower distance is better).",
        lambda r: [r[name]["rows"] for name in ("bounds", "labels", "few", "images")],
    ),
    (
        "Images that GANs draw",
        "generative_images",
        "Fashion-MNIST padded to 32 x 32: Frechet distance of 5,000 samples in the "
        "features of a small classifier, precision and recall, and the share of the "
        "rarest of ten classes. Then classifiers of MNIST, trained on 20,000 images "
        "that are real or drawn by a GAN by styles after 9 epochs. Then such a GAN "
        "with style_mixing=0.5 on MNIST: the class of mixed images, correlations of "
        "their contrast with that of both parents, truncation, and the error of "
        "projected test images. GANs of seed 1 had equal seconds on an idle "
        "machine. Other work loaded it while those of seed 0 were trained: their "
        "seconds cannot be compared; an idle one takes about 70 for an epoch by "
        "styles.",
        lambda r: [r[name] for name in ("images", "labels", "styles") if name in r],
    ),
    (
        "Mode coverage of the GAN",
        "generative_modes",
        "25 Gaussians on a grid: modes found, and share of samples within three "
        "standard deviations of a centre (98.9% of the rows are), means over 5 "
        "seeds and the worst.",
        lambda r: [r["grid"]],
    ),
    (
        "Codes of AdversarialAE against their prior",
        "generative_codes",
        "Energy tests of 1,000 codes of held-out MNIST rows against as many draws "
        "of the prior, five a fit: how many reject at 1%, and the same for the "
        "codes of a plain autoencoder of that size.",
        lambda r: [r["lines"]],
    ),
    (
        "AEOutlierDetector against other detectors",
        "outliers",
        "25 of ADBench's tables, three seeds, defaults. U: trained on all rows, "
        "outliers included; O: on half of the normal rows. Wins and losses against "
        "IsolationForest, time over its time. Then: share of new normal rows "
        "flagged, where 5% is stated.",
        lambda r: [r["summary"], r["speed"], r["calibration"]],
    ),
    (
        "False alarms",
        "false_alarms",
        "Share of fresh normal rows flagged where 5% is stated: means over 32 sorts of "
        "tables (continuous, discrete, one-hot, counts, clusters, heavy tails) and 5 "
        "seeds, with outliers among none, 5% and 20% of the n training rows. Then: "
        "training rows flagged when they come back in another precision, at once or "
        "one by one behind PCA.",
        lambda r: [r["means"], r["same_rows"]],
    ),
    (
        "Heartbeats",
        "ecg",
        "ECG5000, trained on normal beats, cross-validated.",
        lambda r: [r["summary"]],
    ),
    (
        "scikit-learn's tests of IsolationForest",
        "iforest_tests",
        "The tests with the class swapped; those left out read trees or private "
        "functions, or need data without structure.",
        lambda r: [[r["total"]]],
    ),
    (
        "Going on after a kill",
        "resume",
        "Fits killed at random moments, some of them twice, and run again: how many "
        "end with the weights and curves of the fit that was not killed. Then: what a "
        "checkpoint every ten seconds costs; the writes' share of the fit is the time "
        "within them, the disk's included. Other work loaded the machine, under which "
        "the CPU time of one and the same fit varies by a tenth.",
        lambda r: [_without(r["kills"], "all equal"), _without(r["costs"], "<= 2%")],
    ),
    (
        "Columns of different units",
        "units",
        "Autoencoders: the lowest R2 of a column. Generators: smallest and largest "
        "ratio of a column's standard deviation to that of the rows, and how well a "
        "forest tells samples from rows, raw and standardised.",
        lambda r: [
            _without(r["autoencoders"], "met"),
            _without(r["generators"], "ratios met", "AUC met"),
        ],
    ),
    (
        "A fit on a Dask cluster",
        "dask_cluster",
        "2,000,000 x 100 rows in 40 chunks, 10 components: seconds of the fit, the "
        "shortest of three, and held-out squared error over PCA's. Workers are "
        "processes of one thread, client and scheduler run on the same cores. Then a "
        "worker is killed halfway: seconds until the error, and of the fit that goes "
        "on from the checkpoint.",
        lambda r: [
            r["fits"],
            r["summary"],
            _without(r["killed"], "message", "mean squared error"),
        ],
    ),
    (
        "A fit on 100 workers, simulated",
        "simulate_cluster",
        "First what one core of this machine does: training steps of 1000-128-32-128-"
        "1000, moments, a memory map in the page cache; and the mean of so many "
        "numbers over two of its processes by gloo. Then how many times the steps of "
        "H = 1 eight simulated workers need to the same held-out losses of Fashion-"
        "MNIST when they average every H steps. The last table is computed from these "
        "for an epoch of 1e9 x 1,000 rows, in minutes to the loss that H = 1 has "
        "then; no 100 workers have been run.",
        lambda r: [
            r["constants"],
            r["average of two processes"],
            r["steps"],
            r["simulation"],
        ],
    ),
    (
        "ONNX Runtime against skae",
        "onnx",
        "Exported models on the digits: the largest difference over the spread of the "
        "results, and microseconds a row, one at a time and 1,000 at once, in float32.",
        lambda r: [r["summary"], r["models"]],
    ),
]


def page() -> str:
    """The text of ``docs/figures.md``."""
    parts = [HEAD]
    for title, name, reading, tables in SECTIONS:
        path = ROOT / "benchmarks" / "results" / f"{name}.json"
        record = json.loads(path.read_text(encoding="utf-8"))
        source = _source(name, record.pop("date"), record.pop("machine"))
        parts += [f"## {title}\n", f"{fill(reading, 88)}\n", f"{fill(source, 88)}\n"]
        parts += [_table(rows) for rows in tables(record)]
        parts += [f"{LOST[name]}\n"] if name in LOST else []
    return "\n".join(parts)


def _source(name, date, machine) -> str:
    packages = machine["packages"]
    version = packages.get("skae")
    threads = machine["torch_threads"]
    script = name if (ROOT / "benchmarks" / f"{name}.py").exists() else "generative"
    return (
        f"`python benchmarks/{script}.py`, {date}, "
        f"skae {version or '(version not recorded)'}, "
        f"torch {packages['torch']}, {machine['cpu']}, {machine['cores']} "
        f"{'core' if machine['cores'] == 1 else 'cores'}, {threads} torch "
        f"{'thread' if threads == 1 else 'threads'}, load {machine['load_average']}."
    )


def _table(rows) -> str:
    heads = list(dict.fromkeys(key for row in rows for key in row))
    lines = [heads, ["---"] * len(heads)]
    lines += [[_cell(row.get(head)) for head in heads] for row in rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _cell(value) -> str:
    if value is None or isinstance(value, float) and value != value:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _few_labels(record):
    """One table of the methods and one of the stages of pretraining."""
    methods = [
        {"labels": name} | row
        for name, part in record.items()
        if "table" in part
        for row in part["table"]
    ]
    stages = [part for name, part in record.items() if name.startswith("stages")]
    return methods, stages


def _without(rows, *keys):
    return [{k: v for k, v in row.items() if k not in keys} for row in rows]


if __name__ == "__main__":
    target = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs" / "figures.md"
    target.write_text(page(), encoding="utf-8")
