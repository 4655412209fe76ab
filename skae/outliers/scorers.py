"""What judges rows for `AEOutlierDetector`: the ensemble.

The other judge is in `skae.outliers.reconstruction_scorer`. A scorer has ``scores(X)``
of shape ``(n_samples,)``, higher for more normal rows, ``contributions(X)`` of shape
``(n_samples, n_features)``, whose rows sum to the scores, and ``expected(X)``, what its
autoencoders reconstruct, in X's units. X is validated already; thresholds are the
detector's.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from skae.outliers.ensemble import Ensemble, Member
from skae.outliers.out_of_bag import InBagRows
from skae.outliers.robust_units import RobustUnits
from skae.rows.chunks import map_rows

__all__ = ["EnsembleScorer"]


@dataclass
class EnsembleScorer:
    """Scores by the members that did not train on a row.

    Attributes
    ----------
    units : RobustUnits
    members : list of Member
    in_bag : InBagRows
    """

    units: RobustUnits
    members: list[Member]
    in_bag: InBagRows

    @property
    def device(self) -> torch.device:
        """Where the members are."""
        return self.members[0].codes.device

    def scores(self, X, n_jobs=None) -> np.ndarray:
        """Minus the error in multiples of a typical row's."""

        def errors(ensemble, x):
            return self._errors(ensemble, x).sum(1, keepdim=True)

        return -self._map(X, errors, 1, n_jobs)[:, 0]

    def model_scores(self, x, share, n_jobs=None) -> np.ndarray:
        """Scores of rows in robust units by given shares of the members.

        Parameters
        ----------
        x : Tensor of shape (n_rows, n_features)
        share : Tensor of shape (members, n_rows)
        n_jobs : int, optional
        """
        ensemble = Ensemble(self.members)
        width = x.shape[1]

        def score(rows):
            part, counts = rows[:, :width], rows[:, width:].mT
            error = ensemble.contributions(part.contiguous(), counts.contiguous())
            error = error.cpu().double()
            return -error.sum(1, keepdim=True)

        rows = torch.cat([x, share.mT], dim=1).cpu().numpy()
        out = np.empty((len(rows), 1))
        return map_rows(rows, torch.from_numpy, score, out, self.device, n_jobs)[:, 0]

    def contributions(self, X, n_jobs=None) -> np.ndarray:
        """Each feature's part of the scores."""
        return -self._map(X, self._errors, X.shape[1], n_jobs)

    def expected(self, X, n_jobs=None) -> np.ndarray:
        """The autoencoders' reconstructions."""

        def reconstruct(ensemble, x):
            return ensemble.expected(x, self.in_bag.shares(x))

        return self.units.to_x(self._map(X, reconstruct, X.shape[1], n_jobs))

    def on(self, device: torch.device | str) -> "EnsembleScorer":
        """The scorer with its members on a device."""
        if self.device == torch.device(device):
            return self
        members = [member.to(device) for member in self.members]
        return EnsembleScorer(self.units, members, self.in_bag)

    def _errors(self, ensemble, x):
        # Sums of many features in float32 would not add up to the score.
        return ensemble.contributions(x, self.in_bag.shares(x)).cpu().double()

    def _map(self, X, function, width, n_jobs):
        of_rows = partial(function, Ensemble(self.members))
        out = np.empty((X.shape[0], width))
        return map_rows(X, self.units.to_model, of_rows, out, self.device, n_jobs)
