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
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor
from tqdm import tqdm

from skae.parts.corruption import GaussianNoise, NoCorruption
from skae.parts.dense import Dense, DenseCodec
from skae.parts.likelihoods import Gaussian
from skae.parts.priors import NoPrior
from skae.training.explicit import ExplicitGradient
from skae.training.flat import FlatAdamW, FlatParameters
from skae.training.objective import Autoencoder
from skae.training.robust import trusted_rows

__all__ = ["Ensemble", "Half", "Member", "Recipe", "SeenRows", "halves", "train"]

# From fewer rows there is nothing to learn: the median is expected.
_FEWEST_ROWS = 32
_STEPS = 40
_BETAS = (0.9, 0.99)
# How much the codebook's error counts beside the autoencoder's, both over their means.
_CODES_WEIGHT = 1.0
# Errors below a thousandth of a robust standard deviation are rounding.
_SMALLEST = 1e-3
# Members are evaluated together while their largest intermediate has so many entries.
_ENTRIES = 4 * 2**20


class Recipe(NamedTuple):
    """How members are trained; names and meaning are the estimator's."""

    hidden_layer_sizes: tuple[int, ...] = (64,)
    noise_level: float = 0.3
    max_features: float = 1.0
    max_iter: int | None = None
    batch_size: int = 64
    learning_rate_init: float = 0.03
    verbose: int = 0


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


@dataclass
class Member:
    """A denoising autoencoder and a codebook, of rows in robust units.

    Attributes
    ----------
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
    features : Tensor of shape (n_features,)
        One for the features that the member looks at, zero for the others.
    """

    codec: DenseCodec
    low: Tensor
    high: Tensor
    codes: Tensor
    alone: Tensor
    typical: Tensor
    features: Tensor

    def to(self, device: torch.device | str) -> "Member":
        """A copy of the member on a device."""
        return Member(
            **{
                name: copy.deepcopy(part).to(device)
                for name, part in vars(self).items()
            }
        )


def halves(
    x: Tensor, rows: np.ndarray, fraction: float, random: np.random.Generator
) -> list[Half]:
    """Share out rows between the two members of a pair.

    Parameters
    ----------
    x : Tensor of shape (n_rows, n_features)
    rows : int ndarray
        Shuffled row numbers of x, at least two.
    fraction : float
        Share of the rows that the autoencoders train on.
    random : numpy Generator
    """
    if len(rows) < _FEWEST_ROWS:
        everything = np.sort(rows)
        return [Half(everything, everything, everything)] * 2
    trusted = trusted_rows(x[_index(rows, x)], fraction, random)
    first = np.arange(len(rows)) < (len(rows) + 1) // 2
    shared = []
    for mine in (first, ~first):
        deep = mine & trusted
        deep = deep if deep.any() else mine
        shared.append(Half(rows[mine], rows[deep], rows[~mine]))
    return shared


def train(
    x: Tensor,
    rows: Sequence[Half],
    recipe: Recipe,
    generator: Generator,
    weight: Tensor | None = None,
) -> list[Member]:
    """Train a member for each half, all of them as one batched network.

    Parameters
    ----------
    x : Tensor of shape (n_rows, n_features)
        In robust units, where the training takes place.
    rows : sequence of Half
    recipe : Recipe
    generator : Generator
        On the CPU.
    weight : Tensor of shape (n_rows,), optional
        Batches are drawn in proportion to it.

    Returns
    -------
    members : list of Member
        In the order of ``rows``.
    """
    n_features = x.shape[1]
    n_used = max(1, round(recipe.max_features * n_features))
    order = torch.rand(len(rows), n_features, generator=generator).argsort(dim=1)
    features = (order.argsort(dim=1) < n_used).to(x)
    codec = _autoencoders(n_features, len(rows), recipe, generator).to(x.device)
    few = rows[0].seen is rows[0].unseen
    if not few:
        trusted = [half.trusted for half in rows]
        _denoise(codec, x, trusted, recipe, generator, features, weight)
    codec.requires_grad_(False)
    members = []
    for index, half in enumerate(rows):
        known, codes = x[_index(half.trusted, x)], x[_index(half.seen, x)]
        member = Member(
            codec.member(index).requires_grad_(False),
            low=known.amin(0),
            high=known.amax(0),
            codes=codes,
            alone=_alone(codes) if few else torch.zeros_like(codes[:, 0]).bool(),
            typical=torch.ones(2, device=x.device),
            features=features[index],
        )
        unseen = x[_index(half.unseen, x)]
        member.typical = Ensemble([member]).mean_errors(unseen).clamp_min(_SMALLEST)
        members.append(member)
    return members


def _autoencoders(
    n_features: int, n_members: int, recipe: Recipe, generator: Generator
) -> DenseCodec:
    """Codecs that reconstruct every row as zero, the median."""
    *hidden, width = recipe.hidden_layer_sizes
    # Noise widens the inputs; this takes them back.
    shrinkage = 1 / math.sqrt(1 + recipe.noise_level**2)
    codec = Dense(tuple(hidden), "tanh", code_activation="tanh").build(
        n_features,
        width,
        generator=generator,
        input_scale=torch.full((n_features,), shrinkage),
        members=n_members,
        alike=False,
    )
    with torch.no_grad():
        codec.decoder_weights[-1].zero_()
    return codec


def _denoise(
    codec: DenseCodec,
    x: Tensor,
    rows: Sequence[np.ndarray],
    recipe: Recipe,
    generator: Generator,
    features: Tensor,
    weight: Tensor | None,
) -> None:
    """Train every member to take the noise off rows of its own."""
    with torch.no_grad():
        means = [x[_index(mine, x)].mean(0) for mine in rows]
        codec.decoder_biases[-1].copy_(torch.stack(means))
    batch, n_steps = recipe.batch_size, _STEPS
    if recipe.max_iter is not None:
        longest = max(len(mine) for mine in rows)
        n_steps = max(1, recipe.max_iter * longest // batch)
    drawn = torch.stack(
        [_draws(mine, n_steps * batch, generator, weight) for mine in rows]
    ).to(x.device)
    noise = GaussianNoise(recipe.noise_level)
    gradient_of = Autoencoder(codec, Gaussian(), NoCorruption(), NoPrior())
    flat = FlatParameters(codec)
    gradient = ExplicitGradient(gradient_of)
    optimizer = FlatAdamW(
        flat,
        lr=recipe.learning_rate_init,
        n_steps=n_steps,
        ema_decay=0.0,
        betas=_BETAS,
    )
    every = bool((features == 1).all())
    for taken in tqdm(drawn.split(batch, dim=1), disable=not recipe.verbose):
        clean = x[taken]
        noisy = noise(clean, generator)
        gradient(clean, x_tilde=noisy if every else noisy * features[:, None])
        optimizer.step()


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
        n_codes = max(len(member.codes) for member in members)
        sizes = [*members[0].codec.sizes, n_codes]
        # 256 rows a block, as many members as keep the intermediates in memory.
        together = max(1, _ENTRIES // (256 * max(sizes)))
        self._groups = [
            _Group(members[start : start + together], n_codes)
            for start in range(0, len(members), together)
        ]

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
            residual, to_code = group.errors(x)
            residual *= (part / group.typical[:, :1]).unsqueeze(2)
            to_code *= (_CODES_WEIGHT * part / group.typical[:, 1:]).unsqueeze(2)
            total += (residual + to_code).sum(0)
        return total

    def expected(self, x: Tensor, share: Tensor) -> Tensor:
        """The autoencoders' mean reconstruction, shape ``(batch, n_features)``."""
        total = torch.zeros_like(x)
        for group, part in self._parts(share):
            total += (group.reconstruct(x) * part.unsqueeze(2)).sum(0)
        return total

    def mean_errors(self, x: Tensor) -> Tensor:
        """Mean over members and rows of both errors, shape ``(2,)``."""
        pairs = [group.errors(x) for group in self._groups]
        return torch.stack(
            [torch.cat(kind).sum(2).mean() for kind in zip(*pairs, strict=True)]
        )

    def _parts(self, share: Tensor) -> Iterator[tuple["_Group", Tensor]]:
        sizes = [len(group.typical) for group in self._groups]
        yield from zip(self._groups, share.split(sizes), strict=True)


class _Group:
    """Members stacked along a leading axis."""

    def __init__(self, members: Sequence[Member], n_codes: int):
        self.codec = DenseCodec.stacked([member.codec for member in members])
        self.low = torch.stack([member.low for member in members]).unsqueeze(1)
        self.high = torch.stack([member.high for member in members]).unsqueeze(1)
        self.typical = torch.stack([member.typical for member in members])
        features = torch.stack([member.features for member in members]).unsqueeze(1)
        self.features = None if bool((features == 1).all()) else features
        self.n_used = features.sum(2, keepdim=True)
        # Repeating a code changes no distance to the nearest.
        codes = [_repeated(member.codes, n_codes) for member in members]
        self.codes = torch.stack(codes) * features
        alone = [_repeated(member.alone, n_codes) for member in members]
        self.alone = torch.stack(alone).unsqueeze(1)
        self.half_norm = self.codes.square().sum(2).unsqueeze(1) / 2

    def reconstruct(self, x: Tensor) -> Tensor:
        """Shape ``(members, batch, n_features)``."""
        seen = x.clamp(self.low, self.high)
        if self.features is not None:
            seen = seen * self.features
        return self.codec.decode(self.codec.encode(seen)).clamp(self.low, self.high)

    def errors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Per-feature errors of the autoencoders and of the codebooks.

        Each of shape ``(members, batch, n_features)``; their sums over features are the
        mean absolute residual and the root mean square distance to the nearest code.
        """
        rows = x.expand(len(self.typical), *x.shape)
        residual = (self.reconstruct(x) - rows).abs_()
        if self.features is not None:
            rows, residual = rows * self.features, residual * self.features
        closeness = torch.baddbmm(self.half_norm, rows, self.codes.mT, alpha=-1)
        if self.alone.any():
            equal = torch.cdist(rows, self.codes, p=1) == 0
            closeness.masked_fill_(equal & self.alone, torch.inf)
        nearest = closeness.argmin(2, keepdim=True).expand(rows.shape)
        square = (rows - self.codes.gather(1, nearest)).square_()
        mean = square.sum(2, keepdim=True) / self.n_used
        distance = mean.sqrt()
        shares = square / (self.n_used * distance.clamp_min(1e-30))
        return residual / self.n_used, shares


class SeenRows:
    """Recognises training rows and says which members saw them.

    Only rows that occur once among those drawn are recorded: of a row that occurs
    several times each copy may be judged by the others.

    Parameters
    ----------
    keys : uint64 ndarray of shape (n_rows,)
        Sorted fingerprints.
    seen : bool ndarray of shape (n_rows, n_members)
    """

    def __init__(self, keys: np.ndarray, seen: np.ndarray):
        self.keys = keys
        self.seen = seen

    @classmethod
    def of(cls, x: Tensor, rows: Sequence[Half]) -> "SeenRows":
        """Record the rows of x that the halves were made of."""
        seen = np.zeros((len(x), len(rows)), dtype=bool)
        for index, half in enumerate(rows):
            if half.seen is not half.unseen:
                seen[half.seen, index] = True
        keys, first, count = np.unique(
            _fingerprints(x), return_index=True, return_counts=True
        )
        return cls(keys[count == 1], seen[first[count == 1]])

    def followed_by(self, other: "SeenRows") -> "SeenRows":
        """The record of these members and, after them, those of another record."""
        keys = np.union1d(self.keys, other.keys)
        width = self.seen.shape[1]
        seen = np.zeros((len(keys), width + other.seen.shape[1]), dtype=bool)
        seen[np.searchsorted(keys, self.keys), :width] = self.seen
        seen[np.searchsorted(keys, other.keys), width:] = other.seen
        return SeenRows(keys, seen)

    def shares(self, x: Tensor) -> Tensor:
        """How much each member's word counts for each row of x.

        Members that saw a row do not count, unless all of them did.

        Returns
        -------
        share : Tensor of shape (members, batch)
            Columns sum to one.
        """
        fingerprints = _fingerprints(x)
        place = np.searchsorted(self.keys, fingerprints).clip(max=len(self.keys) - 1)
        share = np.ones((len(x), self.seen.shape[1]), dtype=np.float32)
        if len(self.keys):
            known = self.keys[place] == fingerprints
            share[known] = ~self.seen[place[known]]
            share[share.sum(1) == 0] = 1
        share /= share.sum(1, keepdims=True)
        return torch.from_numpy(np.ascontiguousarray(share.T)).to(x.device)


def _fingerprints(x: Tensor) -> np.ndarray:
    """A 64-bit hash of every row; equal rows have equal ones."""
    bits = x.cpu().numpy().view(np.uint32).astype(np.uint64)
    random = np.random.default_rng(x.shape[1])
    odd = random.integers(2**63, size=x.shape[1], dtype=np.uint64) * 2 + 1
    mixed = bits * odd
    mixed ^= mixed >> np.uint64(29)
    return (mixed * odd[::-1]).sum(axis=1, dtype=np.uint64)


def _repeated(codes: Tensor, n_codes: int) -> Tensor:
    missing = n_codes - len(codes)
    if not missing:
        return codes
    return torch.cat([codes, codes[:1].expand(missing, *codes.shape[1:])])


def _alone(codes: Tensor) -> Tensor:
    """The codes that occur once."""
    _, place, count = codes.unique(dim=0, return_inverse=True, return_counts=True)
    return count[place] == 1


def _index(rows: np.ndarray, x: Tensor) -> Tensor:
    return torch.as_tensor(rows, device=x.device)
