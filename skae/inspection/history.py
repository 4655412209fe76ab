"""How training went: losses over epochs, and the epoch whose weights were kept."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skae.inspection.drawing import PlotDisplay, check_has, display

__all__ = ["HistoryDisplay"]

# A ratio of losses beyond which a linear axis would hide the small ones.
_LOG_FROM = 10


@display
class HistoryDisplay(PlotDisplay):
    """Training and held-out loss at each evaluation of a training.

    Beside a critic's loss the held-out one, which measures something else, has an axis
    of its own on the right.

    Parameters
    ----------
    loss_curve : array-like of shape (n_evaluations,)
        Training losses.
    critic_loss : array-like of shape (n_evaluations,), optional
        Training losses of a critic.
    validation_loss : array-like of at most n_evaluations entries, optional
        Held-out losses, of the last evaluations where there are fewer; nan where
        nothing was held out.
    epochs : array-like of shape (n_evaluations,), optional
        Epoch, also with a fraction, of each evaluation; 1, 2, 3 ... when left out.
    kept : float, optional
        Epoch whose weights the model has.
    label, validation_label : str, default="training", "held out"
        What the first and the third curve are called.

    Attributes
    ----------
    validation_ax_ : matplotlib Axes
        Where the held-out loss is drawn; ``ax_`` unless there is a critic. Only with
        held-out losses.

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
    critic_loss: Any = None
    validation_loss: Any = None
    epochs: Any = None
    kept: float | None = None
    label: str = "training"
    validation_label: str = "held out"

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            With ``loss_curve_``, ``validation_scores_`` and ``epochs_``, or an outlier
            detector whose ``estimator_`` has them. A GAN's curves are the losses of
            generator and critic and the energy distance of samples to held-out rows.
        """
        check_is_fitted(estimator)
        estimator = getattr(estimator, "estimator_", estimator)
        check_has(estimator, "loss_curve_", "Histories")
        losses = estimator.loss_curve_
        if not len(losses):
            reason = "the training ended before its first evaluation"
            if hasattr(estimator, "components_"):
                reason = "PCA itself was the result and nothing was trained"
            raise ValueError(
                f"This {type(estimator).__name__} has no history: "
                f"n_iter_={estimator.n_iter_}, since {reason}."
            )
        critic = getattr(estimator, "critic_loss_curve_", None)
        names = {}
        if critic is not None and not hasattr(estimator, "reconstruct"):
            names["label"] = "generator"
            names["validation_label"] = "energy distance to held-out rows"
        scores = getattr(estimator, "validation_scores_", None)
        return cls(
            loss_curve=losses,
            critic_loss=critic,
            validation_loss=None if scores is None else -np.asarray(scores),
            epochs=estimator.epochs_,
            kept=getattr(estimator, "kept_epoch_", None),
            **names,
        ).plot(ax)

    def plot(self, ax=None):
        """Draw the losses."""
        ax = last = self._start(ax)
        self._draw(ax, self.label, self.loss_curve)
        if self.critic_loss is not None:
            self._draw(ax, "critic", self.critic_loss)
        if self.validation_loss is not None:
            if self.critic_loss is not None:
                last = _beside(ax, self.validation_label)
            self._draw(last, self.validation_label, self.validation_loss)
            self.validation_ax_ = last
        if self.kept is not None:
            label = f"kept: epoch {self.kept:.3g}"
            last.axvline(self.kept, color="black", linestyle="--", label=label)
        ax.set(xlabel="epoch", ylabel="loss")
        entries = [
            axes.get_legend_handles_labels() for axes in dict.fromkeys((ax, last))
        ]
        ax.legend(*(sum(parts, []) for parts in zip(*entries, strict=True)))
        return self

    def _draw(self, ax, name, loss):
        epochs = self.epochs
        if epochs is None:
            epochs = np.arange(1, len(self.loss_curve) + 1)
        # A single evaluation is no line.
        mark = "o" if np.isfinite(loss).sum() == 1 else None
        ax.plot(epochs[-len(loss) :], loss, marker=mark, label=name)
        losses = np.concatenate([line.get_ydata() for line in ax.lines])
        if 0 < _LOG_FROM * np.nanmin(losses) < np.nanmax(losses):
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:g}")


def _beside(ax, label):
    """Axes with a scale of their own on the right, below the lines of these."""
    other = ax.twinx()
    other.set_ylabel(label)
    # The colours of the lines go on.
    for _ in ax.lines:
        other.plot([], [])[0].remove()
    ax.set_zorder(other.get_zorder() + 1)
    ax.patch.set_visible(False)
    return other
