"""How training went: losses over epochs, and the epoch whose weights were kept."""

from typing import Any

import numpy as np

from skae.inspection.drawing import PlotDisplay, check_has, display

__all__ = ["HistoryDisplay"]

# A ratio of losses beyond which a linear axis would hide the small ones.
_LOG_FROM = 10


@display
class HistoryDisplay(PlotDisplay):
    """Training and held-out loss at each evaluation of a training.

    Parameters
    ----------
    loss_curve : array-like of shape (n_evaluations,)
        Training losses.
    validation_loss : array-like of shape (n_evaluations,), optional
        Held-out losses; nan where nothing was held out.
    epochs : array-like of shape (n_evaluations,), optional
        Epoch, also with a fraction, of each evaluation; 1, 2, 3 ... when left out.
    kept : float, optional
        Epoch whose weights the model has.

    Notes
    -----
    With noise, penalties or a moving average of the weights in training the two losses
    measure different things: compare each with itself over time, not with the other.

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

    loss_curve: Any
    validation_loss: Any = None
    epochs: Any = None
    kept: float | None = None

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw the history of a fitted autoencoder.

        Parameters
        ----------
        estimator : fitted autoencoder
            With ``loss_curve_``, ``validation_scores_`` and ``epochs_``.
        """
        check_has(estimator, "loss_curve_", "Histories")
        losses = estimator.loss_curve_
        if not len(losses):
            raise ValueError(
                f"This {type(estimator).__name__} has no history: "
                f"n_iter_={estimator.n_iter_}, since PCA itself was the result and "
                "nothing was trained."
            )
        scores = getattr(estimator, "validation_scores_", None)
        return cls(
            loss_curve=losses,
            validation_loss=None if scores is None else -np.asarray(scores),
            epochs=estimator.epochs_,
            kept=getattr(estimator, "kept_epoch_", None),
        ).plot(ax)

    def plot(self, ax=None):
        """Draw the losses."""
        ax = self._start(ax)
        curves = {"training": self.loss_curve, "held out": self.validation_loss}
        curves = {name: loss for name, loss in curves.items() if loss is not None}
        epochs = self.epochs
        if epochs is None:
            epochs = np.arange(1, len(self.loss_curve) + 1)
        for name, loss in curves.items():
            # A single evaluation is no line.
            mark = "o" if np.isfinite(loss).sum() == 1 else None
            ax.plot(epochs[-len(loss) :], loss, marker=mark, label=name)
        if self.kept is not None:
            label = f"kept: epoch {self.kept:.3g}"
            ax.axvline(self.kept, color="black", linestyle="--", label=label)
        losses = np.concatenate(list(curves.values()))
        if 0 < _LOG_FROM * np.nanmin(losses) < np.nanmax(losses):
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:g}")
        ax.set(xlabel="epoch", ylabel="loss")
        ax.legend()
        return self
