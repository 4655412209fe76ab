"""The ensemble behind the outlier detector: members and their errors.

A member is a denoising autoencoder and a codebook of training rows, in robust units.
`skae.outliers.ensemble_training` trains members; nothing here knows thresholds.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional

from skae.outliers.recognition import are_alike, signatures
from skae.parts.dense import DenseCodec
from skae.rows.chunks import product_rows

__all__ = ["Ensemble", "Member", "columns_of"]

# How much the codebook's error counts beside the autoencoder's, both over their means.
_CODES_WEIGHT = 1.0
_MAX_ENTRIES = 4 * 2**20


@dataclass
class Member:
    """A denoising autoencoder and a codebook, of some features in robust units.

    Attributes
    ----------
    features : int Tensor of shape (n_used,)
        Those that the member uses; n_used is n_features below.
    codec : DenseCodec
    low, high : Tensor of shape (n_features,)
        Range of the rows that the codec was trained on. Rows and reconstructions are
        clipped to it, so that errors only grow with the distance far away.
    codes : Tensor of shape (n_codes, n_features)
        The codebook.
    left_out : bool Tensor of shape (n_codes,)
        The codes that are left out where a row is taken for them.
    typical : Tensor of shape (2,)
        Mean error of the codec and of the codebook on out-of-bag rows.
    tolerance : Tensor of shape ()
        A row is taken for a training row that is no farther, in root mean square.
    signatures : Tensor of shape (n_codes, width)
        Of the training rows that the codes are views of.
    n_copies : int Tensor of shape (n_codes,)
        How many other training rows are taken for each of them. Only a row without
        copies is recognised.
    """

    features: Tensor
    codec: DenseCodec
    low: Tensor
    high: Tensor
    codes: Tensor
    left_out: Tensor
    typical: Tensor
    tolerance: Tensor
    signatures: Tensor
    n_copies: Tensor

    def to(self, device: torch.device | str) -> "Member":
        """A copy of the member on a device."""
        parts = copy.deepcopy(vars(self))
        return Member(**{name: part.to(device) for name, part in parts.items()})


class Ensemble:
    """Members side by side, ready to judge rows.

    Parameters
    ----------
    members : sequence of Member
    max_entries : int, optional
        Members are evaluated together while their largest intermediate is no larger.
    """

    def __init__(self, members: Sequence[Member], max_entries: int = _MAX_ENTRIES):
        self._groups = []
        for sizes, group in groupby(members, lambda member: member.codec.sizes):
            group = list(group)
            widest = max(*sizes, *(len(member.codes) for member in group))
            n_rows = product_rows(group[0].codes.device)
            together = max(1, max_entries // (n_rows * widest))
            for start in range(0, len(group), together):
                self._groups.append(_Group(group[start : start + together]))

    def contributions(self, x: Tensor) -> Tensor:
        """What every feature adds to the error of every row.

        Parameters
        ----------
        x : Tensor of shape (batch, n_features)

        Returns
        -------
        contributions : Tensor of shape (batch, n_features)
            Non-negative, in multiples of a typical row's error.
        """
        total = torch.zeros_like(x)
        for group, part in self._parts(x):
            residual, square, _ = group.differences(x)
            n_used = residual.shape[2]
            distance = _root_mean(square)
            of_codec = part / (group.typical[:, :1] * n_used)
            of_codes = _CODES_WEIGHT * part / (group.typical[:, 1:] * n_used * distance)
            residual.mul_(of_codec.unsqueeze(2))
            group.add(total, residual.addcmul_(square, of_codes.unsqueeze(2)))
        return total

    def errors(self, x: Tensor, in_bag: Tensor | None = None) -> Tensor:
        """The error of every row, shape ``(batch,)``: the sum of its contributions.

        Parameters
        ----------
        x : Tensor of shape (batch, n_features)
        in_bag : bool Tensor of shape (members, batch), optional
            The members that trained on a row, where the rows are training rows that
            stand for new ones: they do not judge it, whether they recognise it or not.
        """
        signature, n_copies = signatures(x), 0 if in_bag is None else 1
        found = [group.errors(x, signature, n_copies) for group in self._groups]
        error, recognised = (torch.cat(parts) for parts in zip(*found, strict=True))
        return (error * _shares(recognised, in_bag)).sum(0)

    def expected(self, x: Tensor) -> Tensor:
        """The autoencoders' mean reconstruction, shape ``(batch, n_features)``.

        The median, zero, for features that no member that judges the row uses.
        """
        total, counted = torch.zeros_like(x), torch.zeros_like(x)
        for group, part in self._parts(x):
            expected = group.reconstruct(group.view(x))
            part = part.unsqueeze(2)
            group.add(total, expected * part)
            group.add(counted, part.expand(expected.shape))
        return total / counted.clamp_min(1e-12)

    def mean_errors(self, x: Tensor) -> Tensor:
        """Mean over members and rows of both errors, shape ``(2,)``."""
        errors = [torch.stack(group.mean_differences(x)[:2]) for group in self._groups]
        return torch.cat(errors, dim=1).mean((1, 2))

    def recognised(self, x: Tensor) -> Tensor:
        """Rows that a member takes for one that it trained on, ``(members, batch)``.

        Such a member does not judge the row, unless all of them recognise it.
        """
        signature = signatures(x)
        return torch.cat([group.errors(x, signature)[1] for group in self._groups])

    def _parts(self, x: Tensor) -> Iterator[tuple["_Group", Tensor]]:
        sizes = [len(group.typical) for group in self._groups]
        share = _shares(self.recognised(x))
        yield from zip(self._groups, share.split(sizes), strict=True)


def _shares(recognised: Tensor, in_bag: Tensor | None = None) -> Tensor:
    """Equal weights of the members that may judge a row.

    Where none may, those that do not have it in bag; of those neither, all.
    """
    judges = ~recognised
    if in_bag is not None:
        judges &= ~in_bag
        judges = torch.where(judges.any(0), judges, ~in_bag)
    share = torch.where(judges.any(0), judges, True).float()
    return share / share.sum(0)


class _Group:
    """Members of equal sizes stacked along a leading axis."""

    def __init__(self, members: Sequence[Member]):
        n_codes = max(len(member.codes) for member in members)
        self.features = [member.features for member in members]
        first = self.features[0]
        self.shares_features = all(torch.equal(first, used) for used in self.features)
        self.codec = DenseCodec.stacked([member.codec for member in members])
        self.low = torch.stack([member.low for member in members]).unsqueeze(1)
        self.high = torch.stack([member.high for member in members]).unsqueeze(1)
        self.typical = torch.stack([member.typical for member in members])
        # Repeating a code changes no distance to the nearest.
        codes = torch.stack([_repeated(member.codes, n_codes) for member in members])
        self.codes = codes.flatten(0, 1)
        left_out = [_repeated(member.left_out, n_codes) for member in members]
        self.left_out = torch.stack(left_out).unsqueeze(2)
        tolerance = torch.stack([member.tolerance for member in members])
        self.tolerance = tolerance.unsqueeze(1)
        signature = [_repeated(member.signatures, n_codes) for member in members]
        self.signatures = torch.cat(signature)
        self.n_copies = torch.cat([_repeated(m.n_copies, n_codes) for m in members])
        # Of x c - |c|^2 / 2, which is largest for the nearest code c.
        half_norm = codes.square().sum(2, keepdim=True) / 2
        self.closeness = torch.cat([codes, -half_norm], dim=2)
        places = torch.arange(len(members), device=codes.device) * n_codes
        self.first_code = places.unsqueeze(1)

    def view(self, x: Tensor) -> Tensor:
        """What each member uses, shape ``(members, batch, n_used)``."""
        if self.shares_features:
            used = columns_of(x, self.features[0])
            return used.expand(len(self.features), *used.shape)
        return torch.stack([x[:, features] for features in self.features])

    def add(self, total: Tensor, parts: Tensor) -> None:
        """Add each member's values of its features to all features."""
        if self.codes.shape[1] == total.shape[1]:
            total += parts.sum(0)
            return
        for features, part in zip(self.features, parts, strict=True):
            total.index_add_(1, features, part)

    def reconstruct(self, rows: Tensor) -> Tensor:
        """Clipped reconstructions of what each member uses."""
        clipped = rows.clamp(self.low, self.high)
        return self.codec.decode(self.codec.encode(clipped)).clamp_(self.low, self.high)

    def differences(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Absolute residuals of the autoencoders and squared ones of the codebooks.

        Both of shape ``(members, batch, n_used)``; the latter are the differences to
        the nearest code, whose place in ``codes`` comes third.
        """
        rows = self.view(x)
        residual = self.reconstruct(rows).sub_(rows).abs_()
        nearest = self.nearest(rows)
        return residual, self.codes[nearest].sub_(rows).square_(), nearest

    def mean_differences(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean absolute residuals, distances and places, all ``(members, batch)``."""
        residual, square, nearest = self.differences(x)
        return residual.mean(2), _root_mean(square), nearest

    def errors(
        self, x: Tensor, signature: Tensor, n_copies: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Errors in multiples of a typical row's, and which rows are recognised.

        Both ``(members, batch)``. The nearest code is recognised if the row is like the
        training row of the code and that one has so many copies, the row among them.
        """
        residual, distance, nearest = self.mean_differences(x)
        error = residual / self.typical[:, :1]
        error.addcdiv_(distance, self.typical[:, 1:], value=_CODES_WEIGHT)
        alike = are_alike(signature, self.signatures[nearest], self.tolerance)
        return error, alike & (self.n_copies[nearest] <= n_copies)

    def nearest(self, rows: Tensor) -> Tensor:
        """Place of each row's nearest code in ``codes``, shape ``(members, batch)``."""
        columns = functional.pad(
            rows[0] if self.shares_features else rows, (0, 1), value=1.0
        )
        closeness = self.closeness @ columns.mT
        if self.left_out.any():
            codes = self.codes.view(len(rows), -1, rows.shape[2])
            distance = torch.cdist(
                codes, rows, compute_mode="donot_use_mm_for_euclid_dist"
            )
            farthest = self.tolerance.unsqueeze(2) * rows.shape[2] ** 0.5
            closeness.masked_fill_((distance <= farthest) & self.left_out, -torch.inf)
        return _largest(closeness) + self.first_code


def _largest(values: Tensor) -> Tensor:
    """Places of the largest values along the middle axis of three."""
    if values.device.type != "cpu":
        return values.argmax(1)
    # Pooling with channels last is ten times as fast as argmax.
    picture = values.unsqueeze(2).permute(0, 3, 1, 2)
    window = values.shape[1], 1
    _, places = functional.max_pool2d(picture, window, return_indices=True)
    return places.flatten(1)


def _root_mean(square: Tensor) -> Tensor:
    return square.mean(2).sqrt_().clamp_min_(1e-30)


def _repeated(codes: Tensor, n_codes: int) -> Tensor:
    missing = n_codes - len(codes)
    if not missing:
        return codes
    return torch.cat([codes, codes[:1].expand(missing, *codes.shape[1:])])


def columns_of(x: Tensor, features: Tensor) -> Tensor:
    """Some columns of x, without a copy where they are all."""
    return x if len(features) == x.shape[1] else x[:, features]
