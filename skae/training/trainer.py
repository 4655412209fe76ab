"""The training loop: skorch's net with its overhead taken out.

The only file that imports skorch. `Trainer` optimises any module with a ``batch_loss``,
in practice an `Autoencoder` or a `Classification`; batches are slices of tensors on the
device, losses stay there until the end of a round, and the step is `ExplicitGradient`
where that applies and autograd where not. A round is what
skorch calls an epoch: some training steps, then one evaluation. What is evaluated and
kept is the moving average of the weights.
"""

import math
import warnings
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochScoring,
    LRScheduler,
    PassthroughScoring,
)
from torch import Tensor, nn
from tqdm.auto import tqdm

from skae.training.flat import FlatAdamW, FlatParameters

__all__ = ["Schedule", "Trainer", "check_callbacks"]

_BACK_OFF = 0.1
_RETRIES = 3


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes
    ----------
    n_rounds : int
        Evaluations, each after ``n_batches`` steps.
    n_batches : int
    batch_size : int
    lr : float
        Peak learning rate.
    weight_decay, ema_decay : float
    patience : int or None
        Rounds without improvement before stopping; None trains to the end.
    tol : float
        Relative improvement that counts.
    constant : bool
        No warm-up, no decay: for training that has no known end.
    plateau : float
        Share of the steps before the rate falls.
    """

    n_rounds: int
    n_batches: int
    batch_size: int
    lr: float
    weight_decay: float = 0.0
    ema_decay: float = 0.98
    patience: int | None = None
    tol: float = 1e-4
    constant: bool = False
    plateau: float = 0.05


_UNSUPPORTED = {
    EpochScoring: "there is no dataset to predict on; score in on_epoch_end of a "
    "callback of your own, or with scikit-learn's set_callbacks",
    LRScheduler: "the learning rate follows the estimator's own schedule; set "
    "learning_rate_init and max_iter",
}


def check_callbacks(callbacks) -> None:
    """Refuse what the training loop can not notify.

    Raises
    ------
    ValueError
        When an entry is no skorch callback, or one that has nothing to act on.
    """
    for entry in callbacks or ():
        callback = entry[1] if isinstance(entry, tuple) and len(entry) == 2 else entry
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise ValueError(
                f"callbacks must be a list of skorch callbacks; got {entry!r} in it."
            )
        for unsupported, reason in _UNSUPPORTED.items():
            if issubclass(kind, unsupported):
                raise ValueError(f"{kind.__name__} can not be used: {reason}.")


class Trainer(NeuralNet):
    """Optimise a module, keeping its best weights.

    Parameters
    ----------
    module : Module
        Trained in place. ``batch_loss(*batch, generator)`` is its loss, of shape
        ``()`` or ``(members,)``, ``decayed_parameters()`` are under weight decay, and
        ``members`` is their number or None.
    schedule : Schedule
    generator : torch.Generator
        On the module's device; corruption and prior draw from it.
    evaluate : callable, optional
        ``evaluate(module) -> float``, the held-out objective after each round. Without
        it the training loss decides which weights are kept.
    autograd : bool, default=False
        Use the general path also where the explicit one applies.
    on_round : callable, optional
        ``on_round(round_number, module)`` after each round, with the averaged weights
        in the module; returning True stops the training.
    rates : dict of Parameter to float, optional
        Share of the learning rate that a parameter moves at; one where left out.
    keep_last : bool, default=False
        Keep the last finite weights instead of the best, for losses that change their
        meaning during the training.
    callbacks : list of skorch callbacks, optional
    verbose : int, default=0
        One shows a progress bar.

    Attributes
    ----------
    history : skorch History
        ``train_loss`` and, with ``evaluate``, ``valid_loss`` of every round.
    interrupted_ : bool
        Whether Ctrl-C ended the training.
    kept_round_ : int
        The round whose weights are left in the module; 0 where no round was better than
        the start.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        schedule: Schedule,
        generator: torch.Generator,
        evaluate: Callable[[Any], float] | None = None,
        autograd: bool = False,
        on_round: Callable[[int, Any], object] | None = None,
        rates: dict[nn.Parameter, float] | None = None,
        keep_last: bool = False,
        callbacks=None,
        verbose: int = 0,
    ):
        self.schedule = schedule
        self.generator = generator
        self.evaluate = evaluate
        self.autograd = autograd
        self.on_round = on_round
        self.rates = rates
        self.keep_last = keep_last
        self.interrupted_ = False
        super().__init__(
            module,
            criterion=None,
            train_split=None,
            max_epochs=schedule.n_rounds,
            callbacks=self._own_callbacks(verbose) + list(callbacks or []),
            # skorch moves modules by itself, which would leave the flat buffers.
            device=None,
            verbose=0,
        )

    # What the history records of a round and has to be finite.
    _LOSSES: tuple[str, ...] = ("train_loss", "valid_loss")

    def _own_callbacks(self, verbose):
        monitored = "valid_loss" if self.evaluate else "train_loss"
        own = []
        if self.schedule.patience is not None:
            stopping = EarlyStopping(
                monitor=monitored,
                patience=self.schedule.patience,
                threshold=self.schedule.tol,
                sink=lambda *args: None,
            )
            own.append(("early_stopping", stopping))
        if verbose:
            own.append(("progress_bar", _ProgressBar(monitored)))
        return own

    @property
    def _default_callbacks(self):
        return []

    def _validate_params(self):
        """The estimator's business."""

    def initialize_module(self):
        self.module_ = self.module
        decayed = self.module_.decayed_parameters()
        self.flat_ = FlatParameters(self.module_, decayed)
        written = None if self.autograd else self.module_.gradient(self.generator)
        self.gradient_ = self._autograd_step if written is None else written
        return self

    def initialize_criterion(self):
        """The objective is part of the module."""
        return self

    def initialize_optimizer(self, triggered_directly=None):
        schedule = self.schedule
        self.optimizer_ = FlatAdamW(
            self.flat_,
            lr=schedule.lr,
            n_steps=schedule.n_rounds * schedule.n_batches,
            weight_decay=schedule.weight_decay,
            ema_decay=schedule.ema_decay,
            constant=schedule.constant,
            plateau=schedule.plateau,
            shares=self.flat_.like(self.rates),
        )
        return self

    def train(self, batches: Sized) -> "Trainer":
        """Run the schedule and leave the best weights in the module."""
        if not self.initialized_:
            self.initialize()
        self.interrupted_ = False
        self._retries = self._n_finite = self.kept_round_ = 0
        self._best = float("inf")
        self._best_weights = self.optimizer_.average.clone()
        self.module_.eval()
        if self.evaluate is not None:
            first = self.evaluate(self.module_)
            self._best = first if math.isfinite(first) else float("inf")
        try:
            self.partial_fit(batches)
        finally:
            self.flat_.data.copy_(self._best_weights)
        self._raise_if_lost()
        return self

    def release(self) -> None:
        """Give each parameter memory of its own.

        Views of one buffer would each be pickled with all of it.
        """
        for parameter in self.module_.parameters():
            parameter.data, parameter.grad = parameter.data.clone(), None

    def check_data(self, X, y=None):
        """Rows are validated before they come here."""

    def get_split_datasets(self, X, y=None, **fit_params):
        return X, None if self.evaluate is None else [self.evaluate]

    def get_iterator(self, dataset, training=False):
        return dataset

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        if iterator is None:
            return
        try:
            if training:
                self._run_steps(iterator)
            else:
                (evaluate,) = iterator
                with self._averaged():
                    self.history.record("valid_loss", evaluate(self.module_))
        except KeyboardInterrupt:
            self.interrupted_ = True
            raise

    def _run_steps(self, batches):
        total = torch.zeros((), device=self.flat_.data.device)
        notify = self.notify if self._watches_batches() else None
        if notify is None:
            # Checkpoints name their files by the last batch, so there has to be one.
            self.history.new_batch()
        self.module_.train()
        for batch in batches:
            if notify:
                notify("on_batch_begin", batch=batch, training=True)
            loss = self._step(batch, notify)
            total += loss
            if notify:
                notify("on_batch_end", batch=batch, training=True, loss=loss)
        self.module_.eval()
        n_members = self.module_.members or 1
        self.history.record("train_loss", total.item() / len(batches) / n_members)

    def _step(self, batch, notify) -> Tensor:
        """One training step; its loss, summed over members."""
        loss = self.gradient_(*batch)
        self._notify_of_gradient(notify, self.module_.named_parameters())
        self.optimizer_.step()
        return loss

    def _notify_of_gradient(self, notify, named):
        if notify:
            notify("on_grad_computed", named_parameters=list(named), training=True)

    def _autograd_step(self, *batch) -> Tensor:
        self.flat_.grad.zero_()
        loss = self.module_.batch_loss(*batch, generator=self.generator)
        loss.backward(torch.ones_like(loss))
        return loss.detach().sum()

    def on_epoch_end(self, net, **kwargs):
        """Keep the weights if they are the best so far; back off from divergence."""
        last = self.history[-1]
        monitored = "valid_loss" if self.evaluate else "train_loss"
        loss = last[monitored]
        # What skorch's checkpoints look for.
        self.history.record(f"{monitored}_best", loss < self._best)
        if not self._is_finite(last):
            self._back_off()
            return
        self._n_finite += 1
        if self._is_kept(loss):
            self._best = loss if self.keep_last else min(loss, self._best)
            self._best_weights.copy_(self.optimizer_.average)
            self.kept_round_ = len(self.history)
        if self.on_round is not None:
            try:
                with self._averaged():
                    stop = self.on_round(len(self.history), self.module_)
            except KeyboardInterrupt:
                self.interrupted_ = True
                raise
            if stop:
                raise KeyboardInterrupt

    def _is_finite(self, row) -> bool:
        """Whether training can go on from the round that a row of the history tells."""
        return all(math.isfinite(row[n]) for n in self._LOSSES if n in row)

    def _is_kept(self, loss: float) -> bool:
        """Whether a round of this monitored loss is better than those before."""
        return loss < self._best or self.keep_last

    def _back_off(self):
        self._retries += 1
        if self._retries > _RETRIES:
            raise KeyboardInterrupt
        self.flat_.data.copy_(self._best_weights)
        self.optimizer_.restart(_BACK_OFF**self._retries)

    def _raise_if_lost(self):
        if self._retries and not self._n_finite:
            raise FloatingPointError(
                "The training loss was infinite or NaN in every round, also after the "
                f"learning rate was lowered from {self.schedule.lr:g}. Scale X, choose "
                "a smaller learning_rate_init or check the corruption and penalty."
            )
        if self._retries:
            warnings.warn(
                "The training loss became infinite or NaN; training went on from the "
                "best weights with a lower learning rate. Consider a smaller "
                "learning_rate_init.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _watches_batches(self) -> bool:
        return any(
            getattr(type(callback), hook, None) is not getattr(Callback, hook)
            for _, callback in self.callbacks_
            if not isinstance(callback, PassthroughScoring)
            for hook in ("on_batch_begin", "on_grad_computed", "on_batch_end")
        )

    def _averaged(self):
        return _Swapped(self.flat_.data, self.optimizer_.average)


class _Swapped:
    """Hold other values in a tensor for the length of a with block."""

    def __init__(self, tensor, values):
        self.tensor, self.values = tensor, values

    def __enter__(self):
        self.kept = self.tensor.clone()
        self.tensor.copy_(self.values)

    def __exit__(self, *exc):
        self.tensor.copy_(self.kept)


class _ProgressBar(Callback):
    """A tqdm bar over rounds that shows the monitored loss."""

    def __init__(self, monitored):
        self.monitored = monitored

    def on_train_begin(self, net, **kwargs):
        self.bar = tqdm(total=net.max_epochs, desc="training", leave=False)

    def on_epoch_end(self, net, **kwargs):
        self.bar.set_postfix(loss=f"{net.history[-1, self.monitored]:.4g}")
        self.bar.update()

    def on_train_end(self, net, **kwargs):
        self.bar.close()
