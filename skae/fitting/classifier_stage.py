"""One stage of a classifier's training: which layers, on which rows, for how long.

`StageTraining` trains the upper end of a `Stack` in place. What lies below is frozen,
and its codes are computed once. `stream` is the one epoch of ``partial_fit``.
"""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch

from skae.fitting.defaults import (
    Training,
    length_of,
    training_before_unlabelled,
    training_of_labels,
    training_with_unlabelled,
)
from skae.fitting.fit import value_or_default
from skae.models.classifier import Classification
from skae.models.labelled_blocks import partly_labelled
from skae.models.semi_supervised_losses import (
    Consistency,
    GraphLabels,
    LadderReconstruction,
)
from skae.models.stack import Stack
from skae.parts.base import Features
from skae.parts.corruption import GaussianNoise, NoCorruption
from skae.rows.chunks import Rows
from skae.rows.derived import part_of_rows
from skae.statistics.neighbours import NeighbourLabels
from skae.training.schedule import Schedule

__all__ = [
    "Stage",
    "StageTraining",
    "held_out_rows",
    "neighbours_of",
    "planned",
    "sample",
    "stream",
]

_ROUNDS = 20
_CALIBRATION_ROWS = 10_000
_CALIBRATION_ENTRIES = 10_000_000
# Share of the last stage after which neighbours are searched again.
_REBUILD = 0.5
# Of a layer to the one above it, so that few labels do not undo the pretraining. Not
# where rows without labels take part: they are many.
_RATE_RATIO = 0.5
_STREAMING_RATE = 1e-3
_MIN_LABELLED_BATCH = 32
# Of the head, without which nothing can be predicted, after Ctrl-C.
_HURRIED_STEPS = 100


@dataclass(frozen=True)
class Stage:
    """Which layers a stage trains, and on which rows.

    Attributes
    ----------
    name : str
    n_released : int
        Encoder layers that are trained, nearest the code.
    is_head : bool
        Runs also after an interruption: prediction needs a head.
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
        Its curves and ``interrupted`` are updated.
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
        # Where neighbours mislead, so do other uses of rows without labels.
        uses_all = fitting.graph is not None
        self.is_joint = uses_all and stage.is_last
        # A stage with all rows is to follow.
        self.is_before_all = (
            uses_all and not stage.is_last and fitting.interrupted is None
        )
        used = (fitting.labels >= 0) | self.is_joint
        used[fitting.held_out] = False
        self.index = np.flatnonzero(used)
        self.labels = fitting.labels[self.index]
        self.X = part_of_rows(fitting.X, self.index)
        self.rows = fitting.codes_of(stack.below(self.n_frozen), self.X)
        self.training = self._training()
        self.schedule = self._schedule()

    def run(self) -> None:
        """Train, and set the running statistics to those of these rows."""
        self.trained.calibrate(sample(self.rows), preserve_output=True)
        sizes, n_steps = self.training.batch_sizes, self.schedule.n_steps
        self.batches = batches_of(self.fitting, self.rows, self.index, sizes, n_steps)
        graph = self.fitting.graph if self.is_joint else None
        if graph is not None and graph.can_spread:
            self.fitting.graph_used = True
            self.batches.spread = graph.spread()
        loss, judge = self._loss(), self._judge()
        try:
            self.fitting.train(
                self.stage.name,
                loss,
                self.batches,
                self.schedule,
                evaluate=judge,
                on_round=lambda number, _: self._after_round(number, graph),
                rates=self._rates(),
                keep_last=judge is None,
            )
        finally:
            self.trained.calibrate(sample(self.rows))

    def _after_round(self, number, graph):
        n_rounds = self.schedule.n_rounds
        is_due = number == max(1, round(_REBUILD * n_rounds)) < n_rounds
        if is_due and graph is not None and graph.can_spread:
            self.trained.calibrate(sample(self.rows))
            hidden = self.trained.below(len(self.trained) - 1)
            self.batches.spread = graph.spread(hidden, self.rows)
        self.fitting.is_stopped = bool(self.fitting.progress.round(self._snapshot))
        return self.fitting.is_stopped

    def _snapshot(self) -> dict:
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
        """A function that gives the log-loss of the held-out rows, if any."""
        if not self._is_judged:
            return None
        fitting, held_out = self.fitting, self.fitting.held_out
        labels = fitting.labels[held_out]
        X = part_of_rows(fitting.X, held_out)
        rows = fitting.codes_of(self.stack.below(self.n_frozen), X)
        y = torch.as_tensor(labels, device=fitting.device)
        weight = fitting.class_weight[labels] * fitting.weight_at(held_out)
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
            training = training_with_unlabelled(n_labelled, len(self.index))
        elif self.is_before_all:
            training = training_before_unlabelled(n_labelled)
        else:
            training = training_of_labels(n_labelled, is_whole=self.stage.is_last)
        size, (of_labelled, of_all) = self.estimator.batch_size, training.batch_sizes
        of_labelled = value_or_default(size, of_labelled)
        of_labelled = min(of_labelled, max(_MIN_LABELLED_BATCH, n_labelled))
        if of_all:
            of_all = min(value_or_default(size, of_all), len(self.index))
        return replace(training, batch_sizes=(of_labelled, of_all))

    def _schedule(self) -> Schedule:
        estimator, training = self.estimator, self.training
        of_labelled, of_all = training.batch_sizes
        batch_size, max_iter = of_all or of_labelled, estimator.max_iter
        n_steps, n_rounds = training.n_steps, _ROUNDS
        if self.fitting.interrupted is not None:
            n_steps, n_rounds, max_iter = min(n_steps, _HURRIED_STEPS), 1, None
        default = len(self.index), batch_size, n_steps, n_rounds
        if max_iter is not None and not self.stage.is_last:
            max_iter = min(max_iter, length_of(*default, None).n_epochs)
        length = length_of(*default, max_iter)
        patient = self._is_judged and estimator.n_iter_no_change != np.inf
        return Schedule(
            n_rounds=length.n_rounds,
            n_steps=length.n_steps,
            batch_size=batch_size,
            lr=value_or_default(estimator.learning_rate_init, training.rate),
            weight_decay=value_or_default(estimator.alpha, 0.0),
            ema_decay=training.ema_decay,
            patience=int(estimator.n_iter_no_change) if patient else None,
            tol=estimator.tol,
            plateau=0.5,
            steps_per_epoch=length.steps_per_epoch,
        )

    def _rates(self):
        """Share of the learning rate of each parameter, smaller in lower layers."""
        fitting = self.fitting
        if self.is_joint or not (fitting.autoencoders or fitting.first is not None):
            return None
        return {
            parameter: _RATE_RATIO ** (fitting.n_encoder - 1 - number)
            for number, layer in enumerate(self.stack)
            if self.n_frozen <= number < fitting.n_encoder
            for parameter in layer.parameters()
        }


def planned(fitting, n_pretrained: int) -> list[Stage]:
    """The stages of a fit of which so many layers are pretrained."""
    n_new = max(0, fitting.n_encoder - n_pretrained)
    if n_new:
        # Untrained layers cannot be frozen.
        n_released = n_new + fitting.n_released(n_pretrained)
        if fitting.interrupted is None:
            return [Stage("fine-tuning", n_released, is_last=True)]
        return [Stage("head", n_new, is_head=True)]
    n_released = fitting.n_released(fitting.n_encoder)
    if n_released == 0:
        return [Stage("head", 0, is_head=True, is_last=fitting.interrupted is None)]
    between = [
        Stage(f"{n} layer{'s' * (n > 1)} released", n) for n in range(1, n_released)
    ]
    last = Stage("fine-tuning", n_released, is_last=True)
    return [Stage("head", 0, is_head=True), *between, last]


def neighbours_of(fitting) -> NeighbourLabels | None:
    """Neighbours of the rows to learn from.

    None where all rows have labels, or where held-out labels show that neighbours
    mislead, and so rows without labels.
    """
    if not fitting.estimator.semi_supervised or (fitting.labels >= 0).all():
        return None
    used = np.ones(len(fitting.labels), dtype=bool)
    used[fitting.held_out] = False
    X = part_of_rows(fitting.X, np.flatnonzero(used))
    labels, n_classes = fitting.labels[used], len(fitting.classes)
    graph = NeighbourLabels(X, labels, n_classes, fitting.seed)
    try:
        return graph if graph.judge() else None
    except KeyboardInterrupt:
        fitting.note_interruption("the search for neighbours")
        return None


def stream(fitting, stack: Stack, n_released: int) -> None:
    """One epoch over the labelled rows, without change of the running statistics."""
    index = np.flatnonzero(fitting.labels >= 0)
    if not len(index):
        return
    n_frozen = fitting.n_encoder - n_released
    X = part_of_rows(fitting.X, index)
    rows = fitting.codes_of(stack.below(n_frozen), X)
    estimator = fitting.estimator
    n_batches = max(1, round(len(index) / value_or_default(estimator.batch_size, 64)))
    rate = value_or_default(estimator.learning_rate_init, _STREAMING_RATE)
    size = len(index) // n_batches
    schedule = Schedule(1, n_batches, size, rate, ema_decay=0.0, constant=True)
    loss = Classification(
        stack.above(n_frozen),
        NoCorruption() if n_frozen else fitting.corruption,
        0.0,
        n_batches,
        fitting.generator,
        uses_running_statistics=True,
    ).to(fitting.device)
    batches = batches_of(fitting, rows, index, (size, 0), n_batches)
    fitting.train("epoch", loss, batches, schedule, keep_last=True)


def batches_of(fitting, rows, index, sizes, n_batches):
    """Batches of the rows of these numbers, with weights of mean one."""
    labels, weight = fitting.labels[index], fitting.weight_at(index)
    has_label = labels >= 0
    # Class -1 of rows without a label is no class: their weight here is not used.
    label_weight = weight * fitting.class_weight[labels]
    label_weight /= label_weight[has_label].mean()
    return partly_labelled(
        rows,
        labels,
        as_tensor(weight / weight.mean(), fitting.device),
        as_tensor(label_weight, fitting.device),
        sizes,
        n_batches,
        fitting.generator,
    )


def held_out_rows(labels, share: float, seed: int) -> np.ndarray:
    """Numbers of labelled rows to hold out, of each class a share but never all."""
    state, held_out = np.random.RandomState(seed), []
    for number in range(labels.max() + 1):
        members = state.permutation(np.flatnonzero(labels == number))
        size = min(max(1, round(share * len(members))), len(members) - 1)
        held_out.append(members[:size])
    return np.sort(np.concatenate(held_out))


def sample(rows: Rows, max_rows: int = _CALIBRATION_ROWS) -> torch.Tensor:
    """Equally spaced rows, enough for running statistics."""
    limit = min(max_rows, max(1000, _CALIBRATION_ENTRIES // rows.n_features))
    if rows.source is not None:
        # Rows from everywhere, which are in memory.
        numbers = rows.source.sample[0]
        return rows[numbers[:: -(-len(numbers) // limit)]]
    index = np.linspace(0, len(rows) - 1, min(len(rows), limit))
    return rows[index.astype(int)]


def as_tensor(values, device) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32, device=device)
