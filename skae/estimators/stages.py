"""One fit of a `StackedAEClassifier`: pretraining, head, release, fine-tuning.

`StackedFit` runs the stages in order and returns a dictionary of fitted attributes.
Each stage trains the upper end of one `Stack`; what lies below is frozen, and its codes
are computed once a stage.
"""

import copy
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from skae.estimators.callbacks import FitProgress
from skae.estimators.naming import hidden_widths, noise_of
from skae.estimators.pretraining import layers_of, pretrain
from skae.estimators.validation import feature_ranges
from skae.parts.activations import ACTIVATIONS
from skae.parts.corruption import Features, GaussianNoise
from skae.parts.stack import Layer, Product, Stack
from skae.parts.terms import Consistency, GraphLabels, LadderReconstruction
from skae.training.anchoring import units_of
from skae.training.batches import Rows, map_rows, resolve_device
from skae.training.classification import Classification, PartlyLabelled
from skae.training.defaults import (
    Training,
    training_of_labels,
    training_with_unlabelled,
)
from skae.training.neighbours import NeighbourLabels
from skae.training.principal import moments
from skae.training.trainer import Schedule, Trainer, check_callbacks

__all__ = ["StackedFit"]

_SETTLING_ROWS = 10_000
_SETTLING_ENTRIES = 10_000_000
# Shares of the last stage after which neighbours are looked for anew.
_REBUILDS = (0.35, 0.65)
# A layer moves at half the rate of the one above it. Not where rows without labels
# take part: there are more of them than could wreck it, and it has much to learn.
_AGEING = 0.5
_STREAMING_RATE = 1e-3


@dataclass(frozen=True)
class Stage:
    """What is trained, and on what.

    Attributes
    ----------
    name : str
    n_released : int
        Encoder layers that are trained, nearest the code.
    is_last : bool
        The last stage alone uses rows without labels, and may stop early.
    """

    name: str
    n_released: int
    is_last: bool = False


class StackedFit:
    """A fit of a classifier to validated rows.

    Parameters
    ----------
    estimator : StackedAEClassifier
        Only its parameters are read.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    labels : ndarray of int of shape (n_samples,)
        Class numbers, -1 for rows without a label.
    n_classes : int
    weight : ndarray of shape (n_samples,) or None
        Positive.
    class_weight : ndarray of shape (n_classes,)

    Raises
    ------
    ValueError
        Where parameters do not fit X, before any training.
    """

    def __init__(self, estimator, X, labels, n_classes, weight, class_weight):
        self.estimator = estimator
        self.X = X
        self.labels = labels
        self.n_classes = n_classes
        self.n_samples = X.shape[0]
        self.weight = np.ones(self.n_samples) if weight is None else weight
        self.given_weight = weight
        self.class_weight = class_weight
        self.random_state = check_random_state(estimator.random_state)
        self.seed = self.random_state.randint(np.iinfo(np.int32).max)
        self.device = resolve_device(estimator.device)
        self.generator = torch.Generator().manual_seed(self.seed)
        self.noise = torch.Generator(self.device).manual_seed(self.seed)
        self.widths = hidden_widths(estimator.hidden_layer_sizes, "relu")
        self.head_widths = hidden_widths(estimator.head_layer_sizes, "relu")
        self.corruption = noise_of(estimator.noise, estimator.noise_level)
        check_callbacks(estimator.callbacks)
        self.progress = FitProgress(estimator, X, labels)
        self.autoencoders: list = []
        self.first = copy.deepcopy(estimator.encoder)
        self.loss_curve: list[float] = []
        self.validation_scores: list[float] | None = None
        self.stages: list[tuple[str, int]] = []
        self.interrupted = None
        self.graph_used = False
        self.held_out = np.empty(0, dtype=int)
        if not self.widths and self.first is None:
            raise ValueError(
                "hidden_layer_sizes must name at least one layer unless an encoder is "
                "given; got ()."
            )

    def run(self) -> dict:
        """Fit from scratch."""
        if self.estimator.early_stopping:
            self._hold_out()
        stack, n_given = self._pretrained()
        for stage in self._planned(n_given):
            if self.interrupted is None or stage.name == "head":
                self._run(stage, stack)
        return self._finished(stack)

    def resume(self, fitted) -> dict:
        """Fine-tune a fitted classifier further (``warm_start``)."""
        if self.estimator.early_stopping:
            self._hold_out()
        self._take(fitted)
        stack = copy.deepcopy(fitted.net_).to(self.device)
        n_released = self._n_released(self.n_encoder)
        self._run(Stage("fine-tuning", n_released, is_last=True), stack)
        return self._finished(stack)

    def continue_epoch(self, fitted) -> dict:
        """One epoch at a constant rate, from a fitted classifier or from scratch."""
        if fitted is None:
            stack, _ = self._pretrained(max_iter=1)
            self._settle(stack, 0, self._rows(stack, 0), alike=True)
        else:
            self._take(fitted)
            stack = copy.deepcopy(fitted.net_).to(self.device)
        self._stream(stack)
        return self._finished(stack)

    def end(self, fitted: dict) -> None:
        """Tell scikit-learn's callbacks that the fit is over."""
        self.progress.end(lambda: fitted)

    # The network before its labels

    def _hold_out(self):
        known = np.flatnonzero(self.labels >= 0)
        size = round(self.estimator.validation_fraction * len(known))
        size = min(max(size, self.n_classes), len(known) - self.n_classes)
        kept, held_out = train_test_split(
            known,
            test_size=size,
            stratify=self.labels[known],
            random_state=self.random_state,
        )
        self.held_out = np.sort(held_out)
        self.held_labels = self.labels[self.held_out]
        self.labels = self.labels.copy()
        self.labels[self.held_out] = -1

    def _pretrained(self, max_iter=None):
        """The whole stack, and how many of its layers know the rows already."""
        estimator = self.estimator
        layers = []
        if self.first is not None:
            self.units = self.first._units
            layers = _layers_of_estimator(self.first)
        if estimator.pretrain:
            try:
                self._pretrain(estimator.pretrain_max_iter or max_iter)
            except KeyboardInterrupt:
                self.interrupted = f"pretraining of layer {len(self.autoencoders) + 1}"
        for number, autoencoder in enumerate(self.autoencoders):
            if number == 0 and self.first is None:
                self.units = autoencoder._units
            units = self.units if not layers else _PLAIN
            layers += layers_of(autoencoder, units)
            if autoencoder._interrupted and self.interrupted is None:
                self.interrupted = f"pretraining of layer {number + 1}"
        if not layers:
            found = moments(self.X, self.given_weight, covariance=False)
            self.units = units_of(found.center, found.unit, found.variance)
        self._bind_corruption()
        n_given = len(layers)
        n_before = n_given - len(self.autoencoders)
        self.n_encoder = n_before + len(self.widths)
        widths = self.widths[len(self.autoencoders) :]
        sizes = [*widths, *self.head_widths, self.n_classes]
        n_in = layers[-1].n_out if layers else self.X.shape[1]
        for number, width in enumerate(sizes):
            name = "identity" if number == len(sizes) - 1 else "relu"
            gain = ACTIVATIONS[name].gain
            product = Product.random(n_in, width, gain, self.generator)
            layers.append(Layer(product, n_in, width, name))
            n_in = width
        stack = Stack(layers).to(self.device)
        x = self._sample(self._rows(stack, 0))
        stack.above(n_given).settle(stack.below(n_given)(x).detach())
        return stack, n_given

    def _pretrain(self, max_iter):
        estimator = self.estimator
        fits = pretrain(
            self.X,
            self.widths,
            corruption=self.corruption,
            hidden_noise=estimator.hidden_noise_level,
            first=self.first,
            weight=self.given_weight,
            tied_weights=estimator.tied_weights,
            max_iter=max_iter,
            batch_size=_chosen(estimator.batch_size),
            device=estimator.device,
            callbacks=estimator.callbacks,
            verbose=estimator.verbose,
            random_state=self.seed,
        )
        for autoencoder in fits:
            self.autoencoders.append(autoencoder)
            curve = autoencoder.loss_curve_
            self.stages.append((f"layer {len(self.autoencoders)}", len(curve)))
            if autoencoder._interrupted:
                break

    def _take(self, fitted):
        """Go on from what a fitted classifier knows."""
        self.autoencoders, self.first = fitted.autoencoders_, fitted._first
        self.units = fitted._units
        self.n_encoder = len(fitted.encoder_)
        asked = [*self.widths, *self.head_widths, self.n_classes]
        found = fitted.net_.sizes[-len(asked) :]
        if asked != found:
            raise ValueError(
                f"hidden_layer_sizes, head_layer_sizes and the number of classes ask "
                f"for layers of {asked} units, but the fitted model that is to be "
                f"continued has {found}. Set warm_start=False or use a new estimator."
            )
        self._bind_corruption()

    def _bind_corruption(self):
        """The corruption in model units, where a feature's deviation is their root
        mean square: also directions in which training rows do not vary need noise."""
        if not hasattr(self.corruption, "bind"):
            return
        found = moments(self.X, self.given_weight, covariance=False)
        deviation = found.unit * np.sqrt(found.variance.mean())
        std = np.full(self.X.shape[1], deviation)
        tensors = (
            torch.as_tensor(value, dtype=torch.float64)
            for value in (self.units.center, std, *feature_ranges(self.X))
        )
        center, std, low, high = tensors
        features = Features(center, self.units.scale, std, low, high)
        self.corruption = self.corruption.bind(features).to(self.device)

    # The stages

    def _n_released(self, n_layers):
        asked = self.estimator.unfreeze_layers
        return n_layers if asked == "all" else min(asked, n_layers)

    def _planned(self, n_given):
        if n_given < self.n_encoder:
            # Layers that know nothing yet can not be frozen.
            everything = Stage("fine-tuning", self.n_encoder, is_last=True)
            if self.interrupted is None:
                return [everything]
            return [Stage("head", self.n_encoder - n_given)]
        n_released = self._n_released(self.n_encoder)
        if n_released == 0:
            return [Stage("head", 0, is_last=True)]
        between = [
            Stage(f"{n} layer{'s' * (n > 1)} released", n) for n in range(1, n_released)
        ]
        last = Stage("fine-tuning", n_released, is_last=True)
        return [Stage("head", 0), *between, last]

    def _run(self, stage: Stage, stack: Stack) -> None:
        """Train one stage in place."""
        if stage.is_last and self.interrupted is not None:
            stage = Stage(stage.name, stage.n_released)
        is_joint = (
            stage.is_last
            and self.estimator.semi_supervised
            and bool((self.labels < 0).any())
        )
        n_frozen = self.n_encoder - stage.n_released
        trained = stack.above(n_frozen)
        index = np.arange(self.n_samples)
        if not is_joint:
            index = np.flatnonzero(self.labels >= 0)
        rows = self._rows(stack, n_frozen, index)
        self._settle(trained, 0, rows, alike=True)
        defaults = self._training(is_joint, stage.is_last, len(index))
        schedule = self._schedule(defaults, len(index), stage)
        terms = (LadderReconstruction(), Consistency(), GraphLabels())
        loss = Classification(
            trained,
            self.corruption if n_frozen == 0 else self._code_noise(rows),
            self.estimator.hidden_noise_level,
            schedule.n_rounds * schedule.n_batches,
            self.generator,
            terms if is_joint else (),
        ).to(self.device)
        batches = self._batches(rows, index, defaults, schedule)
        graph = NeighbourLabels(self.X, self.labels, self.seed) if is_joint else None
        if graph is not None and graph.judge():
            self.graph_used = True
            batches.spread = graph.spread()
        judge = self._judge(stack, n_frozen, rows) if stage.is_last else None

        rebuilds = {max(1, round(at * schedule.n_rounds)) for at in _REBUILDS}

        def on_round(number, module):
            if self.graph_used and number in rebuilds:
                self._settle(module.stack, 0, rows)
                hidden = module.stack.below(len(module.stack) - 1)
                batches.spread = graph.spread(hidden, rows)
            return self.progress.round(lambda: self._snapshot(stack, rows, n_frozen))

        trainer = Trainer(
            loss,
            schedule=schedule,
            generator=self.noise,
            evaluate=judge,
            on_round=on_round,
            rates=None if is_joint else self._rates(stack, n_frozen),
            keep_last=judge is None,
            callbacks=self.estimator.callbacks,
            verbose=self.estimator.verbose,
        )
        interrupted = False
        try:
            trainer.train(batches)
        except KeyboardInterrupt:
            interrupted = True
        trainer.release()
        self._settle(trained, 0, rows)
        self._record(stage, trainer, interrupted)

    def _stream(self, stack):
        """One epoch over the labelled rows, with the statistics as they are."""
        index = np.flatnonzero(self.labels >= 0)
        if not len(index):
            return
        rows = self._rows(stack, 0, index)
        batch = _chosen(self.estimator.batch_size) or 64
        rate = _chosen(self.estimator.learning_rate_init) or _STREAMING_RATE
        n_batches = max(1, round(len(index) / batch))
        schedule = Schedule(
            1, n_batches, len(index) // n_batches, rate, ema_decay=0.0, constant=True
        )
        loss = Classification(
            stack, self.corruption, 0.0, n_batches, self.generator, is_settled=True
        )
        defaults = Training((schedule.batch_size, 0), n_batches, rate, 0.0)
        trainer = Trainer(loss, schedule=schedule, generator=self.noise, keep_last=True)
        trainer.train(self._batches(rows, index, defaults, schedule))
        trainer.release()
        self._record(Stage("epoch", 0), trainer, False)

    def _record(self, stage, trainer, interrupted):
        losses = [row["train_loss"] for row in trainer.history if "train_loss" in row]
        self.stages.append((stage.name, len(losses)))
        self.loss_curve += losses
        if trainer.evaluate is not None:
            self.validation_scores = [
                -row["valid_loss"] for row in trainer.history if "valid_loss" in row
            ]
        if (interrupted or trainer.interrupted_) and self.interrupted is None:
            self.interrupted = f"the stage '{stage.name}'"

    def _training(self, is_joint, is_last, n_rows) -> Training:
        n_labelled = int((self.labels >= 0).sum())
        if is_joint:
            return training_with_unlabelled(n_labelled, n_rows)
        return training_of_labels(n_labelled, is_whole=is_last)

    def _schedule(self, defaults, n_rows, stage) -> Schedule:
        estimator = self.estimator
        labelled, everyone = defaults.batch_sizes
        n_rounds, n_steps = 20, defaults.n_steps
        n_batches = -(-n_steps // n_rounds)
        if estimator.max_iter is not None:
            epoch = max(1, n_rows // (everyone or labelled))
            if stage.is_last or estimator.max_iter * epoch < n_steps:
                n_rounds, n_batches = estimator.max_iter, epoch
        patient = stage.is_last and len(self.held_out)
        patient = patient and estimator.n_iter_no_change != np.inf
        return Schedule(
            n_rounds=n_rounds,
            n_batches=n_batches,
            batch_size=everyone or labelled,
            lr=_chosen(estimator.learning_rate_init) or defaults.rate,
            weight_decay=_chosen(estimator.alpha) or 0.0,
            ema_decay=defaults.ema_decay,
            patience=int(estimator.n_iter_no_change) if patient else None,
            tol=estimator.tol,
            plateau=0.5,
        )

    def _batches(self, rows, index, defaults, schedule) -> PartlyLabelled:
        labels, weight = self.labels[index], self.weight[index]
        known = labels >= 0
        of_labels = np.zeros(len(index))
        of_labels[known] = weight[known] * self.class_weight[labels[known]]
        of_labels /= of_labels[known].mean()
        size = _chosen(self.estimator.batch_size)
        sizes = tuple(size and asked and size for asked in defaults.batch_sizes)
        if size is None:
            sizes = defaults.batch_sizes
        sizes = tuple(min(size, max(32, len(index))) for size in sizes)
        return PartlyLabelled(
            rows,
            labels,
            self._tensor(weight / weight.mean()),
            self._tensor(of_labels),
            (min(sizes[0], max(32, int(known.sum()))), sizes[1]),
            schedule.n_batches,
            self.generator,
        )

    def _judge(self, stack, n_frozen, rows):
        if not len(self.held_out):
            return None
        x = self._rows(stack, n_frozen, self.held_out)[:]
        y = torch.as_tensor(self.held_labels, device=self.device)
        of_labels = self.weight[self.held_out] * self.class_weight[self.held_labels]
        weight = self._tensor(of_labels / of_labels.mean())

        def judge(module):
            self._settle(module.stack, 0, rows)
            with torch.no_grad():
                return float((module.nll(x, y) * weight).mean())

        return judge

    def _rates(self, stack, n_frozen):
        """Shares of the learning rate: the older a layer, the smaller."""
        if not (self.autoencoders or self.first is not None):
            return None
        return {
            parameter: _AGEING ** (self.n_encoder - 1 - number)
            for number, layer in enumerate(stack)
            if n_frozen <= number < self.n_encoder
            for parameter in layer.parameters()
        }

    # Rows

    def _rows(self, stack, n_frozen, index=None) -> Rows:
        """What the first trained layer sees of the rows."""
        X = self.X if index is None or len(index) == self.n_samples else self.X[index]
        if n_frozen == 0:
            return Rows(X, self.units.center, self.units.scale, self.device)
        frozen = stack.below(n_frozen)
        codes = np.empty((X.shape[0], frozen.sizes[-1]), dtype=np.float32)
        map_rows(X, self._to_model, frozen, codes, self.device)
        return Rows(codes, np.float32(0), np.float32(1), self.device)

    def _to_model(self, block):
        scaled = np.ascontiguousarray((block - self.units.center) / self.units.scale)
        return torch.from_numpy(scaled).float()

    def _code_noise(self, rows):
        x = self._sample(rows)
        std = x.std(0).double().cpu()
        zero = torch.zeros_like(std)
        features = Features(zero, 1.0, std, zero, zero)
        noise = GaussianNoise(self.estimator.hidden_noise_level)
        return noise.bind(features).to(self.device)

    def _sample(self, rows):
        """Rows from everywhere among the rows, as many as statistics need."""
        most = min(_SETTLING_ROWS, max(1000, _SETTLING_ENTRIES // rows.n_features))
        index = np.linspace(0, len(rows) - 1, min(len(rows), most))
        return rows[index.astype(int)]

    def _settle(self, stack, n_frozen, rows, *, alike=False):
        stack.above(n_frozen).settle(self._sample(rows), alike=alike)

    def _tensor(self, values):
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)

    # What comes of it

    def _snapshot(self, stack, rows, n_frozen) -> dict:
        """Fitted attributes with the weights as they are now."""
        stack = copy.deepcopy(stack)
        self._settle(stack, n_frozen, rows)
        return self._attributes(stack)

    def _finished(self, stack) -> dict:
        if self.interrupted is not None:
            warnings.warn(
                f"Training was interrupted in {self.interrupted}; what was learned "
                "until then is kept.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return self._attributes(stack)

    def _attributes(self, stack) -> dict:
        stack.eval().requires_grad_(True)
        curves = [autoencoder.loss_curve_ for autoencoder in self.autoencoders]
        return {
            "net_": stack,
            "encoder_": stack.below(self.n_encoder),
            "autoencoders_": self.autoencoders,
            "pretraining_curves_": curves,
            "n_components_": stack.below(self.n_encoder).sizes[-1],
            "loss_curve_": self.loss_curve,
            "validation_scores_": self.validation_scores,
            "stages_": self.stages,
            "n_iter_": len(self.loss_curve),
            "graph_used_": self.graph_used,
            "_units": self.units,
            "_first": self.first,
        }


@dataclass(frozen=True)
class _Plain:
    center: float = 0.0
    scale: float = 1.0


_PLAIN = _Plain()


def _layers_of_estimator(encoder):
    """The starting layers of a fitted estimator, as copies."""
    if hasattr(encoder, "encoder_"):
        return list(copy.deepcopy(encoder.encoder_))
    return layers_of(encoder)


def _chosen(value):
    """None where a parameter is left to "auto"."""
    return None if isinstance(value, str) else value
