"""The ensemble behind the outlier detector: members, their training and their errors.

A member is a denoising autoencoder and a codebook, both made of the same random half
of some rows in robust units. Members come in pairs that share out the halves, so every
row that is drawn at all is unseen by at least half of the members, and those alone
judge it. Of very few rows every member holds all, and leaves out a row that it judges.
Nothing here knows thresholds.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor
from tqdm import tqdm

from skae.models.autoencoder import Autoencoder
from skae.models.autoencoder_gradient import ExplicitGradient
from skae.outliers.robust_units import trusted_rows
from skae.parts.corruption import GaussianNoise, NoCorruption
from skae.parts.dense import Dense, DenseCodec
from skae.parts.likelihoods import Gaussian
from skae.parts.priors import NoPrior
from skae.rows.chunks import product_rows
from skae.training.optimizer import FlatAdamW, FlatParameters

__all__ = ["STEPS", "Ensemble", "Half", "Member", "Recipe", "train"]

# From fewer rows there is nothing to learn: the median is expected.
_FEWEST_ROWS = 32
# Training steps unless max_iter says otherwise.
STEPS = 40
# After a divergence.
_BACK_OFF, _RETRIES = 0.1, 3
_BETAS = (0.9, 0.99)
# How much the codebook's error counts beside the autoencoder's, both over their means.
_CODES_WEIGHT = 1.0
# Errors below a thousandth of a robust standard deviation are rounding.
_SMALLEST = 1e-3
# Members are evaluated together while their largest intermediate has so many entries.
_ENTRIES = 4 * 2**20


class Recipe(NamedTuple):
    """How members are trained; names and meaning are the estimator's.

    But for ``n_features``, the number of features that each member looks at.
    """

    hidden_layer_sizes: tuple[int, ...]
    noise_level: float
    support_fraction: float
    n_features: int
    max_iter: int | None
    batch_size: int
    learning_rate_init: float
    verbose: int


class Half(NamedTuple):
    """The rows of one member, as row numbers.

    Attributes
    ----------
    seen : int ndarray
        Those its codebook holds.
    trusted : int ndarray
        Those of them its autoencoder trains on.
    unseen : int ndarray
        The other half of its pair.
    """

    seen: np.ndarray
    trusted: np.ndarray
    unseen: np.ndarray

    @classmethod
    def of_all(cls, rows: np.ndarray) -> "Half":
        """All rows, for a member that leaves out a row when it judges it."""
        rows = np.sort(rows)
        return cls(rows, rows, rows)


@dataclass
class Member:
    """A denoising autoencoder and a codebook, of some features in robust units.

    Attributes
    ----------
    features : int Tensor of shape (n_used,)
        Those that the member looks at; n_used is n_features below.
    codec : DenseCodec
    low, high : Tensor of shape (n_features,)
        Range of the rows that the codec was trained on. Rows and reconstructions are
        clipped to it, so that errors only grow with the distance far away.
    codes : Tensor of shape (n_codes, n_features)
        The codebook.
    alone : bool Tensor of shape (n_codes,)
        The codes that a row equal to them may not be compared with.
    typical : Tensor of shape (2,)
        Mean error of the codec and of the codebook on rows that they did not see.
    """

    features: Tensor
    codec: DenseCodec
    low: Tensor
    high: Tensor
    codes: Tensor
    alone: Tensor
    typical: Tensor

    def to(self, device: torch.device | str) -> "Member":
        """A copy of the member on a device."""
        return Member(
            **{
                name: copy.deepcopy(part).to(device)
                for name, part in vars(self).items()
            }
        )


def train(
    x: Tensor,
    pairs: Sequence[np.ndarray],
    n_members: int,
    recipe: Recipe,
    generator: Generator,
    weight: Tensor | None = None,
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
    recipe : Recipe
    generator : Generator
        On the CPU.
    weight : Tensor of shape (n_rows,), optional
        Batches are drawn in proportion to it.

    Returns
    -------
    members : list of Member
    seen : bool ndarray of shape (n_rows, n_members)
        The rows that each member has to leave to others to judge.

    Raises
    ------
    FloatingPointError
        When training diverges at every learning rate tried.
    """
    few = min(map(len, pairs)) < _FEWEST_ROWS
    features = _dealt(x.shape[1], recipe.n_features, n_members, generator)
    views = [_columns(x, mine.to(x.device)) for mine in features]
    rows = [
        half
        for view, drawn in zip(views[::2], pairs, strict=True)
        for half in (
            [Half.of_all(drawn)] * 2
            if few
            else _halves(view, drawn, recipe.support_fraction, generator)
        )
    ][:n_members]
    codec = _autoencoders(len(rows), recipe, generator).to(x.device)
    if not few:
        _denoise(
            codec, views, [half.trusted for half in rows], recipe, generator, weight
        )
    codec.requires_grad_(False)
    members = []
    for index, (view, half) in enumerate(zip(views, rows, strict=True)):
        known, codes = view[_index(half.trusted, x)], view[_index(half.seen, x)]
        member = Member(
            features=features[index].to(x.device),
            codec=codec.member(index).requires_grad_(False),
            low=known.amin(0),
            high=known.amax(0),
            codes=codes,
            alone=_alone(codes) if few else torch.zeros_like(codes[:, 0]).bool(),
            typical=torch.ones(2, device=x.device),
        )
        unseen = x[_index(half.unseen, x)]
        member.typical = Ensemble([member]).mean_errors(unseen).clamp_min(_SMALLEST)
        members.append(member)
    seen = np.zeros((len(x), len(rows)), dtype=bool)
    for index, half in enumerate([] if few else rows):
        seen[half.seen, index] = True
    return members, seen


def _halves(
    x: Tensor, rows: np.ndarray, fraction: float, generator: Generator
) -> list[Half]:
    """Share out shuffled rows between the two members of a pair."""
    trusted = trusted_rows(x[_index(rows, x)], fraction, generator)
    first = np.arange(len(rows)) < (len(rows) + 1) // 2
    shared = []
    for mine in (first, ~first):
        deep = mine & trusted
        deep = deep if deep.any() else mine
        shared.append(Half(rows[mine], rows[deep], rows[~mine]))
    return shared


def _dealt(
    n_features: int, n_used: int, n_members: int, generator: Generator
) -> list[Tensor]:
    """Features of each member: both of a pair look at the same, pairs at the next."""
    if n_used == n_features:
        return [torch.arange(n_features)] * n_members
    order = torch.randperm(n_features, generator=generator)
    hands = [
        order[torch.arange(start, start + n_used) % n_features].sort().values
        for start in range(0, n_used * ((n_members + 1) // 2), n_used)
    ]
    return [hands[index // 2] for index in range(n_members)]


def _autoencoders(n_members: int, recipe: Recipe, generator: Generator) -> DenseCodec:
    """Codecs that reconstruct every row as zero, the median."""
    *hidden, width = recipe.hidden_layer_sizes
    # Noise widens the inputs; this takes them back.
    shrinkage = 1 / math.sqrt(1 + recipe.noise_level**2)
    codec = Dense(tuple(hidden), "tanh", code_activation="tanh").build(
        recipe.n_features,
        width,
        generator=generator,
        input_scale=torch.full((recipe.n_features,), shrinkage),
        members=n_members,
        same_start=False,
    )
    with torch.no_grad():
        codec.decoder_weights[-1].zero_()
    return codec


def _denoise(
    codec: DenseCodec,
    views: Sequence[Tensor],
    rows: Sequence[np.ndarray],
    recipe: Recipe,
    generator: Generator,
    weight: Tensor | None,
) -> None:
    """Train every member to take the noise off rows of its own."""
    with torch.no_grad():
        means = [
            view[_index(mine, view)].mean(0)
            for view, mine in zip(views, rows, strict=True)
        ]
        codec.decoder_biases[-1].copy_(torch.stack(means))
    batch, n_steps = recipe.batch_size, STEPS
    if recipe.max_iter is not None:
        longest = max(len(mine) for mine in rows)
        n_steps = max(1, recipe.max_iter * longest // batch)
    drawn = torch.stack(
        [_draws(mine, n_steps * batch, generator, weight) for mine in rows]
    ).to(views[0].device)
    noise = GaussianNoise(recipe.noise_level)
    flat = FlatParameters(codec)
    gradient = ExplicitGradient(
        Autoencoder(codec, Gaussian(), NoCorruption(), NoPrior())
    )
    start = flat.data.clone()
    for attempt in range(1 + _RETRIES):
        flat.data.copy_(start)
        optimizer = FlatAdamW(
            flat,
            lr=recipe.learning_rate_init * _BACK_OFF**attempt,
            n_steps=n_steps,
            ema_decay=0.0,
            betas=_BETAS,
        )
        for taken in tqdm(drawn.split(batch, dim=1), disable=not recipe.verbose):
            clean = torch.stack([view[n] for view, n in zip(views, taken, strict=True)])
            gradient(clean, x_tilde=noise(clean, generator))
            optimizer.step()
        if flat.data.isfinite().all():
            return
    raise FloatingPointError(
        "The members' weights became infinite or NaN, also after the learning rate was "
        f"lowered from {recipe.learning_rate_init:g}. Choose a smaller "
        "learning_rate_init."
    )


def _draws(
    rows: np.ndarray, n_draws: int, generator: Generator, weight: Tensor | None
) -> Tensor:
    """Row numbers with replacement."""
    choices = torch.as_tensor(rows)
    if weight is None:
        picks = torch.randint(len(rows), (n_draws,), generator=generator)
    else:
        picks = torch.multinomial(
            weight[choices], n_draws, replacement=True, generator=generator
        )
    return choices[picks]


class Ensemble:
    """Members side by side, ready to judge rows.

    Parameters
    ----------
    members : sequence of Member
        With codecs of the same sizes.
    """

    def __init__(self, members: Sequence[Member]):
        self._groups = []
        for sizes, alike in groupby(members, lambda member: member.codec.sizes):
            group = list(alike)
            widest = max(*sizes, *(len(member.codes) for member in group))
            n_rows = product_rows(group[0].codes.device)
            together = max(1, _ENTRIES // (n_rows * widest))
            for start in range(0, len(group), together):
                self._groups.append(_Group(group[start : start + together]))

    def contributions(self, x: Tensor, share: Tensor) -> Tensor:
        """What every feature adds to the error of every row.

        Parameters
        ----------
        x : Tensor of shape (batch, n_features)
        share : Tensor of shape (members, batch)
            How much each member's word counts.

        Returns
        -------
        contributions : Tensor of shape (batch, n_features)
            Non-negative, in multiples of a typical row's error.
        """
        total = torch.zeros_like(x)
        for group, part in self._parts(share):
            residual, square, distance = group.errors(x)
            n_used = residual.shape[2]
            of_codec = part / (group.typical[:, :1] * n_used)
            of_codes = _CODES_WEIGHT * part / (group.typical[:, 1:] * n_used * distance)
            residual.mul_(of_codec.unsqueeze(2))
            group.add(total, residual.addcmul_(square, of_codes.unsqueeze(2)))
        return total

    def expected(self, x: Tensor, share: Tensor) -> Tensor:
        """The autoencoders' mean reconstruction, shape ``(batch, n_features)``.

        The median, zero, for features that no member with a share looks at.
        """
        total, counted = torch.zeros_like(x), torch.zeros_like(x)
        for group, part in self._parts(share):
            expected = group.reconstruct(group.view(x))
            part = part.unsqueeze(2)
            group.add(total, expected * part)
            group.add(counted, part.expand(expected.shape))
        return total / counted.clamp_min(1e-12)

    def mean_errors(self, x: Tensor) -> Tensor:
        """Mean over members and rows of both errors, shape ``(2,)``."""
        found = [group.errors(x) for group in self._groups]
        residual = torch.cat([residual.mean(2) for residual, _, _ in found])
        distance = torch.cat([distance for _, _, distance in found])
        return torch.stack([residual.mean(), distance.mean()])

    def _parts(self, share: Tensor) -> Iterator[tuple["_Group", Tensor]]:
        sizes = [len(group.typical) for group in self._groups]
        yield from zip(self._groups, share.split(sizes), strict=True)


class _Group:
    """Members of equal sizes stacked along a leading axis."""

    def __init__(self, members: Sequence[Member]):
        n_codes = max(len(member.codes) for member in members)
        self.features = [member.features for member in members]
        self.codec = DenseCodec.stacked([member.codec for member in members])
        self.low = torch.stack([member.low for member in members]).unsqueeze(1)
        self.high = torch.stack([member.high for member in members]).unsqueeze(1)
        self.typical = torch.stack([member.typical for member in members])
        # Repeating a code changes no distance to the nearest.
        codes = [_repeated(member.codes, n_codes) for member in members]
        self.codes = torch.stack(codes)
        alone = [_repeated(member.alone, n_codes) for member in members]
        self.alone = torch.stack(alone).unsqueeze(1)
        first = torch.arange(len(members), device=self.codes.device) * n_codes
        self.first_code = first.unsqueeze(1)
        self.half_norm = self.codes.square().sum(2).unsqueeze(1) / 2

    def view(self, x: Tensor) -> Tensor:
        """What each member looks at, shape ``(members, batch, n_used)``."""
        found: list[Tensor] = []
        for index, mine in enumerate(self.features):
            again = index and torch.equal(mine, self.features[index - 1])
            found.append(found[-1] if again else _columns(x, mine))
        return torch.stack(found)

    def add(self, total: Tensor, parts: Tensor) -> None:
        """Add what each member says of its features to all features."""
        if self.codes.shape[2] == total.shape[1]:
            total += parts.sum(0)
            return
        for mine, part in zip(self.features, parts, strict=True):
            total.index_add_(1, mine, part)

    def reconstruct(self, rows: Tensor) -> Tensor:
        """Clipped reconstructions of what each member looks at."""
        seen = rows.clamp(self.low, self.high)
        return self.codec.decode(self.codec.encode(seen)).clamp_(self.low, self.high)

    def errors(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Errors of the autoencoders and of the codebooks.

        Absolute residuals and squared differences to the nearest code, both of shape
        ``(members, batch, n_used)``, and the root mean square of the latter, positive,
        of shape ``(members, batch)``.
        """
        rows = self.view(x)
        residual = self.reconstruct(rows).sub_(rows).abs_()
        closeness = torch.baddbmm(self.half_norm, rows, self.codes.mT, alpha=-1)
        if self.alone.any():
            equal = torch.cdist(rows, self.codes, p=1) == 0
            closeness.masked_fill_(equal & self.alone, torch.inf)
        nearest = closeness.argmin(2) + self.first_code
        square = rows.sub_(self.codes.flatten(0, 1)[nearest]).square_()
        return residual, square, square.mean(2).sqrt_().clamp_min_(1e-30)


def _repeated(codes: Tensor, n_codes: int) -> Tensor:
    missing = n_codes - len(codes)
    if not missing:
        return codes
    return torch.cat([codes, codes[:1].expand(missing, *codes.shape[1:])])


def _alone(codes: Tensor) -> Tensor:
    """The codes that occur once."""
    _, place, count = codes.unique(dim=0, return_inverse=True, return_counts=True)
    return count[place] == 1


def _columns(x: Tensor, features: Tensor) -> Tensor:
    return x if len(features) == x.shape[1] else x[:, features]


def _index(rows: np.ndarray, x: Tensor) -> Tensor:
    return torch.as_tensor(rows, device=x.device)
