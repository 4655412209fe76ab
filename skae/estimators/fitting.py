"""One fit: from an estimator's parameters and X to its fitted attributes.

`Fit` resolves "auto", checks parameters against X before any work, picks the way to
train and returns a dictionary; the estimator takes it over only when all went well.
"""

import copy
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import clone

from skae.estimators.base_fitting import BaseFit, given
from skae.estimators.linear_models import LinearModels
from skae.estimators.validation import check_unit_interval, feature_ranges
from skae.parts.corruption import Features, KeepMissing, NoCorruption
from skae.parts.dense import Anchor, Dense
from skae.parts.likelihoods import Bernoulli, Gaussian, unmasked
from skae.parts.modules import ModulePair
from skae.parts.priors import NoPrior
from skae.training.anchoring import (
    NEGLIGIBLE,
    Units,
    anchor_of,
    fold_anchors,
    input_scale_of,
    stacked,
    units_of,
)
from skae.training.batches import Batches, Rows
from skae.training.defaults import Defaults
from skae.training.objective import Autoencoder
from skae.training.principal import (
    Moments,
    Principal,
    moments,
    principal,
    sequence_moments,
)
from skae.training.selection import Folds, HoldOut, choose_departure
from skae.training.trainer import Schedule, Trainer

__all__ = ["Fit"]

_FEWEST_ROWS = 8
_WATCHED_ROWS = 50_000
_WATCHED_ENTRIES = 4_000_000
_STREAMING_RATE = 1e-3
_CORRUPTED_FLOOR = 0.01


class Fit(BaseFit, LinearModels):
    """A fit of an autoencoder to validated rows.

    Parameters
    ----------
    estimator : BaseAutoencoder
        Only its parameters are read.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,) or None
        Positive, of mean one.
    clean : ndarray or CSR matrix of X's shape, optional
        The targets, where X is not its own.
    context : ndarray of shape (n_samples, n_context), optional
        What the model is told of each row.
    """

    def __init__(self, estimator, X, weight, clean=None, context=None):
        super().__init__(estimator, X, weight, context)
        self.clean = clean
        self.parts = estimator._parts(X if clean is None else clean)
        self.likelihood = self.parts.likelihood
        self.corruption = self.parts.corruption
        self.is_dense = isinstance(self.parts.architecture, Dense)
        if hasattr(self.likelihood, "bind"):
            self.likelihood = self.likelihood.bind(self.n_features).to(self.device)
        self.is_plain = (
            isinstance(self.likelihood, Gaussian)
            and isinstance(self.parts.corruption, NoCorruption)
            and isinstance(self.parts.prior, NoPrior)
            and not self.parts.penalties
            and clean is None
        )
        if isinstance(unmasked(self.likelihood), Bernoulli):
            check_unit_interval(X if clean is None else clean)
            if self._is_anchored() and self.parts.architecture.tied_weights:
                raise ValueError(
                    "tied_weights=True with likelihood='bernoulli' needs "
                    "init='random': PCA's start has other weights in the decoder."
                )

    def run(self) -> dict:
        """Fit from scratch."""
        shallow = self.is_dense and not self.parts.architecture.hidden_layer_sizes
        if self._is_linear() and self.parts.init == "random" and shallow:
            if self.estimator.alpha in ("auto", 0):
                return self._fit_linear()
        found = self._center_and_axes()
        if self._is_answered(found):
            return self._principal_attributes(found)
        start = self._start(found, cross_validate=self.estimator.early_stopping)
        trainer, judge = self._train(start)
        departure = self._choose(start, judge)
        curves = self._curves(trainer)
        if departure == 0 and self.is_plain:
            return {**self._principal_attributes(found), **curves}
        if self._is_linear():
            return {**self._collapsed(start.model.codec), **curves}
        model = start.model
        if start.folds is not None:
            model = self._module(model.codec.member(0))
        return {
            **self._attributes(model, start.units, found.mean, departure),
            **curves,
        }

    def resume(self, fitted) -> dict:
        """Fit on from the weights of a fitted estimator (``warm_start``)."""
        if hasattr(fitted, "components_"):
            return self.run()
        self._check_same_network(fitted)
        # The divergence has come in already.
        self.parts = replace(self.parts, warmup=0.0)
        model = copy.deepcopy(fitted.net_).to(self.device)
        start = self._restart(fitted, model)
        trainer, _ = self._train(start)
        return {
            **self._attributes(start.model, start.units, start.mean, fitted.departure_),
            **self._curves(trainer, fitted),
        }

    def continue_epoch(self, fitted) -> dict:
        """One epoch at a constant rate, from a fitted estimator or from scratch."""
        state = None
        if fitted is None:
            found = self._center_and_axes()
            linear = self._is_linear() and self._is_anchored()
            start = self._start(found, linear=linear)
        else:
            self._check_same_network(fitted)
            state = fitted._optimizer_state
            # In place: `unchanged_on_error` has the weights.
            model = fitted.net_
            start = self._restart(fitted, model.to(self._device_for(model)))
        rate = self.estimator.learning_rate_init
        # Batches of nearly the size asked for that leave no row out.
        n_batches = max(1, round(self.n_samples / self._batch_size(start.model)))
        schedule = Schedule(
            n_rounds=1,
            n_steps=n_batches,
            batch_size=self.n_samples // n_batches,
            ema_decay=0.0,
            lr=_STREAMING_RATE if rate == "auto" else rate,
            constant=True,
        )
        trainer = self._trainer(start, schedule, None, state)
        weight = self._tensor(self.weight, start.rows.dtype)
        index = np.arange(self.n_samples)
        with self._own_randomness():
            trainer.train(self._batches(start, index, schedule, weight))
        trainer.release()
        return {
            **self._attributes(start.model, start.units, start.mean, 1.0),
            **self._curves(trainer, fitted),
            "_kept_round": None,
            "_optimizer_state": trainer.state(),
        }

    # What is known before training

    def _is_linear(self) -> bool:
        if not (self.is_dense and self.is_plain):
            return False
        dense = self.parts.architecture
        return dense.activation == dense.code_activation == "identity"

    def _is_anchored(self) -> bool:
        return self.is_dense and self.parts.init == "pca"

    def _is_answered(self, found) -> bool:
        """Whether PCA itself is the answer."""
        if not (self._is_anchored() and self.is_plain):
            return False
        exact = found.residual <= NEGLIGIBLE * found.variance.mean()
        return self._is_linear() or exact or self.n_samples < _FEWEST_ROWS

    def _residual(self, found: Principal) -> float:
        """PCA's residual, floored where the model is trained although it is exact."""
        floor = NEGLIGIBLE if self.is_plain else _CORRUPTED_FLOOR
        return max(found.residual, floor * found.variance.mean())

    def _center_and_axes(self) -> Principal | Moments:
        """PCA where the model starts from it or its width is asked for."""
        n_components = self.parts.n_components
        share_asked = self.is_dense and n_components < 1
        if self._is_anchored() or share_asked:
            return principal(self.X, n_components, self.weight, self.random_state)
        return self._moments()

    def _moments(self) -> Moments:
        if self.parts.period is not None:
            return sequence_moments(self.X, self.weight, self.parts.period)
        return moments(self.X, self.weight, covariance=False)

    def _start(self, found, *, cross_validate=False, linear=False) -> "_Start":
        """The untrained model, its units and its rows."""
        if linear:
            fitted = self._principal_attributes(found)
            units, model = fitted["_units"], fitted["net_"]
            rows = self._rows(self.X, units, next(model.parameters()).dtype)
            return _Start(model, units, found.mean, rows)
        anchored = self._is_anchored()
        units = units_of(
            found.center,
            found.unit,
            found.variance,
            self._residual(found) if anchored else None,
            centred=isinstance(unmasked(self.parts.likelihood), Gaussian),
        )
        rows, noisy = self._targets_and_inputs(units)
        self.corruption = self._bound_corruption(found, units)
        if not self.is_dense:
            codec = self.parts.architecture.build(
                self.n_features,
                self.parts.n_components,
                generator=self.generator,
                **self._widths(self.parts.n_components),
            )
            model = self._module(codec.to(self.device))
            return _Start(model, units, found.mean, rows, noisy=noisy)
        n_components = (
            found.axes.shape[1]
            if isinstance(found, Principal)
            else self.parts.n_components
        )
        defaults = self._defaults(n_components)
        folds = anchor = None
        if anchored:
            anchor = anchor_of(found, units, self.parts.likelihood)
            enough = self.n_samples >= _FEWEST_ROWS
            if cross_validate and enough and defaults.n_folds:
                weight = self._tensor(self.weight)
                folds = Folds(rows[:], defaults.n_folds, self.generator, weight)
                anchors = fold_anchors(
                    folds, found, units, self.parts.likelihood, self.random_state
                )
                anchor = stacked([anchor, *anchors])
            anchor = Anchor(*(part.to(self.device) for part in anchor))
        dense = clone(self.parts.architecture)
        if isinstance(dense.hidden_layer_sizes, str):
            dense.set_params(hidden_layer_sizes=defaults.hidden_layer_sizes)
        codec = dense.build(
            self.n_features,
            n_components,
            generator=self.generator,
            anchor=anchor,
            input_scale=input_scale_of(found.variance, found.unit, units.scale),
            bound=defaults.bound if anchored else None,
            members=None if folds is None else folds.n_folds + 1,
            device=self.device,
            **self._widths(n_components),
        )
        model = self._module(codec)
        return _Start(model, units, found.mean, rows, anchor, folds, noisy)

    def _widths(self, n_components) -> dict:
        """Of the encoder's output and the context, where they are not as usual.

        Modules that came as a pair have theirs, and only have to fit one another.
        """
        prior, context = self.parts.prior, self.context
        widths: dict = {}
        if isinstance(self.parts.architecture, ModulePair):
            widths["location"] = prior.location
        elif not isinstance(prior, NoPrior):
            widths["n_outputs"] = prior.n_outputs(n_components)
        if context is not None:
            widths["n_context"] = context.shape[1]
        return widths

    def _restart(self, fitted, model) -> "_Start":
        """A fitted codec with the rows and the parts of this fit."""
        units = fitted._units
        if hasattr(self.parts.corruption, "bind"):
            found = self._moments()
            self.corruption = self._bound_corruption(found, units)
        if isinstance(model.likelihood, torch.nn.Module):
            self.likelihood = model.likelihood
        model = self._module(model.codec)
        rows, noisy = self._targets_and_inputs(units, next(model.parameters()).dtype)
        return _Start(model, units, fitted.mean_, rows, noisy=noisy)

    def _targets_and_inputs(self, units: Units, dtype=torch.float32):
        """Rows to reconstruct, and what the encoder sees where that is given."""
        if self.clean is None:
            return self._rows(self.X, units, dtype), None
        return self._rows(self.clean, units, dtype), self._rows(self.X, units, dtype)

    def _bound_corruption(self, found, units: Units):
        """The corruption for rows in model units."""
        corruption = self.parts.corruption
        period = self.parts.period
        if hasattr(corruption, "bind"):
            std = np.sqrt(found.variance) * found.unit
            center, std, low, high = (
                torch.as_tensor(value, dtype=torch.float64)
                for value in (units.center, std, *feature_ranges(self.X, period))
            )
            features = Features(center, units.scale, std, low, high)
            corruption = corruption.bind(features).to(self.device)
        if period is None or isinstance(corruption, NoCorruption):
            return corruption
        return KeepMissing(corruption)

    # Training and what comes of it

    def _train(self, start: "_Start"):
        """Train on all rows but the held-out ones; the trainer and the judge."""
        defaults = self._defaults(_width(start.model, self.n_features))
        weight = self._tensor(self.weight)
        if start.folds is not None:
            index, judge = np.arange(self.n_samples), start.folds
            weight = start.folds.train_weight
        else:
            index, judge = self._split(start, weight)
        if judge is not None:
            judge.note_start(start.model.eval(), start.anchor)
        schedule = self._schedule(defaults, len(index))
        trainer = self._trainer(start, schedule, judge)
        with self._own_randomness():
            trainer.train(self._batches(start, index, schedule, weight))
        trainer.release()
        return trainer, judge

    def _split(self, start: "_Start", weight):
        """Training row numbers and the judge of the others."""
        index, out = self._shuffled()
        if out is None:
            return index, None
        watched = None
        if start.anchor is not None:
            n_watched = min(_WATCHED_ROWS, _WATCHED_ENTRIES // self.n_features)
            watched = start.rows[np.sort(index[: max(1, n_watched)])]
        judge = HoldOut(
            start.rows[out],
            None if weight is None else weight[out],
            watched,
            None if start.noisy is None else start.noisy[out],
            None if self.context is None else self._tensor(self.context[out]),
        )
        return index, judge

    def _choose(self, start: "_Start", judge) -> float:
        """How much of the departure from the anchor to keep."""
        if start.anchor is None or judge is None:
            return 1.0
        defaults = self._defaults(_width(start.model, self.n_features))
        choice = choose_departure(
            start.model, judge, start.anchor, always_guard=defaults.always_guard
        )
        return choice.shrinkage

    def _trainer(
        self, start: "_Start", schedule: Schedule, judge, state=None
    ) -> Trainer:
        model = start.model
        estimator = self.estimator

        def on_round(_, module):
            def attributes():
                codec = copy.deepcopy(module.codec)
                codec = codec.member(0) if start.folds is not None else codec
                snapshot = self._module(codec, copy.deepcopy(module.likelihood))
                return self._attributes(snapshot, start.units, start.mean, 1.0)

            return self.progress.round(attributes)

        model.warmup = warmup = 0.0 if schedule.constant else self.parts.warmup
        return self._new_trainer(
            model,
            schedule=schedule,
            generator=self.noise,
            evaluate=judge,
            # The loss of the warm-up is not to be compared with what comes after.
            keep_last=judge is None and warmup > 0,
            on_round=on_round if self.progress.context is not None else None,
            state=state,
            callbacks=estimator.callbacks,
            verbose=estimator.verbose,
        )

    def _new_trainer(self, model, **options) -> Trainer:
        return Trainer(model, **options)

    def _schedule(self, defaults, n_train: int) -> Schedule:
        # Rounds in which the divergence comes in do not count against patience.
        return self._schedule_of(
            n_train,
            defaults,
            warmup=self.parts.warmup,
            weight_decay=given(self.estimator.alpha, defaults.weight_decay),
            ema_decay=defaults.ema_decay,
        )

    def _batches(self, start: "_Start", index, schedule, weight) -> Batches:
        return Batches(
            start.rows,
            index,
            schedule.batch_size,
            schedule.n_steps,
            self.generator,
            weight,
            start.noisy,
            None if self.context is None else Rows(self.context, 0.0, 1.0, self.device),
        )

    # Fitted attributes

    def _attributes(self, model, units, mean, departure) -> dict:
        model.eval()
        return {
            "net_": model,
            "_units": units,
            "_network": self._network(),
            "mean_": mean,
            "n_components_": _width(model, self.n_features),
            "departure_": departure,
        }

    # Small pieces

    def _module(self, codec, likelihood=None) -> Autoencoder:
        parts = self.parts
        return Autoencoder(
            codec,
            self.likelihood if likelihood is None else likelihood,
            self.corruption,
            parts.prior,
            parts.penalties,
            hidden_context=parts.hidden_context,
        )

    def _rows(self, X, units: Units, dtype=torch.float32) -> Rows:
        return Rows(X, units.center, units.scale, self.device, dtype)

    def _defaults(self, n_components) -> Defaults:
        return self.parts.defaults(self.n_samples, self.n_features, n_components)

    def _batch_size(self, model) -> int:
        defaults = self._defaults(_width(model, self.n_features))
        asked = given(self.estimator.batch_size, defaults.batch_size)
        return min(asked, self.n_samples)

    @contextmanager
    def _own_randomness(self):
        """Dropout in users' modules draws from torch's global generator only."""
        own = isinstance(self.parts.architecture, ModulePair)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices, enabled=own):
            if own:
                torch.set_rng_state(self.generator.get_state())
            yield

    def _device_for(self, model) -> torch.device:
        """Apple's devices have no float64."""
        double = next(model.parameters()).dtype == torch.float64
        on_cpu = double and self.device.type == "mps"
        return torch.device("cpu") if on_cpu else self.device

    def _check_same_network(self, fitted) -> None:
        """Raise where parameters ask for another network than the fitted one."""
        asked = self.parts.n_components
        if asked is not None and asked >= 1 and asked != fitted.n_components_:
            raise ValueError(
                f"n_components={asked} differs from the {fitted.n_components_} "
                "components of the fitted model that is to be continued. Set "
                "warm_start=False or use a new estimator."
            )
        asked, known = self._network(), fitted._network
        for name, value in known.items():
            if asked.get(name) != value:
                raise ValueError(
                    f"{name}={asked.get(name)!r} differs from the {value!r} of the "
                    "fitted model that is to be continued. Set warm_start=False or use "
                    "a new estimator."
                )

    def _network(self) -> dict:
        """What a model has to have in common with one that continues it."""
        architecture, likelihood = self.parts.architecture, self.parts.likelihood
        learns = hasattr(likelihood, "bind")
        return {
            "architecture": type(architecture).__name__,
            **_hyperparameters(architecture),
            "likelihood": type(likelihood).__name__ if learns else "without parameters",
            **(_hyperparameters(likelihood) if learns else {}),
        }


class _Start(NamedTuple):
    """A model that is ready to train."""

    model: Autoencoder
    units: Units
    mean: np.ndarray
    rows: Rows
    anchor: Anchor | None = None
    folds: Folds | None = None
    noisy: Rows | None = None


def _hyperparameters(part) -> dict:
    return part.get_params(deep=False) if hasattr(part, "get_params") else {}


def _width(model, n_features) -> int:
    """n_components of a model."""
    codec = model.codec
    known = getattr(codec, "n_components", None)
    if known is not None:
        return known
    with torch.no_grad():
        rows = next(codec.parameters()).new_zeros(2, n_features)
        return model.code(rows).shape[1]
