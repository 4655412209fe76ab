"""How one sample is drawn: as an image, a sequence or bars.

`form_of` reads off the shape of a sample which of these it is, and `Images`,
`Sequences` and `Bars` draw samples, each on a panel of ``panel`` inches in a figure
with ``margin`` inches below. `ReconstructionDisplay` calls
them; nothing here knows estimators.

Shape
-----
Images are ``(n_channels, height, width)``, sequences ``(n_steps, n_step_features)``,
bars ``(n_features,)``.
"""

import math

import numpy as np

__all__ = ["KINDS", "Bars", "Images", "Sequences", "form_of"]

KINDS = ("image", "sequence", "bar")
_MOST_NAMES = 16


def form_of(kind, shape, *, own=False):
    """How samples of a shape are drawn, and their full shape.

    Parameters
    ----------
    kind : {"auto", "image", "sequence", "bar"}
        "auto" takes three entries for an image and one for bars; two for a sequence if
        the shape is the estimator's own or ends in one, else for an image.
    shape : tuple of int
    own : bool, default=False
        Whether the shape is the estimator's.

    Returns
    -------
    kind : {"image", "sequence", "bar"}
    shape : tuple of int

    Raises
    ------
    ValueError
        When the kind is unknown, or samples of this shape can not be drawn like that.
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

    def draw(self, ax, sample, behind=None):
        """Draw one image; nothing can be seen behind it."""
        if len(sample) == 1:
            ax.imshow(sample[0], cmap="gray", vmin=self.low, vmax=self.high)
        else:
            share = (sample - self.low) / (self.high - self.low)
            ax.imshow(np.moveaxis(np.clip(share, 0, 1), 0, -1))
        ax.set(xticks=[], yticks=[])


class Sequences:
    """One line for each feature over the steps; NaN is left out."""

    panel = (1.8, 1.3)
    margin = 0.2
    shares_scale = True

    def draw(self, ax, sample, behind=None):
        """Draw one sequence, with another one thin and grey behind it."""
        if behind is not None:
            ax.plot(behind, color="0.6", linewidth=1.0)
        for column, feature in enumerate(sample.T):
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

    def draw(self, ax, sample, behind=None):
        """Draw one row, with dashes where the bars of another one end."""
        places = np.arange(len(sample))
        ax.bar(places, sample)
        if behind is not None:
            width = 60 * self.panel[0] / len(sample)
            ax.plot(places, behind, "_", color="black", markersize=width)
        if self.names is not None:
            ax.set_xticks(places, self.names, rotation=90, fontsize="x-small")
