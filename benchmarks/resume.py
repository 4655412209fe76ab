"""Is a fit that was killed the fit that was not, and what does its checkpoint cost?

Each family of estimators is fitted to scikit-learn's digits, or to rows of them as
images, sequences and classes. A process that has imported everything forks one child a
fit; the child is killed (SIGKILL) at a random moment while it writes a checkpoint every
few hundredths of a second, a second child runs the same fit again, and the hash of its
weights and curves is compared with that of the fit that nobody killed. Some are killed
again on their way.

The cost is that of longer fits with a checkpoint every ten seconds: CPU time against
that of the same fit without, in turns, and the time within the writes, with the disk's,
as a share of the fit. Linux and macOS only (fork).

    python benchmarks/resume.py                       # a quarter to half an hour
    python benchmarks/resume.py --kills 3 --turns 1
"""

import argparse
import hashlib
import os
import signal
import statistics
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from report import merge, one_thread, print_table, progress, save
from sklearn.base import clone
from sklearn.datasets import load_digits
from torch import nn

import skae
from skae.callbacks import Checkpoint
from skae.training.recording import Recording

EVERY = 0.03
COST_EVERY = 10.0
GOAL = 0.02
# Of the kills, those that are followed by another one.
KILLED_AGAIN = 0.25


class Family(NamedTuple):
    """An estimator and what it is fitted to."""

    name: str
    estimator: object
    arguments: tuple


def families() -> list[Family]:
    """Every kind of training."""
    X, y = load_digits(return_X_y=True)
    X = X / 16
    seed = {"random_state": 0}
    partly = np.where(np.arange(len(y)) % 10 < 2, y, np.nan)
    images = {"sample_shape": (1, 8, 8), **seed}
    torch_seed = torch.Generator().manual_seed(0)
    own = skae.AutoencoderTransformer(
        architecture=modules(torch_seed), init="random", max_iter=12, **seed
    )
    inner = skae.DenoisingAE(16, max_iter=80)
    return [
        Family("AutoencoderTransformer", transformer(10, 60), (X,)),
        Family("AutoencoderTransformer, folds", transformer(4, 60), (X[:300],)),
        Family("AutoencoderTransformer, modules", own, (X,)),
        Family("DenoisingAE", skae.DenoisingAE(32, max_iter=100, **seed), (X,)),
        Family("SparseAE", skae.SparseAE(32, max_iter=20, **seed), (X,)),
        Family("ContractiveAE", skae.ContractiveAE(16, max_iter=10, **seed), (X,)),
        Family(
            "ConvAE", skae.ConvAE(kernel_size=2, stride=2, max_iter=3, **images), (X,)
        ),
        Family(
            "RecurrentAE",
            skae.RecurrentAE(sample_shape=(8, 8), max_iter=2, **seed),
            (X,),
        ),
        Family(
            "VariationalAE",
            skae.VariationalAE(8, kl_warmup=0.5, max_iter=20, **seed),
            (X,),
        ),
        Family("ConditionalVAE", skae.ConditionalVAE(8, max_iter=20, **seed), (X, y)),
        Family("AdversarialAE", skae.AdversarialAE(8, max_iter=6, **seed), (X,)),
        Family("GAN", skae.GAN(16, replay=0.5, n_modes=10, max_iter=8, **seed), (X, y)),
        Family(
            "StackedAEClassifier",
            skae.StackedAEClassifier((32, 16), max_iter=3, **seed),
            (X[:600], partly[:600]),
        ),
        Family(
            "AEOutlierDetector(estimator=)",
            skae.AEOutlierDetector(estimator=inner, **seed),
            (X,),
        ),
    ]


def transformer(n_components: int, max_iter: int):
    """Members and folds are chosen by the number of rows."""
    return skae.AutoencoderTransformer(n_components, max_iter=max_iter, random_state=0)


def modules(generator: torch.Generator) -> tuple[nn.Module, nn.Module]:
    """With batch norms and dropout, which draws from torch's global generator."""
    encoder = nn.Sequential(
        nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.1)
    )
    encoder.append(nn.Linear(64, 10))
    decoder = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64))
    for parameter in [*encoder.parameters(), *decoder.parameters()]:
        nn.init.normal_(parameter, std=0.1, generator=generator)
    return encoder, decoder


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20, help="of each family")
    parser.add_argument("--turns", type=int, default=3, help="of the long fits")
    parser.add_argument("--part", choices=["kills", "cost"], help="only this")
    parser.add_argument("--only", help="families with this in their name")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    figures = {}
    with one_thread():
        if options.part != "cost":
            kept = [f for f in families() if not options.only or options.only in f.name]
            figures["kills"] = [row_of(family, options.kills) for family in kept]
            print_table("Fits killed and run again", figures["kills"])
        if options.part != "kills" and not options.only:
            figures["costs"] = cost_rows(options.turns)
            print_table(f"A checkpoint every {COST_EVERY:g} s", figures["costs"])
    is_full = options.kills >= 20 and options.turns >= 3 and not options.only
    name = "resume" if is_full else "resume-partial"
    save(name, **merge(name, figures))


# Kills


def row_of(family: Family, n_kills: int) -> dict:
    """Kill as often, and count the fits that end like the whole one."""
    progress(family.name)
    with tempfile.TemporaryDirectory() as folder:
        whole = fitted_in_child(family, None, folder)
        watched = fitted_in_child(family, EVERY, folder)
        random = np.random.default_rng(0)
        n_equal = n_resumed = n_again = size = 0
        done = 0
        while done < n_kills:
            n_before = n_again
            path = Path(folder) / "fit.ckpt"
            if not killed(family, folder, random.uniform(0, 0.95) * watched.seconds):
                continue
            done += 1
            n_resumed += path.exists()
            size = max(size, path.stat().st_size if path.exists() else 0)
            if random.random() < KILLED_AGAIN:
                moment = random.uniform(0, 0.5) * watched.seconds
                n_again = n_before + killed(family, folder, moment)
            n_equal += fitted_in_child(family, EVERY, folder).digest == whole.digest
    return {
        "family": family.name,
        "fit, s": whole.seconds,
        "kills": done,
        "killed again": n_again,
        "with a file": n_resumed,
        "equal": n_equal,
        "all equal": n_equal == done and watched.digest == whole.digest,
        "file, kB": size / 1000,
    }


class Result(NamedTuple):
    """What a child reports."""

    digest: str
    seconds: float


def fitted_in_child(family: Family, every: float | None, folder: str) -> Result:
    """Fit in a child, with a checkpoint or without."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        with ended_here():
            start = time.perf_counter()
            digest = fit(family, every, folder)
            report = f"{digest} {time.perf_counter() - start}"
            os.write(sender, report.encode())
    os.close(sender)
    with os.fdopen(receiver) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    if not text:
        raise SystemExit(f"{family.name} could not be fitted")
    digest, seconds = text.split()
    return Result(digest, float(seconds))


@contextmanager
def ended_here() -> Iterator[None]:
    """A with block after which a child is over, whatever happens in it."""
    try:
        yield
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(0)


def killed(family: Family, folder: str, moment: float) -> bool:
    """Kill a fit after so many seconds; False where it had ended."""
    child = os.fork()
    if child == 0:
        with ended_here():
            fit(family, EVERY, folder)
    time.sleep(moment)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def fit(family: Family, every: float | None, folder: str) -> str:
    """A hash of the weights and the curves."""
    warnings.simplefilter("ignore")
    estimator = clone(family.estimator)
    is_detector = isinstance(estimator, skae.AEOutlierDetector)
    inner = estimator.estimator if is_detector else estimator
    if every is not None:
        path = os.path.join(folder, "fit.ckpt")
        inner.set_params(callbacks=[Checkpoint(path, every)])
    estimator.fit(*family.arguments)
    inner = estimator.estimator_ if is_detector else estimator
    digest = hashlib.sha256(repr(inner.loss_curve_).encode())
    digest.update(repr(inner.validation_scores_).encode())
    for name, values in sorted(inner.net_.state_dict().items()):
        digest.update(name.encode() + values.numpy().tobytes())
    if is_detector:
        digest.update(estimator.calibration_scores_.tobytes())
    return digest.hexdigest()


# Cost


def cost_rows(n_turns: int) -> list[dict]:
    """Fits of ten seconds to half a minute, by the machine: small and large ones."""
    random = np.random.default_rng(0)
    X = random.normal(size=(20_000, 20)) @ random.normal(size=(20, 100))
    y = np.where(np.arange(len(X)) % 10 == 0, X[:, 0] > 0, np.nan)
    seed = {"random_state": 0}
    cases = {
        "AutoencoderTransformer, 100 columns": lambda c: skae.AutoencoderTransformer(
            10, max_iter=80, early_stopping=False, callbacks=c, **seed
        ).fit(X),
        "DenoisingAE(1000), 784 columns": lambda c: skae.DenoisingAE(
            1000, max_iter=10, early_stopping=False, callbacks=c, **seed
        ).fit(np.tile(X[:10_000], 8)[:, :784]),
        "StackedAEClassifier((200, 100))": lambda c: skae.StackedAEClassifier(
            (200, 100), max_iter=15, callbacks=c, **seed
        ).fit(X, y),
    }
    return [cost_of(name, fit_with, n_turns) for name, fit_with in cases.items()]


def cost_of(name: str, fit_with: Callable, n_turns: int) -> dict:
    """CPU time with and without, in turns, and the time within the writes."""
    progress(name)
    times: dict[bool, list[float]] = {True: [], False: []}
    shares, walls, writes, sizes = [], [], [], []
    original = Recording._write

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fit.ckpt"

        def timed(self, state):
            start = time.perf_counter()
            original(self, state)
            writes.append(time.perf_counter() - start)
            sizes.append(path.stat().st_size)

        Recording._write = timed
        for turn in range(n_turns):
            for has_checkpoint in (turn % 2 == 0, turn % 2 == 1):
                del writes[:]
                start, cpu = time.perf_counter(), time.process_time()
                fit_with([Checkpoint(path, COST_EVERY)] if has_checkpoint else None)
                times[has_checkpoint].append(time.process_time() - cpu)
                if has_checkpoint:
                    wall = time.perf_counter() - start
                    shares.append(sum(writes) / wall)
                    walls.append(wall)
                    each = statistics.median(writes), len(writes)
        Recording._write = original
    with_it, without = (statistics.median(times[key]) for key in (True, False))
    share = statistics.median(shares)
    row = {
        "fit": name,
        "fit, s": statistics.median(walls),
        "CPU s without": without,
        "CPU s with": with_it,
        "CPU ratio": with_it / without,
        "writes": each[1],
        "one write, ms": 1000 * each[0],
        "file, kB": max(sizes) / 1000,
        "writes' share": share,
        f"<= {GOAL:.0%}": share <= GOAL,
    }
    progress(row)
    return row


if __name__ == "__main__":
    main()
