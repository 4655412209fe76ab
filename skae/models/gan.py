"""A generator and its critic: the adversarial losses and the module that is trained.

`AlternatingTrainer` optimises `GANModule`. With D the critic, x rows and x' generated
rows, the critic minimises E[real(D(x))] + E[fake(D(x'))] plus a gradient penalty, the
generator E[generated(D(x'))]; losses of pairs take D(x) - D(x') for the critic and its
negative for the generator. Distances between rows are root mean squares over features,
so that one penalty weight suits all widths.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from skae.models.growth import Growth
from skae.training.stepped import SteppedModule

__all__ = [
    "LOSSES",
    "AdversarialLoss",
    "GANModule",
    "Replay",
    "interpolated_penalty",
    "gradient_norms",
    "weighted_mean",
]

_REPLAYED_BATCHES = 50


class AdversarialLoss(NamedTuple):
    """The losses of critic and generator, as functions of the critic's value of a row.

    Attributes
    ----------
    real, fake : callable
        The critic's loss for a real row and for a generated one; only the first where
        losses are those of pairs.
    generated : callable
        The generator's loss for a generated row.
    interpolated : bool
        Whether the penalty is on gradients whose norm is not one, between real and
        generated rows, or on gradients at the real rows.
    probability : bool
        Whether the value is the log odds of being real.
    paired : bool
        Whether the losses are of how much more real one row of a pair of a real and a
        generated one looks; the penalty is then at both.
    """

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generated: Callable[[Tensor], Tensor]
    interpolated: bool = False
    probability: bool = False
    paired: bool = False


LOSSES = {
    # Goodfellow et al. 2014, arXiv 1406.2661.
    "non_saturating": AdversarialLoss(
        lambda d: F.softplus(-d), F.softplus, lambda d: F.softplus(-d), probability=True
    ),
    # Lim and Ye 2017, arXiv 1705.02894; Miyato et al. 2018, arXiv 1802.05957.
    "hinge": AdversarialLoss(
        lambda d: F.relu(1 - d), lambda d: F.relu(1 + d), lambda d: -d
    ),
    # Gulrajani et al. 2017, arXiv 1704.00028.
    "wasserstein_gp": AdversarialLoss(
        lambda d: -d, lambda d: d, lambda d: -d, interpolated=True
    ),
    # Jolicoeur-Martineau 2018, arXiv 1807.00734; Huang et al. 2024, arXiv 2501.05441.
    "relativistic": AdversarialLoss(
        lambda d: F.softplus(-d),
        torch.zeros_like,
        lambda d: F.softplus(-d),
        paired=True,
    ),
}


class GANModule(SteppedModule):
    """A generator and a critic, each with its loss.

    Parameters
    ----------
    generator : Module
        ``generator(z, context) -> x``.
    critic : Module
        ``critic(x, context) -> (batch,)``.
    loss : {"non_saturating", "hinge", "wasserstein_gp", "relativistic"}
    n_components : int
        Width of z, standard normal.
    gradient_penalty : float
        Half of it is the weight of the squared gradient norm at the rows (R1, Mescheder
        et al. 2018, arXiv 1801.04406), or all of it that of the norm's squared distance
        from one between real and generated rows (Gulrajani et al. 2017). With losses of
        pairs generated rows are penalised like the real ones (R2).
    n_critic_steps : int, default=1
        Updates of the critic in one step.
    replay : Replay, optional
    penalty_interval : int, default=1
        The penalty is computed in every so many updates of the critic, and weighs as
        many times more (Karras et al. 2020, arXiv 1912.04958, section 3.1): it costs
        as much as all the rest.
    growth : Growth, optional
        Of networks that grow.
    style_mixing : float, default=0.0
        Share of generated rows, in training, that follow two styles; the condition is
        that of the coarse one.
    """

    members = None
    # Of modules that were stored without.
    growth = Growth().plain()
    n_since = 0
    style_mixing = 0.0

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
        growth: Growth | None = None,
        style_mixing: float = 0.0,
    ):
        super().__init__()
        self.generator: Any = generator
        self.critic: Any = critic
        self._loss = loss
        self.n_components = n_components
        self.gradient_penalty = gradient_penalty
        self.update_order = ("critic",) * n_critic_steps + ("generator",)
        self.replay = replay
        self.penalty_interval = penalty_interval
        # A plain value, which files may hold.
        self.growth = (growth or Growth()).plain()
        self.style_mixing = style_mixing
        # Updates of the critic since the last one with a penalty.
        self.n_since = 0
        self._penalty_weight = 0.0

    @property
    def phase(self) -> int:  # type: ignore[override]
        """Which operations the next step runs: its penalty, its level and fading."""
        level, _, is_fading = self.stage
        return self.n_since + self.penalty_interval * (2 * level + is_fading)

    @phase.setter
    def phase(self, value: int) -> None:
        self.n_since = value % self.penalty_interval

    @property
    def stage(self) -> tuple[int, float, bool]:
        """Of the growth at this progress."""
        return Growth(*self.growth).at(self.progress)

    @property
    def is_grown(self) -> bool:
        """Whether whole images are trained on."""
        return Growth(*self.growth).is_over(self.progress)

    def numbers_at(self, progress: float) -> tuple[float, ...]:
        share, _ = self.growth
        return (Growth(*self.growth).at(progress)[1],) if share else ()

    @property
    def is_rowwise(self) -> bool:
        """Whether a row's loss depends on its group of rows alone."""
        return self.replay is None

    @property
    def row_group(self) -> int:
        """Rows that the critic compares with one another."""
        return self.critic.row_group

    @property
    def loss(self) -> AdversarialLoss:
        """The losses; looked up, because lambdas cannot be pickled."""
        return LOSSES[self._loss]

    @property
    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of critic and generator."""
        names = dict.fromkeys(self.update_order)
        return {name: list(getattr(self, name).parameters()) for name in names}

    def decayed_parameters(self) -> list[nn.Parameter]:
        """The weights of both networks, without biases."""
        networks = self.critic, self.generator
        return [p for network in networks for p in network.decayed_parameters()]

    def group_loss(
        self,
        name: str,
        x: Tensor,
        weight: Tensor | None = None,
        x_tilde: Tensor | None = None,
        context: Tensor | None = None,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """The loss of ``name``, "critic" or "generator", on a batch: a scalar.

        The weight of a row is also that of the row generated for its context.
        ``x_tilde`` is not used.
        """
        self.begin_update(name)
        return self.row_loss(name, x, weight, x_tilde, context, generator=generator)

    def begin_update(self, name: str) -> None:
        """Before the loss of a batch, or of its parts: decide on the penalty."""
        if name == "critic":
            self._grow()
            self._penalty_weight = self._next_penalty_weight()

    def _grow(self) -> None:
        """Bring networks that grow to the level of this step."""
        share, _ = self.growth
        if not share:
            return
        level, alpha, is_fading = self.stage
        faded: Sequence = self.scheduled or (alpha,)
        for network in (self.generator, self.critic):
            network.grow(level, faded[0], is_fading=is_fading)

    def row_loss(
        self, name, x, weight=None, x_tilde=None, context=None, *, generator=None
    ) -> Tensor:
        """`group_loss` of rows of a batch, with the penalty of `begin_update`."""
        if name == "critic":
            return self._critic_loss(x, weight, context, generator)
        fake = self.generate(len(x), context, generator, mixing=self.style_mixing)
        value = self.critic(fake, context)
        if self.loss.paired:
            with torch.no_grad():
                value_of_x = self.critic(x, context)
            value = value - value_of_x
        return weighted_mean(self.loss.generated(value), weight)

    def _critic_loss(self, x, weight, context, generator) -> Tensor:
        with torch.no_grad():
            fake = self.generate(len(x), context, generator, mixing=self.style_mixing)
        fake_context, fake_weight = context, weight
        if self.replay is not None:
            batch = fake, context, weight
            fake, fake_context, fake_weight = self.replay(*batch, generator)
        penalty_weight = self._penalty_weight
        at_rows = penalty_weight > 0 and not self.loss.interpolated
        x = x.detach().requires_grad_(at_rows)
        fake = fake.requires_grad_(at_rows and self.loss.paired)
        value, fake_value = self.critic(x, context), self.critic(fake, fake_context)
        # The generated row of a pair has the place of the real one.
        compared = value - fake_value if self.loss.paired else value
        loss = weighted_mean(self.loss.real(compared), weight)
        loss = loss + weighted_mean(self.loss.fake(fake_value), fake_weight)
        if penalty_weight == 0:
            return loss
        if at_rows:
            penalty = 0.5 * gradient_norms(value, x).square()
        else:
            penalty = interpolated_penalty(self.critic, x, fake, context, generator)
        loss = loss + penalty_weight * weighted_mean(penalty, weight)
        if not fake.requires_grad:
            return loss
        penalty = 0.5 * gradient_norms(fake_value, fake).square()
        return loss + penalty_weight * weighted_mean(penalty, fake_weight)

    def reset(self) -> None:
        """Drop generated rows of earlier steps, which a diverged round may spoil."""
        if self.replay is not None:
            self.replay.past = []

    def generate(
        self,
        n_samples: int,
        context: Tensor | None = None,
        generator: Generator | None = None,
        *,
        mixing: float = 0.0,
    ) -> Tensor:
        """Generated rows for fresh noise, a share of them of two styles."""
        z = next(self.generator.parameters()).new_empty(n_samples, self.n_components)
        z.normal_(generator=generator)
        n_noise = self.generator.n_noise
        if not n_noise:
            return self.generator(z, context)
        noise = z.new_empty(n_samples, n_noise).normal_(generator=generator)
        if not mixing:
            return self.generator(z, context, noise)
        w = self.generator.mixed(self.generator.styles(z, context), mixing, generator)
        return self.generator.images(w, noise)

    def _next_penalty_weight(self) -> float:
        is_due = self.n_since == 0
        self.n_since = (self.n_since + 1) % self.penalty_interval
        return self.gradient_penalty * self.penalty_interval if is_due else 0.0


class Replay:
    """Replaces some generated rows of a batch by rows of earlier generators.

    A critic trained on only the latest generated rows lets the generator return to
    samples that were penalised before (Shrivastava et al. 2017, arXiv 1612.07828,
    section 2.3).

    Parameters
    ----------
    share : float
        Of each batch that is replaced, in (0, 1); as many of its own rows take the
        places of random earlier ones.
    """

    def __init__(self, share: float):
        self.share = share
        self.past: list[Any] = []

    def state(self) -> list[Any]:
        """The earlier rows, contexts and weights."""
        return self.past

    def load(self, past: list[Any]) -> None:
        """Go on from a state."""
        self.past = past

    def __call__(
        self,
        fake: Tensor,
        context: Tensor | None,
        weight: Tensor | None,
        generator: Generator | None,
    ) -> tuple:
        """Rows, contexts and weights, some of them earlier ones."""
        batch = fake, context, weight
        if not self.past:
            self.past = [
                None if part is None else torch.cat([part] * _REPLAYED_BATCHES)
                for part in batch
            ]
        n_old = round(self.share * len(fake))
        place = torch.randint(
            len(self.past[0]), (n_old,), generator=generator, device=fake.device
        )
        mixed = []
        for part, past in zip(batch, self.past, strict=True):
            if part is not None:
                old = past[place]
                past[place] = part[:n_old]
                part = torch.cat([old, part[n_old:]])
            mixed.append(part)
        return tuple(mixed)


def gradient_norms(value: Tensor, x: Tensor) -> Tensor:
    """|d value / d x| of each row, with x in root mean squares over features.

    ``value``, one number a row, was computed from ``x``, which requires a gradient.

    Shape
    -----
    value, returned: ``(batch,)``; x: ``(batch, n_features)``
    """
    (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    return (gradient.square().sum(1) * x.shape[1] + 1e-12).sqrt()


def interpolated_penalty(
    critic, x: Tensor, fake: Tensor, context: Tensor | None, generator: Generator | None
) -> Tensor:
    """(gradient norm - 1)^2 at random points between real and generated rows."""
    share = torch.rand(len(x), 1, generator=generator, device=x.device, dtype=x.dtype)
    between = (share * x + (1 - share) * fake).detach().requires_grad_()
    return (gradient_norms(critic(between, context), between) - 1).square()


def weighted_mean(loss: Tensor, weight: Tensor | None) -> Tensor:
    """Mean over rows with weights of mean one, or equal ones."""
    return loss.mean() if weight is None else (loss * weight).mean()
