"""How training went, as a picture: losses over epochs, and the weights kept."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skae.inspection.figures import new_axes

__all__ = ["HistoryDisplay"]

# A ratio of losses beyond which a linear axis would hide the small ones.
_LOG_FROM = 10


class HistoryDisplay:
    """Training and held-out loss at each evaluation of a training.

    Parameters
    ----------
    loss_curve : array-like of shape (n_evaluations,)
        Training losses.
    validation_loss : array-like of shape (n_evaluations,), optional
        Held-out losses; nan where nothing was held out.
    epochs : array-like of shape (n_evaluations,), optional
        When they were, in epochs, and fractions of them; 1, 2, 3 ... where left out.
    kept : float, optional
        Epoch whose weights the model has.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After `plot`.

    Notes
    -----
    With noise, penalties or a moving average of the weights in training the two
    losses are not of the same kind: the curve of each tells, not their distance.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import DenoisingAE
    >>> from skae.inspection import HistoryDisplay
    >>> X, _ = load_digits(return_X_y=True)
    >>> ae = DenoisingAE(32, max_iter=5, random_state=0).fit(X)
    >>> display = HistoryDisplay.from_estimator(ae)
    >>> display.figure_.savefig("history.png")  # doctest: +SKIP
    """

    def __init__(self, *, loss_curve, validation_loss=None, epochs=None, kept=None):
        self.loss_curve = loss_curve
        self.validation_loss = validation_loss
        self.epochs = epochs
        self.kept = kept

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw the history of a fitted autoencoder.

        Parameters
        ----------
        estimator : fitted autoencoder
            With ``loss_curve_``, ``validation_scores_`` and ``epochs_``.
        ax : matplotlib Axes, optional
            A new figure's when left out.

        Returns
        -------
        display : HistoryDisplay

        Raises
        ------
        ValueError
            When the estimator has no history, or it is empty.
        """
        check_is_fitted(estimator)
        name = type(estimator).__name__
        losses = getattr(estimator, "loss_curve_", None)
        if losses is None:
            raise ValueError(
                f"A history needs an estimator with loss_curve_; {name} has none."
            )
        if not len(losses):
            raise ValueError(
                f"This {name} has no history: n_iter_={estimator.n_iter_}, since PCA "
                "itself was the answer and nothing was trained."
            )
        scores = getattr(estimator, "validation_scores_", None)
        held_out = None if scores is None else -np.asarray(scores)
        return cls(
            loss_curve=losses,
            validation_loss=held_out,
            epochs=estimator.epochs_,
            kept=_kept_epoch(estimator),
        ).plot(ax)

    def plot(self, ax=None):
        """Draw the losses.

        Parameters
        ----------
        ax : matplotlib Axes, optional

        Returns
        -------
        display : HistoryDisplay

        Raises
        ------
        ImportError
            When matplotlib is not installed.
        """
        if ax is None:
            ax = new_axes()
        curves = {"training": self.loss_curve, "held out": self.validation_loss}
        drawn = {name: loss for name, loss in curves.items() if loss is not None}
        epochs = self.epochs
        if epochs is None:
            epochs = np.arange(1, len(self.loss_curve) + 1)
        for name, loss in drawn.items():
            # A single evaluation is no line.
            mark = "o" if np.isfinite(loss).sum() == 1 else None
            ax.plot(epochs[-len(loss) :], loss, marker=mark, label=name)
        if self.kept is not None:
            label = f"kept: epoch {self.kept:.3g}"
            ax.axvline(self.kept, color="black", linestyle="--", label=label)
        losses = np.concatenate(list(drawn.values()))
        if 0 < _LOG_FROM * np.nanmin(losses) < np.nanmax(losses):
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:g}")
        ax.set(xlabel="epoch", ylabel="loss")
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _kept_epoch(estimator):
    """When the model had its weights; None if PCA's, the start's or the last."""
    start_kept = (
        getattr(estimator, "init", None) == "pca"
        and getattr(estimator, "departure_", 1) == 0
    )
    kept = getattr(estimator, "_kept_round", None)
    return None if start_kept or not kept else estimator.epochs_[kept - 1]
