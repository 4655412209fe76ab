"""What fits of rows have in common: seeds, device, held-out rows, schedule, curves.

`Fit` and `GANFit` add what is trained and what comes of it.
"""

import math
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skae.estimators.callbacks import FitProgress
from skae.training.batches import resolve_device
from skae.training.trainer import Schedule, check_callbacks

__all__ = ["BaseFit", "given"]

_MAX_HELD_OUT = 1000


class BaseFit:
    """A fit of an estimator to validated rows.

    Parameters
    ----------
    estimator : TrainedEstimator
        Only its parameters are read.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,) or None
        Positive, of mean one.
    context : ndarray of shape (n_samples, n_context), optional
        What the model is told of each row.
    """

    def __init__(self, estimator, X, weight, context=None):
        self.estimator = estimator
        self.X = X
        self.weight = weight
        self.context = context
        self.n_samples, self.n_features = X.shape
        self.random_state = check_random_state(estimator.random_state)
        seed = self.random_state.randint(np.iinfo(np.int32).max)
        self.progress = FitProgress(estimator, X)
        self.device = resolve_device(estimator.device)
        # Weights and batches are drawn on the CPU: alike on every device.
        self.generator = torch.Generator().manual_seed(seed)
        self.noise = torch.Generator(self.device).manual_seed(seed)
        check_callbacks(estimator.callbacks)

    def end(self, fitted: dict) -> None:
        """Tell scikit-learn's callbacks that the fit is over."""
        self.progress.end(lambda: fitted)

    def _shuffled(self):
        """Training row numbers in random order, and held-out ones or None."""
        order = torch.randperm(self.n_samples, generator=self.generator).numpy()
        if not self.estimator.early_stopping:
            return order, None
        held_out = round(self.estimator.validation_fraction * self.n_samples)
        held_out = min(max(1, held_out), _MAX_HELD_OUT, self.n_samples - 1)
        return order[held_out:], np.sort(order[:held_out])

    def _schedule_of(self, n_train, defaults, patience=0, **options) -> Schedule:
        """The schedule that the parameters ask for, or that defaults have.

        Parameters
        ----------
        n_train : int
        defaults : object
            With batch_size, lr, n_steps and n_rounds.
        patience : int, default=0
            Rounds beyond those that the parameters allow.
        **options
            Of `Schedule`.
        """
        estimator = self.estimator
        batch_size = min(given(estimator.batch_size, defaults.batch_size), n_train)
        if estimator.max_iter is None:
            n_rounds = defaults.n_rounds
            n_batches = math.ceil(defaults.n_steps / n_rounds)
        else:
            n_rounds, n_batches = estimator.max_iter, max(1, n_train // batch_size)
        patient = estimator.early_stopping and estimator.n_iter_no_change != np.inf
        return Schedule(
            n_rounds=n_rounds,
            n_batches=n_batches,
            batch_size=batch_size,
            lr=given(estimator.learning_rate_init, defaults.lr),
            patience=int(estimator.n_iter_no_change) + patience if patient else None,
            tol=estimator.tol,
            **options,
        )

    def _curves(self, trainer) -> dict:
        history = trainer.history
        judged = trainer.evaluate is not None
        if trainer.interrupted_:
            warnings.warn(
                f"Training was interrupted in round {len(history)}; the best weights "
                "so far are kept.",
                ConvergenceWarning,
                stacklevel=4,
            )
        rounds = [row for row in history if "train_loss" in row]
        return {
            "_kept_round": trainer.kept_round_,
            "_interrupted": trainer.interrupted_,
            "n_iter_": len(rounds),
            "loss_curve_": [row["train_loss"] for row in rounds],
            "validation_scores_": (
                [-row["valid_loss"] for row in rounds if "valid_loss" in row]
                if judged
                else None
            ),
        }

    def _tensor(self, values, dtype=torch.float32):
        if values is None:
            return None
        return torch.as_tensor(values, dtype=dtype, device=self.device)


def given(value, default):
    """The value, or the default where the value is a word such as "auto"."""
    return default if isinstance(value, str) else value
