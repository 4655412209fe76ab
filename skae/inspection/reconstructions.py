"""Samples above their reconstructions, as a picture."""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples, check_array, check_is_fitted

from skae.inspection.drawing import (
    check_has,
    check_integer,
    display,
    form_for,
    in_shape,
    panels,
)

__all__ = ["ReconstructionDisplay"]


@display
class ReconstructionDisplay:
    """Samples, what noise made of them, and their reconstructions.

    One column a sample. Where there is noise, the reconstructions are those of the
    corrupted samples. Behind corrupted and reconstructed sequences the original is
    drawn in grey; for bars black dashes mark it.

    Parameters
    ----------
    original, reconstructed : ndarray of shape (n_samples, *sample_shape)
        Images are ``(n_channels, height, width)``, sequences
        ``(n_steps, n_step_features)``, rows of bars ``(n_features,)``.
    corrupted : ndarray of shape (n_samples, *sample_shape), optional
    kind : {"image", "sequence", "bar"}, default="bar"
    feature_names : array-like of str, optional
        Written below bars, 16 at most.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (2 or 3, n_samples)
        A row each for originals, corrupted samples if there are any, and
        reconstructions.
    figure_ : matplotlib Figure
        After `plot`.

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
            Noisy versions of the same samples. Left out, those of the noise that an
            autoencoder learned to remove.
        n_samples : int, default=8
            Samples drawn, the first ones of X.
        random_state : int, RandomState or None, default=None
            Decides the noise.

        Raises
        ------
        ValueError
            When samples, shapes or axes do not fit together.
        """
        check_is_fitted(estimator)
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
                    "X_noisy must hold a noisy version of each sample of X. As flat "
                    f"rows the first ones of X have the shape {original.shape}, those "
                    f"of X_noisy {corrupted.shape}."
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
        form = form_for(self.kind, self.original, self.feature_names, (0, 100))
        rows = {
            "original": self.original,
            "corrupted": self.corrupted,
            "reconstructed": self.reconstructed,
        }
        rows = {name: samples for name, samples in rows.items() if samples is not None}
        axes = panels(axes, (len(rows), len(self.original)), form)
        for line, (name, samples) in zip(axes, rows.items(), strict=True):
            line[0].set_ylabel(name)
            for ax, sample, original in zip(line, samples, self.original, strict=True):
                form.draw(ax, sample, None if name == "original" else original)
        self.axes_, self.figure_ = axes, axes[0, 0].figure
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
    check_has(estimator, "inverse_transform", "Reconstructions")
    return estimator.inverse_transform(estimator.transform(X))
