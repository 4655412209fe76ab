"""Rows with the noise of the training, for every estimator with a corruption.

`Corrupting` needs ``net_`` and the methods of `TrainedEstimator`.
"""

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils import check_random_state

from skae.estimators.parameters import estimator
from skae.rows.tensors import as_double

__all__ = ["Corrupting"]


@estimator
class Corrupting:
    """The noise that an autoencoder learned to remove."""

    def corrupt(self, X, random_state=None):
        """Corrupt rows as in training; without a corruption they are returned as is.

        Parameters
        ----------
        random_state : int, RandomState or None, default=None
            None takes the estimator's own, so that an int there gives the same noise in
            every call.

        Returns
        -------
        X_tilde : ndarray of shape (n_samples, n_features)
            In X's units and dtype.
        """
        rows = self._rows(X)
        if self.net_.corruption.is_identity:
            if issparse(rows):
                rows = rows.toarray()
            return self._restored(rows[:], X)
        random = self.random_state if random_state is None else random_state
        seed = check_random_state(random).randint(np.iinfo(np.int32).max)
        generator = torch.Generator(self._device).manual_seed(seed)
        center, scale = map(as_double, (self.units_.center, self.units_.scale))

        def corrupted(x):
            x_tilde = self.net_.corrupted(x, generator)
            x_tilde = x_tilde.masked_fill(x.isnan(), torch.nan).cpu().double()
            # Not `to_x`, which would take the noise off constant columns.
            return x_tilde * scale + center

        out = self._map_rows(rows, corrupted, self.n_features_in_, draws=True)
        return self._restored(out, X)
