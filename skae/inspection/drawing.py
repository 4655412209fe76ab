"""What displays share: their documentation, axes, and how one sample is drawn.

`display` makes a class of fields a display, `new_axes` and `panels` lay out a figure,
and `form_for` decides whether samples are drawn as `Images`, `Sequences` or `Bars`.
matplotlib is imported when something is drawn. New figures do not belong to pyplot:
none stays open, and no window appears.

Shape
-----
Images are ``(n_channels, height, width)``, sequences ``(n_steps, n_step_features)``,
bars ``(n_features,)``.
"""

import dataclasses
import inspect
import math
import re
from numbers import Integral
from typing import Any

import numpy as np

__all__ = [
    "Bars",
    "Images",
    "Sequences",
    "check_has",
    "check_integer",
    "display",
    "form_for",
    "form_of",
    "in_shape",
    "new_axes",
    "palette",
    "panels",
]

KINDS = ("image", "sequence", "bar")
_MOST_NAMES = 16
# Decoded images overshoot a little: all of black and white would turn grey.
_PERCENTILES = (5, 99.5)

# Parameters that methods of several displays have.
_TEXTS = {
    "X": """X : {array-like, sparse matrix} of shape (n_samples, n_features)""",
    "sample_shape": """sample_shape : tuple of int, optional
    (height, width) or (n_channels, height, width) of images, (n_steps,
    n_step_features) of sequences. Left out, the estimator's ``sample_shape_``, else
    flat rows.""",
    "kind": """kind : {"auto", "image", "sequence", "bar"}, default="auto"
    "auto" goes by the shape of a sample: three entries are an image, one is bars. Two
    are a sequence for ``sample_shape_`` and where the last is one, else an image.""",
    "ax": """ax : matplotlib Axes, optional
    A new figure's when left out.""",
    "axes": """axes : ndarray of matplotlib Axes, optional
    Of the shape of ``axes_``; a new figure's when left out.""",
}
_PLOT_RAISES = """Raises
------
ValueError
    When what is drawn and the axes do not fit together.
ImportError
    When matplotlib is not installed."""


def display(cls):
    """Class decorator: a dataclass whose methods' docstrings are completed.

    Of ``from_estimator`` and ``plot``, parameters without an entry get the one that
    displays share; what both return, and what ``plot`` raises, is added.
    """
    cls = dataclasses.dataclass(cls, kw_only=True, eq=False, repr=False)
    for method in (cls.from_estimator.__func__, cls.plot):
        summary, _, rest = inspect.cleandoc(method.__doc__ or "").partition(
            "\n\nRaises\n"
        )
        raises = f"Raises\n{rest}" if rest else ""
        summary, _, own = summary.partition("\n\nParameters\n----------\n")
        entries = [entry.rstrip() for entry in re.split(r"^(?=\S)", own, flags=re.M)]
        documented = {re.split(r"[\s,:]", e)[0].lstrip("*"): e for e in entries if e}
        names = inspect.signature(method).parameters
        texts = {**_TEXTS, **documented}
        sections = [
            summary,
            "\n".join(
                ["Parameters\n----------", *(texts[n] for n in names if n in texts)]
            ),
            f"Returns\n-------\ndisplay : {cls.__name__}",
            _PLOT_RAISES if method is cls.plot else raises,
        ]
        method.__doc__ = "\n\n".join(section for section in sections if section)
    return cls


def new_axes(n_rows=1, n_columns=1, *, figsize=None, **options) -> Any:
    """Axes of a new figure, one or an ndarray; options are those of ``subplots``.

    Raises
    ------
    ImportError
        When matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'Drawing needs matplotlib: pip install "skae[plot]"'
        ) from error
    figure = Figure(figsize=figsize, layout="constrained")
    return figure.subplots(n_rows, n_columns, **options)


def panels(axes, shape, form, *, needed=None, of="one for each sample drawn"):
    """Axes in an array, one for each sample; those of a new figure where None came.

    Parameters
    ----------
    axes : ndarray of matplotlib Axes, or None
    shape : (int, int)
        Rows and columns of the grid.
    form : Images, Sequences or Bars
    needed : int, optional
        How many axes suffice, in any shape; exactly ``shape`` where left out.
    of : str
        What the axes stand for, in words.
    """
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
    if needed is None and axes.size == math.prod(shape):
        return axes.reshape(shape)
    if needed is not None and axes.size >= needed:
        return np.atleast_2d(axes)
    expected = f"be an array of shape {shape}" if needed is None else f"hold {needed}"
    raise ValueError(f"axes must {expected}, {of}; got shape {axes.shape}.")


def palette(n_colors):
    """Distinct colours, 20 at most."""
    from matplotlib import colormaps

    return colormaps["tab10" if n_colors <= 10 else "tab20"].colors[:n_colors]


def check_has(estimator, method, what) -> None:
    """Raise unless the estimator has this method."""
    if not hasattr(estimator, method):
        raise ValueError(
            f"{what} need an estimator with {method}; {type(estimator).__name__} has "
            "none."
        )


def check_integer(name, value, least=1) -> None:
    """Raise unless the value is an integer of at least ``least``."""
    if not isinstance(value, Integral) or value < least:
        what = "a positive int" if least == 1 else f"an int of at least {least}"
        raise ValueError(f"{name} must be {what}; got {value!r}.")


def in_shape(estimator, samples, sample_shape, kind):
    """Samples in the shape in which they are drawn, and their kind.

    Parameters
    ----------
    estimator : fitted estimator
        Whose ``sample_shape_`` counts where ``sample_shape`` is None.
    samples : ndarray of shape (n_samples, n_features) or (n_samples, *sample_shape)
    sample_shape : tuple of int, or None
    kind : {"auto", "image", "sequence", "bar"}
    """
    samples = np.asarray(samples)
    own = getattr(estimator, "sample_shape_", None)
    own = own if sample_shape is None else None
    shape = own or sample_shape or samples.shape[1:]
    kind, full = form_of(kind, shape, own=own is not None)
    n_features = math.prod(samples.shape[1:])
    if math.prod(full) != n_features:
        raise ValueError(
            f"sample_shape={shape} means {math.prod(full)} features; X has "
            f"{n_features}."
        )
    return samples.reshape(len(samples), *full), kind


def form_of(kind, shape, *, own=False):
    """How samples of a shape are drawn, and their full shape.

    Parameters
    ----------
    kind : {"auto", "image", "sequence", "bar"}
    shape : tuple of int
    own : bool, default=False
        Whether the shape is the estimator's: then two entries are a sequence.
    """
    shape = tuple(int(size) for size in shape)
    if kind == "auto":
        steps = len(shape) == 2 and (own or shape[1] == 1)
        kind = "bar" if len(shape) == 1 else "sequence" if steps else "image"
    if kind == "bar":
        return kind, (math.prod(shape),)
    if kind == "sequence":
        full = (*shape, 1) if len(shape) == 1 else shape
        if len(full) == 2:
            return kind, full
        needed = "(n_steps, n_step_features)"
    elif kind == "image":
        full = (1, *shape) if len(shape) == 2 else shape
        if len(full) == 3 and full[0] in (1, 3):
            return kind, full
        needed = "(height, width) or (n_channels, height, width) with 1 or 3 channels"
    else:
        raise ValueError(f"kind must be 'auto' or one of {KINDS}; got {kind!r}.")
    raise ValueError(
        f"Samples of shape {shape} can not be drawn with kind={kind!r}, which needs "
        f"{needed}. Pass sample_shape or another kind."
    )


def form_for(kind, samples, feature_names=None, percentiles=_PERCENTILES):
    """The `Images`, `Sequences` or `Bars` that draw samples of this kind."""
    if kind != "image":
        return Sequences() if kind == "sequence" else Bars(feature_names)
    low, high = np.nanpercentile(samples, percentiles)
    if high > low:
        return Images(low, high)
    return Images(np.nanmin(samples), np.nanmax(samples))


class Images:
    """Grey images for one channel, coloured ones for three.

    Parameters
    ----------
    low, high : float
        Values of the darkest and the brightest pixels.
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
    """One bar for each feature.

    Parameters
    ----------
    names : array-like of str, optional
        Of the features; written out for 16 at most.
    """

    panel = (1.6, 1.3)
    shares_scale = True

    def __init__(self, names=None):
        self.names = names if names is None or len(names) <= _MOST_NAMES else None
        longest = 0 if self.names is None else max(map(len, self.names))
        self.margin = 0.2 + 0.06 * longest

    def draw(self, ax, row, behind=None):
        """Draw one row, with dashes where the bars of another one end."""
        places = np.arange(len(row))
        ax.bar(places, row)
        if behind is not None:
            width = 60 * self.panel[0] / len(row)
            ax.plot(places, behind, "_", color="black", markersize=width)
        if self.names is not None:
            ax.set_xticks(places, self.names, rotation=90, fontsize="x-small")
