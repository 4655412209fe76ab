"""What would a fit of 1e9 x 1,000 rows take on 100 workers?

    python benchmarks/simulate_cluster.py [--quick]

Three parts, of which the first two are measured and the third is computed from them:

1. Constants of this machine, on one thread: a training step of 1000-128-32-128-1000 for
   several batches, moments of rows, rows read from a memory map, and the mean of a
   vector over two processes by gloo.
2. What it costs to average less often: autoencoders of Fashion-MNIST on 8 simulated
   workers with rows and an Adam of their own, whose weights and moments are averaged
   every H steps, each H at the best of three learning rates; the steps they need to
   reach the losses of H = 1, which averages gradients. Steps are counted, not timed.
3. A simulation of 100 workers: step times that vary from step to step, slow workers and
   networks, for each H. Every average waits for the slowest; the time to the same loss
   is that of the steps which part 2 says.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from benchmark_data import images
from report import one_thread, print_table, progress, save
from torch import distributed

N_WORKERS, N_ROWS, N_FEATURES = 100, 10**9, 1000
WIDTHS = (N_FEATURES, 128, 32, 128, N_FEATURES)
BATCH = 1024
# Steps of an epoch.
STEPS = N_ROWS // (N_WORKERS * BATCH)
EVERY = (1, 4, 16, 64, 256)
RATES = (4e-3, 8e-3, 16e-3)
# The losses to be reached, as shares of the steps in which H = 1 does.
TARGETS = (0.2, 0.3, 0.4)
# Seconds a message and bytes a second.
NETWORKS = {
    "1 Gbit/s": (100e-6, 0.11e9),
    "10 Gbit/s": (50e-6, 1.1e9),
    "100 Gbit/s": (10e-6, 11e9),
}
# How many times as long as usual a step of a worker takes.
STRAGGLERS = {
    "none": lambda random, shape: np.ones(shape),
    "log-normal .3": lambda random, shape: random.lognormal(0, 0.3, shape),
    "1 in 1,000 x 20": lambda random, shape: 1 + 19 * (random.random(shape) < 1e-3),
    "a worker x 2": lambda random, shape: 1.0 + (np.arange(shape[-1]) == 0),
}


def parameters_of(widths):
    return sum((a + 1) * b for a, b in zip(widths, widths[1:], strict=False))


def best(call, n_trials=5):
    """Seconds of the fastest of some calls."""
    times = []
    for _ in range(n_trials):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


# 1. Constants


def constants(n_trials):
    """Rates of this machine, as rows of a table."""
    lines = []
    for batch in (256, BATCH, 4096):
        step = best(training_step(batch), n_trials)
        products = (
            6 * batch * sum(a * b for a, b in zip(WIDTHS, WIDTHS[1:], strict=False))
        )
        lines.append(line(f"step of {batch} rows", step, batch, products))
    X = torch.rand(8192, N_FEATURES, generator=torch.Generator().manual_seed(0))
    moments = best(lambda: X.T @ X, n_trials)
    lines.append(line("moments, float32", moments, len(X), 2 * X.numel() * N_FEATURES))
    X = X.double()
    moments = best(lambda: X.T @ X, n_trials)
    lines.append(line("moments, float64", moments, len(X), 2 * X.numel() * N_FEATURES))
    lines.append(line("rows of a memory map", *reading(n_trials), None))
    return lines


def line(what, seconds, n_rows, n_operations):
    rate = n_operations and n_operations / seconds / 1e9
    return {
        "what": what,
        "milliseconds": 1e3 * seconds,
        "rows a second": round(n_rows / seconds),
        "GFLOP/s": rate,
        "GB/s": 4e-9 * n_rows * N_FEATURES / seconds,
    }


def training_step(batch):
    """A step of Adam on rows at hand."""
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(batch, N_FEATURES, generator=generator)
    layers = []
    for a, b in zip(WIDTHS, WIDTHS[1:], strict=False):
        layers += [torch.nn.Linear(a, b), torch.nn.GELU()]
    net = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.AdamW(net.parameters(), 1e-4, fused=True)

    def step():
        optimizer.zero_grad()
        (net(X) - X).square().mean().backward()
        optimizer.step()

    step()
    return step


def reading(n_trials):
    """Seconds and rows: a memory map in the page cache, in blocks."""
    n_rows = 20_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, np.random.default_rng(0).random((n_rows, N_FEATURES), np.float32))

        def read():
            rows = np.load(path, mmap_mode="r")
            for start in range(0, n_rows, 2000):
                np.array(rows[start : start + 2000])

        return best(read, n_trials), n_rows


def averaging(n_trials):
    """Mean of a vector over two processes of this machine: gloo through its sockets."""
    sizes = [1000, parameters_of(WIDTHS), 10 * parameters_of(WIDTHS)]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        store = f"file://{folder}/store"
        processes = [
            context.Process(target=_average, args=(rank, store, sizes, n_trials, queue))
            for rank in range(2)
        ]
        for process in processes:
            process.start()
        times = queue.get(timeout=120)
        for process in processes:
            process.join(60)
    return [
        {"numbers": size, "milliseconds": 1e3 * time, "GB/s": 4e-9 * size / time}
        for size, time in zip(sizes, times, strict=True)
    ]


def _average(rank, store, sizes, n_trials, queue):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", store, rank=rank, world_size=2)
    times = []
    for size in sizes:
        numbers = torch.ones(size)
        distributed.all_reduce(numbers)
        times.append(best(lambda x=numbers: distributed.all_reduce(x), 5 * n_trials))
    if rank == 0:
        queue.put(times)
    distributed.barrier()
    distributed.destroy_process_group()


# 2. Local averaging


class Workers:
    """Autoencoders of as many workers, as stacked weights, each with its own Adam."""

    def __init__(self, widths, n_workers, rate):
        generator = torch.Generator().manual_seed(0)
        self.rate, self.step_number = rate, 0
        self.weights = []
        for a, b in zip(widths, widths[1:], strict=False):
            scale = a**-0.5
            weight = scale * torch.randn(a, b, generator=generator)
            # All workers start alike.
            self.weights.append(weight.repeat(n_workers, 1, 1).requires_grad_())
            self.weights.append(torch.zeros(n_workers, 1, b, requires_grad=True))
        self.first = [torch.zeros_like(w) for w in self.weights]
        self.second = [torch.zeros_like(w) for w in self.weights]

    def loss(self, x):
        """Mean squared error of each worker for its rows (n_workers, batch, d)."""
        h = x
        for i in range(0, len(self.weights), 2):
            h = torch.baddbmm(self.weights[i + 1], h, self.weights[i])
            if 0 < i + 2 < len(self.weights):
                h = torch.nn.functional.gelu(h)
        return (h - x).square().mean((1, 2))

    def step(self, x, synchronous):
        self.step_number += 1
        gradients = torch.autograd.grad(self.loss(x).sum(), self.weights)
        if synchronous:
            gradients = [g.mean(0, keepdim=True).expand_as(g) for g in gradients]
        bias = 1 - 0.9**self.step_number, 1 - 0.999**self.step_number
        rate = self.rate * min(1, self.step_number / 50)
        with torch.no_grad():
            for w, m, v, g in zip(
                self.weights, self.first, self.second, gradients, strict=True
            ):
                m.lerp_(g, 0.1)
                v.lerp_(g.square(), 0.001)
                w -= rate * (m / bias[0]) / ((v / bias[1]).sqrt() + 1e-8)

    @torch.no_grad()
    def average(self):
        for group in (self.weights, self.first, self.second):
            for values in group:
                values.copy_(values.mean(0, keepdim=True).expand_as(values))

    @torch.no_grad()
    def mean_loss(self, x):
        """Loss of the mean of the workers' weights."""
        mean = Workers.__new__(Workers)
        mean.weights = [w.mean(0, keepdim=True) for w in self.weights]
        return float(mean.loss(x[None]))


def local_averaging(n_steps):
    """Held-out losses after each 20 steps by H and learning rate."""
    data = images("fashion_mnist")
    X, held_out = (torch.from_numpy(part) for part in (data.train, data.test[:2000]))
    center = X.mean(0)
    X, held_out = X - center, held_out - center
    curves = {}
    for every in EVERY:
        progress(f"averages every {every} steps")
        for rate in RATES:
            curves[every, rate] = _curve(X, held_out, n_steps, every, rate)
    return data.name, curves


def _curve(X, held_out, n_steps, every, rate, n_workers=8, batch=32):
    n_own, width = len(X) // n_workers, X.shape[1]
    workers = Workers((width, 64, 16, 64, width), n_workers, rate)
    generator = torch.Generator().manual_seed(1)
    first = n_own * torch.arange(n_workers)[:, None]
    curve = []
    for step in range(1, n_steps + 1):
        # Workers hold rows of their own.
        rows = torch.randint(n_own, (n_workers, batch), generator=generator)
        workers.step(X[first + rows], synchronous=every == 1)
        if every > 1 and step % every == 0:
            workers.average()
        if step % 20 == 0:
            curve.append(workers.mean_loss(held_out))
    return np.minimum.accumulate(curve)


def penalties(curves):
    """How many times the steps of H = 1 each H takes to losses of H = 1."""
    of_one = [curves[1, rate] for rate in RATES]
    reference = of_one[np.argmin([curve[len(curve) // 2 - 1] for curve in of_one])]
    lines = []
    for every in EVERY:
        shares = {}
        for share in TARGETS:
            target = reference[round(share * len(reference)) - 1]
            steps = [_steps_to(target, curves[every, rate]) for rate in RATES]
            best_rate = RATES[int(np.argmin(steps))]
            shares[f"loss {target:.4f}"] = min(steps) / _steps_to(target, reference)
        shares["mean"] = float(np.mean(list(shares.values())))
        lines.append({"H": every, **shares, "rate for the last": best_rate})
    return lines


def _steps_to(target, curve):
    """Evaluations until a falling curve crosses a value, interpolated; inf if never."""
    after = int(np.argmax(curve <= target))
    if curve[after] > target:
        return np.inf
    if after == 0:
        return 1.0
    high, low = curve[after - 1], curve[after]
    return after + (high - target) / max(high - low, 1e-12)


# 3. Simulation


def seconds_of_average(n_numbers, latency, bandwidth):
    """A ring over all workers, which sends everything twice in small parts."""
    n_bytes = 4 * n_numbers
    share = (N_WORKERS - 1) / N_WORKERS
    return 2 * (N_WORKERS - 1) * latency + 2 * share * n_bytes / bandwidth


def simulated(step, penalty, n_steps):
    """Minutes to the loss of an epoch of synchronous steps, for each H."""
    lines = []
    for network, (latency, bandwidth) in NETWORKS.items():
        for name, draw in STRAGGLERS.items():
            random = np.random.default_rng(0)
            times = step * draw(random, (n_steps, N_WORKERS)) * np.ones((n_steps, 1))
            minutes = {}
            for every in EVERY:
                rounds = times[: n_steps // every * every]
                rounds = rounds.reshape(-1, every, N_WORKERS).sum(axis=1)
                # Moments go with the weights; of every step only the gradient.
                numbers = parameters_of(WIDTHS) * (1 if every == 1 else 3)
                average = seconds_of_average(numbers, latency, bandwidth)
                round_ = rounds.max(axis=1).mean() + average
                minutes[every] = penalty[every] * STEPS / every * round_ / 60
            ideal = STEPS * times.mean() / 60
            best_every = min(minutes, key=minutes.get)
            lines.append(
                {
                    "network": network,
                    "stragglers": name,
                    "no waiting": ideal,
                    **{f"H = {every}": value for every, value in minutes.items()},
                    "best H": best_every,
                }
            )
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few steps of each part")
    quick = parser.parse_args().quick
    n_trials = 1 if quick else 15
    with one_thread():
        progress("constants")
        measured = constants(n_trials)
        network = averaging(n_trials)
        name, curves = local_averaging(120 if quick else 600)
    steps = penalties(curves)
    step = next(
        each["milliseconds"] / 1e3
        for each in measured
        if each["what"] == f"step of {BATCH} rows"
    )
    penalty = {each["H"]: each["mean"] for each in steps}
    figures = {
        "constants": measured,
        "average of two processes": network,
        "steps": steps,
        "simulation": simulated(step, penalty, 512 if quick else 4096),
    }
    for title, rows in figures.items():
        print_table(title, rows)
    if not quick:
        save("simulate_cluster", data=name, **figures)


if __name__ == "__main__":
    main()
