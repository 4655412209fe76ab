"""Bounds of the log-likelihood of a row under a model whose code is drawn.

The evidence lower bound is minus the objective of `Autoencoder`; here is the tighter
one of many draws.
"""

import math

import torch
from torch import Tensor

from skae.models.autoencoder import Autoencoder

__all__ = ["importance_weighted_bound"]

# Entries of decoded rows at a time.
_ENTRIES = 2**21


def importance_weighted_bound(
    model: Autoencoder,
    x: Tensor,
    epsilon: Tensor,
    context: Tensor | None = None,
    *,
    at_once: int | None = None,
) -> Tensor:
    """log mean_s p(x | z_s) p(z_s) / q(z_s | x), z_s = mu + sigma epsilon_s.

    Eq. 8 of Burda et al. (2015, arXiv 1509.00519). In expectation a lower bound of
    log p(x) that rises with the number of draws.

    Parameters
    ----------
    model : Autoencoder
        With a `StandardNormal` prior and a likelihood without constants left out.
    x : Tensor of shape (batch, n_features)
    epsilon : Tensor of shape (n_draws, n_components)
        Standard normal; the same for all rows, so that a row's bound does not depend
        on the others.
    context : Tensor of shape (batch, n_context), optional
    at_once : int, optional
        Draws that are decoded together; as many as memory suits where left out.

    Returns
    -------
    bound : Tensor of shape (batch,), nats
    """
    conditions = () if context is None else (context,)
    h = model.codec.encode(x, *conditions)
    mu, sigma = model.prior.location(h), model.prior.scale(h)
    at_once = at_once or max(1, _ENTRIES // x.numel())
    weights = []
    for drawn in epsilon.split(at_once):
        z = mu + sigma * drawn.unsqueeze(1)
        repeated = (c.expand(len(drawn), *c.shape).flatten(0, 1) for c in conditions)
        raw = model.decode(z.flatten(0, 1), *repeated)
        nll = model.likelihood.nll(raw.unflatten(0, z.shape[:2]), x)
        weights.append(model.prior.log_ratio(z, h, drawn.unsqueeze(1)) - nll)
    bound = torch.logsumexp(torch.cat(weights), 0) - math.log(len(epsilon))
    # Rows so far out that something overflows have next to no density.
    return bound.nan_to_num(nan=-math.inf).clamp_min(torch.finfo(bound.dtype).min)
