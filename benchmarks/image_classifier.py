"""A small convolutional classifier of square images, and distances in its features.

Benchmarks of generated images train it, count kinds with it and compare features.
"""

import numpy as np
import torch
from scipy import linalg
from torch import nn
from torch.nn import functional as F

__all__ = ["Classifier", "classifier", "frechet", "predicted"]


class Classifier(nn.Module):
    """Two strided convolutions and a layer of 64 features."""

    def __init__(self, side):
        super().__init__()
        self.side = side
        self.first = nn.Conv2d(1, 32, 4, 2, 1)
        self.second = nn.Conv2d(32, 64, 4, 2, 1)
        self.hidden = nn.Linear(64 * (side // 4) ** 2, 64)
        self.head = nn.Linear(64, 10)

    def features(self, x):
        h = F.relu(self.first(x.view(-1, 1, self.side, self.side)))
        return F.relu(self.hidden(F.relu(self.second(h)).flatten(1)))

    def forward(self, x):
        return self.head(self.features(x))


def classifier(X, y, n_steps=1500, batch_size=128):
    """Trained on rows with labels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Classifier(round(X.shape[1] ** 0.5))
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, n_steps)
        x, labels = torch.as_tensor(X), torch.as_tensor(y.astype(np.int64))
        for _ in range(n_steps):
            batch = torch.randint(len(x), (batch_size,))
            loss = F.cross_entropy(model(x[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def predicted(model, X):
    return model(torch.as_tensor(X)).argmax(1).numpy()


@torch.no_grad()
def frechet(model, first, second):
    """Frechet distance of normal distributions fitted to the features."""
    one, other = (
        model.features(torch.as_tensor(X)).double().numpy() for X in (first, second)
    )
    # Features that are never active would make the product singular.
    ridge = 1e-6 * np.eye(one.shape[1])
    a, b = np.cov(one.T) + ridge, np.cov(other.T) + ridge
    root = linalg.sqrtm(a @ b).real
    means = np.square(one.mean(0) - other.mean(0)).sum()
    return float(means + np.trace(a + b - 2 * root))
