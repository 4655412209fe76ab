"""Distributions for codes to match: priors of which only samples are asked.

A critic tells codes from ``sample(n_samples, n_components, generator) -> z``; the code
itself stays deterministic and costs nothing by itself. Named ones have a variance of
about one in each direction, so that one setting of the training suits them all.
"""

import inspect
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from skae.parts.priors import Deterministic

__all__ = ["TARGETS", "Custom", "Mixture", "Normal", "SwissRoll", "Target"]


class Target(Deterministic):
    """A deterministic code and a distribution for it, see `Deterministic`."""


class Normal(Target):
    """Independent standard normal entries.

    Examples
    --------
    >>> import torch
    >>> from skae.parts.targets import Normal
    >>> Normal().sample(3, 2, torch.Generator().manual_seed(0)).shape
    torch.Size([3, 2])
    """

    def sample(self, n_samples, n_components, generator):
        return _normal(n_samples, n_components, generator)


class SwissRoll(Target):
    """A spiral of two turns in the plane, with the same density along its length.

    The radius grows from a fifth to the whole of 2.1, which makes the variance about
    one.

    Parameters
    ----------
    spread : float, default=0.05
        Standard deviation of the noise around the spiral.
    """

    def __init__(self, spread=0.05):
        self.spread = spread

    def check(self, n_components):
        if n_components != 2:
            raise ValueError(
                "prior='swiss_roll' lies in the plane and needs n_components=2; got "
                f"n_components={n_components}."
            )

    def sample(self, n_samples, n_components, generator):
        # An arc of the angle dt is about t dt long: the root makes it even.
        share = torch.rand(n_samples, device=generator.device, generator=generator)
        turns = torch.sqrt(0.25 + 6 * share)
        angle = 2 * math.pi * turns
        spiral = torch.stack([angle.cos(), angle.sin()], dim=1) * (
            2.1 / 2.5 * turns.unsqueeze(1)
        )
        return spiral + self.spread * _normal(n_samples, 2, generator)


class Mixture(Target):
    """Ten Gaussians, long ones that point away from the origin like petals.

    After Makhzani et al. 2015, figure 4, with shorter petals that no standard normal
    code could be taken for. The centres lie evenly on a circle of the first two
    directions, further ones are standard normal. On a line they lie evenly between -1.6
    and 1.6, with standard deviations of ``across``.

    Parameters
    ----------
    n_modes : int, default=10
    radius : float, default=1.35
    along, across : float, default=0.35 and 0.1
        Standard deviations towards the origin and across.
    """

    def __init__(self, n_modes=10, radius=1.35, along=0.35, across=0.1):
        self.n_modes = n_modes
        self.radius = radius
        self.along = along
        self.across = across

    def sample(self, n_samples, n_components, generator):
        mode = torch.randint(
            self.n_modes, (n_samples,), device=generator.device, generator=generator
        )
        z = _normal(n_samples, n_components, generator)
        if n_components == 1:
            places = torch.linspace(-1.6, 1.6, self.n_modes, device=generator.device)
            return places[mode].unsqueeze(1) + self.across * z
        angle = mode * (2 * math.pi / self.n_modes)
        outwards = torch.stack([angle.cos(), angle.sin()], dim=1)
        sideways = torch.stack([-angle.sin(), angle.cos()], dim=1)
        outwards *= self.radius + self.along * z[:, :1]
        z[:, :2] = outwards + self.across * z[:, 1:2] * sideways
        return z


class Custom(Target):
    """What a function returns.

    Parameters
    ----------
    function : callable
        ``function(n_samples, random_state=...)``, with a NumPy RandomState, or
        ``function(n_samples)`` for one without such a parameter, whose own randomness
        then decides. Returns an array of shape ``(n_samples, n_components)``.
    """

    def __init__(self, function: Callable):
        self.function = function

    def sample(self, n_samples, n_components, generator):
        """Codes, ``(n_samples, n_components)``, on the generator's device.

        Raises
        ------
        ValueError
            When the function returns another shape, or what is no finite number.
        """
        options = {}
        # Drawn in any case: what follows is the same with and without the parameter.
        seed = torch.randint(
            2**31 - 1, (), device=generator.device, generator=generator
        )
        if _takes_random_state(self.function):
            options["random_state"] = np.random.RandomState(seed.item())
        drawn = self.function(n_samples, **options)
        try:
            z = np.asarray(drawn, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"prior must return an array of shape {(n_samples, n_components)}; "
                f"{self._name} returned a {type(drawn).__name__} that is none."
            ) from error
        if z.ndim == 1 and n_components == 1:
            z = z[:, np.newaxis]
        if z.shape != (n_samples, n_components):
            raise ValueError(
                "prior must return an array of shape (n_samples, n_components), here "
                f"{(n_samples, n_components)}; {self._name} returned {z.shape}. Set "
                "n_components to its width."
            )
        if not np.isfinite(z).all():
            raise ValueError(
                f"prior must return finite values; {self._name} returned NaN or "
                "infinite ones."
            )
        return torch.from_numpy(z).to(generator.device)

    def check(self, n_components):
        self.sample(8, n_components, torch.Generator().manual_seed(0))

    @property
    def _name(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


TARGETS = {"normal": Normal, "swiss_roll": SwissRoll, "mixture": Mixture}


def _normal(n_samples, n_components, generator) -> Tensor:
    return torch.randn(
        n_samples, n_components, device=generator.device, generator=generator
    )


def _takes_random_state(function) -> bool:
    try:
        return "random_state" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # Some written in C say nothing.
        return False
