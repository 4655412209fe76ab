"""The training loop: batches in, the best weights out.

It keeps skorch's callbacks and history. `Trainer`
optimises any module with a ``batch_loss`` and knows nothing else of it. A round is what
skorch calls an epoch: some training steps, then one evaluation. What is evaluated,
shown to callbacks at the end of a round and kept is the moving average of the weights,
with the batch-norm statistics that belong to it.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from skorch.callbacks import Callback, PassthroughScoring
from torch import Generator, Tensor, nn

from skae.training.batch_norms import BatchNorms
from skae.training.callbacks import ProgressBar, is_print_log
from skae.training.optimizer import FlatAdamW, FlatParameters
from skae.training.schedule import Patience, Schedule, StopTraining

__all__ = ["Trainer"]

_BACK_OFF = 0.1
_RETRIES = 3


class Trainer(NeuralNet):
    """Optimise a module, keeping its best weights.

    Parameters
    ----------
    module : Module
        Trained in place, with

        - ``batch_loss(*batch, generator)``: its loss, of shape ``()`` or
          ``(members,)``;
        - ``gradient(generator)``: None, or a callable that takes a batch, fills the
          parameters' ``.grad`` and returns the loss, summed over members;
        - ``decayed_parameters()``: those under weight decay;
        - ``members``: their number or None.

        Before each step the trainer sets its ``progress``, the share of the training
        that is done when the step is, in (0, 1].
    schedule : Schedule
    generator : torch.Generator
        On the module's device; corruption and prior draw from it.
    evaluate : callable, optional
        ``evaluate(module) -> float``, the held-out objective after each round. Without
        it the training loss decides which weights are kept.
    autograd : bool, default=False
        Use autograd also where the module has a gradient of its own.
    on_round : callable, optional
        ``on_round(round_number, module)`` after each round, with the averaged weights
        in the module; returning True stops the training.
    rates : dict of Parameter to float, optional
        Factor on the learning rate of a parameter; one for those not listed.
    keep_last : bool, default=False
        Keep the last finite weights instead of the best, for losses that change their
        meaning during the training.
    state : dict, optional
        Of a trainer whose training this one continues, from `state`.
    callbacks : list of skorch callbacks, optional
        At the end of a round they see the averaged weights, at the end of the training
        those that are kept. ``trainer.stop_training = True`` ends the training after
        the round, or after the batch where it is set in a hook of a batch.
    verbose : int, default=0
        One shows a progress bar.

    Attributes
    ----------
    history : skorch History
        ``train_loss``, the number of steps until then as ``step`` and, with
        ``evaluate``, ``valid_loss`` of every round.
    interrupted_ : bool
        Whether Ctrl-C ended the training.
    stop_reason_ : str or None
        What ended it; None for the end of the schedule.
    start_loss_ : float or None
        The held-out objective before the training.
    kept_round_ : int
        The round whose weights are left in the module; 0 where no round was better than
        the start.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        schedule: Schedule,
        generator: Generator,
        evaluate: Callable[[Any], float] | None = None,
        autograd: bool = False,
        on_round: Callable[[int, Any], object] | None = None,
        rates: dict[nn.Parameter, float] | None = None,
        keep_last: bool = False,
        state: dict | None = None,
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
        self.start_state = state
        self.interrupted_ = False
        self.monitored = "valid_loss" if evaluate else "train_loss"
        bar = [("progress_bar", ProgressBar(self.monitored))] if verbose else []
        callbacks = bar + list(callbacks or [])
        super().__init__(
            module,
            criterion=None,
            train_split=None,
            max_epochs=schedule.n_rounds,
            batch_size=1,
            callbacks=callbacks,
            # skorch moves modules by itself, which would leave the flat buffers.
            device=None,
            # A log that is asked for is printed whatever the estimator's verbosity.
            verbose=int(any(is_print_log(entry) for entry in callbacks)),
        )

    # What the history records of a round and has to be finite.
    _LOSSES: tuple[str, ...] = ("train_loss", "valid_loss")

    _default_callbacks: list = []

    def _validate_params(self):
        pass

    def initialize_module(self):
        self.module_ = self.module
        decayed = self.module_.decayed_parameters()
        self.flat_ = FlatParameters(self.module_, decayed)
        explicit = None if self.autograd else self.module_.gradient(self.generator)
        self.gradient_ = explicit or self._autograd_step
        return self

    def initialize_criterion(self):
        return self

    def initialize_optimizer(self, triggered_directly=None):
        schedule = self.schedule
        self.optimizer_ = FlatAdamW(
            self.flat_,
            lr=schedule.lr,
            n_steps=schedule.n_steps,
            weight_decay=schedule.weight_decay,
            ema_decay=schedule.ema_decay,
            constant=schedule.constant,
            plateau=schedule.plateau,
            shares=self.flat_.like(self.rates),
        )
        return self

    def train(self, batches: Iterable) -> "Trainer":
        """Run the schedule and leave the best weights in the module.

        Parameters
        ----------
        batches : iterable of tuples
            As many as the schedule has steps.
        """
        if not self.initialized_:
            self.initialize()
        self._begin()
        try:
            self.notify("on_train_begin", X=batches, y=None)
            self._run_rounds(iter(batches))
        except StopTraining as reason:
            self.stop_reason_ = str(reason)
        except KeyboardInterrupt:
            self._note_interruption()
        finally:
            self._restore(self._best_values)
        try:
            self.notify("on_train_end", X=batches, y=None)
        except KeyboardInterrupt:
            self._note_interruption()
        self._raise_if_lost()
        return self

    def release(self) -> None:
        """Give each parameter memory of its own.

        Views of one buffer would each be pickled with all of it.
        """
        for parameter in self.module.parameters():
            parameter.data, parameter.grad = parameter.data.clone(), None

    def state(self) -> dict:
        """What a training that goes on from here needs beside the weights.

        Returns
        -------
        state : dict
            Arrays and plain values: the optimiser's and the generator's.
        """
        return {
            "optimizer": self.optimizer_.state(),
            "generator": self.generator.get_state().numpy(),
            "device": self.generator.device.type,
        }

    # The loop

    def _begin(self):
        self._n_done = self._n_lost = self._n_finite = self.kept_round_ = 0
        self.interrupted_ = self.stop_training = False
        self.stop_reason_: str | None = None
        self._patience = Patience(self.schedule.patience, self.schedule.tol)
        self._norms = BatchNorms(self.module_)
        if self.start_state is not None:
            self.optimizer_.load(self.start_state["optimizer"])
            # Devices have generators of their own.
            if self.start_state["device"] == self.generator.device.type:
                state = torch.from_numpy(self.start_state["generator"].copy())
                self.generator.set_state(state)
        self.module_.eval()
        self._best_values = self._values()
        self.start_loss_ = None
        if self.evaluate is not None:
            self.start_loss_ = self.evaluate(self.module_)
        start = math.inf if self.start_loss_ is None else self.start_loss_
        self._best = start if math.isfinite(start) else math.inf

    def _note_interruption(self):
        self.interrupted_, self.stop_reason_ = True, "interrupted"

    def _run_rounds(self, stream: Iterator) -> None:
        for number in range(1, self.schedule.n_rounds + 1):
            n_steps = self.schedule.steps_in(number)
            # A bar of batches counts what is in here.
            datasets = {"dataset_train": range(n_steps), "dataset_valid": None}
            self.notify("on_epoch_begin", **datasets)
            self._run_steps(islice(stream, n_steps))
            with self._averaged():
                is_finite = self._judge(number)
                try:
                    self.notify("on_epoch_end", **datasets)
                except KeyboardInterrupt:
                    # That is how skorch's EarlyStopping stops.
                    raise StopTraining("stopped by a callback") from None
            if not is_finite:
                self._back_off()
            if self.stop_training:
                raise StopTraining("stopped by a callback")
            if self._patience.is_over(self.history[-1, self.monitored]):
                n_rounds = self.schedule.patience
                raise StopTraining(
                    f"stopped after {n_rounds} evaluations without a gain"
                )

    def _run_steps(self, batches: Iterable) -> int:
        """Train on some batches; how many they were."""
        total = self.flat_.data.new_zeros(())
        notify = self.notify if self._watches_batches() else None
        if notify is None:
            # Checkpoints name their files by the last batch, so there has to be one.
            self.history.new_batch()
        n_before, was_stopping = self._n_done, self.stop_training
        self.module_.train()
        for batch in batches:
            self._n_done += 1
            self.module_.progress = self._n_done / self.schedule.n_steps
            self._norms.batches.append(batch)
            if notify:
                notify("on_batch_begin", batch=batch, training=True)
            loss = self._step(batch, notify)
            total += loss
            if notify:
                notify("on_batch_end", batch=batch, training=True, loss=loss)
                if self.stop_training and not was_stopping:
                    break
        self.module_.eval()
        n_steps = self._n_done - n_before
        n_members = self.module_.members or 1
        self.history.record("step", self._n_done)
        self.history.record("train_loss", total.item() / n_steps / n_members)
        return n_steps

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
        loss = self.module_.batch_loss(*batch, generator=self.generator)
        slopes = torch.autograd.grad(
            loss, self.flat_.parameters, torch.ones_like(loss), materialize_grads=True
        )
        self.flat_.take(slopes)
        return loss.detach().sum()

    def _watches_batches(self) -> bool:
        return any(
            getattr(type(callback), hook, None) is not getattr(Callback, hook)
            for _, callback in self.callbacks_
            if not isinstance(callback, PassthroughScoring)
            for hook in ("on_batch_begin", "on_grad_computed", "on_batch_end")
        )

    # The end of a round

    def _judge(self, number: int) -> bool:
        """Keep the weights in the module if they are the best; False if not finite."""
        if self.evaluate is not None:
            self.history.record("valid_loss", self.evaluate(self.module_))
        last = self.history[-1]
        loss = last[self.monitored]
        # What skorch's checkpoints look for.
        self.history.record(f"{self.monitored}_best", loss < self._best)
        if not all(math.isfinite(last[name]) for name in self._LOSSES if name in last):
            self._n_lost += 1
            return False
        self._n_finite += 1
        if self._is_kept(loss):
            self._best = loss if self.keep_last else min(loss, self._best)
            self._best_values = self._values()
            self.kept_round_ = number
        if self.on_round is not None and self.on_round(number, self.module_):
            self.stop_training = True
        return True

    def _is_kept(self, loss: float) -> bool:
        """Whether a round of this monitored loss is better than those before."""
        return loss < self._best or self.keep_last

    def _back_off(self):
        if self._n_lost > _RETRIES:
            raise StopTraining("stopped by infinite or NaN losses")
        self._restore(self._best_values)
        self.optimizer_.restart(_BACK_OFF**self._n_lost)

    def _raise_if_lost(self):
        if self._n_lost and not self._n_finite:
            raise FloatingPointError(
                "The training loss was infinite or NaN in every round, also after the "
                f"learning rate was lowered from {self.schedule.lr:g}. Scale X, choose "
                "a smaller learning_rate_init or less uneven sample_weight, or check "
                "the corruption and penalty."
            )
        if self._n_lost:
            warnings.warn(
                "The training loss became infinite or NaN; training went on from the "
                "best weights with a lower learning rate. Consider a smaller "
                "learning_rate_init.",
                ConvergenceWarning,
                stacklevel=5,
            )

    # Weights and what belongs to them

    def _values(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Copies of the parameters and of the buffers as they are now."""
        buffers = self.module_.named_buffers()
        return self.flat_.data.clone(), {name: b.clone() for name, b in buffers}

    def _restore(self, values) -> None:
        parameters, buffers = values
        self.flat_.data.copy_(parameters)
        for name, buffer in self.module_.named_buffers():
            if name in buffers:
                buffer.copy_(buffers[name])

    @contextmanager
    def _averaged(self):
        """Averaged weights, and batch-norm statistics of them, for a with block."""
        if not self.optimizer_.averages:
            yield
            return
        own = self._values()
        self.flat_.data.copy_(self.optimizer_.average)
        try:
            if self._norms.layers:
                # Noise from a copy of the generator: evaluations change no training.
                generator = Generator(self.generator.device)
                generator.set_state(self.generator.get_state())
                self._norms.renew(lambda batch: self._pass(batch, generator))
            yield
        finally:
            self._restore(own)

    def _pass(self, batch, generator):
        with torch.no_grad():
            self.module_.batch_loss(*batch, generator=generator)
