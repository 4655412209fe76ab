"""What fits of rows have in common: seeds, device, held-out rows, schedule, curves.

Subclasses of `BaseFit` add what is trained and the fitted attributes.
"""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skae.fitting.callbacks import FitProgress
from skae.fitting.defaults import length_of
from skae.rows.devices import full_precision, memory_for, resolve_device
from skae.rows.group import group_of
from skae.rows.sources import RowSource, sampled_rows
from skae.rows.tensors import permutation
from skae.rows.user_line import warn_user
from skae.training.block_batches import AllBut
from skae.training.callbacks import check_callbacks, influential_callbacks
from skae.training.schedule import Schedule
from skae.training.spread import generator_of
from skae.training.trainer import Trainer

__all__ = [
    "BaseFit",
    "advice_on",
    "finished_rounds",
    "interrupted_chunk",
    "joined",
    "rows_at",
    "value_or_default",
]

_MAX_HELD_OUT = 1000
# Training ended too early if its last quarter has over a tenth of the whole decrease.
_LAST_PART = 0.25
_MUCH = 0.1


class BaseFit:
    """A fit of an estimator to validated rows.

    Parameters
    ----------
    estimator : TrainedEstimator
        Only its parameters are read.
    X : ndarray, CSR matrix or row source of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,) or None
        Positive, of mean one.
    context : ndarray of shape (n_samples, n_context), optional
        The condition of each row.
    notifies : bool, default=True
        Whether scikit-learn's callbacks are notified from here on.
    recording : Recording, optional
        Of a fit with a checkpoint.
    work : float, optional
        Of a training step, by which "auto" picks a device, see `resolve_device`.
    **data : array, CSR matrix or None
        What else the fit learns from, under its name.
    """

    # Whether the model starts as PCA.
    is_anchored = False

    def __init__(
        self,
        estimator,
        X,
        weight,
        context=None,
        *,
        notifies=True,
        recording=None,
        work=math.inf,
        **data,
    ):
        check_callbacks(estimator.callbacks)
        self.estimator = estimator
        self.X = X
        self.weight = weight
        self.context = context
        self.n_samples, self.n_features = X.shape
        self.device = resolve_device(estimator.device, work)
        self.recording = recording
        self.random_state = self._at_start(**data)
        self.seed = self.random_state.randint(np.iinfo(np.int32).max)
        if notifies:
            self.progress = FitProgress(estimator, X)
        # Weights and batches are drawn on the CPU: the same on every device.
        self.generator = torch.Generator("cpu").manual_seed(self.seed)
        self.group = group_of(X)
        self.noise = generator_of(self.group, self.seed, self.device)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Full precision, and the way out where memory ends, for a with block."""
        size = self.estimator.batch_size
        what = f"batch_size={size!r}: make it smaller"
        with full_precision(self.device), memory_for(self.device, what):
            yield

    def _at_start(self, **data) -> np.random.RandomState:
        """The estimator's random state, or that of the fit that is taken up again."""
        given = self.estimator.random_state
        if self.recording is None:
            return check_random_state(given)
        return self.recording.open(
            given,
            self.device.type,
            influential_callbacks(self.estimator.callbacks),
            X=self.X,
            sample_weight=self.weight,
            condition=self.context,
            **data,
        )

    def end(self, fitted: dict) -> None:
        """Notify scikit-learn's callbacks, and report how the fit went."""
        self.progress.end(lambda: fitted)
        if self.estimator.verbose:
            name, phrases = type(self.estimator).__name__, self._summary(fitted)
            print(f"{name}: {', '.join(phrases)}", file=sys.stderr)

    def _summary(self, fitted: dict) -> list[str]:
        n_epochs, scores = fitted["n_iter_"], fitted["validation_scores_"]
        if not len(fitted["loss_curve_"]):
            return ["nothing was trained"]
        phrases = [f"{n_epochs} epoch{'s' * (n_epochs != 1)}"]
        kept = fitted["kept_round_"]
        if scores is not None and kept:
            phrases.append(f"held-out loss {-scores[0]:.4g} -> {-scores[kept - 1]:.4g}")
        if kept:
            phrases.append(f"kept epoch {fitted['epochs_'][kept - 1]:.3g}")
        else:
            phrases.append("kept the start")
        return [*phrases, fitted["stop_reason_"]]

    def _shuffled(self):
        """Training row numbers in random order, and held-out ones or None."""
        is_sampled = getattr(self.recording, "holds_out_sampled", None)
        if isinstance(self.X, RowSource) if is_sampled is None else is_sampled:
            return self._shuffled_source()
        order = permutation(self.n_samples, self.generator)
        if not self.estimator.early_stopping:
            return order, None
        held_out = round(self.estimator.validation_fraction * self.n_samples)
        held_out = min(max(1, held_out), _MAX_HELD_OUT, self.n_samples - 1)
        return order[held_out:], np.sort(order[:held_out])

    def _shuffled_source(self):
        """The same of a source, whose held-out rows come from its sample."""
        sampled, left_out, n_out = sampled_rows(self.X), None, 0
        order = permutation(len(sampled), self.generator)
        if self.estimator.early_stopping:
            n_out = round(self.estimator.validation_fraction * self.n_samples)
            n_out = min(max(1, n_out), _MAX_HELD_OUT, len(sampled) // 2)
            left_out = np.sort(sampled[order[:n_out]])
        return AllBut(self.n_samples, left_out, sampled[order[n_out:]]), left_out

    def _schedule_of(self, n_train, defaults, warmup=0.0, **options) -> Schedule:
        """The schedule of the parameters, with defaults for what they leave open.

        Defaults have batch_size, lr, n_steps and n_rounds; the options are those of
        `Schedule`. A share ``warmup`` of the training does not count against patience.
        """
        estimator = self.estimator
        batch_size = min(
            value_or_default(estimator.batch_size, defaults.batch_size), n_train
        )
        length = length_of(
            n_train, batch_size, defaults.n_steps, defaults.n_rounds, estimator.max_iter
        )
        patience = None
        if estimator.early_stopping and estimator.n_iter_no_change != np.inf:
            patience = int(estimator.n_iter_no_change) + round(warmup * length.n_rounds)
        return Schedule(
            n_rounds=length.n_rounds,
            n_steps=length.n_steps,
            batch_size=batch_size,
            lr=value_or_default(estimator.learning_rate_init, defaults.lr),
            patience=patience,
            tol=estimator.tol,
            steps_per_epoch=length.steps_per_epoch,
            **options,
        )

    def _curves(self, trainer: Trainer, earlier=None) -> dict:
        """Fitted attributes of a training, which may continue that of an estimator."""
        rounds = finished_rounds(trainer)
        self._warn_of_training(trainer, rounds, is_continued=earlier is not None)
        epochs = np.array([trainer.schedule.epochs(row["step"]) for row in rounds])
        losses = [row["train_loss"] for row in rounds]
        kept, scores = trainer.kept_round_, None
        if trainer.evaluate is not None:
            scores = [-row["valid_loss"] for row in rounds]
        if earlier is not None:
            n_before = len(earlier.loss_curve_)
            kept = n_before + kept if kept else earlier.kept_round_
            scores = joined(earlier.validation_scores_, n_before, scores, len(losses))
            losses = [*earlier.loss_curve_, *losses]
            last = earlier.epochs_[-1] if n_before else 0.0
            epochs = np.concatenate([earlier.epochs_, last + epochs])
        ended = "trained to the end"
        if self.estimator.max_iter is not None:
            ended = "stopped at max_iter"
        return {
            "kept_round_": kept,
            "interrupted_": trainer.interrupted_,
            "stop_reason_": trainer.stop_reason_ or ended,
            # Sums of fractions may come out a little above a whole number.
            "n_iter_": math.ceil(epochs[-1] - 1e-6) if len(epochs) else 0,
            "epochs_": epochs,
            "loss_curve_": losses,
            "validation_scores_": scores,
        }

    def _warn_of_training(self, trainer, rounds: list[dict], is_continued) -> None:
        if trainer.interrupted_:
            epoch = trainer.schedule.epochs(rounds[-1]["step"]) if rounds else 0
            advice = (
                f"Training was interrupted after {epoch:.3g} epochs; the best weights "
                "so far are kept."
            )
        else:
            untrained = trainer.kept_round_ == 0
            advice = advice_on(
                trainer.start_loss_,
                [row["valid_loss"] for row in rounds if "valid_loss" in row],
                tol=self.estimator.tol,
                max_iter=None if trainer.stop_reason_ else self.estimator.max_iter,
                kept_untrained=untrained and not self.is_anchored and not is_continued,
            )
        if advice is not None:
            warn_user(advice, ConvergenceWarning)

    def _tensor(self, values, dtype=torch.float32):
        if values is None:
            return None
        return torch.as_tensor(values, dtype=dtype, device=self.device)


def advice_on(
    start: float | None,
    losses: list[float],
    *,
    tol: float,
    max_iter: int | None,
    kept_untrained: bool,
) -> str | None:
    """What to do about a training that did not converge; None where it did.

    Parameters
    ----------
    start : float or None
        The held-out loss before the training.
    losses : list of float
        The held-out losses of its rounds; empty where nothing was held out.
    tol : float
        A fall of less than this share of the loss does not count.
    max_iter : int or None
        The limit that ended the training, if one did that the user had set.
    kept_untrained : bool
        Whether the weights are those of a random start.
    """
    if not losses or start is None:
        return None
    if kept_untrained:
        return (
            "No weights were better on held-out rows than the untrained start, which "
            "is kept. Lower learning_rate_init, raise max_iter or n_iter_no_change, or "
            "scale X."
        )
    if max_iter is None:
        return None
    losses = [start, *losses]
    split = 1 + math.floor((1 - _LAST_PART) * (len(losses) - 1))
    best = min(losses)
    fall = min(losses[:split]) - best
    if fall > max(_MUCH * (start - best), tol * abs(best)):
        return (
            f"max_iter={max_iter} ended the training while the held-out loss still "
            "fell. Raise max_iter."
        )
    return None


def interrupted_chunk() -> KeyboardInterrupt:
    """What ``partial_fit`` raises after Ctrl-C: chunks are applied whole or not."""
    return KeyboardInterrupt(
        "partial_fit was interrupted; the estimator is as it was before the call, so "
        "that these rows can be passed again."
    )


def finished_rounds(trainer: Trainer) -> list[dict]:
    """Those of a trainer's rounds that came to their end."""
    return [row for row in trainer.history if trainer.monitored in row]


def joined(earlier, n_earlier: int, later, n_later: int) -> list[float] | None:
    """Two curves as one, with nan for the one that is missing."""
    if earlier is None and later is None:
        return None
    return [*(earlier or [math.nan] * n_earlier), *(later or [math.nan] * n_later)]


def rows_at(rows, index):
    """Some of the rows, where there are any."""
    return None if rows is None else rows[index]


def value_or_default(value, default):
    """The value, or the default where the value is a word such as "auto"."""
    return default if isinstance(value, str) else value
