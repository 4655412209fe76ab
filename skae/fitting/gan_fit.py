"""One fit of a generator and its critic: from parameters and X to fitted attributes.

`GANFit` resolves "auto", holds rows out, trains and looks for mode collapse; it returns
a dictionary, which the estimator takes over only when all went well.
"""

import copy
import math
from dataclasses import replace

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skae.checks.rows import feature_ranges
from skae.checks.value_ranges import SHARES, check_within, fills
from skae.fitting.fit import (
    BaseFit,
    finished_rounds,
    interrupted_chunk,
    joined,
    value_or_default,
)
from skae.fitting.gan_pictures import Pictures
from skae.fitting.gan_training import GANTrainer, apportioned, recipe_of, training_of
from skae.fitting.pca_start import units_of
from skae.models.gan import GANModule, Replay
from skae.models.gan_evaluation import CollapseCheck, HeldOutSamples
from skae.models.growth import Growth
from skae.parts.dense import Dense
from skae.rows.chunks import Rows
from skae.rows.sources import RowSource
from skae.rows.tensors import as_double, permutation
from skae.rows.user_line import warn_user
from skae.statistics.column_units import column_units
from skae.statistics.energy import Modes
from skae.statistics.pca import moments
from skae.training.alternating import AlternatingTrainer, OptimizerSettings
from skae.training.block_batches import AllBut, batches_of
from skae.training.schedule import Schedule

__all__ = ["GANFit", "critic_loss_curve"]

_MAX_CHECKED = 2000
_MAX_COMPONENTS = 64
_REFERENCE_ROWS = 64
_CRITIC_STEPS = {"wasserstein_gp": 3}
_SETTINGS = OptimizerSettings(betas=(0.0, 0.99))
_REMEDIES = (
    "Remedies: minibatch_discrimination=True, replay=0.5, a larger gradient_penalty or "
    "batch_size, a smaller learning_rate_init."
)


class GANFit(BaseFit):
    """A fit of a `GAN` to validated rows.

    Parameters
    ----------
    estimator : GAN
        Only its parameters are read.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,) or None
        Positive, of mean one.
    context : ndarray of shape (n_samples, n_context) or None
    parts : tuple
        What builds the generator, and what builds the critic.
    recording : Recording, optional
    value_range : (float, float), optional
        Of samples.
    classes : ndarray of shape (n_classes,), optional
        What the columns of a context of classes stand for.
    """

    def __init__(
        self,
        estimator,
        X,
        weight,
        context,
        parts,
        recording=None,
        value_range=None,
        classes=None,
    ):
        self.value_range, self.classes = value_range, classes
        self.generator_part, self.critic_part = parts
        self.recipe = recipe_of(estimator.architecture)
        self.defaults = training_of(estimator.architecture, X.shape[0])
        work = math.inf
        if estimator.architecture == "dense":
            hidden = Dense(self.generator_part.hidden_layer_sizes)
            size = value_or_default(estimator.batch_size, self.defaults.batch_size)
            work = size * hidden.row_work(X.shape[1], _MAX_COMPONENTS)
        super().__init__(estimator, X, weight, context, recording=recording, work=work)
        n_components = min(self.n_features, _MAX_COMPONENTS)
        self.n_components = int(value_or_default(estimator.n_components, n_components))
        n_modes = estimator.n_modes
        if n_modes is not None and n_modes > self.n_samples:
            raise ValueError(
                f"n_modes={n_modes} must not exceed the number of rows, "
                f"{self.n_samples}."
            )

    def run(self, fitted=None) -> dict:
        """Fit from scratch, or on from the weights of a fitted estimator."""
        share = 0.0
        if fitted is None:
            share = value_or_default(self.estimator.growth, self.recipe.growth)
        module = self._module(*self._start(fitted), share)
        modes = self._modes()
        trainer = self._train(module, modes)
        attributes = self._attributes(module)
        check = self._collapse_check(module, modes)
        for message in check.messages():
            warn_user(f"{message} {_REMEDIES}", ConvergenceWarning)
        curves = self._curves(trainer, fitted)
        return {**attributes, **curves, "mode_coverage_": check.coverage}

    def continue_epoch(self, fitted=None) -> dict:
        """One epoch at a constant rate, from a fitted estimator or from scratch."""
        networks = self._start(fitted)
        module = self._module(*networks)
        size = value_or_default(self.estimator.batch_size, self.defaults.batch_size)
        # Batches of nearly the requested size that leave no row out.
        n_batches = max(1, round(self.n_samples / size))
        schedule = Schedule(
            n_rounds=1,
            n_steps=n_batches,
            batch_size=self.n_samples // n_batches,
            ema_decay=self.estimator.ema,
            lr=value_or_default(self.estimator.learning_rate_init, self.defaults.lr),
            constant=True,
        )
        # Files of earlier versions have none.
        state = getattr(fitted, "optimizer_state_", None)
        trainer = self._trainer(module, schedule, None, None, state)
        trainer.initialize()
        if state is not None:
            # Training goes on from the last weights, the average from the average.
            trainer.optimizer_.average.copy_(trainer.flat_.data)
            trainer.flat_.data.copy_(torch.from_numpy(state["weights"]))
            module.n_since = state["n_since"]
        self.checked = permutation(self.n_samples, self.generator)[:_MAX_CHECKED]
        trainer.train(self._batches(AllBut(self.n_samples), schedule))
        if trainer.interrupted_:
            raise interrupted_chunk()
        last = trainer.last_.cpu().numpy().copy()
        kept = {"weights": last, "n_since": module.n_since}
        trainer.release()
        return {
            **self._attributes(module),
            **self._curves(trainer, fitted),
            "mode_coverage_": None,
            "precision_recall_": None,
            "kept_round_": None,
            "optimizer_state_": trainer.state() | kept,
        }

    def _start(self, fitted) -> tuple:
        """Networks, new or fitted ones, and rows in their units."""
        self.epochs_before = 0.0
        if fitted is None:
            self._check_variation()
            first = moments(self.X, self.weight, covariance=False)
            self.mean = first.mean
            self.units = units_of(first, columns=self._column_units(first))
            networks = self._networks()
        else:
            self._check_bounds(fitted.net_)
            self.epochs_before = float(max(fitted.epochs_, default=0))
            self.mean, self.units = fitted.mean_, self._released(fitted)
            net = copy.deepcopy(fitted.net_)
            networks = net.generator, net.critic
        for network in networks:
            network.finish_growth()
        self.rows = Rows(self.X, self.units.center, self.units.scale, self.device)
        return networks

    def _released(self, fitted):
        """Units of a fitted model, with columns free that vary in these rows only."""
        groups = self.generator_part.unit_groups(self.n_features)
        units = fitted.units_.released(*feature_ranges(self.X), groups)
        if fitted.net_.generator.is_confined:
            # Its bounds are in the units that it has.
            units = replace(units, scale=fitted.units_.scale)
        return units

    def _check_variation(self) -> None:
        if self.generator_part.sample_shape is None:
            return
        low, high = feature_ranges(self.X)
        if np.all(low == high):
            raise ValueError(
                f"X holds {self.n_samples} images that are all the same, from which "
                "nothing is to be learned."
            )

    def _check_bounds(self, module: GANModule) -> None:
        if module.generator.is_confined:
            check_within(self.X, self.value_range or SHARES)

    # Before training

    def _column_units(self, first):
        """A unit for each column, or for each channel of images, if they differ."""
        groups = self.generator_part.unit_groups(self.n_features)
        variance = first.variance * first.unit**2
        return column_units(variance, *feature_ranges(self.X), groups)

    def _networks(self):
        n_context = 0 if self.context is None else self.context.shape[1]
        options = {"n_context": n_context, "generator": self.generator}
        generator = self.generator_part.build(
            self.n_features, self.n_components, **options
        )
        if self.value_range is not None and fills(self.X, self.value_range):
            least, most = self.value_range
            low = as_double((least - self.units.center) / self.units.scale)
            span = ((most - least) / self.units.columns).float()
            generator.confine(low.float(), span, torch.zeros_like(span))
        return generator, self.critic_part.build(self.n_features, **options)

    def _module(self, generator, critic, growth=0.0) -> GANModule:
        estimator = self.estimator
        loss = estimator.loss
        return GANModule(
            generator,
            critic,
            loss,
            self.n_components,
            value_or_default(estimator.gradient_penalty, self.recipe.penalties[loss]),
            value_or_default(estimator.n_critic_steps, _CRITIC_STEPS.get(loss, 1)),
            Replay(estimator.replay) if estimator.replay else None,
            self.recipe.penalty_interval,
            Growth(float(growth), generator.n_levels),
            float(estimator.style_mixing),
        ).to(self.device)

    def _modes(self) -> Modes | None:
        n_modes = self.estimator.n_modes
        if n_modes is None:
            return None
        seed = self.random_state.randint(np.iinfo(np.int32).max)
        n_rows = min(self.n_samples, max(_MAX_CHECKED, 50 * n_modes))
        index = check_random_state(seed).permutation(self.n_samples)[:n_rows]
        if isinstance(self.X, RowSource):
            index = self.X.sample[0][:n_rows]
        return Modes(self.rows[np.sort(index)], n_modes, seed)

    # Training

    def _train(self, module: GANModule, modes: Modes | None) -> AlternatingTrainer:
        index, judge = self._split()
        # In random order: some of them represent all in later checks.
        some = index.some if isinstance(index, AllBut) else index
        self.checked = some[:_MAX_CHECKED].copy()
        schedule = self._schedule_of(
            len(index),
            self.defaults,
            # Rounds in which images grow do not count against patience.
            warmup=module.growth[0],
            ema_decay=self.estimator.ema,
        )
        trainer = self._trainer(module, schedule, judge, modes)
        self.trainer = trainer
        trainer.train(self._batches(index, schedule))
        trainer.release()
        return trainer

    def _batches(self, index, schedule):
        context = self.context
        return batches_of(
            self.rows,
            index,
            schedule.batch_size,
            schedule.n_steps,
            self.generator,
            self._tensor(self.weight),
            None,
            None if context is None else Rows(context, 0.0, 1.0, self.device),
        )

    def _split(self):
        """Training row numbers and the judge of the others."""
        index, out = apportioned(*self._shuffled(), self.context)
        if out is None:
            return index, None
        weight, context = (self._part(v, out) for v in (self.weight, self.context))
        return index, HeldOutSamples(self.rows[out], weight, context)

    def _trainer(self, module, schedule, judge, modes, state=None) -> GANTrainer:
        def on_round(_, module):
            if modes is not None:
                coverage = self._collapse_check(module, modes).coverage
                self.trainer.history.record("mode_coverage", coverage)
            return self.progress.round(
                lambda: self._attributes(copy_without_replay(module))
            )

        is_used = modes is not None or self.progress.context is not None
        trainer = GANTrainer(
            module,
            settings=dict.fromkeys(module.update_order, _SETTINGS),
            tolerance=0.0 if judge is None else judge.tolerance,
            schedule=schedule,
            generator=self.noise,
            evaluate=judge,
            # The losses of generator and critic say nothing of the samples.
            keep_last=judge is None,
            on_round=on_round if is_used else None,
            state=state,
            recording=self.recording,
            callbacks=self.estimator.callbacks,
            verbose=self.estimator.verbose,
        )
        trainer.pictures = Pictures(
            module,
            self._shown_context,
            self.classes,
            self.units,
            self.value_range,
            self.generator_part.sample_shape or (self.n_features,),
            self.epochs_before,
        )
        return trainer

    def _shown_context(self, n_samples: int):
        """The condition of the checked rows, repeated for as many samples."""
        return self._part(self.context, np.resize(self.checked, n_samples))

    def _part(self, values, index):
        return None if values is None else self._tensor(values[index])

    # After training

    def _collapse_check(self, module, modes) -> CollapseCheck:
        context = self._part(self.context, self.checked)
        return CollapseCheck.of(module, self.rows[self.checked], context, modes)

    def _attributes(self, module: GANModule) -> dict:
        module.eval()
        module.replay = None
        for network in (module.generator, module.critic):
            network.load_level()
        if len(self.checked):
            index = self.checked[:_REFERENCE_ROWS]
            context = self._part(self.context, index)
            module.critic.set_reference(self.rows[index], context)
        return {
            "net_": module,
            "units_": self.units,
            "_dtype": self.X.dtype,
            "mean_": self.mean,
            "n_components_": module.n_components,
        }

    def _curves(self, trainer, earlier=None) -> dict:
        rounds = finished_rounds(trainer)
        coverages = [r["mode_coverage"] for r in rounds if "mode_coverage" in r]
        if earlier is not None:
            curve, n_earlier = earlier.mode_coverage_curve_, len(earlier.epochs_)
            coverages = joined(curve, n_earlier, coverages or None, len(rounds))
        return {
            **super()._curves(trainer, earlier),
            "critic_loss_curve_": critic_loss_curve(trainer, earlier),
            "mode_coverage_curve_": coverages or None,
        }


def critic_loss_curve(trainer: AlternatingTrainer, earlier=None) -> list[float]:
    """The critic's loss after each round, also of the training that is continued."""
    losses = [row["critic_loss"] for row in finished_rounds(trainer)]
    return losses if earlier is None else [*earlier.critic_loss_curve_, *losses]


def copy_without_replay(module: GANModule) -> GANModule:
    """A deep copy without the replayed rows, which are fifty batches."""
    return copy.deepcopy(module, {id(module.replay): None})
