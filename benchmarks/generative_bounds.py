"""Does the variational autoencoder reach the likelihood that it should, as fast?

A Bernoulli model 784-500-20 on MNIST whose pixels are drawn once as zeros and ones
(Salakhutdinov and Murray 2008), against the same model in a bare PyTorch loop with the
same batches and steps. The bound of 500 draws is that of Burda et al. (2015), who
report -86.8 nats for a larger code after long training. `generative.py` calls `rows`.
"""

import time

import numpy as np
import torch
from benchmark_data import images
from report import one_thread, progress
from torch import nn
from torch.nn import functional as F

from skae import VariationalAE

__all__ = ["rows"]

WIDTH, N_COMPONENTS, BATCH, RATE = 500, 20, 128, 3e-3
EPOCHS, TIMED_EPOCHS, REPEATS = 45, 6, 3
N_DRAWS = 500


def rows(quick=False):
    """Return the table: bounds in nats, seconds, and the ratio to the bare loop."""
    train, test, name = binarised()
    epochs = 3 if quick else EPOCHS
    ratio, ratio_all = ratios(train)
    model = estimator(max_iter=epochs, n_importance_samples=N_DRAWS)
    progress(f"{epochs} epochs of {name}")
    start = time.perf_counter()
    model.fit(train)
    seconds = time.perf_counter() - start
    return [
        {
            "data": name,
            "epochs": epochs,
            "fit_s": seconds,
            "elbo": evidence_lower_bound(model, test),
            "bound_500": model.score(test),
            "active_units": int(model.active_units_.sum()),
            "time/bare": ratio,
            "time/bare, all threads": ratio_all,
        }
    ]


def binarised():
    """Training and test rows of zeros and ones, and what they are."""
    data = images("mnist")
    random = np.random.default_rng(0)
    train, test = (
        (random.random(part.shape, dtype=np.float32) < part).astype(np.float32)
        for part in (data.train, data.test)
    )
    return train, test, f"{data.name}, binarised"


def estimator(**parameters):
    """The model that is measured."""
    return VariationalAE(
        N_COMPONENTS,
        likelihood="bernoulli",
        hidden_layer_sizes=(WIDTH,),
        batch_size=BATCH,
        learning_rate_init=RATE,
        n_iter_no_change=np.inf,
        random_state=0,
        device="cpu",
        **parameters,
    )


def evidence_lower_bound(model, test, n_draws=10):
    """Mean over rows and draws of the code, the divergence in closed form."""
    generator = torch.Generator().manual_seed(0)
    x = torch.from_numpy(test)
    with torch.no_grad():
        draws = [
            -model.net_(x, generator=generator).mean().item() for _ in range(n_draws)
        ]
    return float(np.mean(draws))


def ratios(train):
    """Time over that of the bare loop on one thread, and on all."""
    ours, bare, bare_all = [], [], []
    for _ in range(REPEATS):
        # One thread is what the estimator takes, however many it is given.
        ours.append(clock(lambda: estimator(max_iter=TIMED_EPOCHS).fit(train)))
        with one_thread():
            bare.append(clock(lambda: bare_loop(train, TIMED_EPOCHS)))
        bare_all.append(clock(lambda: bare_loop(train, TIMED_EPOCHS)))
        progress(f"ours {ours[-1]:.1f} s, bare {bare[-1]:.1f}, {bare_all[-1]:.1f}")
    return min(ours) / min(bare), min(ours) / min(bare_all)


def clock(call):
    """Seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class Bare(nn.Module):
    """The same model as anyone would write it."""

    def __init__(self, n_features):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(n_features, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2 * N_COMPONENTS)
        )
        self.decoder = nn.Sequential(
            nn.Linear(N_COMPONENTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, n_features)
        )

    def forward(self, x):
        """Negative evidence lower bound of a batch, nats per sample."""
        mu, log_var = self.encoder(x).chunk(2, -1)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * log_var)
        logits = self.decoder(z)
        nll = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        divergence = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum()
        return (nll + divergence) / len(x)


def bare_loop(train, epochs):
    """Train on as many rows as the estimator does, which holds 1,000 out."""
    torch.manual_seed(0)
    held_out = min(1000, round(0.15 * len(train)))
    x = torch.from_numpy(train[held_out:])
    model = Bare(x.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for index in order[: len(x) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            loss = model(x[index])
            loss.backward()
            optimizer.step()
