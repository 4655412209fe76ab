"""A generator and its critic: the losses as formulas, and the game that they play.

`Game` is the module that `AlternatingTrainer` optimises. With D the critic, x rows and
x' generated ones, the critic lowers E[real(D(x))] + E[fake(D(x'))] plus a penalty on
its slope, the generator E[generated(D(x'))]. Distances between rows are counted as root
mean squares over features, so that one weight of the penalty suits all widths.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

__all__ = [
    "LOSSES",
    "AdversarialLoss",
    "Game",
    "Replay",
    "interpolated_penalty",
    "slopes",
    "weighted_mean",
]

_REPLAYED_BATCHES = 50


class AdversarialLoss(NamedTuple):
    """What critic and generator pay, as functions of the critic's value of a row.

    Attributes
    ----------
    real, fake : callable
        What the critic pays for a row and for a generated one.
    generated : callable
        What the generator pays for one.
    interpolated : bool
        Whether the slope is held at one between rows and generated rows, or at zero at
        the rows.
    probability : bool
        Whether the value is the log odds of being real.
    """

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generated: Callable[[Tensor], Tensor]
    interpolated: bool = False
    probability: bool = False


LOSSES = {
    # Goodfellow et al. 2014, arXiv 1406.2661.
    "non_saturating": AdversarialLoss(
        lambda d: F.softplus(-d),
        F.softplus,
        lambda d: F.softplus(-d),
        probability=True,
    ),
    # Lim and Ye 2017, arXiv 1705.02894; Miyato et al. 2018, arXiv 1802.05957.
    "hinge": AdversarialLoss(
        lambda d: F.relu(1 - d), lambda d: F.relu(1 + d), lambda d: -d
    ),
    # Gulrajani et al. 2017, arXiv 1704.00028.
    "wasserstein_gp": AdversarialLoss(
        lambda d: -d, lambda d: d, lambda d: -d, interpolated=True
    ),
}


class Game(nn.Module):
    """A generator and a critic who move in turns.

    Parameters
    ----------
    generator : Module
        ``generator(z, context) -> x``.
    critic : Module
        ``critic(x, context) -> (batch,)``.
    loss : {"non_saturating", "hinge", "wasserstein_gp"}
    n_components : int
        Width of z, standard normal.
    gradient_penalty : float
        Half of it is the price of a squared slope at the rows (R1, Mescheder et al.
        2018, arXiv 1801.04406), or all of it that of its squared distance from one
        between rows and generated rows (Gulrajani et al. 2017).
    n_critic_steps : int, default=1
        Turns of the critic in one step.
    replay : Replay, optional
    penalty_interval : int, default=1
        Turns of the critic from one with the penalty, as many times heavier, to the
        next (Karras et al. 2020, arXiv 1912.04958, section 3.1): a slope of slopes
        costs as much as all the rest.
    """

    members = None

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        loss: str,
        n_components: int,
        gradient_penalty: float,
        n_critic_steps: int = 1,
        replay: "Replay | None" = None,
        penalty_interval: int = 1,
    ):
        super().__init__()
        self.generator: Any = generator
        self.critic: Any = critic
        self._loss = loss
        self.n_components = n_components
        self.gradient_penalty = gradient_penalty
        self.turns = ("critic",) * n_critic_steps + ("generator",)
        self.replay = replay
        self.penalty_interval = penalty_interval
        self._n_turns = 0

    @property
    def loss(self) -> AdversarialLoss:
        """What both pay."""
        return LOSSES[self._loss]

    @property
    def players(self) -> dict[str, list[nn.Parameter]]:
        """Parameters of both."""
        return {
            "critic": list(self.critic.parameters()),
            "generator": list(self.generator.parameters()),
        }

    def decayed_parameters(self) -> list[nn.Parameter]:
        """The weights of both; biases are not decayed."""
        return [
            *self.critic.decayed_parameters(),
            *self.generator.decayed_parameters(),
        ]

    def turn_loss(
        self,
        name: str,
        x: Tensor,
        weight: Tensor | None = None,
        x_tilde: Tensor | None = None,
        context: Tensor | None = None,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """What a player lowers, a scalar.

        Parameters
        ----------
        name : {"critic", "generator"}
        x : Tensor of shape (batch, n_features)
        weight : Tensor of shape (batch,), optional
            Of the rows, and of the rows generated for their context.
        x_tilde : None
            Of no use here.
        context : Tensor of shape (batch, n_context), optional
        generator : torch.Generator, optional
        """
        if name == "generator":
            made = self.generate(len(x), context, generator)
            return weighted_mean(
                self.loss.generated(self.critic(made, context)), weight
            )
        with torch.no_grad():
            made = self.generate(len(x), context, generator)
        made, made_context, made_weight = self._replayed(
            made, context, weight, generator
        )
        weighs = self._penalty_weight()
        at_rows = weighs > 0 and not self.loss.interpolated
        x = x.detach().requires_grad_(at_rows)
        value = self.critic(x, context)
        loss = weighted_mean(self.loss.real(value), weight)
        fake = self.loss.fake(self.critic(made, made_context))
        loss = loss + weighted_mean(fake, made_weight)
        if at_rows:
            steepness = slopes(value, x).square()
            return loss + 0.5 * weighs * weighted_mean(steepness, weight)
        if weighs > 0:
            penalty = interpolated_penalty(self.critic, x, made, context, generator)
            return loss + weighs * weighted_mean(penalty, weight)
        return loss

    def forget(self) -> None:
        """Let go of rows of the past, which a round that was lost may have spoilt."""
        if self.replay is not None:
            self.replay.past = []

    def _penalty_weight(self) -> float:
        """Of the penalty in this turn of the critic."""
        is_due = self._n_turns % self.penalty_interval == 0
        self._n_turns += 1
        return self.gradient_penalty * self.penalty_interval if is_due else 0.0

    def generate(
        self,
        n_samples: int,
        context: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Rows for fresh noise."""
        parameter = next(self.generator.parameters())
        z = torch.randn(
            n_samples,
            self.n_components,
            generator=generator,
            device=parameter.device,
            dtype=parameter.dtype,
        )
        return self.generator(z, context)

    def _replayed(self, made, context, weight, generator):
        if self.replay is None:
            return made, context, weight
        return self.replay(made, context, weight, generator)


class Replay:
    """Some of the rows that the critic sees are from earlier generators.

    A critic that forgets what it has seen through lets the generator come back to it
    (Shrivastava et al. 2017, arXiv 1612.07828, section 2.3).

    Parameters
    ----------
    share : float
        Of each batch that is taken from the past, in (0, 1); as many of its own rows
        take random places there.
    """

    def __init__(self, share: float):
        self.share = share
        self.past: list[Tensor | None] = []

    def __call__(self, made: Tensor, context, weight, generator: Generator | None):
        """The batch with some rows exchanged for rows of the past."""
        n_rows = len(made)
        n_old = round(self.share * n_rows)
        batch = [made, context, weight]
        if not self.past:
            self.past = [_copies(part) for part in batch]
        known = self.past[0]
        if n_old == 0 or known is None:
            return made, context, weight
        place = torch.randint(
            len(known), (n_old,), generator=generator, device=made.device
        )
        mixed = []
        for part, past in zip(batch, self.past, strict=True):
            if part is None or past is None:
                mixed.append(part)
                continue
            old = past[place]
            past[place] = part[:n_old]
            mixed.append(torch.cat([old, part[n_old:]]))
        return tuple(mixed)


def slopes(value: Tensor, x: Tensor) -> Tensor:
    """|d value / d x| of each row, per root mean square over features.

    Parameters
    ----------
    value : Tensor of shape (batch,)
    x : Tensor of shape (batch, n_features)
        What ``value`` was computed from, with ``requires_grad``.
    """
    (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    return (gradient.square().sum(1) * x.shape[1] + 1e-12).sqrt()


def interpolated_penalty(
    critic, x: Tensor, made: Tensor, context: Tensor | None, generator: Generator | None
) -> Tensor:
    """(slope - 1)^2 at random points between rows and generated ones."""
    share = torch.rand(len(x), 1, generator=generator, device=x.device, dtype=x.dtype)
    between = (share * x + (1 - share) * made).detach().requires_grad_()
    return (slopes(critic(between, context), between) - 1).square()


def weighted_mean(loss: Tensor, weight: Tensor | None) -> Tensor:
    """Mean over rows of weights of mean one, or of equal ones."""
    return loss.mean() if weight is None else (loss * weight).mean()


def _copies(part: Tensor | None) -> Tensor | None:
    if part is None:
        return None
    return torch.cat([part.detach()] * _REPLAYED_BATCHES)
