"""One fit of a `StackedAEClassifier`: pretraining, head, release, fine-tuning.

`StackedFit` plans the stages, runs them in order and returns a dictionary of fitted
attributes; a stage itself is `StageTraining`'s.
"""

import copy
import math
from functools import cached_property

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skae.checks.rows import feature_ranges
from skae.fitting.callbacks import FitProgress
from skae.fitting.classifier_stage import (
    Stage,
    StageTraining,
    held_out_rows,
    neighbours_of,
    planned,
    sample,
    stream,
)
from skae.fitting.fit import (
    BaseFit,
    finished_rounds,
    interrupted_chunk,
    value_or_default,
)
from skae.fitting.pca_start import Units, units_of
from skae.fitting.pretraining import coded, layers_of, pretrain
from skae.fitting.resolve import hidden_widths, noise_of, stack_work
from skae.models.stack import NormalisedLayer, Product, Stack
from skae.parts.activations import ACTIVATIONS
from skae.parts.base import Features
from skae.parts.layers import widest
from skae.rows.chunks import Rows
from skae.rows.devices import product_rows
from skae.rows.tensors import as_double
from skae.rows.user_line import warn_user
from skae.statistics.pca import moments
from skae.training.trainer import Trainer

__all__ = ["StackedFit"]

# Codes go from layer to layer as they are.
_PLAIN = Units(np.zeros(1), 1.0)


class StackedFit(BaseFit):
    """A fit of a classifier to validated rows.

    Parameters
    ----------
    estimator : StackedAEClassifier
        Only its parameters are read.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    labels : ndarray of int of shape (n_samples,)
        Class numbers, -1 for rows without a label.
    classes : ndarray of shape (n_classes,)
    weight : ndarray of shape (n_samples,) or None
        Positive.
    class_weight : ndarray of shape (n_classes,)
    layer_class : type
        Of the pretrained layers, `AutoencoderTransformer`.
    **options
        Of `BaseFit`.

    Raises
    ------
    ValueError
        Where parameters do not fit X, before any training.
    """

    def __init__(
        self,
        estimator,
        X,
        labels,
        classes,
        weight,
        class_weight,
        layer_class,
        **options,
    ):
        options |= {"y": labels, "classes": classes, "class_weights": class_weight}
        options["work"] = stack_work(estimator, X.shape[1], len(classes))
        super().__init__(estimator, X, weight, notifies=False, **options)
        self.labels = labels
        self.classes = classes
        self.class_weight = class_weight
        self.layer_class = layer_class
        self.widths = hidden_widths(estimator.hidden_layer_sizes, "relu")
        head = estimator.head_layer_sizes
        self.head_widths = hidden_widths(head, "relu", "head_layer_sizes")
        level = 1.0 if estimator.noise == "gaussian" else 0.25
        level = value_or_default(estimator.noise_level, level)
        self.corruption = noise_of(estimator.noise, level)
        self.first = copy.deepcopy(estimator.encoder)
        if not self.widths and self.first is None:
            raise ValueError(
                "hidden_layer_sizes must name at least one layer unless an encoder is "
                "given; got ()."
            )
        self.autoencoders: list = []
        self.loss_curve: list[float] = []
        self.epochs: list[float] = []
        self.n_iter = 0
        self.validation_scores: list[float] | None = None
        self.stages: list[tuple[str, int]] = []
        self.interrupted: str | None = None
        self.is_stopped = False
        self.graph_used = False
        self.held_out = np.empty(0, dtype=int)

    def run(self) -> dict:
        """Fit from scratch."""
        self._begin()
        stack, n_pretrained = self._pretrained()
        for stage in planned(self, n_pretrained):
            if self.interrupted is None or stage.is_head:
                self._run(stage, stack)
            if self.is_stopped:
                break
        return self._finished(stack)

    def resume(self, fitted, widths, first) -> dict:
        """Fine-tune a fitted classifier further (``warm_start``).

        Parameters
        ----------
        fitted : StackedAEClassifier
        widths : tuple of (tuple of int, tuple of int)
            Widths of its encoder's layers and of its head's.
        first : fitted estimator or None
            The encoder on which its layers were put.
        """
        self._begin()
        stack = self._taken_over(fitted, widths, first)
        n_released = self.n_released(self.n_encoder)
        self._run(Stage("fine-tuning", n_released, is_last=True), stack)
        return self._finished(stack)

    def first_epoch(self) -> dict:
        """Pretraining and one epoch at a constant rate."""
        stack, _ = self._pretrained(max_iter=1)
        if self.interrupted is not None:
            raise interrupted_chunk()
        stack.calibrate(sample(self.rows_of(self.X)), preserve_output=True)
        stream(self, stack, self.n_released(self.n_encoder))
        if self.interrupted is not None:
            raise interrupted_chunk()
        return self._finished(stack)

    def continue_epoch(self, fitted, widths, first) -> dict:
        """One epoch at a constant rate from a fitted classifier, as in `resume`."""
        stack = self._taken_over(fitted, widths, first)
        self.stages, self.loss_curve = [*fitted.stages_], [*fitted.loss_curve_]
        self.epochs = [*fitted.epochs_]
        # Each chunk has noise and an order of its own.
        for generator in (self.generator, self.noise):
            generator.manual_seed(self.seed + len(self.loss_curve))
        stream(self, stack, self.n_released(self.n_encoder))
        if self.interrupted is not None:
            raise interrupted_chunk()
        self.n_iter += fitted.n_iter_
        return self._finished(stack)

    def _summary(self, fitted: dict) -> list[str]:
        n_epochs, scores = fitted["n_iter_"], fitted["validation_scores_"]
        phrases = [
            f"stages {', '.join(name for name, _ in fitted['stages_'])}",
            f"{n_epochs} epoch{'s' * (n_epochs != 1)} of the last",
        ]
        if scores:
            start, best = -scores[0], -max(scores)
            phrases.append(f"held-out log-loss {start:.4g} -> {best:.4g}")
        return phrases

    def rows_of(self, X) -> Rows:
        """Rows in model units."""
        return Rows(X, self.units.center, self.units.scale, self.device)

    def codes_of(self, frozen: Stack, X) -> Rows:
        """Rows as the first trained layer gets them: codes of the frozen layers."""
        if not len(frozen):
            return self.rows_of(X)
        n_rows = product_rows(self.device, lambda: widest(frozen, X.shape[1]))
        steps = self.units.to_model, frozen.eval(), frozen.sizes[-1]
        codes = coded(X, *steps, device=self.device, n_rows=n_rows)
        return Rows(codes, np.float32(0), np.float32(1), self.device)

    def weight_at(self, index) -> np.ndarray:
        """Weights of the rows of these numbers."""
        return np.ones(len(index)) if self.weight is None else self.weight[index]

    def train(self, name: str, loss, batches, schedule, **options) -> None:
        """Train a stage with these options of `Trainer`; its curves are appended."""
        trainer = Trainer(
            loss,
            schedule=schedule,
            generator=self.noise,
            recording=self.recording,
            callbacks=self.estimator.callbacks,
            verbose=self.estimator.verbose,
            **options,
        )
        try:
            with self.computing():
                trainer.train(batches)
        finally:
            trainer.release()
            self._record(name, trainer)

    def _record(self, name, trainer):
        rounds = finished_rounds(trainer) if trainer.initialized_ else []
        self.stages.append((name, len(rounds)))
        self.loss_curve += [row["train_loss"] for row in rounds]
        before = self.epochs[-1] if self.epochs else 0.0
        epochs = [trainer.schedule.epochs(row["step"]) for row in rounds]
        self.epochs += [before + epoch for epoch in epochs]
        self.n_iter = math.ceil(epochs[-1] - 1e-6) if epochs else 0
        if trainer.evaluate is not None:
            self.validation_scores = [-row["valid_loss"] for row in rounds]
        if trainer.interrupted_:
            self.note_interruption(f"the stage '{name}'")

    def note_interruption(self, stage: str) -> None:
        self.interrupted = self.interrupted or stage
        if self.recording is not None:
            self.recording.stop()

    def attributes(self, stack: Stack) -> dict:
        """Fitted attributes of a stack."""
        stack.eval().requires_grad_(True)
        encoder = stack.below(self.n_encoder)
        curves = [autoencoder.loss_curve_ for autoencoder in self.autoencoders]
        return {
            "classes_": self.classes,
            "net_": stack,
            "encoder_": encoder,
            "autoencoders_": self.autoencoders,
            "pretraining_curves_": curves,
            "n_components_": encoder.sizes[-1],
            "loss_curve_": self.loss_curve,
            "validation_scores_": self.validation_scores,
            "stages_": self.stages,
            "epochs_": np.array(self.epochs),
            "n_iter_": self.n_iter,
            "graph_used_": self.graph_used,
            "interrupted_": self.interrupted is not None,
            "units_": self.units,
            "_widths": (self.widths, self.head_widths),
            "_first": self.first,
        }

    def _begin(self):
        labelled = self.labels >= 0
        y = self.classes[self.labels[labelled]]
        is_heard = bool(getattr(self.estimator, "_skl_callbacks", None))
        X = self.X[labelled] if is_heard else None
        self.progress = FitProgress(self.estimator, X, y)
        if self.estimator.early_stopping:
            share = self.estimator.validation_fraction
            self.held_out = held_out_rows(self.labels, share, self.seed)

    # The network before its labels

    def _pretrained(self, max_iter=None):
        """The whole stack, and how many of its layers are pretrained."""
        estimator = self.estimator
        layers = []
        if self.first is not None:
            self.units = self.first.units_
            layers = layers_of(self.first)
        if estimator.pretrain:
            try:
                self._pretrain(estimator.pretrain_max_iter or max_iter)
            except KeyboardInterrupt:
                self.note_interruption(
                    f"pretraining of layer {len(self.autoencoders) + 1}"
                )
        for autoencoder in self.autoencoders:
            if not layers:
                self.units = autoencoder.units_
            layers += layers_of(autoencoder, _PLAIN if layers else self.units)
        if not layers:
            self.units = units_of(self._moments())
        self._bind_corruption()
        n_pretrained = len(layers)
        n_before = n_pretrained - len(self.autoencoders)
        self.n_encoder = n_before + len(self.widths)
        widths = self.widths[len(self.autoencoders) :]
        sizes = [*widths, *self.head_widths, len(self.classes)]
        n_in = layers[-1].n_out if layers else self.n_features
        for number, width in enumerate(sizes):
            name = "identity" if number == len(sizes) - 1 else "relu"
            gain = ACTIVATIONS[name].gain
            product = Product.random(n_in, width, gain, self.generator)
            layers.append(NormalisedLayer(product, n_in, width, name))
            n_in = width
        stack = Stack(layers).to(self.device)
        x = sample(self.rows_of(self.X))
        stack.above(n_pretrained).calibrate(stack.below(n_pretrained)(x).detach())
        return stack, n_pretrained

    def _pretrain(self, max_iter):
        estimator = self.estimator
        fits = pretrain(
            self.X,
            self.widths,
            self.layer_class,
            corruption=self.corruption,
            hidden_noise=estimator.hidden_noise_level,
            first=self.first,
            weight=self.weight,
            tied_weights=estimator.tied_weights,
            max_iter=max_iter,
            batch_size=value_or_default(estimator.batch_size, None),
            device=self.device,
            callbacks=estimator.callbacks,
            verbose=estimator.verbose,
            random_state=self.seed,
            recording=self.recording,
        )
        for autoencoder in fits:
            self.autoencoders.append(autoencoder)
            name = f"layer {len(self.autoencoders)}"
            self.stages.append((name, len(autoencoder.loss_curve_)))
            if autoencoder.interrupted_:
                self.note_interruption(f"pretraining of {name}")
                break

    def _taken_over(self, fitted, widths, first) -> Stack:
        """A copy of a fitted classifier's stack; takes over its pretraining too."""
        if (self.widths, self.head_widths) != widths:
            raise ValueError(
                f"hidden_layer_sizes={self.widths} and head_layer_sizes="
                f"{self.head_widths} ask for another network than the fitted one that "
                f"is to be continued, which has {widths[0]} and {widths[1]}. Set "
                "warm_start=False or use a new estimator."
            )
        self.autoencoders, self.first = fitted.autoencoders_, first
        self.stages = fitted.stages_[: len(self.autoencoders)]
        self.units = fitted.units_
        self.n_encoder = len(fitted.encoder_)
        self._bind_corruption()
        return copy.deepcopy(fitted.net_).to(self.device)

    def _bind_corruption(self):
        """Bind the corruption to model units.

        Every feature counts with the root mean square of all deviations: directions in
        which training rows do not vary need noise too.
        """

        def deviations():
            total = self._moments()
            mean_square = total.variance.mean()
            return np.full(self.n_features, total.unit * np.sqrt(mean_square))

        features = Features(
            as_double(self.units.center),
            self.units.columns,
            (self.n_features,),
            deviations,
            lambda: feature_ranges(self.X),
        )
        self.corruption = self.corruption.bind(features)

    def _moments(self):
        return moments(self.X, self.weight, covariance=False)

    graph = cached_property(neighbours_of)

    # The stages

    def n_released(self, n_layers: int) -> int:
        """How many of so many encoder layers are trained in the end."""
        unfreeze = self.estimator.unfreeze_layers
        return n_layers if unfreeze == "all" else min(unfreeze, n_layers)

    def _run(self, stage: Stage, stack: Stack) -> None:
        try:
            StageTraining(self, stage, stack).run()
        except KeyboardInterrupt:
            self.note_interruption(f"the stage '{stage.name}'")

    def _finished(self, stack) -> dict:
        if self.interrupted is not None:
            warn_user(
                f"Training was interrupted in {self.interrupted}; the weights reached "
                "until then are kept.",
                ConvergenceWarning,
            )
        return self.attributes(stack)
