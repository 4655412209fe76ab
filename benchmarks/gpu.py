"""What is a GPU worth?

Four tables, each on the device and on one thread of the CPU: steps a second, replayed
from a graph and launched one by one, beside a bare PyTorch loop on the same device and
on two threads of the CPU, with the work by which ``device="auto"`` decides; fits and
uses of whole estimators and whether both devices agree; the outlier detector beside
IsolationForest; rows that stay on the device, and what the first fit of a process
costs. Contenders of a line take turns in one run.

    python benchmarks/gpu.py                       # ten minutes on one card
    python benchmarks/gpu.py --device cpu --quick  # a rehearsal without one
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import torch
from report import one_thread, print_table, progress, save
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

import skae
from skae.models.autoencoder import Autoencoder
from skae.parts.corruption import NoCorruption
from skae.parts.dense import Dense
from skae.parts.likelihoods import Gaussian
from skae.parts.priors import NoPrior
from skae.rows.chunks import Rows
from skae.training.batches import Batches
from skae.training.schedule import Schedule
from skae.training.trainer import Trainer

N_ROWS = 16_384
NETWORKS = (64, 32), (32, 64, 32), (784, 256, 32), (784, 500, 20)
BATCHES = 64, 256, 2048
Device = torch.device


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, xpu or mps")
    parser.add_argument("--quick", action="store_true", help="little of everything")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    devices = list(dict.fromkeys([Device(options.device), Device("cpu")]))
    parts = {
        "start": start_up(devices),
        "steps": steps(devices, quick=options.quick),
        "estimators": estimators(devices, quick=options.quick),
        "outliers": outliers(devices, quick=options.quick),
        "rows": resident(devices, quick=options.quick),
    }
    figures = {}
    with one_thread():
        for name, rows in parts.items():
            progress(name)
            figures[name] = [*rows]
            print_table(name.capitalize(), figures[name])
            if name == "steps":
                figures["crossover"] = crossover(figures[name], devices[0])
                print_table("Crossover", figures["crossover"])
            if not options.quick:
                save("gpu", **figures)


def seconds(call: Callable[[], object], device: Device) -> float:
    """Of a call, until the device is done."""
    wait(device)
    start = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - start


def wait(device: Device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def in_turns(calls: dict, device: Device, n_turns: int) -> dict[str, float]:
    """Median seconds of calls that take turns, after one that warms up."""
    took: dict[str, list] = {name: [] for name in calls}
    for _ in range(1 + n_turns):
        for name, call in calls.items():
            took[name].append(seconds(call, device))
    return {name: float(np.median(values[1:])) for name, values in took.items()}


# Training steps


def steps(devices, *, quick: bool) -> Iterator[dict]:
    """Contenders of every network and batch size on every device."""
    n_steps, n_turns = (10, 1) if quick else (300, 5)
    random = np.random.default_rng(0)
    for widths in NETWORKS:
        X = random.normal(size=(N_ROWS, widths[0])).astype(np.float32)
        for batch in (256,) if quick else BATCHES:
            for device in devices:
                plain = bare(widths, X, batch, n_steps, device)
                contenders = {
                    "bare": plain,
                    "skae": ours(widths, X, batch, n_steps, device),
                    "launched": launched(ours(widths, X, batch, n_steps, device)),
                    "autograd": ours(widths, X, batch, n_steps, device, autograd=True),
                    "10 members": ours(widths, X, batch, n_steps, device, members=10),
                }
                if device.type == "cpu":
                    contenders["bare, 2 threads"] = on_two_threads(plain)
                took = in_turns(contenders, device, n_turns)
                work = 2 * batch * sum(a * b for a, b in pairwise(widths))
                yield {
                    "network": "-".join(map(str, widths)),
                    "batch": batch,
                    "work": work,
                    "device": str(device),
                    **{name: n_steps / s for name, s in took.items()},
                    "skae / bare": took["bare"] / took["skae"],
                    "skae / launched": took["launched"] / took["skae"],
                }


def launched(train: Callable[[], None]) -> Callable[[], None]:
    """A training without graphs."""

    def run():
        with patch("skae.training.trainer.graphed", lambda step, *_: step):
            train()

    return run


def on_two_threads(train: Callable[[], None]) -> Callable[[], None]:
    def run():
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            train()
        finally:
            torch.set_num_threads(before)

    return run


def crossover(rows: list[dict], device: Device) -> list[dict]:
    """From which work on the device is faster than two threads, by all that is more."""
    fastest = {
        (row["network"], row["batch"]): max(row["skae"], row["bare, 2 threads"])
        for row in rows
        if row["device"] == "cpu"
    }
    least = None
    for row in sorted(rows, key=lambda row: -row["work"]):
        if row["device"] == str(device):
            if row["skae"] < fastest[row["network"], row["batch"]]:
                break
            least = row["work"]
    return [{"device": str(device), "multiplications a step": least}]


def bare(widths, X, batch, n_steps, device) -> Callable[[], None]:
    """The loop that a user would write."""
    sizes = [*widths, *widths[-2::-1]]
    layers = [
        layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())
    ]
    model = nn.Sequential(*layers[:-1]).to(device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    rows = torch.from_numpy(X).to(device)
    starts = range(0, len(rows) - batch + 1, batch)

    def train():
        left = n_steps
        while left > 0:
            permuted = rows[torch.randperm(len(rows), device=device)]
            for start in starts[:left]:
                x = permuted[start : start + batch]
                optimizer.zero_grad(set_to_none=True)
                F.mse_loss(model(x), x).backward()
                optimizer.step()
            left -= len(starts[:left])

    return train


def ours(widths, X, batch, n_steps, device, *, autograd=False, members=None):
    """The training loop of skae, a new training in every call."""
    n_features, *hidden, n_components = widths
    rows = Rows(X, np.zeros(n_features), 1.0, device)

    def train():
        generator = torch.Generator().manual_seed(0)
        codec = Dense(tuple(hidden)).build(
            n_features, n_components, generator=generator, members=members
        )
        trainer = Trainer(
            Autoencoder(codec.to(device), Gaussian(), NoCorruption(), NoPrior()),
            schedule=Schedule(1, n_steps, batch, 1e-3),
            generator=torch.Generator(device).manual_seed(0),
            autograd=autograd,
        )
        trainer.train(Batches(rows, np.arange(len(X)), batch, n_steps, generator))

    return train


# Whole estimators


def estimators(devices, *, quick: bool) -> Iterator[dict]:
    """A fit, a use, a single row and the score on every device."""
    short = {"max_iter": 1} if quick else {}
    X, images, y, few, many = data(1500 if quick else 20_000)
    pretrain = {"pretrain_max_iter": 1} if quick else {}
    cases = {
        "AutoencoderTransformer, digits": (skae.AutoencoderTransformer(8), X),
        "AutoencoderTransformer, 20,000": (skae.AutoencoderTransformer(8), many),
        "ConvAE, digits": (skae.ConvAE(kernel_size=2, stride=2), images),
        "ConvAE, 20,000": (skae.ConvAE(), many.reshape(-1, 8, 8)),
        "VariationalAE, 20,000": (skae.VariationalAE(8), many),
        "GAN, digits": (skae.GAN(16), X),
        "StackedAEClassifier, 50 labels": (
            skae.StackedAEClassifier((100, 50)).set_params(**pretrain),
            X,
            few,
        ),
    }
    for name, (model, rows, *labels) in cases.items():
        for device in devices:
            model.set_params(device=str(device), random_state=0, **short)
            fit = seconds(lambda: model.fit(rows, *labels), device)  # noqa: B023
            use = getattr(model, "transform", None) or model.score_samples
            calls = {"all": lambda: use(rows), "one": lambda: use(rows[:1])}  # noqa: B023
            took = in_turns(calls, device, 3)
            yield {
                "estimator": name,
                "device": str(device),
                "fit s": fit,
                "all rows ms": 1e3 * took["all"],
                "one row ms": 1e3 * took["one"],
                "score": float(model.score(rows, *([y] if labels else []))),
                "peak MB": peak(device),
            }


def data(n_many: int):
    """Digits as rows and images, their classes, few of them, and many noisy ones."""
    digits = load_digits()
    X, y = digits.data / 16, digits.target
    few = np.where(np.arange(len(y)) < 50, y, -1)
    random = np.random.default_rng(0)
    many = X[random.integers(len(X), size=n_many)]
    many = (many + random.normal(0, 0.05, many.shape)).clip(0, 1)
    return X, digits.images / 16, y, few, many


def peak(device: Device) -> float | None:
    """MB of a CUDA device since the last call."""
    if device.type != "cuda":
        return None
    most = torch.cuda.max_memory_allocated(device) / 2**20
    torch.cuda.reset_peak_memory_stats(device)
    return most


def outliers(devices, *, quick: bool) -> Iterator[dict]:
    """The detector on every device, and IsolationForest on the CPU."""
    sizes = [(2_000, 20), (100_000, 20), (20_000, 400)]
    random = np.random.default_rng(0)
    for n_samples, n_features in sizes[:1] if quick else sizes:
        mixing = random.normal(size=(n_features // 4, n_features))
        X = random.normal(size=(n_samples, n_features // 4)) @ mixing
        X += 0.3 * random.normal(size=X.shape)
        is_outlier = random.random(n_samples) < 0.03
        X[is_outlier] = random.normal(size=(is_outlier.sum(), n_features)) * X.std(0)
        models = {
            str(device): skae.AEOutlierDetector(device=str(device), random_state=0)
            for device in devices
        }
        models["IsolationForest"] = IsolationForest(random_state=0)
        models["IsolationForest, all cores"] = IsolationForest(
            random_state=0, n_jobs=-1
        )
        for name, model in models.items():
            model.fit(X[:500])  # Kernels and workers come up.
            device = devices[0]
            yield {
                "rows": n_samples,
                "features": n_features,
                "detector": name,
                "fit s": seconds(lambda: model.fit(X), device),  # noqa: B023
                "score s": seconds(lambda: model.score_samples(X), device),  # noqa: B023
                "AUC": float(roc_auc_score(is_outlier, -model.score_samples(X))),
            }


# Rows and start


def resident(devices, *, quick: bool) -> Iterator[dict]:
    """As many rows as MNIST has, which a GPU keeps and the CPU reads anew."""
    n_samples = 2_000 if quick else 60_000
    X = np.random.default_rng(0).random((n_samples, 784), dtype=np.float32)
    for device in devices:
        model = skae.AutoencoderTransformer(
            32, init="random", max_iter=1 if quick else 5, random_state=0
        ).set_params(device=str(device))
        took = seconds(lambda: model.fit(X), device)  # noqa: B023
        yield {"rows": n_samples, "device": str(device), "fit s": took}


def start_up(devices) -> Iterator[dict]:
    """The first small fit of the process, and the next one."""
    X = load_digits().data[:300]
    for device in devices:
        model = skae.AutoencoderTransformer(4, device=str(device), random_state=0)
        first, second = (
            seconds(lambda: model.fit(X), device)  # noqa: B023
            for _ in range(2)
        )
        yield {"device": str(device), "first fit s": first, "second fit s": second}


if __name__ == "__main__":
    main()
