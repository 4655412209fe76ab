"""The training of the outlier detector's ensemble.

The autoencoder and the codebook of a member are both made of the same random half of
some rows. Members come in pairs that share out the halves, so every row that is drawn
at all is out of bag for at least half of the members, and those alone judge it. When
the rows are too few to train on, every member holds all of them and judges each by the
others, as leave-one-out does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor
from tqdm import tqdm

from skae.models.autoencoder import Autoencoder
from skae.models.autoencoder_gradient import ExplicitGradient
from skae.outliers.ensemble import Ensemble, Member, columns_of
from skae.outliers.recognition import n_copies, signatures
from skae.outliers.robust_units import trusted_rows
from skae.parts.corruption import GaussianNoise, NoCorruption
from skae.parts.dense import Dense, DenseCodec
from skae.parts.likelihoods import Gaussian
from skae.parts.priors import NoPrior
from skae.training.optimizer import FlatAdamW, FlatParameters

__all__ = ["STEPS", "EnsembleSettings", "train"]

# With fewer rows there is nothing to learn: the median is expected.
_MIN_ROWS = 32
# Training steps unless max_iter says otherwise.
STEPS = 40
# After a divergence.
_BACK_OFF, _RETRIES = 0.1, 3
_BETAS = (0.9, 0.99)
# Errors below a thousandth of a robust standard deviation are rounding.
_MIN_ERROR = 1e-3
# A row is taken for a training row this close, in shares of the typical distance of new
# rows to their nearest code; where the features' resolution is worse, up to so close.
_CLOSE, _CLOSEST_OF_COARSE = 0.05, 0.15


@dataclass(frozen=True)
class EnsembleSettings:
    """How members are trained; names and meaning are the estimator's.

    But for ``n_features``, the number of features that each member uses.
    """

    hidden_layer_sizes: tuple[int, ...]
    noise_level: float
    support_fraction: float
    n_features: int
    max_iter: int | None
    batch_size: int
    learning_rate_init: float
    verbose: int


class _MemberRows(NamedTuple):
    """Row numbers of one member: of its codebook, autoencoder and typical errors."""

    in_bag: np.ndarray
    trusted: np.ndarray
    out_of_bag: np.ndarray


def train(
    x: Tensor,
    pairs: Sequence[np.ndarray],
    n_members: int,
    settings: EnsembleSettings,
    generator: Generator,
    weight: Tensor | None = None,
    resolution: Tensor | None = None,
) -> tuple[list[Member], np.ndarray]:
    """Train members, all of them as one batched network.

    Parameters
    ----------
    x : Tensor of shape (n_rows, n_features)
        In robust units, where the training takes place.
    pairs : sequence of int ndarray
        For every two members, shuffled numbers of the rows that they share out; at
        least two.
    n_members : int
    settings : EnsembleSettings
    generator : Generator
        On the CPU.
    weight : Tensor of shape (n_rows,), optional
        Batches are drawn in proportion to it.
    resolution : Tensor of shape (n_features,), optional
        How much rounding may move the entries of a row that comes back.

    Returns
    -------
    members : list of Member
    in_bag : bool ndarray of shape (n_rows, n_members)
        The rows that each member has to leave to others to judge.

    Raises
    ------
    FloatingPointError
        When training diverges at every learning rate tried.
    """
    leave_one_out = min(map(len, pairs)) < _MIN_ROWS
    features = _features(x, settings.n_features, n_members, generator)
    views = [columns_of(x, used) for used in features]
    rows: list[_MemberRows] = []
    for view, drawn in zip(views[::2], pairs, strict=True):
        if leave_one_out:
            rows += [_MemberRows(*3 * [np.sort(drawn)])] * 2
        else:
            rows += _halves(view, drawn, settings.support_fraction, generator)
    rows = rows[:n_members]
    codec = _autoencoders(n_members, settings, generator).to(x.device)
    if not leave_one_out:
        trusted = [mine.trusted for mine in rows]
        _train_autoencoders(codec, views, trusted, settings, generator, weight)
    codec.requires_grad_(False)
    members = [
        _member(x, codec.member(index), features[index], mine, leave_one_out)
        for index, mine in enumerate(rows)
    ]
    coarse = 0.0 if resolution is None else float(resolution.square().mean().sqrt())
    _let_recognise(members, x, [mine.in_bag for mine in rows], coarse)
    in_bag = np.zeros((len(x), n_members), dtype=bool)
    if not leave_one_out:
        for index, mine in enumerate(rows):
            in_bag[mine.in_bag, index] = True
    return members, in_bag


def _features(
    x: Tensor, n_used: int, n_members: int, generator: Generator
) -> list[Tensor]:
    """Features of each member, the same for both members of a pair."""
    n_features = x.shape[1]
    if n_used == n_features:
        return [torch.arange(n_features, device=x.device)] * n_members
    order = torch.randperm(n_features, generator=generator)
    places = (torch.arange(n_members) // 2 * n_used)[:, None] + torch.arange(n_used)
    return list(order[places % n_features].sort(dim=1).values.to(x.device))


def _halves(
    x: Tensor, rows: np.ndarray, fraction: float, generator: Generator
) -> list[_MemberRows]:
    """Share out shuffled rows between the two members of a pair."""
    trusted = trusted_rows(x[_index(rows, x)], fraction, generator)
    first = np.arange(len(rows)) < (len(rows) + 1) // 2
    halves = []
    for half in (first, ~first):
        deep = half & trusted
        deep = deep if deep.any() else half
        halves.append(_MemberRows(rows[half], rows[deep], rows[~half]))
    return halves


def _autoencoders(
    n_members: int, settings: EnsembleSettings, generator: Generator
) -> DenseCodec:
    """Codecs that reconstruct every row as zero, the median."""
    *hidden, width = settings.hidden_layer_sizes
    # Noise widens the inputs; this takes them back.
    shrinkage = 1 / math.sqrt(1 + settings.noise_level**2)
    codec = Dense(tuple(hidden), "tanh", code_activation="tanh").build(
        settings.n_features,
        width,
        generator=generator,
        input_scale=torch.full((settings.n_features,), shrinkage),
        members=n_members,
        same_start=False,
    )
    with torch.no_grad():
        codec.decoder_weights[-1].zero_()
    return codec


def _train_autoencoders(
    codec: DenseCodec,
    views: Sequence[Tensor],
    rows: Sequence[np.ndarray],
    settings: EnsembleSettings,
    generator: Generator,
    weight: Tensor | None,
) -> None:
    """Train every autoencoder to remove noise from its rows of its view of x."""
    means = [
        view[_index(mine, view)].mean(0) for view, mine in zip(views, rows, strict=True)
    ]
    with torch.no_grad():
        codec.decoder_biases[-1].copy_(torch.stack(means))
    batches = _batches(rows, settings, generator, weight).to(views[0].device)
    noise = GaussianNoise(settings.noise_level)
    flat = FlatParameters(codec)
    gradient = ExplicitGradient(
        Autoencoder(codec, Gaussian(), NoCorruption(), NoPrior())
    )
    start = flat.data.clone()
    for attempt in range(1 + _RETRIES):
        flat.data.copy_(start)
        learning_rate = settings.learning_rate_init * _BACK_OFF**attempt
        optimizer = FlatAdamW(
            flat, lr=learning_rate, n_steps=len(batches), ema_decay=0.0, betas=_BETAS
        )
        for batch in tqdm(batches, disable=not settings.verbose):
            clean = torch.stack([view[n] for view, n in zip(views, batch, strict=True)])
            gradient(clean, x_tilde=noise(clean, generator))
            optimizer.step()
        if flat.data.isfinite().all():
            return
    raise FloatingPointError(
        "The members' weights became infinite or NaN, also after the learning rate was "
        f"lowered from {settings.learning_rate_init:g}. Choose a smaller "
        "learning_rate_init."
    )


def _batches(
    rows: Sequence[np.ndarray],
    settings: EnsembleSettings,
    generator: Generator,
    weight: Tensor | None,
) -> Tensor:
    """Row numbers, drawn with replacement, shape ``(steps, members, batch)``."""
    batch, n_steps = settings.batch_size, STEPS
    if settings.max_iter is not None:
        longest = max(len(mine) for mine in rows)
        n_steps = max(1, settings.max_iter * longest // batch)
    drawn = []
    for choices in map(torch.as_tensor, rows):
        if weight is None:
            size = (n_steps * batch,)
            picks = torch.randint(len(choices), size, generator=generator)
        else:
            picks = torch.multinomial(
                weight[choices], n_steps * batch, replacement=True, generator=generator
            )
        drawn.append(choices[picks].view(n_steps, batch))
    return torch.stack(drawn, dim=1)


def _member(
    x: Tensor,
    codec: DenseCodec,
    features: Tensor,
    rows: _MemberRows,
    leave_one_out: bool,
) -> Member:
    """A trained member with its codebook and its typical errors."""
    view = columns_of(x, features)
    trusted, codes = view[_index(rows.trusted, x)], view[_index(rows.in_bag, x)]
    member = Member(
        features=features,
        codec=codec.requires_grad_(False),
        low=trusted.amin(0),
        high=trusted.amax(0),
        codes=codes,
        left_out=_unique(codes)
        if leave_one_out
        else codes.new_zeros(len(codes)).bool(),
        typical=torch.ones(2, device=x.device),
        tolerance=x.new_zeros(()),
        signatures=signatures(x[_index(rows.in_bag, x)]),
        n_copies=torch.zeros(len(codes), dtype=torch.long, device=x.device),
    )
    errors = Ensemble([member]).mean_errors(x[_index(rows.out_of_bag, x)])
    member.typical = errors.clamp_min(_MIN_ERROR)
    return member


def _let_recognise(
    members: Sequence[Member], x: Tensor, in_bag: Sequence[np.ndarray], coarse: float
) -> None:
    """Set within which tolerance members take rows for their own, and copies of those.

    ``coarse`` is the root mean square of what rounding may change. Of leave-one-out,
    members leave out codes and not rows.
    """
    typical = torch.stack([member.typical[1] for member in members]).mean()
    tolerance = typical * _CLOSE
    tolerance = tolerance.clamp_min(coarse).clamp_max(_CLOSEST_OF_COARSE * typical)
    copies = n_copies(signatures(x), tolerance)
    for member, mine in zip(members, in_bag, strict=True):
        member.tolerance = tolerance
        member.n_copies = copies[_index(mine, x)]


def _unique(codes: Tensor) -> Tensor:
    """The codes that occur once."""
    _, place, count = codes.unique(dim=0, return_inverse=True, return_counts=True)
    return count[place] == 1


def _index(rows: np.ndarray, x: Tensor) -> Tensor:
    return torch.as_tensor(rows, device=x.device)
