"""Samples above their reconstructions."""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples, check_array, check_is_fitted

from skae.checks.integers import check_integer
from skae.inspection.drawing import (
    GridDisplay,
    display,
    in_shape,
)

__all__ = ["ReconstructionDisplay"]

_WAYS_BACK = "reconstruct", "inverse_transform"


@display
class ReconstructionDisplay(GridDisplay):
    """Samples, corrupted samples, and their reconstructions.

    One column a sample. With noise, the corrupted samples are reconstructed. The
    original is drawn in grey behind corrupted and reconstructed sequences; black dashes
    mark it on bars.

    Parameters
    ----------
    original, reconstructed : ndarray of shape (n_samples, *sample_shape)
    corrupted : ndarray of shape (n_samples, *sample_shape), optional

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (2 or 3, n_samples)
        One row each for original, corrupted, if there are any, and reconstructed.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import DenoisingAE
    >>> from skae.inspection import ReconstructionDisplay
    >>> X, _ = load_digits(return_X_y=True)
    >>> ae = DenoisingAE(64, max_iter=5, random_state=0).fit(X[8:])
    >>> display = ReconstructionDisplay.from_estimator(
    ...     ae, X[:8], sample_shape=(8, 8), random_state=0
    ... )
    >>> display.axes_.shape
    (3, 8)
    >>> display.figure_.savefig("digits.png")  # doctest: +SKIP
    """

    original: Any
    reconstructed: Any
    corrupted: Any = None
    kind: str = "bar"
    feature_names: Any = None

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        X_noisy=None,
        n_samples=8,
        sample_shape=None,
        kind="auto",
        axes=None,
        random_state=None,
    ):
        """Reconstruct the first samples of X and draw.

        Parameters
        ----------
        estimator : fitted autoencoder
            Or any transformer with ``inverse_transform``: PCA, pipelines.
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or what else \
the estimator takes
            Clean samples.
        X_noisy : like X, optional
            Noisy versions of the same samples. Left out, an autoencoder corrupts X as
            in training.
        n_samples : int, default=8
            Samples drawn, the first ones of X.
        random_state : int, RandomState or None, default=None
            Decides the noise.
        """
        check_is_fitted(estimator)
        if not any(hasattr(estimator, name) for name in _WAYS_BACK):
            name = type(estimator).__name__
            raise ValueError(
                f"A {name} has no reconstructions. They need an estimator with "
                f"{' or '.join(_WAYS_BACK)}; {name} has none."
            )
        check_integer("n_samples", n_samples)
        X = _first(X, n_samples)
        original = _rows(estimator, X)
        samples, kind = in_shape(estimator, original, sample_shape, kind)
        corrupted = None
        if X_noisy is not None:
            X = _first(X_noisy, n_samples)
            corrupted = _rows(estimator, X)
            if corrupted.shape != original.shape:
                raise ValueError(
                    "X_noisy must hold a noisy version of each sample of X; got "
                    f"{corrupted.shape} for {original.shape} as flat rows."
                )
        elif hasattr(estimator, "corrupt"):
            noisy = estimator.corrupt(X, random_state)
            rows = _rows(estimator, noisy)
            if not np.array_equal(rows, original, equal_nan=True):
                X, corrupted = _like(X, noisy), rows
        reconstructed = _rows(estimator, _reconstructed(estimator, X))
        return cls(
            original=samples,
            reconstructed=reconstructed.reshape(samples.shape),
            corrupted=None if corrupted is None else corrupted.reshape(samples.shape),
            kind=kind,
            feature_names=getattr(estimator, "feature_names_in_", None),
        ).plot(axes)

    def plot(self, axes=None):
        """Draw the samples."""
        names = ["original", "corrupted", "reconstructed"]
        names = [name for name in names if getattr(self, name) is not None]
        samples = np.stack([getattr(self, name) for name in names])
        n_samples = samples.shape[1]
        axes = self._draw(
            self._form(self.original, percentiles=(0, 100)),
            np.concatenate(samples),
            (len(names), n_samples),
            axes,
            behind=[None] * n_samples + [*self.original] * (len(names) - 1),
        )
        for ax, name in zip(axes[:, 0], names, strict=True):
            ax.set_ylabel(name)
        return self


def _first(X, n_samples):
    X = X.tocsr() if sparse.issparse(X) else X
    return _safe_indexing(X, np.arange(min(n_samples, _num_samples(X))))


def _rows(estimator, X):
    """Samples as an array of flat rows; sequences of a list are padded with NaN."""
    if sparse.issparse(X):
        X = X.toarray()
    shape = getattr(estimator, "sample_shape_", ())
    if isinstance(X, list | tuple) and len(shape) == 2:
        padded = np.full((len(X), *shape), np.nan)
        for row, sequence in zip(padded, X, strict=True):
            row[: len(sequence)] = np.reshape(sequence, (len(sequence), -1))
        X = padded
    if np.ndim(X) > 2:
        X = np.reshape(X, (len(X), -1))
    dtypes = [np.float64, np.float32]
    return check_array(X, dtype=dtypes, ensure_all_finite="allow-nan")


def _like(X, samples):
    """Samples in a frame like X, where X is one: estimators expect its names."""
    if not hasattr(X, "columns"):
        return samples
    names = "columns" if hasattr(X, "iloc") else "schema"
    return type(X)(samples, **{names: list(X.columns)})


def _reconstructed(estimator, X):
    if hasattr(estimator, "reconstruct"):
        return estimator.reconstruct(X)
    return estimator.inverse_transform(estimator.transform(X))
