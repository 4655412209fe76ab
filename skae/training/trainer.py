"""The training loop: batches in, the best weights out.

`Trainer` optimises any module with a ``batch_loss`` and knows nothing else of it. It
keeps skorch's callbacks and history. A round is what skorch calls an epoch: some steps,
then one evaluation. What is evaluated, shown to callbacks at the end of a round and
kept is the moving average of the weights, with the batch-norm statistics of it.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any

import torch
from skorch import NeuralNet
from torch import Generator, nn

from skae.training.batch_norms import BatchNorms
from skae.training.callbacks import (
    ProgressBar,
    influential_callbacks,
    is_early_stopping,
    is_print_log,
    watch_batches,
)
from skae.training.captured import graphed
from skae.training.checkpoint import split_callbacks
from skae.training.flat_parameters import FlatParameters
from skae.training.global_generators import GlobalGenerators
from skae.training.optimizer import FlatAdamW
from skae.training.recording import Recording
from skae.training.resumption import Resumable
from skae.training.schedule import Patience, Schedule, StopTraining, report_lost
from skae.training.spread import Spread
from skae.training.steps import Update, gradient_of
from skae.training.weights import Weights

__all__ = ["Trainer"]

_BACK_OFF = 0.1
_RETRIES = 3
# Of skorch's net, which moves modules itself: that would leave the flat buffers.
_UNUSED: dict = dict.fromkeys(("criterion", "train_split", "device"))
_UNUSED["batch_size"] = 1


class Trainer(Resumable, NeuralNet):
    """Optimise a module, keeping its best weights.

    Parameters
    ----------
    module : Module
        Trained in place, with

        - ``batch_loss(*batch, generator)``: its loss, of shape ``()`` or
          ``(members,)``;
        - ``gradient(generator)``: None, or a callable that takes a batch, fills the
          parameters' ``.grad`` and returns the loss, summed over members;
        - ``is_rowwise``: whether a batch may be cut, see `skae.training.shards`; not
          where it is missing. What ``gradient`` returns then has ``terms_of(share,
          *rows)``, the loss of some rows and the terms of their gradient;
        - ``decayed_parameters()``: those under weight decay;
        - ``members``: their number or None.

        Before each step the trainer sets its ``progress``, the share of the training
        that is done when the step is, in (0, 1]. On a GPU it is a `SteppedModule`.
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
    recording : Recording, optional
        Where the training is written to, and taken up again after a kill; the batches
        then have ``state()``, ``load(state)`` and a ``generator``.
    global_generators : GlobalGenerators, optional
        Torch's global generators for modules that draw from them.
    callbacks : list of skorch callbacks, optional
        At the end of a round they see the averaged weights, at the end of the training
        those that are kept. ``trainer.stop_training = True`` ends the training after
        the round, or after the batch where it is set in a hook of a batch.
    verbose : int, default=0
        One shows a progress bar and, on a GPU, how the steps were run.

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
        recording: Recording | None = None,
        global_generators: GlobalGenerators | None = None,
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
        self.recording = recording
        self.global_generators = global_generators
        self.interrupted_ = False
        self.monitored = "valid_loss" if evaluate else "train_loss"
        self._is_talkative = bool(verbose)
        bar = [("progress_bar", ProgressBar(self.monitored))] if verbose else []
        callbacks = bar + split_callbacks(callbacks)[1]
        super().__init__(
            module,
            max_epochs=schedule.n_rounds,
            callbacks=callbacks,
            # A log that is asked for is printed whatever the estimator's verbosity.
            verbose=int(any(is_print_log(entry) for entry in callbacks)),
            **_UNUSED,
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
        self.weights_ = Weights(self.module_, self.flat_.data)
        self.gradient_ = gradient_of(
            self.module_, self.flat_, self.generator, autograd=self.autograd
        )
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
        parameters = list(self.module_.parameters())
        self.updates_ = [
            Update("train_loss", self.gradient_, self.optimizer_, parameters)
        ]
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
        generators = self.global_generators
        with nullcontext() if generators is None else generators.apart():
            self._train(batches)
        if self._n_lost:
            report_lost(self._n_finite, self.schedule.lr)
        return self

    def release(self) -> None:
        """Give each parameter memory of its own.

        Views of one buffer would each be pickled with all of it.
        """
        for parameter in self.module.parameters():
            parameter.data, parameter.grad = parameter.data.clone(), None

    # The loop

    def _train(self, batches):
        self._batches = batches
        self._begin()
        if self._is_taken_up():
            return
        try:
            self.notify("on_train_begin", X=batches, y=None)
            self._record_start()
            self._run_rounds(iter(batches))
        except StopTraining as reason:
            self.stop_reason_ = str(reason)
        except KeyboardInterrupt:
            self._note_interruption()
        finally:
            self.weights_.restore(self._best_values)
            self.step_.close(report=self._is_talkative)
        try:
            self.notify("on_train_end", X=batches, y=None)
            self._record_end()
        except KeyboardInterrupt:
            self._note_interruption()

    def _begin(self):
        self._n_done = self._n_in_round = self._n_lost = self._n_finite = 0
        self.kept_round_ = 0
        self.interrupted_ = self.stop_training = False
        self.stop_reason_: str | None = None
        self._patience = Patience(self.schedule.patience, self.schedule.tol)
        self._norms = BatchNorms(self.module_)
        self._spread = Spread(self._batches, self.schedule.n_apart)
        self._spread.check({"a training of": self._name_of_training()})
        self._spread.align(self.flat_.data, self.optimizer_.average)
        step = self._spread.step(self.module_, self.updates_)
        is_alone, n_steps = self._spread.is_alone, self.schedule.n_steps
        self.step_ = graphed(step, n_steps, self.generator) if is_alone else step
        if self.start_state is not None:
            self._continue(self.start_state)

    def _begin_anew(self):
        self.module_.eval()
        self._best_values = self.weights_.values()
        self.start_loss_ = None
        if self.evaluate is not None:
            self.start_loss_ = self._spread.loss(self.evaluate(self.module_))
        start = math.inf if self.start_loss_ is None else self.start_loss_
        self._best = start if math.isfinite(start) else math.inf

    def _note_interruption(self):
        if not self._spread.is_alone:
            raise
        self.interrupted_, self.stop_reason_ = True, "interrupted"
        if self.recording is not None:
            self.recording.stop()

    def _run_rounds(self, stream: Iterator) -> None:
        for number in range(max(1, len(self.history)), self.schedule.n_rounds + 1):
            n_steps = self.schedule.steps_in(number)
            # A bar of batches counts what is in here.
            datasets = {"dataset_train": range(n_steps), "dataset_valid": None}
            if len(self.history) < number:
                self._begin_round(datasets)
            self._run_steps(islice(stream, n_steps - self._n_in_round))
            with self._averaged():
                is_finite = self._judge(number)
                try:
                    self.notify("on_epoch_end", **datasets)
                except KeyboardInterrupt as error:
                    if not is_early_stopping(error):
                        raise
                    self.stop_training = True
            if influential_callbacks(self.callbacks):
                # They may have changed anything in the module.
                self.step_.forget()
            if not is_finite:
                self._back_off()
            if self._spread.stops(self.stop_training):
                raise StopTraining("stopped by a callback")
            if self._patience.is_over(self.history[-1, self.monitored]):
                n_rounds = self.schedule.patience
                reason = f"stopped after {n_rounds} evaluations without a gain"
                raise StopTraining(reason)

    def _begin_round(self, datasets: dict) -> None:
        self.notify("on_epoch_begin", **datasets)
        self._n_in_round = 0
        self._sums = self.step_.cleared(getattr(self, "_sums", {}))
        if not watch_batches(self.callbacks_):
            # Checkpoints name their files by the last batch, so there has to be one.
            self.history.new_batch()

    def _run_steps(self, batches: Iterable) -> None:
        """Train on some batches and record the losses of the round."""
        notify = self.notify if watch_batches(self.callbacks_) else None
        watch = self._note_gradients if notify else None
        was_stopping, recording = self.stop_training, self.recording
        self.module_.train()
        for batch in batches:
            self._n_done += 1
            self._n_in_round += 1
            self.module_.progress = self._n_done / self.schedule.n_steps
            if batch:
                self._norms.batches.append(batch)
            if notify:
                notify("on_batch_begin", batch=batch, training=True)
            loss = self.step_(batch, self._sums, watch)
            if notify:
                notify("on_batch_end", batch=batch, training=True, loss=loss)
                if self._spread.stops(self.stop_training) and not was_stopping:
                    break
            if recording is not None and recording.is_due():
                recording.write(self._middle())
        self.module_.eval()
        self._sums = self._spread.sums(self._sums)
        self._spread.align(self.flat_.data, self.optimizer_.average)
        self.history.record("step", self._n_done)
        self._record_losses()

    def _record_losses(self):
        n_losses = self._n_in_round * (self.module_.members or 1)
        for name, total in self._sums.items():
            self.history.record(name, total.item() / n_losses)

    def _note_gradients(self, named):
        self.notify("on_grad_computed", named_parameters=named, training=True)

    # The end of a round

    def _judge(self, number: int) -> bool:
        """Keep the weights in the module if they are the best; False if not finite."""
        if self.evaluate is not None:
            loss = self._spread.loss(self.evaluate(self.module_))
            self.history.record("valid_loss", loss)
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
            self._best_values = self.weights_.values()
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
        self.weights_.restore(self._best_values)
        self.optimizer_.restart(_BACK_OFF**self._n_lost)
        self.step_.forget()

    # Weights and what belongs to them

    @contextmanager
    def _averaged(self):
        """Averaged weights, and batch-norm statistics of them, for a with block."""
        if not self.optimizer_.averages:
            self._spread.average(self._norms.layers)
            yield
            return
        with self.weights_.replaced(self.optimizer_.average):
            if self._norms.layers:
                # Noise from a copy of the generator: evaluations change no training.
                generator = Generator(self.generator.device)
                generator.set_state(self.generator.get_state())
                self._norms.renew(lambda batch: self._pass(batch, generator))
                self._spread.average(self._norms.layers)
            yield

    def _pass(self, batch, generator):
        with torch.no_grad():
            self.module_.batch_loss(*batch, generator=generator)
