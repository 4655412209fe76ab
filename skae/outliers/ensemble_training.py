"""The training of the outlier detector's ensemble.

The autoencoder and the codebook of a member are both made of the same random half of
some rows. Members come in pairs that share out the halves, so every row that is drawn
at all is out of bag for at least half of the members, and those alone judge it. When
the rows are too few to train on, every member holds all of them and judges each by the
others, as leave-one-out does.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Generator, Tensor
from tqdm import tqdm

from skae.models.autoencoder import Autoencoder
from skae.models.autoencoder_gradient import ExplicitGradient
from skae.outliers.ensemble import Ensemble, Member, columns_of
from skae.outliers.recognition import n_copies, signatures
from skae.outliers.robust_units import by_depth, deepest, few_rows_of
from skae.parts.corruption import NoCorruption
from skae.parts.dense import Dense, DenseCodec
from skae.parts.likelihoods import Gaussian
from skae.parts.priors import NoPrior
from skae.parts.random_numbers import normal_numbers
from skae.rows.tensors import SINGLE, moved_together
from skae.training.flat_parameters import FlatParameters
from skae.training.optimizer import FlatAdamW

__all__ = ["STEPS", "EnsembleSettings", "train"]

# With fewer rows there is nothing to learn: the median is expected.
_MIN_ROWS = 32
# Training steps unless max_iter says otherwise.
STEPS = 40
# After a divergence.
_BACK_OFF, _RETRIES = 0.1, 3
_BETAS = (0.9, 0.99)
# Of a device, for the noise of as many steps as fit.
_NOISE_BYTES = 16 * 2**20
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

    def work(self) -> float:
        """Multiplications for a batch of one member."""
        *hidden, width = self.hidden_layer_sizes
        dense = Dense(tuple(hidden))
        return self.batch_size * dense.row_work(self.n_features, width)


class _MemberRows(NamedTuple):
    """Row numbers of one member: of its codebook, autoencoder and typical errors.

    On the CPU as arrays, on the device as tensors.
    """

    in_bag: Any
    trusted: Any
    out_of_bag: Any


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
    if leave_one_out:
        alike = (_MemberRows(*3 * [np.sort(drawn)]) for drawn in pairs)
        rows = [mine for mine in alike for _ in range(2)][:n_members]
    else:
        orders = _by_depth(views[::2], pairs, generator)
        deep = [deepest(order, settings.support_fraction) for order in orders]
        rows = [*chain.from_iterable(map(_halves, pairs, deep))][:n_members]
    codec = _autoencoders(n_members, settings, generator)
    numbers = [torch.from_numpy(each) for mine in rows for each in mine]
    if not leave_one_out:
        trusted = [mine.trusted for mine in rows]
        numbers.append(_batches(trusted, settings, generator, weight))
    uploaded = _uploaded(codec, numbers, x.device)
    places = [_MemberRows(*uploaded[i : i + 3]) for i in range(0, 3 * len(rows), 3)]
    if not leave_one_out:
        _centre_outputs(codec, views, places)
        _train_autoencoders(codec, views, uploaded[-1], settings, generator)
    codec.requires_grad_(False)
    codecs = map(codec.member, range(n_members))
    parts = zip(codecs, features, places, strict=True)
    members = [_member(x, *each, leave_one_out) for each in parts]
    coarse = 0.0 if resolution is None else float(resolution.square().mean().sqrt())
    _let_recognise(members, x, [mine.in_bag for mine in places], coarse)
    in_bag = np.zeros((len(x), n_members), dtype=bool)
    for index, mine in enumerate(() if leave_one_out else rows):
        in_bag[mine.in_bag, index] = True
    return members, in_bag


@torch.no_grad()
def _centre_outputs(codec, views: list[Tensor], places: list[_MemberRows]) -> None:
    trained = zip(views, places, strict=True)
    means = torch.stack([view[mine.trusted].mean(0) for view, mine in trained])
    codec.decoder_biases[-1].copy_(means)


def _features(
    x: Tensor, n_used: int, n_members: int, generator: Generator
) -> list[Tensor]:
    """Features of each member, the same for both members of a pair."""
    n_features = x.shape[1]
    if n_used == n_features:
        return [torch.arange(n_features, device=x.device)] * n_members
    order = torch.randperm(n_features, generator=generator, device="cpu")
    pair = torch.arange(n_members, device="cpu") // 2
    places = (pair * n_used)[:, None] + torch.arange(n_used, device="cpu")
    return list(order[places % n_features].sort(dim=1).values.to(x.device))


def _by_depth(
    views: Sequence[Tensor], pairs: Sequence[np.ndarray], generator: Generator
) -> list[np.ndarray]:
    """Places of each pair's rows, those first that are closest to the others."""
    codebooks = [few_rows_of(len(drawn), generator) for drawn in pairs]
    flat = [numbers.flatten().numpy() for numbers in codebooks]
    numbers = map(torch.from_numpy, [*pairs, *flat])
    uploaded = moved_together(list(numbers), views[0].device)
    orders = [
        by_depth(view[drawn], numbers.view(books.shape))
        for view, drawn, numbers, books in zip(
            views, uploaded, uploaded[len(pairs) :], codebooks, strict=False
        )
    ]
    # Back at once, as they came.
    together = torch.cat(orders).cpu().numpy()
    return np.split(together, np.cumsum([len(drawn) for drawn in pairs])[:-1])


def _halves(rows: np.ndarray, trusted: np.ndarray) -> list[_MemberRows]:
    """Share out shuffled rows between the two members of a pair."""
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
        input_scale=torch.full((settings.n_features,), shrinkage, **SINGLE),
        members=n_members,
        same_start=False,
    )
    with torch.no_grad():
        codec.decoder_weights[-1].zero_()
    return codec


def _train_autoencoders(
    codec: DenseCodec,
    views: Sequence[Tensor],
    batches: Tensor,
    settings: EnsembleSettings,
    generator: Generator,
) -> None:
    """Train every autoencoder to remove noise from rows of its view of x.

    ``batches`` has their numbers in each step.
    """
    flat = FlatParameters(codec)
    gradient = ExplicitGradient(
        Autoencoder(codec, Gaussian(), NoCorruption(), NoPrior()),
        scales=settings.noise_level > 0,
    )
    start = flat.data.clone()
    for attempt in range(1 + _RETRIES):
        flat.data.copy_(start)
        learning_rate = settings.learning_rate_init * _BACK_OFF**attempt
        optimizer = FlatAdamW(
            flat, lr=learning_rate, n_steps=len(batches), ema_decay=0.0, betas=_BETAS
        )
        try:
            noisy = _noisy(views, batches, settings.noise_level, generator)
            bar = {"total": len(batches), "disable": not settings.verbose}
            for clean, x_tilde in tqdm(noisy, **bar):
                gradient(clean, x_tilde=x_tilde)
                optimizer.step()
        except KeyboardInterrupt:
            warnings.warn(
                f"Training was interrupted after {optimizer.step_count} of "
                f"{len(batches)} steps; the members judge rows with what they have "
                "learned so far.",
                ConvergenceWarning,
                stacklevel=8,
            )
        if flat.data.isfinite().all():
            return
    raise FloatingPointError(
        "The members' weights became infinite or NaN, also after the learning rate was "
        f"lowered from {settings.learning_rate_init:g}. Choose a smaller "
        "learning_rate_init."
    )


def _noisy(
    views: Sequence[Tensor], batches: Tensor, level: float, generator: Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of each step, clean and with noise, ``(members, batch, n_features)``."""
    shape = *batches.shape[1:], views[0].shape[1]
    noise = _noise(len(batches), shape, generator, views[0].device)
    std = views[0].new_full((), level)
    for batch, numbers in zip(batches, noise, strict=True):
        parts = [view[n] for view, n in zip(views, batch, strict=True)]
        clean = torch.stack(parts)
        yield clean, clean.addcmul(numbers, std)


def _noise(
    n_steps: int, shape: tuple[int, ...], generator: Generator, device: torch.device
) -> Iterator[Tensor]:
    """Standard normal numbers of every step, the same on all devices.

    They are drawn on the CPU step by step, and go to the device many steps at a time.
    """
    if device.type == "cpu":
        yield from (normal_numbers(shape, generator) for _ in range(n_steps))
        return
    together = max(1, _NOISE_BYTES // (4 * math.prod(shape)))
    for start in range(0, n_steps, together):
        n_drawn = min(together, n_steps - start)
        numbers = [normal_numbers(shape, generator) for _ in range(n_drawn)]
        yield from torch.stack(numbers).to(device)


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
    for choices in map(torch.from_numpy, rows):
        if weight is None:
            size = (n_steps * batch,)
            picks = torch.randint(len(choices), size, generator=generator, device="cpu")
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
    trusted, codes = view[rows.trusted], view[rows.in_bag]
    member = Member(
        features=features,
        codec=codec.requires_grad_(False),
        low=trusted.amin(0),
        high=trusted.amax(0),
        codes=codes,
        left_out=_unique(codes)
        if leave_one_out
        else codes.new_zeros(len(codes)).bool(),
        typical=x.new_ones(2),
        tolerance=x.new_zeros(()),
        signatures=signatures(x[rows.in_bag]),
        n_copies=torch.zeros(len(codes), dtype=torch.long, device=x.device),
    )
    alone = Ensemble([member], leaves_out=leave_one_out)
    errors = alone.mean_errors(x[rows.out_of_bag])
    member.typical = errors.clamp_min(_MIN_ERROR)
    return member


def _let_recognise(
    members: Sequence[Member], x: Tensor, in_bag: Sequence[Tensor], coarse: float
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
        member.n_copies = copies[mine]


def _unique(codes: Tensor) -> Tensor:
    """The codes that occur once."""
    _, place, count = codes.unique(dim=0, return_inverse=True, return_counts=True)
    return count[place] == 1


def _uploaded(
    codec: DenseCodec, numbers: Sequence[Tensor], device: torch.device
) -> list[Tensor]:
    """Row numbers on the device, and the codec's weights; the host waits once."""
    if device.type == "cpu":
        return list(numbers)
    own = list(codec.state_dict().values())
    moved = moved_together([*own, *numbers], device)
    codec.to_empty(device=device)
    for tensor, values in zip(codec.state_dict().values(), moved, strict=False):
        tensor.copy_(values)
    return moved[len(own) :]
