"""One stage of a classifier's training: which layers, on which rows, for how long.

`StageTraining` trains the upper end of a `Stack` in place. What lies below is frozen,
and its codes are computed once. `stream` is the one epoch of ``partial_fit``.
"""

import copy
import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from skae.fitting.defaults import (
    Training,
    length_of,
    training_of_labels,
    training_with_unlabelled,
)
from skae.models.classifier import Classification, PartlyLabelled
from skae.models.semi_supervised_losses import (
    Consistency,
    GraphLabels,
    LadderReconstruction,
)
from skae.models.stack import Stack
from skae.parts.base import Features
from skae.parts.corruption import GaussianNoise, NoCorruption
from skae.rows.chunks import Rows, map_rows
from skae.statistics.neighbours import NeighbourLabels
from skae.training.trainer import Schedule, Trainer

__all__ = ["Stage", "StageTraining", "sample", "stream"]

_ROUNDS = 20
_CALIBRATION_ROWS = 10_000
_CALIBRATION_ENTRIES = 10_000_000
# Shares of the last stage after which neighbours are looked for anew.
_REBUILDS = (0.35, 0.65)
# A layer moves at half the rate of the one above it. Not where rows without labels take
# part: there are more of them than could wreck it, and it has much to learn.
_AGEING = 0.5
_STREAMING_RATE = 1e-3
_FEWEST_DRAWN = 32


@dataclass(frozen=True)
class Stage:
    """What is trained, and on what.

    Attributes
    ----------
    name : str
    n_released : int
        Encoder layers that are trained, nearest the code.
    is_head : bool
        Runs also after an interruption, for without it nothing can be predicted.
    is_last : bool
        The last stage alone uses rows without labels, and may stop early.
    """

    name: str
    n_released: int
    is_head: bool = False
    is_last: bool = False


class StageTraining:
    """A stage of a fit.

    Parameters
    ----------
    fitting : StackedFit
        Takes over curves, and whether Ctrl-C came.
    stage : Stage
    stack : Stack
        Trained in place.
    """

    def __init__(self, fitting, stage: Stage, stack: Stack):
        self.fitting = fitting
        self.estimator = fitting.estimator
        self.stage = stage
        self.stack = stack
        self.n_frozen = fitting.n_encoder - stage.n_released
        self.trained = stack.above(self.n_frozen)
        self.is_joint = (
            stage.is_last and self.estimator.semi_supervised and fitting.has_unlabelled
        )
        used = np.ones(len(fitting.labels), dtype=bool)
        used[fitting.held_out] = False
        if not self.is_joint:
            used &= fitting.labels >= 0
        self.index = np.flatnonzero(used)
        self.labels = fitting.labels[self.index]
        self.X = fitting.X if used.all() else fitting.X[self.index]
        self.rows = self._coded(self.X)
        self.training = self._training()
        self.schedule = self._schedule()

    def run(self) -> None:
        """Train, and leave the layers with statistics of these rows."""
        self.trained.calibrate(sample(self.rows), preserve_output=True)
        self.batches = batches_of(
            self.fitting, self.rows, self.index, self.training, self.schedule
        )
        graph = self._graph()
        trainer = Trainer(
            self._loss(),
            schedule=self.schedule,
            generator=self.fitting.noise,
            evaluate=self._judge(),
            on_round=lambda number, _: self._after_round(number, graph),
            rates=self._rates(),
            keep_last=not self._is_judged,
            callbacks=self.estimator.callbacks,
            verbose=self.estimator.verbose,
        )
        try:
            trainer.train(self.batches)
        finally:
            trainer.release()
            self.trained.calibrate(sample(self.rows))
            record(self.fitting, self.stage.name, trainer)

    # Rows

    def _coded(self, X) -> Rows:
        return coded(self.fitting, self.stack.below(self.n_frozen), X)

    def _graph(self) -> NeighbourLabels | None:
        if not self.is_joint:
            return None
        n_classes = len(self.fitting.classes)
        graph = NeighbourLabels(self.X, self.labels, n_classes, self.fitting.seed)
        if not graph.judge():
            return None
        self.fitting.graph_used = True
        self.batches.spread = graph.spread()
        return graph

    def _after_round(self, number, graph):
        n_rounds = self.schedule.n_rounds
        rebuilds = {max(1, round(at * n_rounds)) for at in _REBUILDS}
        if graph is not None and number in rebuilds and number < n_rounds:
            self.trained.calibrate(sample(self.rows))
            hidden = self.trained.below(len(self.trained) - 1)
            self.batches.spread = graph.spread(hidden, self.rows)
        self.fitting.is_stopped = bool(self.fitting.progress.round(self._snapshot))
        return self.fitting.is_stopped

    def _snapshot(self) -> dict:
        """Fitted attributes with the weights as they are now."""
        stack = copy.deepcopy(self.stack)
        stack.above(self.n_frozen).calibrate(sample(self.rows))
        return self.fitting.attributes(stack)

    # The loss and its judge

    def _loss(self) -> Classification:
        terms = (LadderReconstruction(), Consistency(), GraphLabels())
        return Classification(
            self.trained,
            self._corruption(),
            self.estimator.hidden_noise_level,
            self.schedule.n_steps,
            self.fitting.generator,
            terms if self.is_joint else (),
        ).to(self.fitting.device)

    def _corruption(self):
        if self.n_frozen == 0:
            return self.fitting.corruption
        std = sample(self.rows).std(0).cpu().double()
        zero, one = torch.zeros_like(std), torch.ones_like(std)
        noise = GaussianNoise(self.estimator.hidden_noise_level)
        features = Features(
            zero, one, tuple(std.shape), lambda: std, lambda: (zero, zero)
        )
        return noise.bind(features)

    @property
    def _is_judged(self) -> bool:
        return self.stage.is_last and len(self.fitting.held_out) > 0

    def _judge(self):
        """Log-loss of the held-out rows."""
        if not self._is_judged:
            return None
        fitting, held_out = self.fitting, self.fitting.held_out
        labels = fitting.labels[held_out]
        rows = self._coded(fitting.X[held_out])
        y = torch.as_tensor(labels, device=fitting.device)
        weight = fitting.weight[held_out] * fitting.class_weight[labels]
        weight = as_tensor(weight / weight.mean(), fitting.device)

        @torch.no_grad()
        def judge(module):
            module.stack.calibrate(sample(self.rows))
            return float((module.nll(rows[:], y) * weight).mean())

        return judge

    # How long and how fast

    def _training(self) -> Training:
        n_labelled = int((self.labels >= 0).sum())
        if self.is_joint:
            found = training_with_unlabelled(n_labelled, len(self.index))
        else:
            found = training_of_labels(n_labelled, is_whole=self.stage.is_last)
        labelled, everyone = found.batch_sizes
        asked = chosen(self.estimator.batch_size)
        if asked is not None:
            labelled, everyone = asked, asked if everyone else 0
        labelled = min(labelled, max(_FEWEST_DRAWN, n_labelled))
        everyone = min(everyone, len(self.index))
        return replace(found, batch_sizes=(labelled, everyone))

    def _schedule(self) -> Schedule:
        estimator, training = self.estimator, self.training
        labelled, everyone = training.batch_sizes
        rows = len(self.index), everyone or labelled, training.n_steps, _ROUNDS
        length = length_of(*rows, None)
        if estimator.max_iter is not None:
            shorter = min(estimator.max_iter, length.n_epochs)
            is_last = self.stage.is_last
            length = length_of(*rows, estimator.max_iter if is_last else shorter)
        patient = self._is_judged and estimator.n_iter_no_change != np.inf
        return Schedule(
            n_rounds=length.n_rounds,
            n_steps=length.n_steps,
            batch_size=everyone or labelled,
            lr=chosen(estimator.learning_rate_init) or training.rate,
            weight_decay=chosen(estimator.alpha) or 0.0,
            ema_decay=training.ema_decay,
            patience=int(estimator.n_iter_no_change) if patient else None,
            tol=estimator.tol,
            plateau=0.5,
            steps_per_epoch=length.steps_per_epoch,
        )

    def _rates(self):
        """Shares of the learning rate: the older a layer, the smaller."""
        fitting = self.fitting
        if self.is_joint or not (fitting.autoencoders or fitting.first is not None):
            return None
        return {
            parameter: _AGEING ** (fitting.n_encoder - 1 - number)
            for number, layer in enumerate(self.stack)
            if self.n_frozen <= number < fitting.n_encoder
            for parameter in layer.parameters()
        }


def coded(fitting, frozen: Stack, X) -> Rows:
    """What the first trained layer sees of rows, by way of the frozen ones."""
    if not len(frozen):
        return fitting.rows_of(X)
    codes = np.empty((X.shape[0], frozen.sizes[-1]), dtype=np.float32)
    map_rows(X, fitting.units.to_model, frozen.eval(), codes, fitting.device)
    return Rows(codes, np.float32(0), np.float32(1), fitting.device)


def stream(fitting, stack: Stack, n_released: int) -> None:
    """One epoch over the labelled rows, with the layers' statistics as they are."""
    index = np.flatnonzero(fitting.labels >= 0)
    if not len(index):
        return
    n_frozen = fitting.n_encoder - n_released
    rows = coded(fitting, stack.below(n_frozen), fitting.X[index])
    n_batches = max(1, round(len(index) / (chosen(fitting.estimator.batch_size) or 64)))
    rate = chosen(fitting.estimator.learning_rate_init) or _STREAMING_RATE
    size = len(index) // n_batches
    schedule = Schedule(1, n_batches, size, rate, ema_decay=0.0, constant=True)
    loss = Classification(
        stack.above(n_frozen),
        NoCorruption() if n_frozen else fitting.corruption,
        0.0,
        n_batches,
        fitting.generator,
        uses_running_statistics=True,
    )
    trainer = Trainer(
        loss,
        schedule=schedule,
        generator=fitting.noise,
        keep_last=True,
        callbacks=fitting.estimator.callbacks,
        verbose=fitting.estimator.verbose,
    )
    training = Training((size, 0), n_batches, rate)
    try:
        trainer.train(batches_of(fitting, rows, index, training, schedule))
    finally:
        trainer.release()
    record(fitting, "epoch", trainer)


def batches_of(fitting, rows, index, training, schedule) -> PartlyLabelled:
    """Batches of the rows of these numbers, with weights of mean one."""
    labels, weight = fitting.labels[index], fitting.weight[index]
    known = labels >= 0
    of_labels = np.zeros(len(index))
    of_labels[known] = weight[known] * fitting.class_weight[labels[known]]
    of_labels /= of_labels[known].mean()
    return PartlyLabelled(
        rows,
        labels,
        as_tensor(weight / weight.mean(), fitting.device),
        as_tensor(of_labels, fitting.device),
        training.batch_sizes,
        schedule.n_steps,
        fitting.generator,
    )


def record(fitting, name: str, trainer: Trainer) -> None:
    """Add a stage's curves to the fit's."""
    history = trainer.history if trainer.initialized_ else []
    rounds = [row for row in history if "train_loss" in row]
    fitting.stages.append((name, len(rounds)))
    fitting.loss_curve += [row["train_loss"] for row in rounds]
    before = fitting.epochs[-1] if fitting.epochs else 0.0
    epochs = [trainer.schedule.epochs(row["step"]) for row in rounds]
    fitting.epochs += [before + epoch for epoch in epochs]
    fitting.n_iter = math.ceil(epochs[-1] - 1e-6) if epochs else 0
    if trainer.evaluate is not None:
        fitting.validation_scores = [
            -row["valid_loss"] for row in history if "valid_loss" in row
        ]
    if trainer.interrupted_ and fitting.interrupted is None:
        fitting.interrupted = f"the stage '{name}'"


def sample(rows: Rows) -> torch.Tensor:
    """Rows from everywhere among the rows, as many as statistics need."""
    most = min(_CALIBRATION_ROWS, max(1000, _CALIBRATION_ENTRIES // rows.n_features))
    index = np.linspace(0, len(rows) - 1, min(len(rows), most))
    return rows[index.astype(int)]


def as_tensor(values, device) -> torch.Tensor:
    """Weights in single precision on the device."""
    return torch.as_tensor(values, dtype=torch.float32, device=device)


def chosen(value):
    """None where a parameter is left to "auto"."""
    return None if isinstance(value, str) else value
