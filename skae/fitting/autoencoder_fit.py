"""One fit: from an estimator's parameters and X to its fitted attributes.

`Fit` resolves "auto", checks parameters against X before any work, picks the way to
train and returns a dictionary; the estimator takes it over only when all went well.
"""

import copy
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skae.checks.rows import check_padding, feature_ranges
from skae.fitting.defaults import Defaults
from skae.fitting.departure import Choice, choose_departure
from skae.fitting.fit import BaseFit, given
from skae.fitting.linear_fit import LinearModels
from skae.fitting.pca_start import (
    NEGLIGIBLE,
    Units,
    anchor_of,
    fold_anchors,
    input_scale_of,
    output_scale_of,
    stacked,
    units_of,
)
from skae.models.autoencoder import Autoencoder
from skae.parts.anchored import AnchoredCodec
from skae.parts.base import Batch, Codec, Features, built
from skae.parts.corruption import KeepMissing
from skae.parts.likelihoods import Masked
from skae.rows.chunks import Rows
from skae.statistics.column_units import column_units
from skae.statistics.pca import (
    Moments,
    Principal,
    moments,
    pooled_moments,
    principal,
)
from skae.training.batches import Batches
from skae.training.held_out import Folds, HoldOut
from skae.training.schedule import Schedule
from skae.training.trainer import Trainer

__all__ = ["Fit"]

_FEWEST_ROWS = 8
_WATCHED_ROWS = 50_000
_WATCHED_ENTRIES = 4_000_000
_CHECKED_ROWS = 4
# Of chunks, which have no schedule; wide tables go slower, as in `defaults`.
_STREAMING_RATE, _STREAMING_WIDTH = 4e-3, 128
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
        The condition of each row.
    """

    def __init__(self, estimator, X, weight, clean=None, context=None):
        super().__init__(estimator, X, weight, context)
        self.clean = clean
        self.targets = X if clean is None else clean
        self.parts = estimator._parts(self.targets)
        self.architecture = self.parts.architecture
        self.likelihood = self.parts.likelihood
        self.corruption = self.parts.corruption
        self.penalties = self.parts.penalties
        self.is_plain = (
            self.likelihood.is_least_squares
            and self.corruption.is_identity
            and self.parts.prior.keeps_units
            and not self.penalties
            and clean is None
        )
        self.is_linear = self.architecture.is_linear and self.is_plain
        self.is_anchored = self.parts.init == "pca" and (
            self.architecture.decides_width or self.parts.n_components is not None
        )
        if self.architecture.allows_missing:
            check_padding(X, self.architecture.sample_shape)
        self._check_parts()

    def _check_parts(self) -> None:
        self.likelihood.check(lambda: feature_ranges(self.targets))
        self.likelihood.check_rows(self.targets)
        if not self.is_anchored:
            return
        name = type(self.likelihood).__name__
        if not self.likelihood.starts_as_pca:
            raise ValueError(
                f"init='pca' can not be combined with likelihood={name}, whose mean is "
                "no function of a linear reconstruction; use init='random'."
            )
        if self.architecture.is_tied and not self.likelihood.is_centred:
            raise ValueError(
                f"init='pca' can not be combined with tied_weights=True and likelihood="
                f"{name}: PCA's start has other weights in the decoder. Use "
                "init='random'."
            )

    def run(self) -> dict:
        """Fit from scratch."""
        by_covariance = self.is_linear and self.architecture.is_shallow
        if (
            by_covariance
            and not self.is_anchored
            and self.estimator.alpha in ("auto", 0)
        ):
            return self._fit_linear()
        found = self._center_and_axes()
        if self._is_answered(found):
            return self._principal_attributes(found)
        start = self._start(found, cross_validate=self.estimator.early_stopping)
        trainer, judge = self._train(start)
        choice = self._choose(start, judge)
        curves = {**self._curves(trainer), **self._verdict(choice, judge)}
        if choice.shrinkage == 0 and self._may_be_pca:
            return {**self._principal_attributes(found), **curves}
        if self.is_linear:
            return {**self._collapsed(start.model.codec), **curves}
        model = start.model
        if start.folds is not None:
            model = self._module(model.codec.member(0))
        return {
            **self._attributes(model, start.units, found.mean, choice.shrinkage),
            **curves,
        }

    def resume(self, fitted) -> dict:
        """Fit on from the weights of a fitted estimator (``warm_start``)."""
        if hasattr(fitted, "components_"):
            return self.run()
        self._check_same_network(fitted)
        # The divergence has come in already.
        self.parts = replace(self.parts, kl_warmup=0.0)
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
            linear = self.is_linear and self.is_anchored
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
            lr=given(rate, self._streaming_rate()),
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

    def _verdict(self, choice: Choice, judge) -> dict:
        """What held-out rows said of the model that starts as PCA."""
        if judge is None or not self.is_anchored:
            return {}
        return {"pca_ratio_": choice.ratio, "pca_t_": choice.t}

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

    def _streaming_rate(self) -> float:
        wide = max(self.n_features, _STREAMING_WIDTH)
        return _STREAMING_RATE * (_STREAMING_WIDTH / wide) ** 0.5

    # What is known before training

    @property
    def _may_be_pca(self) -> bool:
        """Whether a `Principal` can stand for the model, which has no other shape."""
        return self.is_anchored and self.is_plain and self.architecture.trains_path

    def _is_answered(self, found) -> bool:
        """Whether PCA itself is the answer."""
        if not self._may_be_pca:
            return False
        exact = found.residual <= NEGLIGIBLE * found.variance.mean()
        return self.is_linear or exact or self.n_samples < _FEWEST_ROWS

    def _residual(self, found: Principal) -> float:
        """PCA's residual, floored where the model is trained although it is exact."""
        floor = NEGLIGIBLE if self.is_plain else _CORRUPTED_FLOOR
        return max(found.residual, floor * found.variance.mean())

    def _center_and_axes(self) -> Principal | Moments:
        """PCA where the model starts from it or its width is asked for."""
        n_components = self.parts.n_components
        if self.architecture.decides_width:
            n_components = self._built(None).n_components
        share_asked = n_components is not None and n_components < 1
        if self.is_anchored or share_asked:
            return principal(self.X, n_components, self.weight, self.random_state)
        return self._moments()

    def _moments(self) -> Moments:
        if self.architecture.shares_center:
            return pooled_moments(self.X, self.weight, self._groups)
        return moments(self.X, self.weight, covariance=False)

    @cached_property
    def _groups(self) -> np.ndarray | None:
        return self.architecture.unit_groups(self.n_features)

    def _units(self, found) -> Units:
        """Model units for these moments."""
        columns = None
        if self.parts.columns_apart and self.likelihood.is_centred:
            variance = found.variance * found.unit**2
            low, high = feature_ranges(self.targets)
            columns = column_units(variance, low, high, self._groups)
        return units_of(
            found,
            self._residual(found) if self.is_anchored else None,
            centred=self.likelihood.is_centred,
            columns=columns,
        )

    # The untrained model

    def _start(self, found, *, cross_validate=False, linear=False) -> "_Start":
        """The untrained model, its units and its rows."""
        if linear:
            fitted = self._principal_attributes(found)
            units, model = fitted["_units"], fitted["net_"]
            rows = self._rows(self.X, units, next(model.parameters()).dtype)
            return _Start(model, units, found.mean, rows)
        units = self._units(found)
        rows, noisy = self._targets_and_inputs(units)
        self._bind(lambda: found, units)
        n_components = self._width(found)
        defaults = self._defaults(n_components)
        folds = None
        enough = self.n_samples >= _FEWEST_ROWS and defaults.n_folds
        if self.is_anchored and self.architecture.batches_members:
            if cross_validate and enough:
                weight = self._tensor(self.weight)
                folds = Folds(rows[:], defaults.n_folds, self.generator, weight)
        members = None if folds is None else folds.n_folds + 1
        if self.is_anchored:
            codec = self._built(n_components, members)
            codec = self._anchored(codec, found, units, folds, defaults)
        else:
            codec = self._built(n_components, None, input_scale_of(found, units))
            codec.start_at_mean(self._raw_mean(found, units))
        model = self._module(codec).to(self.device)
        start = _Start(model, units, found.mean, rows, folds, noisy)
        model.eval().check(self._first(start, _CHECKED_ROWS))
        return start

    def _width(self, found) -> int | None:
        """n_components of the model to build, None where it is a feature map."""
        n_components = self.parts.n_components
        if self.architecture.decides_width and not self.is_anchored:
            return self._built(None).n_components
        is_share = n_components is not None and n_components < 1
        return found.axes.shape[1] if self.is_anchored or is_share else n_components

    def _built(self, n_components, members=None, input_scale=None) -> Codec:
        """The architecture's codec, of the widths that the other parts ask for."""
        prior, likelihood = self.parts.prior, self.parts.likelihood
        architecture = self.architecture.resolved(self._defaults(n_components or 1))
        asked: dict[str, Any] = {}
        n_raw = likelihood.n_outputs(self.n_features)
        if n_raw != self.n_features:
            asked["n_raw"] = n_raw, f"likelihood={type(likelihood).__name__}"
        if architecture.decides_width:
            asked["location"] = prior.location, f"prior={type(prior).__name__}"
        elif n_components and prior.n_outputs(n_components) != n_components:
            n_outputs = prior.n_outputs(n_components)
            asked["n_outputs"] = n_outputs, f"prior={type(prior).__name__}"
        if self.context is not None:
            asked["n_context"] = self.context.shape[1], "a condition y"
        if members is not None:
            asked["members"] = members, "cross-validation"
        if input_scale is not None and architecture.scales_inputs:
            asked["input_scale"] = input_scale, "rows of several units"
        return built(
            architecture,
            self.n_features,
            n_components,
            generator=self.generator,
            **asked,
        )

    def _anchored(self, codec, found, units, folds, defaults) -> AnchoredCodec:
        """The codec beside PCA's path."""
        shrunk = self.parts.prior.shrinks()
        anchor = anchor_of(found, units, self.likelihood, shrunk=shrunk)
        if folds is not None:
            anchors = fold_anchors(
                folds, found, units, self.likelihood, self.random_state, shrunk=shrunk
            )
            anchor = stacked([anchor, *anchors])
        output_scale = output_scale_of(found, units)
        if self.architecture.is_tied or not self.likelihood.is_centred:
            output_scale = (output_scale > 0).float()
        return AnchoredCodec(
            codec,
            anchor,
            self._input_scale(found, units),
            output_scale,
            start=self.parts.prior.start(anchor.shrinkage),
            tied=self.architecture.is_tied,
            bound=defaults.bound,
            whitened=not self.parts.prior.keeps_units,
            frozen=not self.architecture.trains_path,
            generator=self.generator,
        )

    def _raw_mean(self, found, units) -> Tensor:
        """Raw output of the mean of the rows, zeros where the likelihood has none."""
        likelihood = self.parts.likelihood
        if not likelihood.starts_as_pca:
            return torch.zeros(likelihood.n_outputs(self.n_features))
        mean = (found.center - units.center) / units.scale
        return likelihood.link(torch.as_tensor(mean, dtype=torch.float))

    def _input_scale(self, found, units):
        """r of the network beside PCA's path; rows that are not centred are as is."""
        if not (self.likelihood.is_centred or self.architecture.scales_inputs):
            return torch.ones(self.n_features)
        return input_scale_of(found, units, self._groups)

    def _restart(self, fitted, model) -> "_Start":
        """A fitted codec with the rows and the parts of this fit."""
        units = fitted._units
        self._bind(self._moments, units)
        self.likelihood = model.likelihood
        model = self._module(model.codec).to(self.device)
        rows, noisy = self._targets_and_inputs(units, next(model.parameters()).dtype)
        return _Start(model, units, fitted.mean_, rows, noisy=noisy)

    def _targets_and_inputs(self, units: Units, dtype=torch.float32):
        """Rows to reconstruct, and what the encoder sees where that is given."""
        if self.clean is None:
            return self._rows(self.X, units, dtype), None
        return self._rows(self.clean, units, dtype), self._rows(self.X, units, dtype)

    def _bind(self, found, units: Units) -> None:
        """Bind the parts to the columns of X in model units."""
        parts = self.parts
        features = self._features(found, units)
        self.likelihood = parts.likelihood.bind(features)
        self.penalties = [penalty.bind(features) for penalty in parts.penalties]
        self.corruption = parts.corruption.bind(features)
        if self.architecture.allows_missing:
            self.likelihood = Masked(self.likelihood)
            if not parts.corruption.is_identity:
                self.corruption = KeepMissing(self.corruption)

    def _features(self, found, units: Units) -> Features:
        """The columns of X for parts that are bound to them."""
        shape = self.architecture.sample_shape
        return Features(
            torch.as_tensor(units.center, dtype=torch.float64),
            units.columns,
            (self.n_features,) if shape is None else tuple(shape),
            lambda: np.sqrt(found().variance) * found().unit,
            self._pooled_ranges,
        )

    def _pooled_ranges(self):
        """Smallest and largest value of each column, or of those that are pooled."""
        low, high = feature_ranges(self.X)
        if not self.architecture.shares_center:
            return low, high
        pooled_low = np.full(self._groups.max() + 1, np.inf)
        pooled_high = -pooled_low
        np.fmin.at(pooled_low, self._groups, low)
        np.fmax.at(pooled_high, self._groups, high)
        return pooled_low[self._groups], pooled_high[self._groups]

    # Training and what comes of it

    def _train(self, start: "_Start"):
        """Train on all rows but the held-out ones; the trainer and the judge."""
        defaults = self._defaults(start.model.codec.n_components)
        weight = self._tensor(self.weight)
        if start.folds is not None:
            index, judge = np.arange(self.n_samples), start.folds
            weight = start.folds.train_weight
        else:
            index, judge = self._split(start, weight)
        if judge is not None:
            judge.record_start(start.model.eval())
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
        x, watched = start.rows[out], None
        if start.model.codec.is_anchored:
            n_watched = max(1, min(_WATCHED_ROWS, _WATCHED_ENTRIES // self.n_features))
            watched = start.rows[np.sort(index[:n_watched])]
        judge = HoldOut(
            x,
            None if weight is None else weight[out],
            watched,
            None if start.noisy is None else start.noisy[out],
            None if self.context is None else self._tensor(self.context[out]),
        )
        return index, judge

    def _choose(self, start: "_Start", judge) -> Choice:
        """How much of the departure from the anchor to keep."""
        if judge is None or not start.model.codec.is_anchored:
            return Choice(1.0, float("nan"))
        return choose_departure(start.model, judge)

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

        if schedule.constant:
            model.kl_warmup = 0.0
        return self._new_trainer(
            model,
            schedule=schedule,
            generator=self.noise,
            evaluate=judge,
            # The loss of the warm-up is not to be compared with what comes after.
            keep_last=judge is None and self.parts.kl_warmup > 0,
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
            warmup=self.parts.kl_warmup,
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

    def _first(self, start: "_Start", n_rows: int) -> Batch:
        """The first rows, as a training step would get them."""
        rows = slice(0, n_rows)
        return Batch(
            start.rows[rows],
            None,
            None if start.noisy is None else start.noisy[rows],
            None if self.context is None else self._tensor(self.context[rows]),
        )

    # Fitted attributes

    def _attributes(self, model, units, mean, departure) -> dict:
        model.eval()
        return {
            "net_": model,
            "_units": units,
            "_network": self._network(),
            "mean_": mean,
            "n_components_": model.codec.n_components,
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
            self.penalties,
            sample_shape=self.architecture.sample_shape,
            kl_warmup=parts.kl_warmup,
            hidden_context=parts.hidden_context,
        )

    def _rows(self, X, units: Units, dtype=torch.float32) -> Rows:
        return Rows(X, units.center, units.scale, self.device, dtype)

    def _defaults(self, n_components) -> Defaults:
        return self.parts.defaults(self.n_samples, self.n_features, n_components)

    def _batch_size(self, model) -> int:
        defaults = self._defaults(model.codec.n_components)
        asked = given(self.estimator.batch_size, defaults.batch_size)
        return min(asked, self.n_samples)

    @contextmanager
    def _own_randomness(self):
        """Dropout in users' modules draws from torch's global generator only."""
        own = self.architecture.draws_globally
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
        return {**self.architecture.network(), **self.parts.likelihood.network()}


class _Start(NamedTuple):
    """A model that is ready to train."""

    model: Autoencoder
    units: Units
    mean: np.ndarray
    rows: Rows
    folds: Folds | None = None
    noisy: Rows | None = None
