"""What does a recurrent code keep of heartbeats, and what does training it cost?

ECG5000's training part under `SKAE_DATA` (500 heartbeats of 140 points), or else sine
waves with noise, of random frequency and phase. Repeated 5-fold cross-validation: the
mean squared error of held-out sequences, in units of their variance, from codes of
equal size: `RecurrentAE`, the dense `AutoencoderTransformer`, PCA. Heartbeats are
aligned, point by point, which dense codes live on; the table also has sequences that
were each shifted in time by up to a quarter of their length.

The second table is the time of an epoch: `RecurrentAE.fit` against a bare PyTorch loop
on the same network with the same batches and a fused Adam. Both take turns in one run
on one thread; the ratio is the median over the turns.

    python benchmarks/sequences.py
    python benchmarks/sequences.py --repeats 1 --turns 3
"""

import argparse
import warnings

import numpy as np
import torch
from benchmark_data import heartbeats
from report import one_thread, print_table, progress, save, seconds
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import RepeatedKFold
from torch import nn
from torch.nn import functional as F

from skae import AutoencoderTransformer, RecurrentAE

N_FOLDS = 5
N_COMPONENTS = 8
N_EPOCHS = 30
BATCH_SIZE = 32
HIDDEN_SIZE = 64
GOAL = 1.05
CODERS = {
    "RecurrentAE": lambda seed: RecurrentAE(
        n_components=N_COMPONENTS, random_state=seed, device="cpu"
    ),
    "AutoencoderTransformer": lambda seed: AutoencoderTransformer(
        N_COMPONENTS, random_state=seed, device="cpu"
    ),
    "PCA": lambda seed: PCA(N_COMPONENTS, random_state=seed),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=1, help="of the five folds")
    parser.add_argument("--turns", type=int, default=7, help="of each loop")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)

    name, X = sequences()
    with one_thread():
        folds = [
            {"sequences": kind} | record
            for kind, rows in {"as they are": X, "shifted": shifted(X)}.items()
            for record in held_out(rows, options.repeats)
        ]
        errors = summary(folds)
        print_table(f"{name}, codes of {N_COMPONENTS}, held-out error", errors)
        speed = epoch_times(X.astype(np.float32), options.turns)
        print_table("Milliseconds an epoch, one thread", speed)
    save(
        "sequences",
        options=vars(options),
        data=name,
        errors=errors,
        epochs=speed,
        folds=folds,
    )


def sequences():
    """A name and an array of shape (n_samples, n_steps)."""
    data = heartbeats()
    if data.name == "ECG5000":
        return data.name, data.X
    rng = np.random.default_rng(0)
    time = np.arange(100)
    speed, phase = rng.uniform(0.05, 0.2, (500, 1)), rng.uniform(0, 6.28, (500, 1))
    noise = 0.1 * rng.standard_normal((500, 100))
    return "sine waves", np.sin(speed * time + phase) + noise


def shifted(X):
    """Each sequence turned round by up to a quarter of its length."""
    shifts = np.random.default_rng(0).integers(0, X.shape[1] // 4, len(X))
    return np.stack([np.roll(x, shift) for x, shift in zip(X, shifts, strict=True)])


def held_out(X, n_repeats):
    """One record for each fold and coder."""
    splits = RepeatedKFold(n_splits=N_FOLDS, n_repeats=n_repeats, random_state=0)
    records = []
    for fold, (train, test) in enumerate(splits.split(X)):
        for name, make in CODERS.items():
            coder = make(fold)
            duration, _ = seconds(coder.fit, X[train])
            found = coder.inverse_transform(coder.transform(X[test]))
            error = np.mean((X[test] - found) ** 2) / X[train].var()
            records.append(
                {"fold": fold, "coder": name, "error": error, "seconds": duration}
            )
        progress(f"fold {fold + 1} of {N_FOLDS * n_repeats}: done")
    return records


def summary(folds):
    """A line for each kind of sequences and coder."""
    lines = []
    for case in dict.fromkeys((f["sequences"], f["coder"]) for f in folds):
        mine = [f for f in folds if (f["sequences"], f["coder"]) == case]
        errors = [f["error"] for f in mine]
        lines.append(
            {
                "sequences": case[0],
                "coder": case[1],
                "error": float(np.mean(errors)),
                "sd": float(np.std(errors)),
                "seconds": float(np.median([f["seconds"] for f in mine])),
            }
        )
    return lines


class Network(nn.Module):
    """The default RecurrentAE as a user would write it."""

    def __init__(self, cell, frame_size, time):
        super().__init__()
        layer = {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
        width = time.shape[1]
        self.frame_size = frame_size
        self.encoder = layer(frame_size + width, HIDDEN_SIZE)
        self.to_code = nn.Linear(HIDDEN_SIZE, N_COMPONENTS)
        n_states = 2 if cell == "lstm" else 1
        self.to_state = nn.Linear(N_COMPONENTS, n_states * HIDDEN_SIZE)
        self.decoder = layer(N_COMPONENTS + width, HIDDEN_SIZE)
        self.to_steps = nn.Linear(HIDDEN_SIZE, frame_size)
        self.register_buffer("time", time[:, None])

    def forward(self, x):
        time = self.time.expand(-1, len(x), -1)
        n_missing = len(time) * self.frame_size - x.shape[1]
        frames = F.pad(x, (0, n_missing)).view(len(x), len(time), self.frame_size)
        states, _ = self.encoder(torch.cat([frames.transpose(0, 1), time], dim=-1))
        z = self.to_code(states[-1])
        state = self.to_state(z).unsqueeze(0)
        if isinstance(self.decoder, nn.LSTM):
            state = tuple(part.contiguous() for part in state.chunk(2, dim=-1))
        seen = torch.cat([z.expand(len(time), -1, -1), time], dim=-1)
        states, _ = self.decoder(seen, state)
        return self.to_steps(states).transpose(0, 1).flatten(1)[:, : x.shape[1]]


def bare(cell, X, codec):
    """The loop that RecurrentAE is measured by."""
    network = Network(cell, codec.frame_size, codec.time)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    rows = torch.from_numpy(X)
    starts = range(0, len(rows) - BATCH_SIZE + 1, BATCH_SIZE)

    def train():
        total = torch.zeros(())
        for _ in range(N_EPOCHS):
            permuted = rows[torch.randperm(len(rows))]
            for start in starts:
                x = permuted[start : start + BATCH_SIZE]
                optimizer.zero_grad(set_to_none=True)
                loss = F.mse_loss(network(x), x)
                loss.backward()
                optimizer.step()
                total += loss.detach()

    return train


def ours(cell, X):
    """As many steps of `fit`, with all that it does before and after."""
    estimator = RecurrentAE(
        cell=cell,
        hidden_size=HIDDEN_SIZE,
        n_components=N_COMPONENTS,
        batch_size=BATCH_SIZE,
        learning_rate_init=1e-3,
        max_iter=N_EPOCHS,
        early_stopping=False,
        device="cpu",
        random_state=0,
    )
    return lambda: estimator.fit(X)


def epoch_times(X, n_turns):
    """A line for each cell and loop, after one turn of warm-up."""
    lines = []
    for cell in ("lstm", "gru"):
        fitted = ours(cell, X)()
        loops = {
            "bare PyTorch": bare(cell, X, fitted.net_.codec),
            "RecurrentAE": ours(cell, X),
        }
        turns = [
            {name: seconds(loop)[0] / N_EPOCHS for name, loop in loops.items()}
            for _ in range(n_turns + 1)
        ][1:]
        for name in loops:
            own = [turn[name] for turn in turns]
            ratios = [turn[name] / turn["bare PyTorch"] for turn in turns]
            is_ours = name == "RecurrentAE"
            ratio = float(np.median(ratios))
            lines.append(
                {
                    "cell": cell,
                    "loop": name,
                    "ms an epoch": round(1e3 * float(np.median(own)), 1),
                    "ratio": round(ratio, 3),
                    "goal": GOAL if is_ours else None,
                    "met": ratio <= GOAL if is_ours else None,
                }
            )
        progress(f"{cell}: timed")
    return lines


if __name__ == "__main__":
    main()
