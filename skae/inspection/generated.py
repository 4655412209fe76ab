"""Generated samples: a grid of them, and strips from one sample to another."""

import inspect
import math
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing

from skae.checks.integers import check_integer
from skae.estimators.style_arrays import as_styles
from skae.inspection.drawing import (
    GridDisplay,
    check_has,
    display,
    in_shape,
)

__all__ = ["InterpolationDisplay", "SampleDisplay", "single_styles"]


@display
class SampleDisplay(GridDisplay):
    """A grid of samples.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, *sample_shape)
    y : array-like of shape (n_samples,), optional
        Class or value of each sample, written above it.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_rows, n_columns)

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AdversarialAE
    >>> from skae.inspection import SampleDisplay
    >>> X, _ = load_digits(return_X_y=True)
    >>> ae = AdversarialAE(max_iter=2, random_state=0).fit(X)
    >>> display = SampleDisplay.from_estimator(ae, 10, sample_shape=(8, 8))
    >>> display.axes_.shape
    (2, 5)
    >>> display.figure_.savefig("samples.png")  # doctest: +SKIP
    """

    samples: Any
    kind: str = "bar"
    y: Any = None
    feature_names: Any = None

    @classmethod
    def from_estimator(
        cls,
        estimator,
        n_samples=25,
        *,
        y=None,
        sample_shape=None,
        kind="auto",
        n_columns=None,
        axes=None,
        random_state=None,
    ):
        """Sample from an estimator, and draw.

        Parameters
        ----------
        estimator : fitted estimator
            With ``sample``: skae's generative ones, or scikit-learn's, such as
            GaussianMixture.
        n_samples : int, default=25
        y : scalar or array-like of shape (n_samples,), optional
            Condition of the samples, for conditional estimators.
        n_columns : int, optional
            Such that the grid is at least as wide as high when left out.
        axes : ndarray of matplotlib Axes, optional
            As many as samples, or more; a new figure's when left out.
        random_state : int, RandomState or None, default=None
            Decides the samples; None is the estimator's own.

        """
        check_has(estimator, "sample", "Samples")
        accepted = inspect.signature(estimator.sample).parameters
        if y is not None and "y" not in accepted:
            raise ValueError(
                f"y={y!r} is for conditional estimators; {type(estimator).__name__} "
                "samples without y."
            )
        options = {} if y is None else {"y": y}
        if "random_state" in accepted:
            options["random_state"] = random_state
        samples = estimator.sample(n_samples, **options)
        # GaussianMixture returns the components too.
        samples = samples[0] if isinstance(samples, tuple) else samples
        samples, kind = in_shape(estimator, samples, sample_shape, kind)
        return cls(
            samples=samples,
            kind=kind,
            y=None if y is None or np.ndim(y) == 0 else y,
            feature_names=getattr(estimator, "feature_names_in_", None),
        ).plot(axes, n_columns=n_columns)

    def plot(self, axes=None, *, n_columns=None):
        """Draw the samples."""
        n_samples = len(self.samples)
        if n_columns is None:
            n_columns = math.ceil(math.sqrt(n_samples))
            if self.y is None and n_samples % 5 == 0 and n_samples <= 10:
                n_columns = min(n_samples, 5)
        check_integer("n_columns", n_columns)
        form = self._form(self.samples)
        shape = math.ceil(n_samples / n_columns), n_columns
        y = [] if self.y is None else np.asarray(self.y)
        heads = {"needed": n_samples, "n_heads": shape[0] if len(y) else 0}
        axes = self._draw(form, self.samples, shape, axes, **heads)
        for ax, value in zip(axes.flat, y, strict=False):
            ax.set_title(str(value), fontsize="small")
        for ax in axes.flat[n_samples:]:
            ax.set_axis_off()
        for ax in axes.flat[max(0, n_samples - axes.shape[1]) : n_samples]:
            # The lowest of its column, also where the last row is short.
            ax.tick_params(labelbottom=True)
        return self


@display
class InterpolationDisplay(GridDisplay):
    """Strips of samples between two samples.

    Each strip starts and ends with the samples themselves; the steps between, from the
    reconstruction of one to that of the other, are decoded.

    Parameters
    ----------
    starts, ends : ndarray of shape (n_strips, *sample_shape)
    steps : ndarray of shape (n_strips, n_steps, *sample_shape)

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_strips, n_steps + 2)

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AdversarialAE
    >>> from skae.inspection import InterpolationDisplay
    >>> X, _ = load_digits(return_X_y=True)
    >>> ae = AdversarialAE(max_iter=2, random_state=0).fit(X)
    >>> display = InterpolationDisplay.from_estimator(
    ...     ae, X[0], X[1], n_steps=6, sample_shape=(8, 8)
    ... )
    >>> display.axes_.shape
    (1, 8)
    """

    starts: Any
    ends: Any
    steps: Any
    kind: str = "bar"
    feature_names: Any = None

    @classmethod
    def from_estimator(
        cls,
        estimator,
        a,
        b,
        *,
        n_steps=8,
        sample_shape=None,
        kind="auto",
        axes=None,
        **options,
    ):
        """Interpolate between samples and draw.

        Parameters
        ----------
        estimator : fitted estimator
            With ``interpolate``.
        a, b : array-like of one sample, or of as many samples each
            Where strips start and end; styles for ``GAN(architecture="style")``.
        n_steps : int, default=8
        **options
            Of the estimator's ``interpolate``, such as ``method="linear"`` or ``y``;
            the same for all strips.

        """
        check_has(estimator, "interpolate", "Interpolations")
        check_integer("n_steps", n_steps, least=2)
        singles = _singles
        if hasattr(estimator, "from_styles"):
            singles = single_styles
        starts, ends = singles(estimator, a, "a"), singles(estimator, b, "b")
        if len(starts) != len(ends):
            raise ValueError(
                "a and b must be one sample each, or as many; got "
                f"{len(starts)} and {len(ends)}."
            )
        steps = [
            estimator.interpolate(start, end, n_steps, **options)
            for start, end in zip(starts, ends, strict=True)
        ]
        if singles is single_styles:
            starts, ends = (map(estimator.from_styles, each) for each in (starts, ends))
        samples = np.concatenate([*starts, *ends, *steps])
        samples, kind = in_shape(estimator, samples, sample_shape, kind)
        starts, ends, steps = np.split(samples, [len(steps), 2 * len(steps)])
        return cls(
            starts=starts,
            ends=ends,
            steps=steps.reshape(len(starts), n_steps, *samples.shape[1:]),
            kind=kind,
            feature_names=getattr(estimator, "feature_names_in_", None),
        ).plot(axes)

    def plot(self, axes=None):
        """Draw the strips."""
        steps = np.asarray(self.steps)
        ends = np.expand_dims(self.starts, 1), np.expand_dims(self.ends, 1)
        strips = np.concatenate([ends[0], steps, ends[1]], axis=1)
        form, shape = self._form(steps), strips.shape[:2]
        axes = self._draw(form, np.concatenate(strips), shape, axes, n_heads=1)
        for ax, name in zip(axes[0, [0, -1]], ("from", "to"), strict=True):
            ax.set_title(name, fontsize="small")
        return self


def _singles(estimator, X, name):
    """Samples as a list of arrays, or frames, of one sample each."""
    if hasattr(X, "to_frame") and np.ndim(X) == 1:
        X = X.to_frame().T
    shape, size = np.shape(X), estimator.n_features_in_
    if shape and math.prod(shape) == size and shape[0] != 1:
        X = np.asarray(X)[None]
    elif not shape or not shape[0] or math.prod(shape[1:]) != size:
        raise ValueError(
            f"{name} must be one sample of {size} features, or several; got shape "
            f"{shape}."
        )
    return [_safe_indexing(X, [place]) for place in range(len(X))]


def single_styles(estimator, W, name):
    """Styles as a list of arrays of one, which methods of the estimator check."""
    W = as_styles(W)
    shape = W.shape
    if W.ndim == 1 or (W.ndim == 2 and getattr(W, "of_layers", False)):
        W = W[None]
    width = estimator.n_components_
    if not W.size or W.shape[-1] != width or W.ndim > 3:
        raise ValueError(
            f"{name} must be a style of {width} numbers, or several, from styles or "
            f"project; got shape {shape}."
        )
    return [W[place : place + 1] for place in range(len(W))]
