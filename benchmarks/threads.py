"""What does a second core bring, and do the bits stay the same?

Fits of large networks, and scoring with them, on one thread and on two, in turns; a
bare PyTorch loop on two threads beside two of them: autograd, its fused AdamW, slices
of a permuted tensor and as many steps on the same layers. A fit does more than it:
held-out rows are judged every epoch, and weights are averaged. Times are the shortest
of the turns, as other work on the machine takes cores away. ``inside`` is the share of
the processor time of a fit on one thread that threads share out: with it and n cores to
itself a fit takes 1 - inside + inside / n. Weights are compared for 1, 2 and 3 threads.

    python benchmarks/threads.py                      # some minutes
    python benchmarks/threads.py --turns 3 --only VariationalAE
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from report import print_table, progress, save
from sklearn.exceptions import ConvergenceWarning
from torch import nn
from torch.nn import functional as F

import skae
from skae.models import classifier
from skae.rows import chunks, threads
from skae.training import held_out, optimizer, shards, terms

N_ROWS, WIDTH, BATCH = 4096, 784, 256
GOALS = {"two/one": 0.60, "two/bare on two": 0.85}
SHARED = {"random_state": 0, "device": "cpu"}


class Case(NamedTuple):
    """An estimator, what it is fitted to and the bare loop, if there is one."""

    estimator: Any
    y: np.ndarray | None = None
    bare: Callable[[np.ndarray, int], object] | None = None


def cases(n_epochs: int) -> dict[str, Case]:
    """By name; images have 28 x 28 pixels."""
    options = {**SHARED, "max_iter": n_epochs, "batch_size": BATCH}
    image = {"sample_shape": (1, 28, 28)}
    labels = np.where(np.arange(N_ROWS) < 400, np.arange(N_ROWS) % 10, -1)
    return {
        "VariationalAE 784-500-20": Case(
            skae.VariationalAE(20, hidden_layer_sizes=(500,), **options),
            bare=bare_variational,
        ),
        "DenoisingAE(500)": Case(
            skae.DenoisingAE(500, hidden_layer_sizes=(), **options),
            bare=bare_denoising,
        ),
        "ConvAE": Case(skae.ConvAE(32, **image, **{**options, "max_iter": 5})),
        "GAN(conv)": Case(
            skae.GAN(20, architecture="conv", **image, **{**options, "max_iter": 3})
        ),
        "StackedAEClassifier": Case(
            skae.StackedAEClassifier(
                (500, 250), **SHARED, max_iter=10, pretrain_max_iter=5
            ),
            labels,
        ),
    }


def rows() -> np.ndarray:
    """Grey images of a few factors, in ten classes that come in turn."""
    random = np.random.default_rng(0)
    factors = random.standard_normal((N_ROWS, 12))
    factors += 2 * random.standard_normal((10, 12))[np.arange(N_ROWS) % 10]
    pixels = factors @ random.standard_normal((12, WIDTH))
    return (1 / (1 + np.exp(-0.2 * pixels))).astype(np.float32)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    before, X = torch.get_num_threads(), rows()
    fits, scores = [], []
    try:
        for name, case in cases(options.epochs).items():
            if options.only in name:
                progress(name)
                fits.append(row_of(name, case, X, options))
                progress(fits[-1])
                scores += scoring(name, case, X, options.turns)
                save("threads", goals=GOALS, fits=fits, scoring=scores)
    finally:
        torch.set_num_threads(before)
    print_table("Seconds of a fit", fits)
    print_table("Seconds of scoring", scores)


def row_of(name: str, case: Case, X, options) -> dict:
    """The figures of a fit."""
    contenders: dict[str, Callable[[], object]] = {
        "one": lambda: fitted(case, X, 1),
        "two": lambda: fitted(case, X, 2),
    }
    if case.bare is not None:
        n_steps = steps_of(case, X)
        contenders["bare on two"] = lambda: bare(case, X, n_steps)
    best = in_turns(contenders, options.turns)
    bare_time = best.get("bare on two")
    return {
        "estimator": name,
        **{key: best.get(key) for key in ("one", "two", "bare on two")},
        "two/one": best["two"] / best["one"],
        "two/bare": None if bare_time is None else best["two"] / bare_time,
        "inside": share_inside(case, X),
        "same bits": has_same_bits(case, X),
        "load": os.getloadavg()[0],
    }


def scoring(name: str, case: Case, X, n_turns: int) -> list[dict]:
    """The figures of what a fitted estimator computes of many rows, if it does."""
    methods = [m for m in ("transform", "predict_proba") if hasattr(case.estimator, m)]
    if not methods:
        return []
    model, many = fitted(case, X, 1), np.concatenate([X] * 4)
    method, call = methods[0], getattr(model, methods[0])
    best = in_turns(
        {
            "one": lambda: with_threads(1, call, many),
            "two": lambda: with_threads(2, call, many),
        },
        n_turns,
    )
    results = [with_threads(number, call, many) for number in (1, 2, 3)]
    is_same = all(np.array_equal(results[0], other) for other in results[1:])
    assert is_same, name
    ratio = best["two"] / best["one"]
    return [{"method": f"{name}.{method}", **best, "two/one": ratio}]


def in_turns(contenders: dict[str, Callable[[], object]], n_turns: int) -> dict:
    """The shortest time of each."""
    best = dict.fromkeys(contenders, np.inf)
    for _ in range(n_turns):
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def with_threads(number: int, call: Callable, *args):
    """A call with so many threads of torch's."""
    torch.set_num_threads(number)
    return call(*args)


def fitted(case: Case, X, n_threads: int):
    """The estimator after a fit."""
    return with_threads(n_threads, case.estimator.fit, X, case.y)


def has_same_bits(case: Case, X) -> bool:
    """Whether 1, 2 and 3 threads give the same weights, on as many as there are."""
    y = None if case.y is None else case.y[:1024]
    case, X = case._replace(y=y), X[:1024]
    nets = [fitted(case, X, number).net_ for number in (1, 2, 3)]
    states = [[p.detach().clone() for p in net.parameters()] for net in nets]
    is_same = all(
        torch.equal(one, other)
        for others in states[1:]
        for one, other in zip(states[0], others, strict=True)
    )
    assert is_same, case.estimator
    return is_same


def steps_of(case: Case, X) -> int:
    """Training steps of a fit: fewer than batches of all rows, as some are held out."""
    numbers, step = [], optimizer.FlatAdamW.step

    def counted(self):
        numbers.append(1)
        step(self)

    try:
        optimizer.FlatAdamW.step = counted
        fitted(case, X, 1)
    finally:
        optimizer.FlatAdamW.step = step
    return len(numbers)


def share_inside(case: Case, X) -> float:
    """Share of the processor time that is spent in what threads share out."""
    spent = [0.0]

    def together(functions):
        start = time.thread_time()
        try:
            return threads.together(functions)
        finally:
            spent[0] += time.thread_time() - start

    start = time.thread_time()
    with replaced(together):
        fitted(case, X, 1)
    return spent[0] / (time.thread_time() - start)


@contextmanager
def replaced(together):
    """Another function in the place of `together`."""
    users = (chunks, classifier, held_out, optimizer, shards, terms)
    try:
        for module in users:
            module.together = together
        yield
    finally:
        for module in users:
            module.together = threads.together


def bare(case: Case, X, n_steps: int):
    """The loop of a user, on two threads."""
    assert case.bare is not None
    return with_threads(2, case.bare, X, n_steps)


def bare_variational(X, n_steps: int) -> None:
    """Encoder and decoder of one hidden layer, Gaussian rows and codes."""
    down = nn.Sequential(nn.Linear(WIDTH, 500), nn.ReLU(), nn.Linear(500, 40))
    up = nn.Sequential(nn.Linear(20, 500), nn.ReLU(), nn.Linear(500, WIDTH))

    def loss_of(x):
        mu, log_var = down(x).chunk(2, 1)
        z = mu + (0.5 * log_var).exp() * torch.randn_like(mu)
        divergence = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1)
        return (0.5 * (up(z) - x).square().sum(1) + divergence).mean()

    bare_loop(X, n_steps, nn.ModuleList([down, up]), loss_of)


def bare_denoising(X, n_steps: int) -> None:
    """One layer down and one up, with noise on the rows."""
    net = nn.Sequential(nn.Linear(WIDTH, 500), nn.ReLU(), nn.Linear(500, WIDTH))

    def loss_of(x):
        return F.mse_loss(net(x + 0.3 * torch.randn_like(x)), x)

    bare_loop(X, n_steps, net, loss_of)


def bare_loop(X, n_steps: int, net: nn.Module, loss_of: Callable) -> None:
    data = torch.from_numpy(X)
    adamw = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    left = n_steps
    while left:
        permuted = data[torch.randperm(len(data))]
        for x in permuted.split(BATCH)[:left]:
            adamw.zero_grad(set_to_none=True)
            loss_of(x).backward()
            adamw.step()
            left -= 1


if __name__ == "__main__":
    main()
