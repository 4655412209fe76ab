"""How long does a training step take?

Times the training loop of skae, with its hand-written gradient and with autograd,
against a bare PyTorch loop on the same network in the same run: slices of a permuted
tensor, ``zero_grad``, loss, ``backward``, fused Adam. skorch as it comes,
scikit-learn's MLPRegressor and PyOD's AutoEncoder (where installed) stand beside them.
Everything runs on one thread; contenders take turns, and the ratios are medians over
the turns, so that other load on the machine strikes all of them alike.

    python benchmarks/engine.py                       # about two minutes
    python benchmarks/engine.py --turns 3
"""

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from report import one_thread, print_table, progress, save
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from skorch import NeuralNet
from torch import nn
from torch.nn import functional as F

from skae.models.autoencoder import Autoencoder
from skae.parts.corruption import NoCorruption
from skae.parts.dense import Dense
from skae.parts.likelihoods import Gaussian
from skae.parts.priors import NoPrior
from skae.rows.chunks import Rows
from skae.training.batches import Batches
from skae.training.schedule import Schedule
from skae.training.trainer import Trainer

LEARNING_RATE = 1e-3
MEMBERS = 10


class Case(NamedTuple):
    """A network, a batch size and the goals for their ratios to the bare loop."""

    n_samples: int
    n_features: int
    hidden: int
    n_components: int
    batch_size: int
    n_steps: int
    goals: dict[str, float]

    @property
    def sizes(self) -> list[int]:
        """Widths of all layers."""
        half = [self.n_features, self.hidden]
        return [*half, self.n_components, *half[::-1]]

    @property
    def name(self) -> str:
        """Widths as text."""
        return "-".join(map(str, self.sizes))

    @property
    def n_epochs(self) -> int:
        """Whole passes over the rows that come nearest to n_steps."""
        return max(1, round(self.n_steps * self.batch_size / self.n_samples))


def goals(explicit: float) -> dict[str, float]:
    """What is promised, as a multiple of the bare loop."""
    return {"skae, autograd": 1.05, "skae": explicit}


CASES = [
    Case(16384, 32, 64, 32, 32, 512, goals(0.5)),
    Case(16384, 32, 64, 32, 128, 256, goals(0.65)),
    Case(16384, 32, 64, 32, 256, 256, goals(0.8)),
    Case(16384, 32, 64, 32, 1024, 128, goals(1.0)),
    Case(4096, 784, 256, 32, 256, 48, goals(1.0)),
]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=9, help="of each contender")
    n_turns = parser.parse_args().turns
    warnings.simplefilter("ignore", ConvergenceWarning)
    with one_thread():
        rows = []
        for case in CASES:
            progress(f"{case.name}, batch {case.batch_size}")
            rows += rows_of(case, measure(case, n_turns))
        print_table("Microseconds a training step, one thread", rows)
        save("engine", steps=rows)


# A contender is called once a turn and returns seconds a step.
Contender = Callable[[], float]


def timed(train: Callable[[], object], n_steps: int) -> float:
    """Seconds a step of a call that makes n_steps."""
    start = time.perf_counter()
    train()
    return (time.perf_counter() - start) / n_steps


def network(case: Case) -> nn.Sequential:
    """The autoencoder as a user would write it."""
    d, hidden, k, _, _ = case.sizes
    encoder = nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, k)
    decoder = nn.Linear(k, hidden), nn.ReLU(), nn.Linear(hidden, d)
    return nn.Sequential(*encoder, *decoder)


def bare(case: Case, X: np.ndarray) -> Contender:
    """The loop that everything is measured by."""
    model = network(case)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    rows = torch.from_numpy(X)
    starts = range(0, len(rows) - case.batch_size + 1, case.batch_size)

    def train():
        total, left = torch.zeros(()), case.n_steps
        while left:
            permuted = rows[torch.randperm(len(rows))]
            for start in starts[:left]:
                x = permuted[start : start + case.batch_size]
                optimizer.zero_grad(set_to_none=True)
                loss = F.mse_loss(model(x), x)
                loss.backward()
                optimizer.step()
                total += loss.detach()
            left -= len(starts[:left])

    return lambda: timed(train, case.n_steps)


def trainer_turn(
    case: Case, X: np.ndarray, *, autograd=False, members=None
) -> Contender:
    """The loop that estimators run, moving average of the weights included."""
    generator = torch.Generator().manual_seed(0)
    codec = Dense((case.hidden,), activation="relu").build(
        case.n_features, case.n_components, generator=generator, members=members
    )
    model = Autoencoder(codec, Gaussian(), NoCorruption(), NoPrior())
    schedule = Schedule(
        n_rounds=1,
        n_steps=case.n_steps,
        batch_size=case.batch_size,
        lr=LEARNING_RATE,
    )
    trainer = Trainer(model, schedule=schedule, generator=generator, autograd=autograd)
    rows = Rows(X, np.zeros(X.shape[1]), 1.0, torch.device("cpu"))
    index = np.arange(len(X))
    batches = Batches(rows, index, case.batch_size, case.n_steps, generator)
    return lambda: timed(lambda: trainer.train(batches), case.n_steps)


def skorch_as_it_comes(case: Case, X: np.ndarray) -> Contender:
    """skorch's NeuralNet with its own data loader."""
    net = NeuralNet(
        network(case),
        criterion=nn.MSELoss,
        optimizer=torch.optim.Adam,
        lr=LEARNING_RATE,
        max_epochs=case.n_epochs,
        batch_size=case.batch_size,
        train_split=None,
        iterator_train__shuffle=True,
        verbose=0,
    ).initialize()
    n_steps = case.n_epochs * len(X) // case.batch_size
    return lambda: timed(lambda: net.partial_fit(X, X), n_steps)


def mlp_regressor(case: Case, X: np.ndarray) -> Contender:
    """scikit-learn's MLPRegressor(X, X)."""
    model = MLPRegressor(
        hidden_layer_sizes=tuple(case.sizes[1:-1]),
        batch_size=case.batch_size,
        max_iter=case.n_epochs,
        tol=0.0,
        random_state=0,
    )
    n_steps = case.n_epochs * len(X) // case.batch_size
    return lambda: timed(lambda: model.fit(X, X), n_steps)


def pyod_autoencoder(case: Case, X: np.ndarray) -> Contender:
    """PyOD's AutoEncoder without batch norm and dropout; training alone is timed."""
    from pyod.models.auto_encoder import AutoEncoder

    class Timed(AutoEncoder):
        def train(self, train_loader):
            n_steps = self.epoch_num * len(train_loader)
            self.seconds = timed(lambda: AutoEncoder.train(self, train_loader), n_steps)

    model = Timed(
        epoch_num=case.n_epochs,
        batch_size=case.batch_size,
        hidden_neuron_list=[case.hidden, case.n_components],
        batch_norm=False,
        dropout_rate=0.0,
        device=torch.device("cpu"),
        verbose=0,
    )

    def turn():
        model.fit(X)
        return model.seconds

    return turn


def contenders(case: Case, X: np.ndarray) -> dict[str, Contender]:
    """All that run this case; the slow ones for three batch sizes only."""
    found = {
        "bare PyTorch": bare(case, X),
        "skae, autograd": trainer_turn(case, X, autograd=True),
        "skae": trainer_turn(case, X),
    }
    if case.batch_size == 32:
        found[f"skae, {MEMBERS} members"] = trainer_turn(case, X, members=MEMBERS)
    if case.batch_size != 128 and case.n_features == 32:
        found["skorch as it comes"] = skorch_as_it_comes(case, X)
        found["MLPRegressor"] = mlp_regressor(case, X)
        if importlib.util.find_spec("pyod") is not None:
            found["PyOD AutoEncoder"] = pyod_autoencoder(case, X)
    return found


def measure(case: Case, n_turns: int) -> dict[str, np.ndarray]:
    """Seconds a step of each contender in each turn, after one turn of warm-up."""
    X = np.random.default_rng(0).standard_normal((case.n_samples, case.n_features))
    taking_turns = contenders(case, X.astype(np.float32))
    turns = [
        {name: turn() for name, turn in taking_turns.items()}
        for _ in range(n_turns + 1)
    ]
    return {name: np.array([t[name] for t in turns[1:]]) for name in taking_turns}


def rows_of(case: Case, seconds: dict[str, np.ndarray]) -> list[dict]:
    """Lines of the table."""
    lines = []
    for name, own in seconds.items():
        reference, goal = "bare PyTorch", case.goals.get(name)
        if name.endswith("members"):
            reference, goal = "skae", 5.0
        ratio = float(np.median(own / seconds[reference]))
        lines.append(
            {
                "network": case.name,
                "batch": case.batch_size,
                "contender": name,
                "us a step": round(1e6 * float(np.median(own)), 1),
                "ratio": round(ratio, 3),
                "of": reference,
                "goal": goal,
                "met": None if goal is None else ratio <= goal,
            }
        )
    return lines


if __name__ == "__main__":
    main()
