"""One fit of a generator and its critic: from parameters and X to fitted attributes.

`GANFit` resolves "auto", holds rows out, trains and looks for mode collapse; it returns
a dictionary, which the estimator takes over only when all went well.
"""

import copy
import warnings
from numbers import Integral

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skae.checks.rows import (
    feature_ranges,
    fills_unit_interval,
    in_unit_interval,
)
from skae.fitting.defaults import training_of_game
from skae.fitting.fit import BaseFit, finished_rounds
from skae.fitting.pca_start import units_of
from skae.models.gan import Game, Replay
from skae.models.gan_evaluation import Evidence, HeldOutSamples, findings
from skae.rows.chunks import Rows
from skae.statistics.column_units import column_units
from skae.statistics.energy import Modes
from skae.statistics.pca import moments
from skae.training.alternating import AlternatingTrainer, Move
from skae.training.batches import Batches
from skae.training.schedule import Schedule

__all__ = ["GANFit"]

_MAX_WATCHED = 2000
_MAX_COMPONENTS = 64
_REFERENCE_ROWS = 64
_CRITIC_STEPS = {"wasserstein_gp": 3}
_PENALTIES = {"non_saturating": 0.03, "hinge": 0.03, "wasserstein_gp": 0.1}
_CONV_INTERVAL = 4
_BETAS = (0.0, 0.99)


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
    """

    def __init__(self, estimator, X, weight, context):
        super().__init__(estimator, X, weight, context)
        self.parts = estimator._parts()
        n_modes = estimator.n_modes
        if n_modes is not None and n_modes > self.n_samples:
            raise ValueError(
                f"n_modes={n_modes} must not exceed the number of rows, "
                f"{self.n_samples}."
            )

    def run(self, fitted=None) -> dict:
        """Fit from scratch, or on from the weights of a fitted estimator."""
        if fitted is None:
            found = moments(self.X, self.weight, covariance=False)
            self.mean = found.mean
            self.units = units_of(found, columns=self._column_units(found))
            game = self._game()
        else:
            self._check_bounds(fitted.net_)
            self.mean, self.units = fitted.mean_, fitted._units
            game = self._game(copy.deepcopy(fitted.net_))
        rows = Rows(self.X, self.units.center, self.units.scale, self.device)
        self.told = None
        if self.context is not None:
            self.told = Rows(self.context, 0.0, 1.0, self.device)
        trainer = self._train(game, rows)
        return self._attributes(game, rows) | self._curves(trainer, fitted)

    def _check_bounds(self, game: Game) -> None:
        if game.generator.is_confined and not in_unit_interval(self.X):
            low, high = feature_ranges(self.X)
            raise ValueError(
                "X must lie in [0, 1], as it did in the fit that is to be continued: "
                f"samples are confined to it. X ranges from {np.min(low):g} to "
                f"{np.max(high):g}. Set warm_start=False or use a new estimator."
            )

    # The players

    def _game(self, played: Game | None = None) -> Game:
        estimator = self.estimator
        loss, steps = estimator.loss, estimator.n_critic_steps
        penalty = estimator.gradient_penalty
        generator, critic = self._players(played)
        return Game(
            generator,
            critic,
            loss,
            self._n_components(),
            _PENALTIES[loss] if isinstance(penalty, str) else penalty,
            _CRITIC_STEPS.get(loss, 1) if isinstance(steps, str) else steps,
            Replay(estimator.replay) if estimator.replay else None,
            _CONV_INTERVAL if estimator.architecture == "conv" else 1,
        ).to(self.device)

    def _players(self, played):
        if played is not None:
            return played.generator, played.critic
        made, judged = self.parts
        widths = {"n_context": 0 if self.context is None else self.context.shape[1]}
        generator = made.build(
            self.n_features, self._n_components(), generator=self.generator, **widths
        )
        if fills_unit_interval(self.X):
            low = torch.as_tensor(-self.units.center / self.units.scale)
            span = (1 / self.units.columns).float()
            generator.confine(low.float(), span, torch.zeros(self.n_features))
        critic = judged.build(self.n_features, generator=self.generator, **widths)
        return generator, critic

    def _column_units(self, found):
        """A unit for each column, or for each channel of images, if they differ."""
        made, _ = self.parts
        groups = made.unit_groups(self.n_features)
        variance = found.variance * found.unit**2
        return column_units(variance, *feature_ranges(self.X), groups)

    def _n_components(self) -> int:
        asked = self.estimator.n_components
        if isinstance(asked, Integral):
            return int(asked)
        return min(self.n_features, _MAX_COMPONENTS)

    # Training

    def _train(self, game: Game, rows: Rows) -> AlternatingTrainer:
        estimator = self.estimator
        index, judge = self._split(rows)
        schedule = self._schedule(len(index))
        # In random order: some of them stand for all below.
        self.watched = index[:_MAX_WATCHED].copy()
        modes, self.coverages = self._modes(rows), []

        def on_round(_, module):
            if modes is not None:
                self.coverages.append(self._evidence(module, rows, modes).coverage)
            return self.progress.round(
                lambda: self._attributes(_without_past(module), rows)
            )

        is_watched = modes is not None or self.progress.context is not None
        trainer = AlternatingTrainer(
            game,
            moves={
                "critic": Move(betas=_BETAS),
                "generator": Move(betas=_BETAS, ema_decay=estimator.ema),
            },
            slack=0.0 if judge is None else judge.slack,
            schedule=schedule,
            generator=self.noise,
            evaluate=judge,
            # What players lose says nothing of the samples.
            keep_last=judge is None,
            on_round=on_round if is_watched else None,
            callbacks=estimator.callbacks,
            verbose=estimator.verbose,
        )
        weight = self._tensor(self.weight)
        batches = Batches(
            rows,
            index,
            schedule.batch_size,
            schedule.n_steps,
            self.generator,
            weight,
            context=self.told,
        )
        trainer.train(batches)
        trainer.release()
        game.replay = None
        game.eval()
        self._settle(game, rows)
        self._warn_of(self._evidence(game, rows, modes))
        return trainer

    def _split(self, rows: Rows):
        """Training row numbers and the judge of the others."""
        index, out = self._shuffled()
        if out is None:
            return index, None
        weight = None if self.weight is None else self._tensor(self.weight[out])
        judge = HeldOutSamples(rows[out], weight, self._told_of(out))
        return index, judge

    def _schedule(self, n_train: int) -> Schedule:
        is_conv = self.estimator.architecture == "conv"
        play = training_of_game(self.n_samples, is_conv=is_conv)
        return self._schedule_of(n_train, play, ema_decay=self.estimator.ema)

    # What came of it

    def _modes(self, rows: Rows) -> Modes | None:
        n_modes = self.estimator.n_modes
        if n_modes is None:
            return None
        seed = self.random_state.randint(np.iinfo(np.int32).max)
        number = min(self.n_samples, max(_MAX_WATCHED, 50 * n_modes))
        some = check_random_state(seed).permutation(self.n_samples)[:number]
        return Modes(rows[np.sort(some)].cpu().numpy(), n_modes, seed)

    def _evidence(self, game, rows, modes) -> Evidence:
        return Evidence.of(game, rows[self.watched], self._told_of(self.watched), modes)

    def _settle(self, game, rows) -> None:
        """Give the critic rows to compare others with."""
        game.critic.settle(rows[self.watched[:_REFERENCE_ROWS]])

    def _warn_of(self, evidence: Evidence) -> None:
        self.coverage = evidence.coverage
        for finding in findings(evidence):
            warnings.warn(
                f"{finding} Remedies: minibatch_discrimination=True, replay=0.5, a "
                "larger gradient_penalty or batch_size, a smaller learning_rate_init.",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _attributes(self, game: Game, rows: Rows) -> dict:
        game.eval()
        game.replay = None
        if len(self.watched):
            self._settle(game, rows)
        return {
            "net_": game,
            "_units": self.units,
            "_dtype": self.X.dtype,
            "mean_": self.mean,
            "n_components_": game.n_components,
        }

    def _curves(self, trainer, earlier=None) -> dict:
        losses = [row["critic_loss"] for row in finished_rounds(trainer)]
        coverages = self.coverages
        if earlier is not None:
            losses = [*earlier.critic_loss_curve_, *losses]
            coverages = [*(earlier.mode_coverage_curve_ or ()), *coverages]
        return {
            **super()._curves(trainer, earlier),
            "critic_loss_curve_": losses,
            "mode_coverage_": self.coverage,
            "mode_coverage_curve_": coverages or None,
        }

    def _told_of(self, index):
        return None if self.told is None else self.told[index]


def _without_past(game: Game) -> Game:
    """A copy, but for the replayed rows, which are fifty batches."""
    return copy.deepcopy(game, {id(game.replay): None})
