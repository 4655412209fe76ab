"""The base classes of what has weights: an architecture, and the codec that it builds.

See `skae.parts.base`, which has these names too, for the other choices.
"""

import inspect
import math
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Generator, Tensor, nn

__all__ = ["Architecture", "Codec", "Rowwise", "are_rowwise", "built"]


class Rowwise:
    """Whether what a part computes of a row depends on that row alone.

    Attributes
    ----------
    is_rowwise : bool, default=False
        A training step may cut its batch where all parts are, and call a part from
        several threads at once, each with rows of its own. A class says it for itself;
        its subclasses, which may mix rows, have to say it anew.
    """

    is_rowwise = False

    def __init_subclass__(cls, **options) -> None:
        super().__init_subclass__(**options)
        cls.is_rowwise = cls.__dict__.get("is_rowwise", False)


def are_rowwise(*parts: Any) -> bool:
    """Whether all of these objects say so of themselves."""
    return all(getattr(part, "is_rowwise", False) for part in parts)


class Codec(Rowwise, nn.Module):
    """Encoder and decoder with their weights: what an `Architecture` builds.

    Shape
    -----
    ``encode(x, context)`` maps ``(..., batch, n_features)`` to ``(..., batch,
    n_outputs)`` and ``decode(z, context)`` maps ``(..., batch, n_components)`` to
    ``(..., batch, n_raw)``; a context is ``(..., batch, n_context)``. With ``members``
    the leading axis of the results is the member.

    Attributes
    ----------
    n_components : int
        Width of the code.
    members : int or None
        How many models the weights hold along a leading axis.
    keeps_units : bool
        Whether codes are in the units of the rows.
    code_activation : str or None
        Activation of the code; None where it may be any.
    allows_missing : bool
        Whether rows may hold NaN.
    code_shape : tuple of int or None
        Shape of the feature map before the code, where there is one.
    is_anchored : bool
        Whether the codec starts from a linear autoencoder, see
        `skae.parts.anchored.AnchoredCodec`.
    """

    n_components: int
    members: int | None = None
    keeps_units = False
    code_activation: str | None = None
    allows_missing = False
    code_shape: tuple[int, ...] | None = None
    is_anchored = False

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """h for rows x in model units; z, where it is not drawn from h."""
        raise NotImplementedError

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Raw output for codes z."""
        raise NotImplementedError

    def correction_of_inputs(self, x: Tensor) -> Tensor | None:
        """Beside PCA's path: what is added to scaled rows before it encodes them.

        None where nothing is.
        """
        return None

    def correction_of_outputs(self, raw: Tensor, scale: Tensor) -> Tensor | None:
        """Likewise to what it has decoded, which times the scale is scaled rows."""
        return None

    def decayed_parameters(self) -> list[nn.Parameter]:
        """Those under weight decay."""
        return list(self.parameters())

    def last_parameters(self) -> list[nn.Parameter]:
        """Weights and biases of the last layers of encoder and decoder.

        At zero, they make ``encode`` and ``decode`` return zero; scaling them scales
        both outputs. Needed by ``init="pca"``, which is refused by default.
        """
        raise ValueError(
            f"init='pca' cannot be combined with {type(self).__name__}, which has no "
            "last_parameters; use init='random'."
        )

    @torch.no_grad()
    def start_at_zero(self, generator: Generator | None = None) -> None:
        """Make encode and decode return zero for any input, yet trainable.

        The generator, on the CPU, is for what is best drawn anew for such a start.
        """
        for parameter in self.last_parameters():
            parameter.zero_()

    def start_at_mean(self, raw: Tensor) -> None:
        """Make the decoder give raw, of shape (n_raw,), for any code, yet trainable.

        raw is that of the mean of the rows, which random weights do not reach; by
        default they stay as they are.
        """

    def dense_layers(self) -> Any | None:
        """The dense codec whose gradient can be written by hand, or None."""
        return None

    def one_layer(self) -> tuple[Tensor, str] | None:
        """Weights (n_features, n_outputs) and activation of a one-layer encoder."""
        return None

    def member(self, index: int) -> "Codec":
        """A copy of one member as a codec without the leading axis."""
        raise NotImplementedError


class Architecture(BaseEstimator):
    """How encoder and decoder are made.

    Attributes
    ----------
    sample_shape : tuple of int or None
        Shape in which the codec sees a sample; None for flat rows of any width.
    data : {"tables", "images", "sequences"}
        What it is made for, which decides how long it is trained by default.
    decides_width : bool
        Whether the codec fixes n_components itself.
    draws_globally : bool
        Whether modules draw from torch's global generator, as dropout does.
    allows_missing : bool
        Whether rows may hold NaN for what is missing.
    shares_center : bool
        Whether columns of one `unit_groups` are centred at one value.
    batches_members : bool
        Whether ``build`` takes ``members``.
    scales_inputs : bool
        Whether ``build`` takes ``input_scale``, by which the codec multiplies rows.
    trains_path : bool
        Whether PCA's path is trained too, where the codec starts beside it.
        Convolutional and recurrent networks learn better beside a fixed path.
    is_linear : bool
        Whether encoder and decoder are linear maps.
    is_shallow : bool
        Whether they have one layer each.
    is_tied : bool
        Whether the decoder uses the encoder's weights.
    """

    sample_shape: tuple[int, ...] | None = None
    data = "tables"
    decides_width = False
    draws_globally = False
    allows_missing = False
    shares_center = False
    batches_members = False
    scales_inputs = False
    trains_path = False
    is_linear = False
    is_shallow = False
    is_tied = False

    def build(
        self, n_features: int, n_components: int, *, generator: Generator
    ) -> Codec:
        """Draw the weights of a codec.

        A subclass may take any of the optional parameters; combinations that need one
        that it leaves out are refused by name.

        Parameters
        ----------
        n_features, n_components : int
        generator : torch.Generator
            On the CPU, so that every device starts from the same weights.
        n_outputs : int, optional
            What the encoder gives, if not n_components (a drawn code asks for more).
        n_raw : int, optional
            What the decoder gives, if not n_features (some likelihoods ask for more).
        n_context : int, default=0
            Width of the context of both.
        members : int, optional
            Number of models along a leading axis.
        """
        raise NotImplementedError

    def beside_path(self) -> "Architecture | None":
        """With less to train beside PCA's path, for where this learns rows by heart."""
        return None

    def resolved(self, defaults) -> "Architecture":
        """With "auto" replaced by what suits the data."""
        return self

    def row_work(self, n_features: int, n_components: int) -> float:
        """Multiplications for one row; infinite where they are not counted."""
        return math.inf

    def unit_groups(self, n_features: int) -> np.ndarray | None:
        """Columns that are measured in one unit have one number, shape (n_features,).

        None where each column stands for itself.
        """
        return None

    def network(self) -> dict:
        """What a model must have in common with one that continues it."""
        return {"architecture": type(self).__name__, **self.get_params(deep=False)}


def built(
    architecture: Architecture, n_features, n_components, *, generator, **requested
):
    """``architecture.build`` with the options that other parts need.

    Parameters
    ----------
    **requested : tuple of (value, which part needs it)
        Options of ``build``.

    Raises
    ------
    ValueError
        When the architecture has no such option.
    """
    parameters = inspect.signature(architecture.build).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    options = {}
    for name, (value, part) in requested.items():
        if not takes_all and name not in parameters:
            raise ValueError(
                f"architecture={type(architecture).__name__} cannot be combined with "
                f"{part}, which needs {name}={value!r} of its build."
            )
        options[name] = value
    return architecture.build(n_features, n_components, generator=generator, **options)
