"""Training of several groups of parameters in turn, each on a loss of its own.

`AlternatingTrainer` optimises any module that names its parameter groups, the order of
their updates and the loss of each: critic and generator, or critic and autoencoder.
Callbacks, history, interruption, back-off and averaged weights are `Trainer`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from skae.training.flat_parameters import FlatParameters
from skae.training.optimizer import FlatAdamW
from skae.training.steps import GroupGradient, Update
from skae.training.trainer import Trainer
from skae.training.weights import Weights

__all__ = ["AlternatingTrainer", "OptimizerSettings"]


@dataclass(frozen=True)
class OptimizerSettings:
    """How a parameter group is optimised.

    Attributes
    ----------
    lr_factor : float
        Multiplies the schedule's learning rate.
    betas : tuple of float
        Of AdamW. Zero in the first place ignores gradients of earlier updates.
    ema_decay : float or None
        Of the moving average of the weights, zero for none; None is the schedule's.
    """

    lr_factor: float = 1.0
    betas: tuple[float, float] = (0.9, 0.95)
    ema_decay: float | None = None


class AlternatingTrainer(Trainer):
    """Optimise a module whose parameter groups are updated in turn.

    A training step goes through ``update_order`` on one batch. Each update takes the
    gradient of the group's loss with respect to the group's parameters only.

    Parameters
    ----------
    module : Module
        Trained in place, with

        - ``parameter_groups``: dictionary of a name to a list of parameters, without
          overlap; parameters in no group are not trained;
        - ``update_order``: names of the groups that are updated in one step, such as
          ``("critic", "critic", "generator")``;
        - ``group_loss(name, *batch, generator)``: the scalar loss of a group;
        - where it is ``is_rowwise``, ``begin_update(name)`` before each of them and
          ``row_loss``, as ``group_loss``, of rows of a batch;
        - ``reset()``: drops state from earlier steps other than weights, called when
          training returns to the best weights;
        - ``decayed_parameters()``, ``members = None`` and ``progress``, as for
          `Trainer`.
    settings : mapping of a name to OptimizerSettings, optional
        ``OptimizerSettings()`` for groups that are left out.
    tolerance : float, default=0.0
        The last round less than this worse than the best is kept: for noisy held-out
        losses of models that usually improve with training.
    **options
        As for `Trainer`.

    Attributes
    ----------
    history : skorch History
        Of every round ``NAME_loss`` of each group, the mean over its updates, as
        ``train_loss`` that of the group updated last and, with ``evaluate``,
        ``valid_loss``.
    """

    def __init__(
        self,
        module,
        *,
        settings: Mapping[str, OptimizerSettings] | None = None,
        tolerance: float = 0.0,
        **options,
    ):
        self.settings = settings or {}
        self.tolerance = tolerance
        super().__init__(module, **options)

    def initialize_module(self):
        self.module_ = module = self.module
        self._groups = {
            name: [p for p in module.parameter_groups[name] if p.requires_grad]
            for name in dict.fromkeys(module.update_order)
        }
        self.flat_ = FlatParameters(
            module, module.decayed_parameters(), list(self._groups.values())
        )
        self.weights_ = Weights(module, self.flat_.data)
        self._flat_groups = dict(zip(self._groups, self.flat_.groups, strict=True))
        self._LOSSES = (*Trainer._LOSSES, *(f"{name}_loss" for name in self._groups))
        return self

    def initialize_optimizer(self, triggered_directly=None):
        schedule, shares = self.schedule, self.flat_.like(self.rates)
        self.optimizer_ = _Optimizers()
        self.optimizer_.average = self.flat_.data.clone()
        for name, group in self._flat_groups.items():
            own = self.settings.get(name, OptimizerSettings())
            decay = schedule.ema_decay if own.ema_decay is None else own.ema_decay
            self.optimizer_[name] = FlatAdamW(
                group,
                lr=schedule.lr * own.lr_factor,
                n_steps=schedule.n_steps * self.module_.update_order.count(name),
                weight_decay=schedule.weight_decay,
                ema_decay=decay,
                betas=own.betas,
                constant=schedule.constant,
                plateau=schedule.plateau,
                shares=None if shares is None else shares[group.place],
                average=self.optimizer_.average[group.place],
            )
        updates = {name: self._update(name) for name in self._groups}
        self.updates_ = [updates[name] for name in self.module_.update_order]
        return self

    def _update(self, name: str) -> Update:
        gradient = GroupGradient(
            self.module_, name, self.flat_, self._flat_groups[name], self.generator
        )
        return Update(name, gradient, self.optimizer_[name], self._groups[name])

    def _record_losses(self):
        order = self.module_.update_order
        for name, total in self._sums.items():
            loss = total.item() / (self._n_in_round * order.count(name))
            self.history.record(f"{name}_loss", loss)
        self.history.record("train_loss", self.history[-1, f"{order[-1]}_loss"])

    def _pass(self, batch, generator):
        # With gradients, which a gradient penalty needs.
        for name in self._groups:
            self.module_.group_loss(name, *batch, generator=generator)

    def _is_kept(self, loss: float) -> bool:
        return loss < self._best + self.tolerance or super()._is_kept(loss)

    def _back_off(self):
        super()._back_off()
        self.module_.reset()


class _Optimizers(dict[str, FlatAdamW]):
    """The optimiser of each group, behind the methods that `Trainer` calls."""

    # Moving averages of the weights of all groups, side by side.
    average: Tensor

    @property
    def averages(self) -> bool:
        return any(optimizer.averages for optimizer in self.values())

    def restart(self, factor: float) -> None:
        for optimizer in self.values():
            optimizer.restart(factor)

    def state(self) -> dict:
        return {name: optimizer.state() for name, optimizer in self.items()}

    def load(self, state: dict) -> None:
        for name, optimizer in self.items():
            optimizer.load(state[name])
