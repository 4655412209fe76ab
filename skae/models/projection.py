"""Images to styles: the style whose image is nearest, by gradient descent.

`projected` works on a style-based generator and rows in its units; nothing else is
trained.
"""

import math

import torch
from torch import Tensor

__all__ = ["projected"]

_RATE = 0.1
_BETAS = 0.9, 0.99
_TINY = 1e-8


def projected(net, x: Tensor, starts: Tensor, n_steps: int) -> Tensor:
    """Styles of every layer, ``(batch, n_layers, n_components)``.

    Adam with a rate that falls as a cosine; every row has steps of its own, and the
    best of its styles is kept.

    Parameters
    ----------
    net : StyleGeneratorNet
    x : Tensor of shape (batch, n_features)
    starts : Tensor of shape (n_starts, n_components)
        Of which each row takes the one with the nearest image.
    n_steps : int
    """
    with torch.no_grad():
        distance = torch.cdist(x, net.images(starts))
        w = starts[distance.argmin(1)]
    w = w[:, None].repeat(1, net.n_layers, 1)
    first, second = torch.zeros_like(w), torch.zeros_like(w)
    best, least = w.clone(), x.new_full((len(x),), math.inf)
    spread = starts.std(0)
    for step in range(n_steps + 1):
        with torch.enable_grad():
            w.requires_grad_(True)
            error = (net.images(w) - x).square().mean(1)
            (gradient,) = torch.autograd.grad(error.sum(), w)
        w, error = w.detach(), error.detach()
        better = error < least
        least = torch.where(better, error, least)
        best = torch.where(better[:, None, None], w, best)
        if step == n_steps:
            break
        first.lerp_(gradient, 1 - _BETAS[0])
        second.lerp_(gradient.square(), 1 - _BETAS[1])
        count = step + 1
        direction = first / (1 - _BETAS[0] ** count)
        size = (second / (1 - _BETAS[1] ** count)).sqrt() + _TINY
        rate = _RATE * 0.5 * (1 + math.cos(math.pi * step / n_steps))
        w = w - rate * spread * direction / size
    return best
