"""What users would otherwise fit: the autoencoders that skae is compared with.

Each peer is a function `(X, n_components, seed, max_iter) -> reconstruct`, where
`reconstruct` maps rows to their reconstructions. Both are d-64-k-64-d with ReLU.
"""

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from torch import nn

__all__ = ["mlp_regressor", "plain_autoencoder"]

WIDTH = 64


def mlp_regressor(X, n_components, seed, max_iter=200):
    """scikit-learn's `MLPRegressor` with its defaults, fitted to predict X from X."""
    network = MLPRegressor(
        hidden_layer_sizes=(WIDTH, n_components, WIDTH),
        max_iter=max_iter,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(X, X)
    return lambda rows: network.predict(rows).reshape(rows.shape)


def plain_autoencoder(X, n_components, seed, max_iter=100):
    """Textbook PyTorch: linear code, Adam 1e-3, batches of 32 sliced from a tensor."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(X.shape[1], WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, n_components),
            nn.Linear(n_components, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, X.shape[1]),
        )
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    data = torch.from_numpy(np.asarray(X, np.float32))
    for _ in range(max_iter):
        shuffled = data[torch.randperm(len(data), generator=generator)]
        for batch in shuffled.split(32):
            optimizer.zero_grad()
            nn.functional.mse_loss(network(batch), batch).backward()
            optimizer.step()

    @torch.no_grad()
    def reconstruct(rows):
        return network(torch.from_numpy(np.asarray(rows, np.float32))).numpy()

    return reconstruct
