"""What displays share: documentation, axes, and how one sample is drawn.

`display` completes a class of fields. `PlotDisplay` is the base of displays on one
Axes, `GridDisplay` of those with one Axes for each sample, which `Images`, `Sequences`
or `Bars` draw. matplotlib is imported when something is drawn. New figures do not
belong to pyplot: none stays open, and no window appears.

Shape
-----
Images are ``(n_channels, height, width)``, sequences ``(n_steps, n_step_features)``,
bars ``(n_features,)``.
"""

import dataclasses
import inspect
import math
from itertools import zip_longest
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skae.estimators.parameters import completed
from skae.rows.extras import importing

__all__ = [
    "Bars",
    "GridDisplay",
    "Images",
    "PlotDisplay",
    "Sequences",
    "check_has",
    "display",
    "form_of",
    "in_shape",
    "new_axes",
]

_EACH = "one for each sample drawn"
# Inches of a small line of text with its distance.
_HEAD = 0.23


def display(cls):
    """Class decorator: a dataclass with completed docstrings."""
    cls = dataclasses.dataclass(cls, kw_only=True, eq=False, repr=False)
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    cls.__doc__ = completed([base.__doc__ for base in cls.__mro__], defaults, defaults)
    texts = [Display.plot.__doc__]
    for method in (cls.from_estimator.__func__, cls.plot):
        # What both methods have in common is documented in the first.
        texts.insert(0, method.__doc__)
        method.__doc__ = completed(texts, inspect.signature(method).parameters)
    return cls


def new_axes(n_rows=1, n_columns=1, *, figsize=None, **options) -> Any:
    """Axes of a new figure, one or an ndarray; options are those of ``subplots``."""
    with importing("plot", "Drawing"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=figsize, layout="constrained")
    return figure.subplots(n_rows, n_columns, **options)


def check_has(estimator, attribute, what) -> None:
    """Raise unless the estimator is fitted and has this method or attribute."""
    check_is_fitted(estimator)
    try:
        getattr(estimator, attribute)
    except AttributeError as error:
        # A class that has it says what its estimators need for it.
        is_of_class = hasattr(type(estimator), attribute)
        reason = str(error) if is_of_class else f"{type(estimator).__name__} has none."
        raise ValueError(
            f"{what} need an estimator with {attribute}; {reason}"
        ) from None


class Display:
    """What a fitted estimator does, drawn by matplotlib."""

    def plot(self, axes=None):
        """Draw.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        sample_shape : tuple of int, optional
            (height, width) or (n_channels, height, width) of images, (n_steps,
            n_step_features) of sequences. Left out, the estimator's ``sample_shape_``,
            else flat rows.
        kind : {"auto", "image", "sequence", "bar"}, default="auto"
            "auto" goes by the shape of a sample: three entries are an image, one is
            bars. Two are a sequence for ``sample_shape_`` and where the last is one,
            else an image.
        ax : matplotlib Axes, optional
            A new figure's when left out.
        axes : ndarray of matplotlib Axes, optional
            Of the shape of ``axes_``; a new figure's when left out.

        Returns
        -------
        display : the display itself

        Raises
        ------
        ValueError
            When estimator, data and axes do not fit together.
        ImportError
            When matplotlib is not installed.
        """
        raise NotImplementedError


class PlotDisplay(Display):
    """A plot on one Axes.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After `plot`.
    """

    def _start(self, ax):
        """Set ``ax_``, of a new figure for None, and return it."""
        self.ax_ = new_axes() if ax is None else ax
        self.figure_ = self.ax_.figure
        return self.ax_


class GridDisplay(Display):
    """Samples in a grid of Axes.

    Parameters
    ----------
    kind : {"image", "sequence", "bar"}, default="bar"
        Of samples of shape ``(n_channels, height, width)``, ``(n_steps,
        n_step_features)`` and ``(n_features,)``.
    feature_names : array-like of str, optional
        Written below bars, 16 at most.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
    figure_ : matplotlib Figure
        After `plot`.
    """

    kind = "bar"
    feature_names = None

    def _form(self, samples, percentiles=None):
        """The `Images` on a scale that suits these samples, `Sequences` or `Bars`."""
        if self.kind != "image":
            bars = self.kind == "bar"
            return Bars(self.feature_names) if bars else Sequences()
        if percentiles is None:
            # Decoded images overshoot a little: all of black and white would turn grey.
            # Dark colours are no background, and would change their hue.
            percentiles = 5 if np.shape(samples)[-3] == 1 else 0.5, 99.5
        low, high = np.nanpercentile(samples, percentiles)
        if high > low:
            return Images(low, high)
        return Images(np.nanmin(samples), np.nanmax(samples))

    def _draw(
        self,
        form,
        samples,
        shape,
        axes,
        *,
        behind=(),
        needed=None,
        of=_EACH,
        n_heads=0,
    ):
        """Draw samples row by row; set ``axes_`` and ``figure_``, return the axes.

        Parameters
        ----------
        form : Images, Sequences or Bars
        samples : iterable of samples
        shape : (int, int)
            Rows and columns of the grid.
        axes : ndarray of matplotlib Axes, or None
        behind : iterable of samples or None, optional
            Another sample, drawn behind each.
        needed : int, optional
            How many axes suffice, in any shape; exactly ``shape`` where left out.
        of : str
            What the axes stand for, in words.
        n_heads : int, default=0
            Rows that have a line of text above them.
        """
        is_shared = False
        if axes is None:
            width, height = form.panel
            # Text takes no height from what stands below it.
            heads = _HEAD * n_heads + form.margin
            size = width * shape[1] + 0.4, height * shape[0] + heads
            axes = new_axes(*shape, figsize=size, squeeze=False)
            is_shared = form.shares_scale
        axes = np.asarray(axes)
        if needed is None and axes.size == math.prod(shape):
            axes = axes.reshape(shape)
        elif needed is None or axes.size < needed:
            required = f"hold {needed}" if needed else f"be an array of shape {shape}"
            raise ValueError(f"axes must {required}, {of}; got shape {axes.shape}.")
        self.axes_ = axes = np.atleast_2d(axes)
        self.figure_ = axes.flat[0].figure
        pairs = zip_longest(samples, behind)
        for ax, (sample, other) in zip(axes.flat, pairs, strict=False):
            form.draw(ax, sample, other)
        if is_shared:
            _share_scale(axes)
        return axes


def _share_scale(axes):
    """Give axes that are drawn one scale, and numbers at the outer ones only.

    Axes that share one from the start would all be scaled anew with each sample.
    """
    first, *others = axes.flat
    for ax in others:
        ax.sharex(first)
        ax.sharey(first)
    for ax in axes.flat:
        ax.label_outer()
    first.autoscale_view()


def in_shape(estimator, samples, sample_shape, kind):
    """Samples in the shape in which they are drawn, and their kind.

    The estimator's ``sample_shape_`` counts where ``sample_shape`` is None.
    """
    samples = np.asarray(samples)
    own = getattr(estimator, "sample_shape_", None) if sample_shape is None else None
    shape = own or sample_shape or samples.shape[1:]
    kind, full = form_of(kind, shape, own=own is not None)
    n_features, required = math.prod(samples.shape[1:]), math.prod(full)
    if required != n_features:
        raise ValueError(
            f"sample_shape={shape} means {required} features; X has {n_features}."
        )
    return samples.reshape(len(samples), *full), kind


def form_of(kind, shape, *, own=False):
    """How samples of a shape are drawn, and their full shape.

    With ``own``, the shape is the estimator's: then two entries are a sequence.
    """
    shape = tuple(int(size) for size in shape)
    if kind == "auto":
        steps = len(shape) == 2 and (own or shape[1] == 1)
        kind = "bar" if len(shape) == 1 else "sequence" if steps else "image"
    if kind == "bar":
        return kind, (math.prod(shape),)
    if kind == "sequence":
        full = (*shape, 1) if len(shape) == 1 else shape
        fits = len(full) == 2
        needed = "(n_steps, n_step_features)"
    elif kind == "image":
        full = (1, *shape) if len(shape) == 2 else shape
        fits = len(full) == 3 and full[0] in (1, 3)
        needed = "(height, width) or (n_channels, height, width) with 1 or 3 channels"
    else:
        kinds = "'image', 'sequence' and 'bar'"
        raise ValueError(f"kind must be 'auto' or one of {kinds}; got {kind!r}.")
    if not fits:
        raise ValueError(
            f"Samples of shape {shape} cannot be drawn with kind={kind!r}, which "
            f"needs {needed}. Pass sample_shape or another kind."
        )
    return kind, full


class Images:
    """Grey images for one channel, coloured ones for three.

    ``low`` and ``high`` are the values of the darkest and the brightest pixels.
    """

    panel = (1.0, 1.0)
    margin = 0.2
    shares_scale = False

    def __init__(self, low, high):
        self.low = low
        self.high = high if high > low else low + 1

    def draw(self, ax, image, behind=None):
        """Draw one image; nothing shows behind it."""
        if len(image) == 1:
            ax.imshow(image[0], cmap="gray", vmin=self.low, vmax=self.high)
        else:
            share = (image - self.low) / (self.high - self.low)
            ax.imshow(np.moveaxis(np.clip(share, 0, 1), 0, -1))
        ax.set(xticks=[], yticks=[])


class Sequences:
    """One line for each feature over the steps; NaN is left out."""

    panel = (1.8, 1.3)
    margin = 0.2
    shares_scale = True

    def draw(self, ax, sequence, behind=None):
        """Draw one sequence, with another one thin and grey behind it."""
        if behind is not None:
            ax.plot(behind, color="0.6", linewidth=1.0)
        for column, feature in enumerate(sequence.T):
            ax.plot(feature, color=f"C{column % 10}", linewidth=1.2)


class Bars:
    """One bar for each feature, with its name below where there are at most 16."""

    panel = (1.6, 1.3)
    shares_scale = True

    def __init__(self, names=None):
        self.names = names if names is None or len(names) <= 16 else None
        longest = 0 if self.names is None else max(map(len, self.names))
        self.margin = 0.2 + 0.06 * longest

    def draw(self, ax, row, behind=None):
        """Draw one row, with dashes where the bars of another one end."""
        # A patch for each bar would take most of the time of a picture.
        from matplotlib.collections import PolyCollection

        places = np.arange(len(row))
        left, right, zero = places - 0.4, places + 0.4, np.zeros(len(row))
        corners = [(left, zero), (left, row), (right, row), (right, zero)]
        bars = PolyCollection(np.moveaxis(np.array(corners), 2, 0))
        bars.sticky_edges.y.append(0)
        ax.add_collection(bars)
        ax.autoscale_view()
        if behind is not None:
            width = 60 * self.panel[0] / len(row)
            ax.plot(places, behind, "_", color="black", markersize=width)
        if self.names is not None:
            ax.set_xticks(places, self.names, rotation=90, fontsize="x-small")
