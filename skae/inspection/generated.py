"""Samples that an estimator made, as pictures: a grid of them, and strips between two.

Both displays draw samples in the form that `skae.inspection.samples` finds for their
shape, one panel each.
"""

import inspect
import math
from numbers import Integral

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from skae.inspection.figures import new_axes
from skae.inspection.reconstructions import form_of_rows
from skae.inspection.samples import Bars, Images, Sequences

__all__ = [
    "InterpolationDisplay",
    "SampleDisplay",
    "check_steps",
    "form_for",
    "limits_of",
]

# Decoded images overshoot a little: all of black and white would turn grey.
_LIMITS = (5, 99.5)


class SampleDisplay:
    """A grid of samples.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, *sample_shape)
        Images are ``(n_channels, height, width)``, sequences
        ``(n_steps, n_step_features)``, rows of bars ``(n_features,)``.
    kind : {"image", "sequence", "bar"}, default="bar"
    y : array-like of shape (n_samples,), optional
        What each sample was asked to be, written above it.
    feature_names : array-like of str, optional
        Written below bars, 16 at most.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_rows, n_columns)
        After `plot`.
    figure_ : matplotlib Figure
        Likewise.

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

    def __init__(self, *, samples, kind="bar", y=None, feature_names=None):
        self.samples = samples
        self.kind = kind
        self.y = y
        self.feature_names = feature_names

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
        """Draw samples from an estimator, and draw them.

        Parameters
        ----------
        estimator : fitted estimator
            With ``sample``: skae's generative ones, or scikit-learn's, such as
            GaussianMixture.
        n_samples : int, default=25
        y : scalar or array-like of shape (n_samples,), optional
            What to draw, for conditional estimators.
        sample_shape, kind :
            As for `ReconstructionDisplay.from_estimator`.
        n_columns : int, optional
            A grid that is as wide as high, or wider, when left out.
        axes : ndarray of matplotlib Axes, optional
            As many as samples, or more; a new figure's when left out.
        random_state : int, RandomState or None, default=None
            Decides the samples; None is the estimator's own.

        Returns
        -------
        display : SampleDisplay

        Raises
        ------
        ValueError
            When the estimator can not sample, or shapes or axes do not fit.
        """
        check_is_fitted(estimator)
        _check_can(estimator, "sample", "Samples")
        taken = inspect.signature(estimator.sample).parameters
        if y is not None and "y" not in taken:
            raise ValueError(
                f"y={y!r} is for conditional estimators; {type(estimator).__name__} "
                "samples without."
            )
        options = {} if y is None else {"y": y}
        if "random_state" in taken:
            options["random_state"] = random_state
        samples = estimator.sample(n_samples, **options)
        # GaussianMixture tells the components too.
        samples = samples[0] if isinstance(samples, tuple) else samples
        samples, kind = _formed(estimator, samples, sample_shape, kind)
        return cls(
            samples=samples,
            kind=kind,
            y=None if y is None or np.ndim(y) == 0 else y,
            feature_names=getattr(estimator, "feature_names_in_", None),
        ).plot(axes, n_columns=n_columns)

    def plot(self, axes=None, *, n_columns=None):
        """Draw the samples.

        Parameters
        ----------
        axes : ndarray of matplotlib Axes, optional
        n_columns : int, optional

        Returns
        -------
        display : SampleDisplay

        Raises
        ------
        ValueError
            When there are fewer axes than samples.
        ImportError
            When matplotlib is not installed.
        """
        n_samples = len(self.samples)
        if n_columns is None:
            n_columns = math.ceil(math.sqrt(n_samples))
            if self.y is None and n_samples % 5 == 0 and n_samples <= 10:
                n_columns = min(n_samples, 5)
        elif not isinstance(n_columns, Integral) or n_columns < 1:
            raise ValueError(f"n_columns must be a positive int; got {n_columns!r}.")
        form = form_for(self.kind, self.samples, self.feature_names)
        shape = math.ceil(n_samples / n_columns), n_columns
        axes = _panels(axes, shape, form, needed=n_samples)
        for ax, sample in zip(axes.flat, self.samples, strict=False):
            form.draw(ax, sample)
        if self.y is not None:
            for ax, name in zip(axes.flat, np.asarray(self.y), strict=False):
                ax.set_title(str(name), fontsize="small")
        for ax in axes.flat[n_samples:]:
            ax.set_axis_off()
        for ax in axes.flat[max(0, n_samples - axes.shape[1]) : n_samples]:
            # The lowest of its column, also where the last row is short.
            ax.tick_params(labelbottom=True)
        self.axes_, self.figure_ = axes, axes.flat[0].figure
        return self


class InterpolationDisplay:
    """Strips of samples on the way from one sample to another.

    Each strip starts and ends with the two samples themselves; what lies between is
    decoded, the reconstructions of both included.

    Parameters
    ----------
    starts, ends : ndarray of shape (n_strips, *sample_shape)
    steps : ndarray of shape (n_strips, n_steps, *sample_shape)
    kind : {"image", "sequence", "bar"}, default="bar"
    feature_names : array-like of str, optional
        Written below bars, 16 at most.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_strips, n_steps + 2)
        After `plot`.
    figure_ : matplotlib Figure
        Likewise.

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

    def __init__(self, *, starts, ends, steps, kind="bar", feature_names=None):
        self.starts = starts
        self.ends = ends
        self.steps = steps
        self.kind = kind
        self.feature_names = feature_names

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
            Where strips start and end.
        n_steps : int, default=8
        sample_shape, kind :
            As for `ReconstructionDisplay.from_estimator`.
        axes : ndarray of matplotlib Axes, of shape (n_strips, n_steps + 2), optional
            A new figure's when left out.
        **options
            Of the estimator's ``interpolate``, such as ``method="linear"``.

        Returns
        -------
        display : InterpolationDisplay

        Raises
        ------
        ValueError
            When the estimator can not interpolate, a and b do not pair, or shapes or
            axes do not fit.
        """
        check_is_fitted(estimator)
        _check_can(estimator, "interpolate", "Interpolations")
        check_steps(n_steps)
        starts, ends = _singles(estimator, a, "a"), _singles(estimator, b, "b")
        if len(starts) != len(ends):
            raise ValueError(
                "a and b must be one sample each, or as many; got "
                f"{len(starts)} and {len(ends)}."
            )
        steps = [
            estimator.interpolate(start, end, n_steps, **options)
            for start, end in zip(starts, ends, strict=True)
        ]
        drawn = np.concatenate([*starts, *ends, *steps])
        drawn, kind = _formed(estimator, drawn, sample_shape, kind)
        n_strips, shape = len(starts), drawn.shape[1:]
        return cls(
            starts=drawn[:n_strips],
            ends=drawn[n_strips : 2 * n_strips],
            steps=drawn[2 * n_strips :].reshape(n_strips, n_steps, *shape),
            kind=kind,
            feature_names=getattr(estimator, "feature_names_in_", None),
        ).plot(axes)

    def plot(self, axes=None):
        """Draw the strips.

        Parameters
        ----------
        axes : ndarray of matplotlib Axes, of shape (n_strips, n_steps + 2), optional

        Returns
        -------
        display : InterpolationDisplay

        Raises
        ------
        ValueError
            When there are fewer axes than samples.
        ImportError
            When matplotlib is not installed.
        """
        steps = np.asarray(self.steps)
        shape = len(steps), steps.shape[1] + 2
        form = form_for(self.kind, steps, self.feature_names)
        axes = _panels(axes, shape, form, needed=math.prod(shape)).reshape(shape)
        for line, start, between, end in zip(
            axes, self.starts, steps, self.ends, strict=True
        ):
            for ax, sample in zip(line, [start, *between, end], strict=True):
                form.draw(ax, sample)
        for ax, name in zip(axes[0, [0, -1]], ("from", "to"), strict=True):
            ax.set_title(name, fontsize="small")
        self.axes_, self.figure_ = axes, axes[0, 0].figure
        return self


def form_for(kind, samples, feature_names=None):
    """How samples of a kind are drawn."""
    if kind == "image":
        return Images(*limits_of(samples))
    return Sequences() if kind == "sequence" else Bars(feature_names)


def limits_of(samples):
    """Values to be drawn black and white: nearly the range of all pixels."""
    low, high = np.nanpercentile(samples, _LIMITS)
    if high > low:
        return low, high
    return np.nanmin(samples), np.nanmax(samples)


def _formed(estimator, samples, sample_shape, kind):
    """Samples in their full shape, and the kind they are drawn as."""
    samples = np.asarray(samples)
    if sample_shape is None and samples.ndim > 2:
        sample_shape = getattr(estimator, "sample_shape_", samples.shape[1:])
    rows = samples.reshape(len(samples), -1)
    kind, shape = form_of_rows(estimator, rows, sample_shape, kind)
    return rows.reshape(-1, *shape), kind


def _panels(axes, shape, form, needed):
    if axes is None:
        width, height = form.panel
        return new_axes(
            *shape,
            figsize=(width * shape[1] + 0.2, height * shape[0] + form.margin),
            squeeze=False,
            sharex=form.shares_scale,
            sharey=form.shares_scale,
        )
    axes = np.asarray(axes)
    if axes.size < needed:
        raise ValueError(
            f"axes must hold one Axes for each of the {needed} samples drawn; got "
            f"{axes.size}."
        )
    return np.atleast_2d(axes)


def _singles(estimator, X, name):
    """Samples as a list of arrays, or frames, of one sample each."""
    given = getattr(estimator, "_input_shape", None)
    n_axes = 1 if given is None else len(given)
    if hasattr(X, "to_frame") and np.ndim(X) == 1:
        X = X.to_frame().T
    if np.ndim(X) == n_axes:
        X = np.asarray(X)[None]
    if np.ndim(X) != n_axes + 1 or not len(X):
        raise ValueError(
            f"{name} must be one sample or several, arrays of {n_axes} or {n_axes + 1} "
            f"axes; got shape {np.shape(X)}."
        )
    return [_safe_indexing(X, [place]) for place in range(len(X))]


def _check_can(estimator, method, what):
    if not hasattr(estimator, method):
        raise ValueError(
            f"{what} need an estimator with {method}; {type(estimator).__name__} has "
            "none."
        )


def check_steps(n_steps, least=2) -> None:
    """Raise unless it is an integer of at least so much."""
    if not isinstance(n_steps, Integral) or n_steps < least:
        raise ValueError(
            f"n_steps must be an int of at least {least}; got {n_steps!r}."
        )
