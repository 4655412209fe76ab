"""Samples above their reconstructions, as a picture.

`ReconstructionDisplay.from_estimator` asks the estimator for the numbers, `plot` draws
them in the form that `skae.inspection.samples` finds for their shape.
"""

import math
from numbers import Integral

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import _num_samples, check_array, check_is_fitted

from skae.estimators.base import BaseAutoencoder
from skae.inspection.figures import new_axes
from skae.inspection.samples import Bars, Images, Sequences, form_of
from skae.parts.corruption import NoCorruption

__all__ = ["ReconstructionDisplay", "form_of_rows"]


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
        After `plot`.
    figure_ : matplotlib Figure
        Likewise.

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

    def __init__(
        self, *, original, reconstructed, corrupted=None, kind="bar", feature_names=None
    ):
        self.original = original
        self.reconstructed = reconstructed
        self.corrupted = corrupted
        self.kind = kind
        self.feature_names = feature_names

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
            Noisy versions of the same samples. Left out, an autoencoder that learned to
            remove noise draws some of the same kind.
        n_samples : int, default=8
            Samples drawn, the first ones of X.
        sample_shape : tuple of int, optional
            (height, width) or (n_channels, height, width) of images, (n_steps,
            n_step_features) of sequences. Left out, the estimator's ``sample_shape_``,
            else flat rows.
        kind : {"auto", "image", "sequence", "bar"}, default="auto"
            "auto" goes by the shape of a sample: three entries are an image, one is
            bars. Two are a sequence for ``sample_shape_`` and where the last is one,
            else an image.
        axes : ndarray of matplotlib Axes, of shape (2 or 3, n_samples), optional
            A new figure's when left out; a row each for originals, corrupted samples if
            there are any, and reconstructions.
        random_state : int, RandomState or None, default=None
            Decides the noise.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        ValueError
            When samples, shapes or axes do not fit together.
        """
        check_is_fitted(estimator)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be a positive int; got {n_samples!r}.")
        X = _first(X, n_samples)
        original = _flat_rows(estimator, X)
        kind, shape = form_of_rows(estimator, original, sample_shape, kind)
        corrupted = None
        if X_noisy is not None:
            X = _first(X_noisy, n_samples)
            corrupted = _flat_rows(estimator, X)
            if corrupted.shape != original.shape:
                raise ValueError(
                    "X_noisy must hold a noisy version of each sample of X. As flat "
                    f"rows the first ones of X have the shape {original.shape}, those "
                    f"of X_noisy {corrupted.shape}."
                )
        elif _corrupts(estimator):
            corrupted = _corrupted(estimator, original, random_state)
        seen = original if corrupted is None else corrupted
        reconstructed = _reconstructed(estimator, X, seen)
        return cls(
            original=original.reshape(-1, *shape),
            reconstructed=reconstructed.reshape(-1, *shape),
            corrupted=None if corrupted is None else corrupted.reshape(-1, *shape),
            kind=kind,
            feature_names=getattr(estimator, "feature_names_in_", None),
        ).plot(axes)

    def plot(self, axes=None):
        """Draw the samples.

        Parameters
        ----------
        axes : ndarray of matplotlib Axes, of shape (2 or 3, n_samples), optional

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        ValueError
            When the axes are not as many as the samples.
        ImportError
            When matplotlib is not installed.
        """
        form = self._form()
        drawn = {
            "original": self.original,
            "corrupted": self.corrupted,
            "reconstructed": self.reconstructed,
        }
        drawn = {name: rows for name, rows in drawn.items() if rows is not None}
        axes = self._grid(axes, (len(drawn), len(self.original)), form)
        for line, (name, rows) in zip(axes, drawn.items(), strict=True):
            line[0].set_ylabel(name)
            for ax, sample, original in zip(line, rows, self.original, strict=True):
                form.draw(ax, sample, None if name == "original" else original)
        self.axes_, self.figure_ = axes, axes[0, 0].figure
        return self

    def _form(self):
        if self.kind == "image":
            return Images(np.nanmin(self.original), np.nanmax(self.original))
        return Sequences() if self.kind == "sequence" else Bars(self.feature_names)

    def _grid(self, axes, shape, form):
        if axes is None:
            width, height = form.panel
            return new_axes(
                *shape,
                figsize=(width * shape[1] + 0.4, height * shape[0] + form.margin),
                squeeze=False,
                sharex=form.shares_scale,
                sharey=form.shares_scale,
            )
        axes = np.asarray(axes)
        if axes.size != np.prod(shape):
            raise ValueError(
                f"axes must be an array of shape {shape}, one row each for what is "
                f"drawn of the {shape[1]} samples; got {axes.shape}."
            )
        return axes.reshape(shape)


def _first(X, n_samples):
    X = X.tocsr() if sparse.issparse(X) else X
    return _safe_indexing(X, np.arange(min(n_samples, _num_samples(X))))


def form_of_rows(estimator, rows, sample_shape, kind):
    """Kind and full shape of an estimator's samples, which came as flat rows."""
    own = getattr(estimator, "sample_shape_", None)
    asked = own if sample_shape is None else sample_shape
    shape = rows.shape[1:] if asked is None else tuple(asked)
    kind, full = form_of(kind, shape, own=asked is own)
    if math.prod(full) != rows.shape[1]:
        raise ValueError(
            f"sample_shape={shape} means {math.prod(full)} features; X has "
            f"{rows.shape[1]}."
        )
    return kind, full


def _flat_rows(estimator, X):
    """Samples as an array of flat rows, in X's units."""
    if isinstance(estimator, BaseAutoencoder):
        rows = estimator._rows(X)
    else:
        rows = check_array(X, accept_sparse="csr", ensure_all_finite="allow-nan")
    return rows.toarray() if sparse.issparse(rows) else rows


def _corrupts(estimator) -> bool:
    return isinstance(estimator, BaseAutoencoder) and not isinstance(
        estimator.net_.corruption, NoCorruption
    )


def _corrupted(estimator, rows, random_state):
    """Rows after the noise that the estimator learned to remove."""
    units, parameter = estimator._units, next(estimator.net_.parameters())
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    generator = torch.Generator(parameter.device).manual_seed(seed)
    x = torch.as_tensor((rows - units.center) / units.scale).to(parameter)
    with torch.no_grad():
        x_tilde = estimator.net_.corrupted(x, generator).masked_fill(x.isnan(), np.nan)
    noisy = x_tilde.cpu().double().numpy() * units.scale + units.center
    return noisy.astype(rows.dtype)


def _reconstructed(estimator, X, rows):
    """Reconstructions of samples as flat rows; transformers take X as it came."""
    if isinstance(estimator, BaseAutoencoder):
        width = estimator.n_features_in_
        return estimator._map_rows(rows, estimator._reconstruct, width)
    if not hasattr(estimator, "inverse_transform"):
        raise ValueError(
            "Reconstructions need an estimator with inverse_transform; "
            f"{type(estimator).__name__} has none."
        )
    return np.asarray(estimator.inverse_transform(estimator.transform(X)))
