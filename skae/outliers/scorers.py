"""What judges rows for `AEOutlierDetector`: the ensemble.

The other judge is in `skae.outliers.reconstruction_scorer`. A scorer has ``scores(X)``
of shape ``(n_samples,)``, higher for more normal rows, ``contributions(X)`` of shape
``(n_samples, n_features)``, whose rows sum to the scores, and ``expected(X)``, what its
autoencoders reconstruct, in X's units. X is validated already; thresholds are the
detector's.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import sparse

from skae.outliers.ensemble import Ensemble, Member
from skae.outliers.neighbours import Neighbours
from skae.outliers.robust_units import RobustUnits
from skae.rows.chunks import chunks, map_rows
from skae.rows.devices import product_rows

__all__ = ["EnsembleScorer"]

# Of so few features more rows at a time pay: operations cost more than their entries.
_NARROW = 32
# So many standard deviations more rows are recognised where training rows come back.
_DEVIATIONS = 4
# How much the errors of autoencoders and codebooks count, the latter a bit more;
# a typical row's error is two.
_WEIGHTS = 1.31, 1.51
# With neighbours: how much they and the autoencoders count, over their means.
_NEIGHBOUR_WEIGHT, _CODEC_WEIGHT = 1.6, 0.4


@dataclass
class EnsembleScorer:
    """Scores by the members that did not train on a row.

    Attributes
    ----------
    units : RobustUnits
    members : list of Member
    neighbours : Neighbours or None
        Takes the place of the codebooks where the training rows are clean.
    """

    units: RobustUnits
    members: list[Member]
    neighbours: Neighbours | None = None

    @cached_property
    def ensemble(self) -> Ensemble:
        """The members side by side."""
        if self.neighbours is None:
            return Ensemble(self.members, _WEIGHTS)
        return Ensemble(self.members, (_CODEC_WEIGHT, 0.0))

    @property
    def device(self) -> torch.device:
        """Where the members are."""
        return self.members[0].codes.device

    def scores(self, X, n_jobs=None) -> np.ndarray:
        """Minus the error in multiples of a typical row's."""

        def errors(x):
            return self.errors(x).unsqueeze(1)

        return -self._map(X, errors, 1, n_jobs)[:, 0]

    def errors(self, x: torch.Tensor, in_bag=None, n_copies=0) -> torch.Tensor:
        """Minus the scores of rows in robust units, ``(batch, n_features)``.

        The members of ``in_bag``, bool Tensor of shape (n_members, batch), do not judge
        a row. Training rows that stand for new ones have one copy, themselves.
        """
        error = self.ensemble.errors(x, in_bag, n_copies)
        if self.neighbours is not None:
            error = error + self._of_neighbours(x, n_copies).sum(1)
        return error

    def scores_without(self, X, in_bag, n_jobs=None) -> np.ndarray:
        """Scores of new rows by some of the members.

        Parameters
        ----------
        X : {ndarray, CSR matrix} of shape (n_rows, n_features)
        in_bag : bool ndarray of shape (n_rows, n_members)
            The members that do not judge a row.
        n_jobs : int, optional
        """
        some_known = self._come_back(X)
        parts = [np.empty(0)]
        for some, x in self._blocks(X):
            barred = in_bag[some]
            if some_known:
                # They are judged by the members that did not train on them.
                barred = barred & ~self.in_bag(x).any(axis=1, keepdims=True)
            parts.append(self.model_scores(x, barred, n_jobs, n_copies=0))
        return np.concatenate(parts)

    def _come_back(self, X) -> bool:
        """Whether more rows are recognised than new ones would be by chance.

        A new row equals a training row without copies about as often as training rows
        have one copy (Good 1953).
        """
        n_known = sum(self.in_bag(x).any(axis=1).sum() for _, x in self._blocks(X))
        copies = torch.cat([member.n_copies for member in self.members])
        n_once = float((copies == 1).float().mean()) * X.shape[0]
        n_rows = sum(len(member.codes) for member in self.members[:2])
        noise = (n_once * (1 + 2 * X.shape[0] / n_rows)) ** 0.5
        return n_known > n_once + _DEVIATIONS * noise

    def _blocks(self, X):
        """Slices of the rows, and those rows in robust units."""
        for some in chunks(*X.shape):
            rows = X[some].toarray() if sparse.issparse(X) else X[some]
            yield some, self.units.to_model(rows).to(self.device)

    def model_scores(self, x, in_bag, n_jobs=None, n_copies=1) -> np.ndarray:
        """Scores of rows in robust units by the members that did not train on them.

        Parameters
        ----------
        x : Tensor of shape (n_rows, n_features)
        in_bag : bool ndarray of shape (n_rows, n_members)
        n_jobs : int, optional
        n_copies : int, default=1
            0 for rows that are not training rows.
        """
        width = x.shape[1]

        def score(rows):
            part, barred = rows[:, :width], rows[:, width:].mT > 0
            errors = self.errors(part.contiguous(), barred, n_copies)
            return -errors.unsqueeze(1)

        rows = np.concatenate([x.cpu().numpy(), in_bag], axis=1, dtype=np.float32)
        out = np.empty((len(rows), 1))
        return self._fill(rows, torch.from_numpy, score, out, n_jobs)[:, 0]

    def in_bag(self, x) -> np.ndarray:
        """Which members recognise rows in robust units, (n_rows, n_members)."""
        n_rows = self.ensemble.n_rows
        parts = [self.ensemble.recognised(part) for part in x.split(n_rows)]
        return torch.cat(parts, dim=1).mT.cpu().numpy()

    def contributions(self, X, n_jobs=None) -> np.ndarray:
        """Each feature's part of the scores."""

        def contributions(x):
            total = self.ensemble.contributions(x)
            return total if self.neighbours is None else total + self._of_neighbours(x)

        return -self._map(X, contributions, X.shape[1], n_jobs)

    def expected(self, X, n_jobs=None) -> np.ndarray:
        """The autoencoders' reconstructions."""

        def reconstruct(x):
            return self.ensemble.expected(x)

        return self.units.to_x(self._map(X, reconstruct, X.shape[1], n_jobs))

    def on(self, device: torch.device | str) -> "EnsembleScorer":
        """The scorer with its members on a device."""
        if self.device == torch.device(device):
            return self
        members = [member.to(device) for member in self.members]
        neighbours = None if self.neighbours is None else self.neighbours.to(device)
        return EnsembleScorer(self.units, members, neighbours)

    def _of_neighbours(self, x, most_copies=0):
        """What each feature adds to the distance to the nearest row."""
        difference = self.neighbours.differences(x, most_copies)
        return difference.mul_(_NEIGHBOUR_WEIGHT / self.neighbours.typical / x.shape[1])

    def _map(self, X, function, width, n_jobs):
        out, owner = np.empty((X.shape[0], width)), self.ensemble
        return self._fill(X, self.units.to_model, function, out, n_jobs, owner)

    def _fill(self, X, to_model, function, out, n_jobs, owner=None):
        n_rows = self.ensemble.n_rows
        if self.neighbours is not None:
            n_rows = min(n_rows, product_rows(self.device, self.neighbours.n_rows)) // 4
        elif len(self.units.center) <= _NARROW:
            n_rows *= 2
        return map_rows(X, to_model, function, out, self.device, n_jobs, n_rows, owner)

    def __getstate__(self):
        return {k: v for k, v in vars(self).items() if k != "ensemble"}
