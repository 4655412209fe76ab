"""How good the samples of a `GAN` are, beside the rows they should be like.

`SampleQuality` is a base of `GAN`: a score for searches over parameters, and precision
and recall on request.
"""

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from skae.estimators.generative import seeded
from skae.estimators.parameters import estimator
from skae.rows.isolation import isolated
from skae.statistics.energy import energy_distance
from skae.statistics.precision_recall import precision_recall

__all__ = ["SampleQuality"]

_MAX_SCORED = 5000
_MAX_COMPARED = 2000


@estimator
class SampleQuality:
    """Comparisons of samples with rows."""

    def score(self, X, y=None):
        """Minus the energy distance between rows and as many samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Of more than 5,000 rows as many are drawn.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Condition of the samples, for models fitted with y.

        Returns
        -------
        score : float
            At most 0, in X's units; compare scores of as many rows only.
        """
        rows = self._rows(X)
        n_rows = rows.shape[0]
        if y is None and self._context is not None:
            y = self._context.draw(n_rows, check_random_state(self.random_state))
        condition = self._condition(y, n_rows)
        random = check_random_state(self.random_state)
        if n_rows > _MAX_SCORED:
            kept = np.sort(random.permutation(n_rows)[:_MAX_SCORED])
            rows = rows[kept]
            condition = None if condition is None else condition[kept]
        rows = rows.toarray() if sparse.issparse(rows) else rows[:]
        z, inputs = self._noise(len(rows), seeded(random))
        made = self._generated(z, inputs, condition)
        return -isolated(energy_distance)(rows, made)

    def _compare_samples(self, rows, context):
        """Set ``precision_recall_``, of some training rows and as many samples."""
        self.precision_recall_ = None
        if self.features is None:
            return
        random = check_random_state(0)
        index = np.sort(random.permutation(rows.shape[0])[:_MAX_COMPARED])
        context = None if context is None else context[index]
        made = self._generated(*self._noise(len(index), seeded(random)), context)
        real = self._features_of(rows[index])
        n_neighbors = min(3, len(index) - 1)
        found = precision_recall(real, self._features_of(made), n_neighbors)
        self.precision_recall_ = found

    def _features_of(self, rows):
        """Flat rows in the features of the parameter."""
        rows = rows.toarray() if sparse.issparse(rows) else np.asarray(rows)
        if not callable(self.features):
            return rows
        features = np.asarray(self.features(self._restored(rows, None)))
        got = f"shape {features.shape}"
        is_fit = features.ndim == 2 and len(features) == len(rows)
        if features.dtype.kind not in "biuf":
            is_fit, got = False, f"dtype {features.dtype}"
        elif is_fit and not np.isfinite(features).all():
            is_fit, got = False, "NaN or infinity"
        if not is_fit:
            raise ValueError(
                f"features must map {len(rows)} samples to finite numbers of shape "
                f"({len(rows)}, n); got {got}."
            )
        return features
