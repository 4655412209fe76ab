"""Distributions that a critic matches codes to: priors that are only sampled from.

The code itself stays deterministic, without a divergence. The named distributions have
a variance of about one in each direction, so that one setting of the training suits
them all.
"""

import inspect
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from skae.parts.priors import Deterministic
from skae.parts.random_numbers import normal_numbers, uniform_numbers

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

    is_rowwise = True

    def sample(self, n_samples, n_components, generator):
        return normal_numbers((n_samples, n_components), generator)


class SwissRoll(Target):
    """A spiral of two turns in the plane, with constant density along its length.

    The radius grows from a fifth to the whole of 2.1, which makes the variance about
    one.

    Parameters
    ----------
    spread : float, default=0.05
        Standard deviation of the noise around the spiral.
    """

    is_rowwise = True

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
        share = uniform_numbers((n_samples,), generator)
        turns = torch.sqrt(0.25 + 6 * share).unsqueeze(1)
        spiral = 2.1 / 2.5 * turns * _directions(2 * math.pi * turns)
        return spiral + self.spread * normal_numbers((n_samples, 2), generator)


class Mixture(Target):
    """Ten elongated Gaussians that point away from the origin like petals.

    After Makhzani et al. 2015, figure 4, with shorter petals, which differ more from a
    standard normal code. The centres lie evenly on a circle of the first two
    directions; further ones are standard normal. With one component they lie evenly
    between -1.6 and 1.6, with standard deviations of ``across``.

    Parameters
    ----------
    n_modes : int, default=10
    radius : float, default=1.35
    along, across : float, default=0.35 and 0.1
        Standard deviations towards the origin and across.
    """

    is_rowwise = True

    def __init__(self, n_modes=10, radius=1.35, along=0.35, across=0.1):
        self.n_modes = n_modes
        self.radius = radius
        self.along = along
        self.across = across

    def sample(self, n_samples, n_components, generator):
        mode = torch.randint(
            self.n_modes, (n_samples, 1), device=generator.device, generator=generator
        )
        z = normal_numbers((n_samples, n_components), generator)
        if n_components == 1:
            places = torch.linspace(
                -1.6, 1.6, self.n_modes, dtype=torch.float32, device=generator.device
            )
            return places[mode] + self.across * z
        outwards = _directions(mode.float() * (2 * math.pi / self.n_modes))
        sideways = torch.cat([-outwards[:, 1:], outwards[:, :1]], dim=1)
        outwards *= self.radius + self.along * z[:, :1]
        z[:, :2] = outwards + self.across * z[:, 1:2] * sideways
        return z


class Custom(Target):
    """The distribution of what a function returns.

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
            When the function returns another shape, or values that are not finite.
        """
        # Drawn in any case: what follows is the same with and without the parameter.
        seed = torch.randint(
            2**31 - 1, (), device=generator.device, generator=generator
        )
        options = {}
        if _takes_random_state(self.function):
            options["random_state"] = np.random.RandomState(seed.item())
        drawn = self.function(n_samples, **options)
        name = getattr(self.function, "__name__", repr(self.function))
        shape = n_samples, n_components
        try:
            z = np.asarray(drawn, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"prior must return an array of shape {shape}; {name} returned a "
                f"{type(drawn).__name__} that is none."
            ) from error
        if z.ndim == 1 and n_components == 1:
            z = z[:, np.newaxis]
        if z.shape != shape:
            raise ValueError(
                "prior must return an array of shape (n_samples, n_components), here "
                f"{shape}; {name} returned {z.shape}. Set n_components to its width."
            )
        if not np.isfinite(z).all():
            raise ValueError(
                f"prior must return finite values; {name} returned NaN or infinite "
                "ones."
            )
        return torch.from_numpy(z).to(generator.device)

    def check(self, n_components):
        self.sample(8, n_components, torch.Generator("cpu").manual_seed(0))


TARGETS = {"normal": Normal, "swiss_roll": SwissRoll, "mixture": Mixture}


def _directions(angle: Tensor) -> Tensor:
    """Unit vectors for a column of angles."""
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def _takes_random_state(function) -> bool:
    try:
        return "random_state" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # Some functions written in C have no signature.
        return False
