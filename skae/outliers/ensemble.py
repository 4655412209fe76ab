"""The ensemble behind the outlier detector: members and their errors.

A member is a denoising autoencoder and a codebook of training rows, in robust units.
`skae.outliers.ensemble_training` trains members; nothing here knows thresholds.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import torch
from torch import Tensor

from skae.outliers.codebooks import Codebooks
from skae.outliers.recognition import are_alike, signatures
from skae.parts.dense import DenseCodec
from skae.rows.devices import product_rows

__all__ = ["Ensemble", "Member", "columns_of"]

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
    weights : pair of float, default=(1.0, 1.0)
        How much the errors of autoencoders and of codebooks count, over their means.
    max_entries : int, optional
        Members are evaluated together while their largest intermediate is no larger.
    leaves_out : bool, optional
        Whether there are codes to leave out; looked up where not passed.

    Attributes
    ----------
    n_rows : int
        Rows to judge at a time.
    """

    def __init__(
        self,
        members: Sequence[Member],
        weights: tuple[float, float] = (1.0, 1.0),
        max_entries: int = _MAX_ENTRIES,
        leaves_out: bool | None = None,
    ):
        self._groups = []
        self.n_rows = product_rows(members[0].codes.device)
        for sizes, group in groupby(members, lambda member: member.codec.sizes):
            group = list(group)
            widest = max(*sizes, *(len(member.codes) for member in group))
            device, limit = group[0].codes.device, max_entries
            n_rows = product_rows(device, widest * len(group))
            if device.type != "cpu":
                # Fewer rows of all members rather than members one by one.
                limit = n_rows * widest * len(group)
            self.n_rows = min(self.n_rows, n_rows)
            together = max(1, limit // (n_rows * widest))
            for start in range(0, len(group), together):
                some = group[start : start + together]
                self._groups.append(_Group(some, weights, leaves_out))

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
        of_codecs, of_codes = torch.zeros_like(x), torch.zeros_like(x)
        for group, part in self._parts(x):
            residual, difference, _ = group.differences(x)
            weight = group.weights(residual.shape[2]).unsqueeze(2) * part.unsqueeze(2)
            group.add(of_codecs, residual.mul_(weight[0]))
            group.add(of_codes, difference.mul_(weight[1]))
        parts = torch.stack([of_codecs, of_codes])
        errors = parts.sum(2)
        share = errors / errors.norm(dim=0).clamp_min(1e-30)
        return (parts * share.unsqueeze(2)).sum(0)

    def errors(
        self, x: Tensor, in_bag: Tensor | None = None, n_copies: int = 0
    ) -> Tensor:
        """The error of every row, shape ``(batch,)``: the sum of its contributions.

        The root of the sum of two squares, the autoencoders' error and the codebooks',
        so that the larger one counts most.

        Parameters
        ----------
        x : Tensor of shape (batch, n_features)
        in_bag : bool Tensor of shape (members, batch), optional
            The members that do not judge a row, whether they recognise it or not.
        n_copies : int, default=0
            1 where the rows are training rows that stand for new ones, and are copies
            of themselves.
        """
        signature = signatures(x)
        found = [group.errors(x, signature, n_copies) for group in self._groups]
        error = torch.cat([of_group for of_group, _ in found], dim=1)
        recognised = torch.cat([of_group for _, of_group in found])
        return (error * _shares(recognised, in_bag)).sum(1).norm(dim=0)

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
    share = (judges | ~judges.any(0)).float()
    return share / share.sum(0)


class _Group:
    """Members of equal sizes stacked along a leading axis."""

    def __init__(
        self,
        members: Sequence[Member],
        weights: tuple[float, float],
        leaves_out: bool | None,
    ):
        self.error_weights = weights
        self.features = [member.features for member in members]
        self.shares_features = _are_equal(self.features)
        self.codec = DenseCodec.stacked([member.codec for member in members])
        self.low = torch.stack([member.low for member in members]).unsqueeze(1)
        self.high = torch.stack([member.high for member in members]).unsqueeze(1)
        self.typical = torch.stack([member.typical for member in members])
        self.tolerance = torch.stack([member.tolerance for member in members])
        self.codebooks = Codebooks(
            [member.codes for member in members],
            [member.left_out for member in members],
            self.tolerance,
            self.shares_features,
            leaves_out,
        )
        self.signatures = self.codebooks.by_place([m.signatures for m in members])
        self.n_copies = self.codebooks.by_place([m.n_copies for m in members])

    def view(self, x: Tensor) -> Tensor:
        """What each member uses, shape ``(members, batch, n_used)``."""
        if self.shares_features:
            used = columns_of(x, self.features[0])
            return used.expand(len(self.features), *used.shape)
        return torch.stack([x[:, features] for features in self.features])

    def add(self, total: Tensor, parts: Tensor) -> None:
        """Add each member's values of its features to all features."""
        if parts.shape[2] == total.shape[1]:
            total += parts.sum(0)
            return
        for features, part in zip(self.features, parts, strict=True):
            total.index_add_(1, features, part)

    def reconstruct(self, rows: Tensor) -> Tensor:
        """Clipped reconstructions of what each member uses."""
        clipped = rows.clamp(self.low, self.high)
        return self.codec.decode(self.codec.encode(clipped)).clamp_(self.low, self.high)

    def weights(self, n_used: int = 1) -> Tensor:
        """What turns errors into multiples of a typical row's, ``(2, members, 1)``."""
        weight = _on_device(self.error_weights, self.typical.device) / n_used
        return (weight / self.typical).T.unsqueeze(2)

    def differences(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Absolute residuals of the autoencoders, and differences to the nearest codes.

        Both of shape ``(members, batch, n_used)``; third come the places of the codes,
        of shape ``(members, batch)``.
        """
        rows = self.view(x)
        residual = self.reconstruct(rows).sub_(rows).abs_()
        places = self.codebooks.places(rows)
        codes = _picked(self.codebooks.codes, places)
        return residual, codes.sub_(rows).abs_(), places

    def mean_differences(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means of both over features, and places, all ``(members, batch)``."""
        residual, difference, places = self.differences(x)
        return residual.mean(2), difference.mean(2), places

    def errors(
        self, x: Tensor, signature: Tensor, n_copies: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Errors in multiples of a typical row's, and which rows are recognised.

        Of shapes ``(2, members, batch)`` and ``(members, batch)``. The nearest code is
        recognised if the row is like the training row of the code and that one has so
        many copies, the row among them.
        """
        residual, difference, places = self.mean_differences(x)
        error = torch.stack([residual, difference]).mul_(self.weights())
        tolerance = self.tolerance.unsqueeze(1)
        alike = are_alike(signature, _picked(self.signatures, places), tolerance)
        return error, alike & (_picked(self.n_copies, places) <= n_copies)


@lru_cache(maxsize=16)
def _on_device(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    """The numbers in single precision, uploaded once."""
    return torch.tensor(numbers, dtype=torch.float32, device=device)


def _are_equal(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors of one shape hold the same; the host waits at most once."""
    first = tensors[0]
    if all(each is first for each in tensors):
        return True
    return bool((torch.stack(list(tensors)) == first).all())


def _picked(values: Tensor, places: Tensor) -> Tensor:
    """Values of places of any shape; faster than indexing."""
    picked = values.index_select(0, places.flatten())
    return picked.view(*places.shape, *values.shape[1:])


def columns_of(x: Tensor, features: Tensor) -> Tensor:
    """Some columns of x, without a copy where they are all."""
    return x if len(features) == x.shape[1] else x[:, features]
