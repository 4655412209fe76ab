"""Training of several players in turns, on a loss each.

`AlternatingTrainer` optimises any module that says who its players are, whose turn it
is and what a turn costs: critic and generator, or critic and autoencoder. Everything
else, callbacks, history, interruption, back-off and averaged weights, is `Trainer`'s.
It knows no critic and no data.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from skae.training.optimizer import FlatAdamW, FlatParameters
from skae.training.trainer import Trainer

__all__ = ["AlternatingAdamW", "AlternatingTrainer", "Move"]


@dataclass(frozen=True)
class Move:
    """How a player moves.

    Attributes
    ----------
    rate : float
        Share of the schedule's learning rate.
    betas : tuple of float
        Of AdamW. A first one of zero forgets the losses before the last turn of the
        other player.
    ema_decay : float or None
        Of the moving average of the weights; None is the schedule's. Zero keeps the
        last weights.
    """

    rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.95)
    ema_decay: float | None = None


class AlternatingTrainer(Trainer):
    """Optimise a module of several players, who move in turns.

    A training step is one round of turns on one batch; each turn computes the loss of
    its player and moves that player's parameters alone.

    Parameters
    ----------
    module : Module
        Trained in place, with

        - ``players``: dictionary of a name to a list of parameters; no parameter
          belongs to two players, and one that belongs to none stays as it is;
        - ``turns``: sequence of names, those who move in one step, such as
          ``("critic", "critic", "generator")``;
        - ``turn_loss(name, *batch, generator)``: the scalar that ``name`` lowers;
        - ``decayed_parameters()``, ``members = None`` and ``progress``, as for
          `Trainer`;
        - ``forget()``, where it keeps more than weights from step to step: called when
          training goes back to the best weights.
    moves : mapping of a name to Move, optional
        How players move who do not move like ``Move()``.
    slack : float, default=0.0
        The last round that is less than this worse than the best is kept. For judges
        that are noisy, of games whose later rounds are better by rule.
    **options
        As for `Trainer`.

    Attributes
    ----------
    history : skorch History
        Of every round ``NAME_loss`` of each player, the mean over its turns, as
        ``train_loss`` that of the player who moves last and, with ``evaluate``,
        ``valid_loss``.
    """

    def __init__(
        self,
        module,
        *,
        moves: Mapping[str, Move] | None = None,
        slack: float = 0.0,
        **options,
    ):
        self.moves = moves
        self.slack = slack
        super().__init__(module, **options)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """Players in the order of their first turn."""
        return tuple(dict.fromkeys(self.module.turns))

    def initialize_module(self):
        """Lay the parameters of each player side by side."""
        self.module_ = self.module
        players = {name: list(self.module_.players[name]) for name in self._names}
        self._players = {
            name: [p for p in parameters if p.requires_grad]
            for name, parameters in players.items()
        }
        self.flat_ = FlatParameters(
            self.module_,
            self.module_.decayed_parameters(),
            list(self._players.values()),
        )
        self._LOSSES = (*Trainer._LOSSES, *(f"{name}_loss" for name in self._names))
        return self

    def initialize_optimizer(self, triggered_directly=None):
        """One optimiser a player."""
        self.optimizer_ = AlternatingAdamW(
            self.flat_,
            self.schedule,
            self.module_.turns,
            self.moves or {},
            self.flat_.like(self.rates),
        )
        return self

    def _run_steps(self, batches: Iterable) -> int:
        device = self.flat_.data.device
        self._totals = {name: torch.zeros((), device=device) for name in self._names}
        n_steps = super()._run_steps(batches)
        for name, total in self._totals.items():
            n_turns = n_steps * self.module_.turns.count(name)
            self.history.record(f"{name}_loss", total.item() / n_turns)
        last = self.module_.turns[-1]
        self.history.record("train_loss", self.history[-1, f"{last}_loss"])
        return n_steps

    def _step(self, batch, notify) -> Tensor:
        for name in self.module_.turns:
            loss = self._turn(name, batch)
            own = {id(p) for p in self._players[name]}
            named = self.module_.named_parameters()
            self._notify_of_gradient(
                notify, ((key, p) for key, p in named if id(p) in own)
            )
            self.optimizer_.step(name)
            self._totals[name] += loss
        return loss

    def _turn(self, name: str, batch) -> Tensor:
        """Gradient of a player's loss, with respect to its own parameters alone."""
        self.flat_.groups[self._names.index(name)].grad.zero_()
        loss = self.module_.turn_loss(name, *batch, generator=self.generator)
        loss.backward(inputs=self._players[name])
        return loss.detach()

    def _pass(self, batch, generator):
        # With gradients, which a penalty on slopes needs.
        for name in self._names:
            self.module_.turn_loss(name, *batch, generator=generator)

    def _is_kept(self, loss: float) -> bool:
        return loss < self._best + self.slack or super()._is_kept(loss)

    def _back_off(self):
        super()._back_off()
        if hasattr(self.module_, "forget"):
            self.module_.forget()


class AlternatingAdamW:
    """A `FlatAdamW` a player, on its stretch of one buffer.

    Parameters
    ----------
    flat : FlatParameters
        Its groups are the players, in the order of their first turn.
    schedule : Schedule
    turns : sequence of str
    moves : mapping of str to Move
    shares : Tensor of shape (n_parameters,), optional
        As for `FlatAdamW`.

    Attributes
    ----------
    players : dict of str to FlatAdamW
    average : Tensor of shape (n_parameters,)
        Averages of all players' weights.
    """

    def __init__(self, flat: FlatParameters, schedule, turns, moves, shares=None):
        self.average = flat.data.clone()
        self.players = {}
        for name, group in zip(dict.fromkeys(turns), flat.groups, strict=True):
            move = moves.get(name, Move())
            ema_decay = move.ema_decay
            self.players[name] = FlatAdamW(
                group,
                lr=schedule.lr * move.rate,
                n_steps=schedule.n_steps * turns.count(name),
                weight_decay=schedule.weight_decay,
                ema_decay=schedule.ema_decay if ema_decay is None else ema_decay,
                betas=move.betas,
                constant=schedule.constant,
                plateau=schedule.plateau,
                shares=None if shares is None else shares[group.place],
                average=self.average[group.place],
            )

    def step(self, name: str) -> None:
        """One update of a player."""
        self.players[name].step()

    def restart(self, factor: float) -> None:
        """Let all players forget their moments and go on at their rates * factor."""
        for optimizer in self.players.values():
            optimizer.restart(factor)

    @property
    def averages(self) -> bool:
        """Whether the average of a player is not its last weights."""
        return any(optimizer.averages for optimizer in self.players.values())

    def state(self) -> dict:
        """The state of each player's optimiser."""
        return {name: one.state() for name, one in self.players.items()}

    def load(self, state: dict) -> None:
        """Go on from a state."""
        for name, optimizer in self.players.items():
            optimizer.load(state[name])
