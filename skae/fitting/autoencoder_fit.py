"""One fit: from an estimator's parameters and X to its fitted attributes.

`Fit` picks the way to train, trains the model that `InitialModelFit` builds and returns
a dictionary; the estimator takes it over only when all went well.
"""

import copy
from dataclasses import replace
from functools import partial, reduce
from types import SimpleNamespace

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from skae.fitting.departure import choose_departure
from skae.fitting.fit import interrupted_chunk, rows_at, value_or_default
from skae.fitting.image_start import choose_axes, path_of_all, trial, tried
from skae.fitting.initial_model import FEWEST_ROWS, InitialModel, InitialModelFit
from skae.fitting.pca_start import NEGLIGIBLE, anchor_of, units_of
from skae.fitting.steps_apart import schedule_of_group
from skae.parts.dense import Dense, DenseCodec
from skae.rows.user_line import warn_user
from skae.statistics.linear_autoencoder import fit_linear, rotated
from skae.statistics.pca import PCAResult, moments
from skae.training.block_batches import AllBut, batches_of
from skae.training.global_generators import GlobalGenerators
from skae.training.held_out import HoldOut
from skae.training.resumption import resumed_schedule
from skae.training.schedule import Schedule
from skae.training.spread import SpreadBatches
from skae.training.trainer import Trainer

__all__ = ["Fit"]

_LINEAR_MAX_ITER = 2000
# Most training rows from which the guard's limits are computed.
_GUARDING_ROWS = 50_000
_GUARDING_ENTRIES = 4_000_000
# Of chunks, which have no schedule; wide tables go slower, as in `defaults`.
_STREAMING_RATE, _STREAMING_WIDTH = 4e-3, 128


class Fit(InitialModelFit):
    """A fit of an autoencoder to validated rows."""

    # Training row numbers and held-out ones, where the start depends on them.
    division: tuple | None = None

    def run(self) -> dict:
        """Fit from scratch."""
        if (
            self.is_linear
            and self.architecture.is_shallow
            and not self.is_anchored
            and self.estimator.alpha in ("auto", 0)
        ):
            return self._fit_linear()
        result = self._moments()
        # PCA can stand for a model that has no shape of its own.
        may_be_pca = (
            self.is_anchored and self.is_plain and self.architecture.trains_path
        )
        if may_be_pca and self._is_exact(result):
            return self._linear_attributes(result.axes, result)
        stopped = self._choose_image_start(result)
        start, trainer, judge = stopped or self._trained(result)
        curves, departure = self._curves(trainer), 1.0
        if judge is not None and self.is_anchored:
            choice = choose_departure(start.model, judge)
            departure = choice.shrinkage
            ratio = 1.0 if self.image_start is None else self.image_start.ratio
            curves |= {"pca_ratio_": choice.ratio * ratio, "pca_t_": choice.t}
            self._use_all_images(start, judge, result, departure)
        model = start.model
        if may_be_pca and departure == 0:
            return self._linear_attributes(result.axes, result) | curves
        if self.is_linear:
            return self._collapsed_attributes(model.codec) | curves
        if start.folds is not None:
            model = self._module(model.codec.member(0))
        return self._attributes(model, start.units, start.mean, departure) | curves

    def resume(self, fitted) -> dict:
        """Fit on from the weights of a fitted estimator (``warm_start``)."""
        if hasattr(fitted, "components_"):
            return self.run()
        self._check_same_network(fitted)
        # The KL warm-up is over.
        self.parts = replace(self.parts, kl_warmup=0.0)
        start = self._restart(fitted, copy.deepcopy(fitted.net_))
        trainer, _ = self._train(start)
        return {
            **self._attributes(start.model, start.units, start.mean, fitted.departure_),
            **self._curves(trainer, fitted),
        }

    def continue_epoch(self, fitted) -> dict:
        """One epoch at a constant rate, from a fitted estimator or from scratch."""
        state = None
        if fitted is not None:
            self._check_same_network(fitted)
            state = fitted.optimizer_state_
            # In place: `unchanged_on_error` has the weights.
            start = self._restart(fitted, fitted.net_)
        elif self.is_linear and self.is_anchored:
            pca = self._moments()
            linear = SimpleNamespace(**self._linear_attributes(pca.axes, pca))
            start = self._restart(linear, linear.net_)
        else:
            start = self._initial_model(self._moments())
        default_size = self.defaults.batch_size
        batch_size = value_or_default(self.estimator.batch_size, default_size)
        # Batches of nearly the requested size that leave no row out.
        n_batches = max(1, round(self.n_samples / batch_size))
        width = max(self.n_features, _STREAMING_WIDTH)
        rate = _STREAMING_RATE * (_STREAMING_WIDTH / width) ** 0.5
        schedule = Schedule(
            n_rounds=1,
            n_steps=n_batches,
            batch_size=self.n_samples // n_batches,
            ema_decay=0.0,
            lr=value_or_default(self.estimator.learning_rate_init, rate),
            constant=True,
        )
        start.model.kl_warmup = 0.0
        weight = self._tensor(self.weight, start.rows.dtype)
        index = AllBut(self.n_samples)
        trainer = self._run_schedule(start, schedule, index, weight, state=state)
        if trainer.interrupted_:
            raise interrupted_chunk()
        return {
            **self._attributes(start.model, start.units, start.mean, 1.0),
            **self._curves(trainer, fitted),
            "kept_round_": None,
            "optimizer_state_": trainer.state(),
        }

    def _summary(self, fitted: dict) -> list[str]:
        phrases = super()._summary(fitted)
        ratio = fitted.get("pca_ratio_")
        if ratio is None:
            return phrases
        t = f"t = {fitted['pca_t_']:.2g}"
        kept = f"{ratio:.3g} of PCA's held-out loss ({t})"
        if fitted["departure_"] == 0:
            kept = f"PCA kept, for want of a reliable gain on held-out rows ({t})"
        return [*phrases, kept]

    # Linear models

    def _is_exact(self, pca: PCAResult) -> bool:
        """Whether PCA leaves nothing that could be learned."""
        is_exact = pca.residual <= NEGLIGIBLE * pca.variance.mean()
        return self.is_linear or is_exact or self.n_samples < FEWEST_ROWS

    def _fit_linear(self) -> dict:
        """Gradient descent on the covariance from random weights."""
        result = moments(self.X, self.weight, covariance=True)
        n_components = self.n_components
        if n_components < 1:
            n_components = self._moments().axes.shape[1]
        limit = self.estimator.max_iter or _LINEAR_MAX_ITER
        encoder, decoder, losses = fit_linear(
            result,
            n_components,
            tied=self.architecture.is_tied,
            random_state=self.random_state,
            max_iter=limit,
        )
        n_iter = len(losses)
        if n_iter >= limit:
            warn_user(
                f"The linear autoencoder did not converge in max_iter={limit} "
                "iterations. Raise max_iter.",
                ConvergenceWarning,
            )
        return {
            **self._linear_attributes(*rotated(encoder, decoder, result)),
            "n_iter_": n_iter,
            "epochs_": np.arange(1.0, n_iter + 1),
            "loss_curve_": losses,
            "kept_round_": n_iter,
            "stop_reason_": "converged" if n_iter < limit else "stopped at max_iter",
        }

    def _collapsed_attributes(self, codec) -> dict:
        """Of a deep linear codec as one matrix each way, turned to principal axes."""
        codec = copy.deepcopy(codec).dense_layers().cpu().double().requires_grad_(False)
        encoder, decoder = (
            reduce(torch.matmul, [weight for weight, _ in layers]).numpy()
            for layers in (codec.encoder_layers(), codec.decoder_layers())
        )
        encoder = codec.input_scale[:, None].numpy() * encoder
        result = moments(self.X, self.weight, covariance=True)
        return self._linear_attributes(*rotated(encoder, decoder, result))

    def _linear_attributes(self, encoder: np.ndarray, result: PCAResult) -> dict:
        """Of a linear encoder with principal axes as its decoder, as PCA has them."""
        codec = DenseCodec(Dense((), "identity"), *encoder.shape).double()
        with torch.no_grad():
            codec.encoder_weights[0].copy_(torch.from_numpy(encoder.copy()))
            codec.decoder_weights[0].copy_(torch.from_numpy(result.axes.T.copy()))
        model = self._on_device(self._module(codec))
        total, variance = result.variance.sum(), result.axis_variance
        to_sample = self.n_samples / (self.n_samples - 1)
        return {
            **self._attributes(model, units_of(result), result.mean, 0.0),
            "components_": result.axes.T.copy(),
            "explained_variance_": variance * result.unit**2 * to_sample,
            "explained_variance_ratio_": variance / (total or 1.0),
            "n_iter_": 0,
            "epochs_": np.empty(0),
            "loss_curve_": [],
            "kept_round_": None,
            "validation_scores_": None,
        }

    # Training

    def _trained(self, pca):
        """A model that has been trained, its trainer and the judge."""
        start = self._initial_model(pca, cross_validate=self.estimator.early_stopping)
        return start, *self._train(start)

    def _train(self, start: InitialModel):
        """Train on all rows but the held-out ones; the trainer and the judge."""
        weight = self._tensor(self.weight)
        if start.folds is not None:
            index, judge = np.arange(self.n_samples), start.folds
            weight = start.folds.train_weight
        else:
            index, judge = self._split(start, weight)
        if judge is not None:
            judge.record_start(start.model.eval())
        schedule = self._schedule(len(index))
        return self._run_schedule(start, schedule, index, weight, judge), judge

    def _schedule(self, n_train: int) -> Schedule:
        defaults = self.defaults
        decay = value_or_default(self.estimator.alpha, defaults.weight_decay)
        schedule_of = partial(
            self._schedule_of,
            n_train,
            # Rounds of the KL warm-up do not count against patience.
            warmup=self.parts.kl_warmup,
            weight_decay=decay,
            ema_decay=defaults.ema_decay,
        )
        if self.is_anchored and self.estimator.batch_size == "auto":
            group = self.group.size, self.parts, self.X.shape
            return schedule_of_group(schedule_of, defaults, *group)
        return schedule_of(defaults)

    def _choose_image_start(self, pca: PCAResult) -> tuple | None:
        """Choose PCA's path, and what is trained beside it, by held-out images.

        Returns what `_trained` does where Ctrl-C ended the trial, and with it the fit.
        """
        is_array = isinstance(self.X, np.ndarray) and self.group.is_alone
        if not (self.is_anchored and is_array and self.architecture.data == "images"):
            return None
        self.division = index, out = self._shuffled()
        if out is None:
            return None
        shape = self.architecture.sample_shape
        rows = self.X, self.weight, np.sort(index), out
        if self.is_plain:
            self.image_start = choose_axes(*rows, pca, shape, self.random_state)
        fewer = self.architecture.beside_path()
        if fewer is None:
            return None
        start = self._initial_model(pca)
        weight = self._tensor(self.weight)
        index, judge = self._split(start, weight)
        schedule = trial(self._schedule(len(index)))
        if schedule is None:
            return None
        batches = self._batches(start, schedule, index, weight)
        trainer, promises = tried(start.model, schedule, batches, judge, self.noise)
        if trainer.interrupted_:
            if self.recording is not None:
                self.recording.stop()
            return start, trainer, judge
        if not promises:
            self.architecture = fewer
        return None

    def _use_all_images(self, start, judge, pca: PCAResult, departure: float) -> None:
        """Replace PCA's path of the training images by that of all."""
        path, codec = self.image_start, start.model.codec
        if path is None or (departure and getattr(codec.codec, "by_code", True)):
            return
        shape = self.architecture.sample_shape
        pca = path_of_all(self.X, self.weight, pca, path.share, shape)
        likelihood = self.likelihood
        codec.move_to(anchor_of(pca, start.units, likelihood), judge.training_x)

    def _split(self, start: InitialModel, weight):
        """Training row numbers and the judge of the others."""
        index, out = self.division or self._shuffled()
        if out is None:
            return index, None
        guarding = None
        if start.model.codec.is_anchored:
            n_rows = max(1, min(_GUARDING_ROWS, _GUARDING_ENTRIES // self.n_features))
            drawn = index.some if isinstance(index, AllBut) else index
            guarding = start.rows[np.sort(drawn[:n_rows])]
        judge = HoldOut(
            start.rows[out],
            rows_at(weight, out),
            guarding,
            rows_at(start.noisy, out),
            rows_at(self.conditions, out),
        )
        return index, judge

    def _run_schedule(
        self, start: InitialModel, schedule, index, weight, judge=None, state=None
    ) -> Trainer:
        estimator = self.estimator
        schedule = resumed_schedule(schedule, self.recording)
        watches = self.progress.context is not None
        trainer = self._new_trainer(
            start.model,
            schedule=schedule,
            generator=self.noise,
            evaluate=judge.in_training
            if judge is not None and self.defaults.is_long
            else judge,
            # The loss of the warm-up is not to be compared with what comes after.
            keep_last=judge is None and self.parts.kl_warmup > 0,
            on_round=partial(self._on_round, start) if watches else None,
            state=state,
            recording=self.recording,
            # Dropout in users' modules draws from torch's global generator only.
            global_generators=GlobalGenerators(self.generator, self.device)
            if self.architecture.draws_globally
            else None,
            callbacks=estimator.callbacks,
            verbose=estimator.verbose,
        )
        trainer.train(self._batches(start, schedule, index, weight))
        trainer.release()
        return trainer

    def _batches(self, start: InitialModel, schedule, index, weight):
        """Batches; of rows that are spread over processes, those of this one."""
        alone = self.group.is_alone
        return (batches_of if alone else partial(SpreadBatches, self.X))(
            start.rows,
            index,
            schedule.batch_size,
            schedule.n_steps,
            self.generator,
            weight,
            start.noisy,
            self.conditions,
        )

    def _on_round(self, start: InitialModel, _, module):
        def attributes():
            codec = copy.deepcopy(module.codec)
            codec = codec.member(0) if start.folds is not None else codec
            snapshot = self._module(codec, copy.deepcopy(module.likelihood))
            return self._attributes(snapshot, start.units, start.mean, 1.0)

        return self.progress.round(attributes)

    def _new_trainer(self, model, **options) -> Trainer:
        return Trainer(model, **options)

    # Fitted attributes

    def _attributes(self, model, units, mean, departure: float) -> dict:
        model.eval().confine(units.limits(self.parts.value_range))
        return {
            "net_": model,
            "units_": units,
            "network_": self.network,
            "mean_": mean,
            "n_components_": model.codec.n_components,
            "departure_": departure,
        }

    def _check_same_network(self, fitted) -> None:
        """Raise where parameters describe another network than the fitted one."""
        requested, continued = {**self.network}, {**fitted.network_}
        n_components = self.parts.n_components
        if n_components is not None and n_components >= 1:
            requested["n_components"] = n_components
            continued["n_components"] = fitted.n_components_
        for name, value in continued.items():
            if requested.get(name) != value:
                raise ValueError(
                    f"{name}={requested.get(name)!r} differs from the {value!r} of the "
                    "fitted model that is to be continued. Use a new estimator, or fit "
                    "with warm_start=False."
                )
