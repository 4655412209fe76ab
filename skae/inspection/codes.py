"""The codes of rows as points in the plane, or along a line.

Works on any fitted transformer, PCA and pipelines too.
"""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from skae.inspection.figures import new_axes, palette

__all__ = ["LatentDisplay"]

_MOST_KINDS = 20


class LatentDisplay:
    """Codes of rows, coloured by what is known of the rows.

    Codes of two columns are drawn as they are, wider ones along their two principal
    axes. A single column is drawn against y, or as a histogram without y.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_components)
    y : array-like of shape (n_samples,), optional
        Class labels, up to 20 kinds of them, get a legend; numbers of more kinds, or
        with fractions, get a colour bar.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After `plot`.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skae import AutoencoderTransformer
    >>> from skae.inspection import LatentDisplay
    >>> X, y = load_wine(return_X_y=True)
    >>> ae = make_pipeline(StandardScaler(), AutoencoderTransformer(2, random_state=0))
    >>> display = LatentDisplay.from_estimator(ae.fit(X), X, y)
    >>> display.figure_.savefig("codes.png")  # doctest: +SKIP
    """

    def __init__(self, *, codes, y=None):
        self.codes = codes
        self.y = y

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, ax=None):
        """Encode rows and draw.

        Parameters
        ----------
        estimator : fitted transformer
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), optional
            Class labels or numbers.
        ax : matplotlib Axes, optional
            A new figure's when left out.

        Returns
        -------
        display : LatentDisplay
        """
        check_is_fitted(estimator)
        codes = np.asarray(estimator.transform(X))
        return cls(codes=codes, y=y).plot(ax)

    def plot(self, ax=None):
        """Draw the codes.

        Parameters
        ----------
        ax : matplotlib Axes, optional

        Returns
        -------
        display : LatentDisplay

        Raises
        ------
        ValueError
            When y has not one entry a row, or too many kinds for colours.
        ImportError
            When matplotlib is not installed.
        """
        codes = check_array(self.codes, input_name="codes")
        if self.y is not None:
            check_consistent_length(codes, self.y)
        if ax is None:
            ax = new_axes()
        points, labels = _plane(codes)
        y, name = self._known()
        kinds = None if y is None else _kinds(y)
        if points.shape[1] > 1:
            self._draw_plane(ax, points, y, kinds, name)
            ax.set(xlabel=labels[0], ylabel=labels[1])
        else:
            self._draw_line(ax, points[:, 0], y, kinds, name)
            ax.set_xlabel(labels[0])
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _known(self):
        """y as an array, and what it is called."""
        if self.y is None:
            return None, None
        y = column_or_1d(self.y)
        if y.dtype.kind == "O":
            # Missing labels can not be sorted among the others.
            y = y.astype(str)
        return y, getattr(self.y, "name", None)

    def _draw_plane(self, ax, points, y, kinds, name):
        size = _point_size(len(points))
        if kinds is None:
            drawn = ax.scatter(*points.T, c=y, s=size)
            if y is not None:
                ax.figure.colorbar(drawn, ax=ax, label=name or "y")
            return
        for kind, color in zip(kinds, palette(len(kinds)), strict=True):
            chosen = points[y == kind]
            ax.scatter(*chosen.T, s=size, color=color, label=str(kind))
        ax.legend(
            title=name,
            ncols=1 if len(kinds) <= 10 else 2,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            markerscale=1.5,
        )

    def _draw_line(self, ax, code, y, kinds, name):
        if y is None:
            ax.hist(code, bins=40)
            ax.set_ylabel("rows")
            return
        size = _point_size(len(code))
        if kinds is None:
            ax.scatter(code, y, s=size)
        else:
            # Points of a kind would hide each other on one line.
            jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(code))
            for place, (kind, color) in enumerate(
                zip(kinds, palette(len(kinds)), strict=True)
            ):
                chosen = y == kind
                ax.scatter(code[chosen], place + jitter[chosen], s=size, color=color)
            ax.set_yticks(range(len(kinds)), [str(kind) for kind in kinds])
        ax.set_ylabel(name or "y")


def _plane(codes):
    """Codes in at most two columns, and what these are called."""
    width = codes.shape[1]
    if width <= 2:
        return codes, ["code"] if width == 1 else ["code 0", "code 1"]
    with np.errstate(invalid="ignore"):  # The shares of codes that do not vary.
        pca = PCA(2, random_state=0).fit(codes)
    total = codes.var(axis=0, ddof=1).sum() or 1.0
    labels = [
        f"PCA axis {axis} of {width} code columns ({variance / total:.0%})"
        for axis, variance in enumerate(pca.explained_variance_)
    ]
    return pca.transform(codes), labels


def _kinds(y):
    """The kinds of labels, None for numbers that are better a scale.

    Raises
    ------
    ValueError
        When there are too many kinds of labels that are no numbers.
    """
    kinds = np.unique(y)
    number = y.dtype.kind in "iuf"
    fractions = y.dtype.kind == "f" and not np.all(kinds == np.round(kinds))
    if len(kinds) <= _MOST_KINDS and not fractions:
        return kinds
    if number:
        return None
    raise ValueError(
        f"y has {len(kinds)} kinds of labels; colours tell {_MOST_KINDS} apart. Group "
        "them, or give numbers for a colour bar."
    )


def _point_size(n_points):
    return float(np.clip(8000 / n_points, 3, 30))
