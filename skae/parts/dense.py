"""The dense architecture: perceptrons, optionally anchored in a linear path.

`Dense` holds hyperparameters and builds a `DenseCodec`, which holds weights. An
`Anchor` is a linear autoencoder (in practice PCA) in which the codec starts::

    c   = x E / sigma + f(x r)        z = sigma c
    raw = z D + g(c)

with trained E and D that start as the anchor's axes, and perceptrons f and g whose last
layers start at zero, so that the untrained codec is the anchor. Without an anchor the
codec is c = s(f(x r)), raw = g(c), where s is the activation of the code, the identity
unless asked otherwise; a context joins the inputs of f and g. With ``members`` every
weight carries a leading axis and the
codec is that many independent models, evaluated together.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from sklearn.base import BaseEstimator
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from skae.parts.activations import ACTIVATIONS, Activation

__all__ = ["Anchor", "Dense", "DenseCodec", "Guard", "joined", "product"]

# Products of other widths take up rows one by one in kernels of their own.
_STEADY_WIDTH = 16

Layers = list[tuple[Tensor, Tensor]]


class Anchor(NamedTuple):
    """The linear autoencoder in which a dense codec starts.

    Attributes
    ----------
    axes : Tensor of shape (n_features, n_components) or (members, ...)
        Orthonormal columns, zero columns beyond the rank.
    scale : Tensor of shape (n_components,) or (members, ...)
        Standard deviation of the rows along each axis, positive.
    center : Tensor of shape (n_features,) or (members, ...)
        The mean of the rows in model units.
    raw_center : Tensor of shape (n_features,) or (members, ...)
        Raw output for a zero code.
    raw_slope : Tensor of shape (n_features,) or (members, ...)
        Raw units per model unit; one for a Gaussian likelihood.
    """

    axes: Tensor
    scale: Tensor
    center: Tensor
    raw_center: Tensor
    raw_slope: Tensor


class Guard(nn.Module):
    """Takes rows that are far from the training rows back to the anchor.

    What a codec adds to its anchor is weighted by a trust of one while no scaled input,
    or whitened code, exceeds three times the largest of the training rows; it falls
    linearly to zero at six times. Limits are kept for each coordinate: where a feature
    was constant in training, nothing determined its weights.

    Parameters
    ----------
    anchor : Anchor
        As it was before training.
    input_limit : Tensor of shape (n_features,) or (members, 1, n_features)
        Largest magnitude of each scaled input.
    code_limit : Tensor of shape (n_components,) or (members, 1, n_components)
        Largest magnitude of each whitened code.
    """

    axes: Tensor
    scale: Tensor
    center: Tensor
    raw_center: Tensor
    raw_slope: Tensor
    input_limit: Tensor
    code_limit: Tensor

    def __init__(self, anchor: Anchor, input_limit: Tensor, code_limit: Tensor):
        super().__init__()
        for name, tensor in anchor._asdict().items():
            self.register_buffer(name, tensor)
        self.register_buffer("input_limit", input_limit)
        self.register_buffer("code_limit", code_limit)

    def code(self, x: Tensor, scaled: Tensor, code: Tensor) -> Tensor:
        """The code, moved towards the anchor's where the row is far out."""
        center, scale = _row(self.center, self.axes), _row(self.scale, self.axes)
        start = product(x - center, self.axes) / scale
        return start + _trust(scaled, self.input_limit) * (code - start)

    def raw(self, z: Tensor, code: Tensor, raw: Tensor) -> Tensor:
        """The raw output, moved towards the anchor's where the code is far out."""
        slope = _row(self.raw_slope, self.axes)
        start = product(z, self.axes.mT) * slope + _row(self.raw_center, self.axes)
        return start + _trust(code, self.code_limit) * (raw - start)

    def member(self, index: int) -> "Guard":
        """The guard of one member."""
        anchor = Anchor(*(getattr(self, name)[index] for name in Anchor._fields))
        return Guard(anchor, self.input_limit[index], self.code_limit[index])


class Dense(BaseEstimator):
    """Fully connected encoder and mirrored decoder.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(128,)
        Widths between the input and the code; the decoder mirrors them.
    activation : str, default="relu"
        Key of `skae.parts.activations.ACTIVATIONS`.
    tied_weights : bool, default=False
        Whether the decoder's weights are the transposes of the encoder's; biases are
        free either way.
    code_activation : str, default="identity"
        Activation of the code itself, as in the textbook autoencoder of one hidden
        layer. Only without an anchor.

    Examples
    --------
    >>> import torch
    >>> from skae.parts.dense import Dense
    >>> codec = Dense((16,)).build(8, 2, generator=torch.Generator().manual_seed(0))
    >>> codec.decode(codec.encode(torch.zeros(5, 8))).shape
    torch.Size([5, 8])
    """

    def __init__(
        self,
        hidden_layer_sizes=(128,),
        activation="relu",
        tied_weights=False,
        code_activation="identity",
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.tied_weights = tied_weights
        self.code_activation = code_activation

    def build(
        self,
        n_features: int,
        n_components: int,
        *,
        generator: Generator,
        anchor: Anchor | None = None,
        input_scale: Tensor | None = None,
        bound: float | None = None,
        members: int | None = None,
        alike: bool = True,
        device: torch.device | str = "cpu",
        n_outputs: int | None = None,
        n_context: int = 0,
    ) -> "DenseCodec":
        """Draw the weights of a codec.

        Parameters
        ----------
        n_features, n_components : int
        generator : torch.Generator
            On the CPU, so that every device starts from the same weights.
        anchor : Anchor, optional
        input_scale : Tensor of shape (n_features,), optional
            The r above; one when left out.
        bound : float, optional
            Inputs of f and g are clipped to +-bound.
        members : int, optional
            Number of models that share a leading axis.
        alike : bool, default=True
            Whether members start alike but for their anchors, or each from weights of
            its own.
        device : torch.device, default="cpu"
            Where the codec and the anchor are.
        n_outputs : int, optional
            What the encoder gives, if not n_components.
        n_context : int, default=0
            Width of the context.

        Returns
        -------
        DenseCodec
        """
        sizes = [n_features, *self.hidden_layer_sizes, n_components]
        codec = DenseCodec(
            sizes,
            self.activation,
            tied=self.tied_weights,
            anchored=anchor is not None,
            members=members,
            bound=bound,
            code_activation=self.code_activation,
            n_outputs=n_outputs,
            n_context=n_context,
        ).to(device)
        codec.reset(generator, anchor, input_scale, alike=alike)
        return codec


class DenseCodec(nn.Module):
    """Encoder and decoder made of dense layers, see the formulas above.

    In evaluation mode a ``guard``, when set, takes rows far from the training rows back
    to the anchor.

    Shape
    -----
    ``encode`` maps ``(..., batch, n_features)`` to ``(..., batch, n_outputs)`` and
    ``decode`` ``(..., batch, n_components)`` back; both also take a context
    ``(..., batch, n_context)``. With ``members`` the leading axis of the result is the
    member.

    Parameters
    ----------
    sizes : sequence of int
        n_features, hidden widths, n_components.
    activation : str
    tied, anchored : bool
    members : int, optional
    bound : float, optional
    code_activation : str, default="identity"
    n_outputs : int, optional
        Width of what the encoder gives; n_components where left out, and always with an
        anchor or tied weights.
    n_context : int, default=0
        Width of the context; zero with an anchor or tied weights.
    """

    encoder_path: Any  # a Parameter, or None without an anchor
    decoder_path: Any  # likewise, and None with tied weights
    input_scale: Tensor
    code_scale: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str,
        *,
        tied: bool = False,
        anchored: bool = False,
        members: int | None = None,
        bound: float | None = None,
        code_activation: str = "identity",
        n_outputs: int | None = None,
        n_context: int = 0,
    ):
        super().__init__()
        if anchored and code_activation != "identity":
            raise ValueError(
                f"An anchored codec needs code_activation='identity'; got "
                f"{code_activation!r}."
            )
        self.n_outputs = sizes[-1] if n_outputs is None else n_outputs
        self.n_context = n_context
        if (anchored or tied) and (self.n_outputs != sizes[-1] or n_context):
            raise ValueError(
                "A code that is drawn, and a context, need init='random' and "
                "tied_weights=False: an anchored or tied decoder mirrors the encoder."
            )
        self.sizes = list(sizes)
        self.activation = activation
        self.code_activation = code_activation
        self.tied = tied
        self.anchored = anchored
        self.members = members
        self.bound = bound
        self.guard: Guard | None = None
        n_features, n_components = sizes[0], sizes[-1]

        lead = () if members is None else (members,)

        def empty(*shape):
            # Products with a narrow matrix are several times faster when it is stored
            # by columns.
            if len(shape) == 2 and shape[1] < shape[0]:
                return nn.Parameter(torch.zeros(*lead, *shape[::-1]).mT)
            return nn.Parameter(torch.zeros(*lead, *shape))

        inner = self.sizes[1:-1]
        down = [n_features + n_context, *inner, self.n_outputs]
        up = [n_components + n_context, *reversed(inner), n_features]
        pairs = list(zip(down[:-1], down[1:], strict=True))
        mirrored = list(zip(up[:-1], up[1:], strict=True))
        self.encoder_weights = nn.ParameterList(empty(*pair) for pair in pairs)
        self.encoder_biases = nn.ParameterList(empty(after) for _, after in pairs)
        self.decoder_weights = nn.ParameterList(
            [] if tied else [empty(*pair) for pair in mirrored]
        )
        self.decoder_biases = nn.ParameterList(empty(after) for _, after in mirrored)
        self.encoder_path = empty(n_features, n_components) if anchored else None
        self.decoder_path = (
            empty(n_components, n_features) if anchored and not tied else None
        )
        self.register_buffer("input_scale", torch.ones(n_features))
        self.register_buffer("code_scale", torch.ones(*lead, n_components))

    def reset(
        self,
        generator: Generator,
        anchor: Anchor | None = None,
        input_scale: Tensor | None = None,
        *,
        alike: bool = True,
    ) -> None:
        """Draw the weights anew and take over the anchor."""
        gain = ACTIVATIONS[self.activation].gain
        stacks = [(self.encoder_weights, self.encoder_biases)]
        stacks += [(self.decoder_weights, self.decoder_biases)] * (not self.tied)
        with torch.no_grad():
            if input_scale is not None:
                self.input_scale.copy_(input_scale)
            for weights, biases in stacks:
                for weight, bias in zip(weights, biases, strict=True):
                    shape = weight.shape[-2:] if alike else weight.shape
                    # Transposes decode as well: from a wide code at its scale.
                    fan = max(shape[-2:]) if self.tied else shape[-2]
                    std = (gain / fan) ** 0.5
                    weight.copy_(torch.randn(shape, generator=generator) * std)
                    bias.zero_()
                for bias in biases[:-1]:
                    if anchor is not None and not self.tied:
                        shape = bias.shape[-1:] if alike else bias.shape
                        draw = torch.rand(shape, generator=generator)
                        bias.copy_(2 * draw - 1)
                if anchor is not None:
                    weights[-1].zero_()
            if anchor is not None:
                self._take_over(anchor)

    def _take_over(self, anchor: Anchor) -> None:
        axes, scale, center, raw_center, raw_slope = anchor
        self.encoder_path.copy_(axes)
        self.code_scale.copy_(scale)
        offset = (center.unsqueeze(-2) @ axes).squeeze(-2)
        self.encoder_biases[-1].copy_(-offset / scale)
        self.decoder_biases[-1].copy_(raw_center)
        if self.tied:
            # g starts constant, but only at zero where the activation of zero is.
            zero = torch.zeros_like(self.code_scale).unsqueeze(-2)
            constant = _perceptron(zero, self.decoder_layers(), self._act)
            self.decoder_biases[-1].add_(raw_center - constant.squeeze(-2))
        else:
            self.decoder_path.copy_(axes.mT * raw_slope.unsqueeze(-2))

    def encoder_layers(self) -> Layers:
        """Weights ``(d_in, d_out)`` and biases ``(d_out,)`` of f, input first."""
        return list(zip(self.encoder_weights, self.encoder_biases, strict=True))

    def decoder_layers(self) -> Layers:
        """The same for g; transposed views of f's weights when tied."""
        weights = (
            [weight.mT for weight in reversed(self.encoder_weights)]
            if self.tied
            else self.decoder_weights
        )
        return list(zip(weights, self.decoder_biases, strict=True))

    def decoder_axes(self) -> Tensor:
        """D: its own parameter, or the transpose of E when tied."""
        return self.encoder_path.mT if self.tied else self.decoder_path

    def decayed_parameters(self) -> list[nn.Parameter]:
        """The weights of f and g; E, D and the biases are not decayed."""
        return [*self.encoder_weights, *self.decoder_weights]

    def anchored_parameters(self) -> list[nn.Parameter]:
        """What is zero or the anchor's before training, and carries the departure."""
        paths = [self.encoder_path, self.decoder_path]
        ends = [self.encoder_weights, self.encoder_biases]
        ends += [self.decoder_weights, self.decoder_biases]
        found = [path for path in paths if path is not None]
        return found + [parameters[-1] for parameters in ends if len(parameters)]

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """h for rows x in model units; z, where it is not drawn from h."""
        sigma = self._per_row(self.code_scale)
        scaled = x * self.input_scale
        seen = joined(self._bounded(scaled), context)
        code = _perceptron(seen, self.encoder_layers(), self._act)
        code = ACTIVATIONS[self.code_activation].forward(code)
        if self.anchored:
            code = code + product(x, self.encoder_path) / sigma
        if self.guard is not None and not self.training:
            code = self.guard.code(x, scaled, code)
        return code * sigma if self.anchored else code

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Raw output for codes z."""
        code = z / self._per_row(self.code_scale) if self.anchored else z
        known = joined(self._bounded(code), context)
        raw = _perceptron(known, self.decoder_layers(), self._act)
        if self.anchored:
            raw = raw + product(z, self.decoder_axes())
        if self.guard is not None and not self.training:
            raw = self.guard.raw(z, code, raw)
        return raw

    def watch(
        self, anchor: Anchor, x: Tensor, trained_on: Tensor | None = None
    ) -> Guard:
        """A guard with the limits of the rows x.

        Parameters
        ----------
        anchor : Anchor
        x : Tensor of shape (batch, n_features)
        trained_on : bool Tensor of shape (batch,) or (members, batch), optional
        """
        code = self.encode(x) / self._per_row(self.code_scale)
        sizes = [(x * self.input_scale).abs(), code.abs()]
        if trained_on is not None:
            sizes = [size * trained_on[..., None] for size in sizes]
        limits = [size.amax(-2, keepdim=True).clamp_min(1e-12) for size in sizes]
        if self.members is None:
            return Guard(anchor, *(limit[0] for limit in limits))
        return Guard(anchor, *(r.expand(self.members, *r.shape[-2:]) for r in limits))

    def member(self, index: int) -> "DenseCodec":
        """A copy of one member as a codec without the leading axis."""
        codec = DenseCodec(
            self.sizes,
            self.activation,
            tied=self.tied,
            anchored=self.anchored,
            bound=self.bound,
            code_activation=self.code_activation,
            n_outputs=self.n_outputs,
            n_context=self.n_context,
        )
        mine = {
            name: tensor if name == "input_scale" else tensor[index]
            for name, tensor in self.state_dict().items()
            if not name.startswith("guard.")
        }
        codec.to(self.input_scale)
        codec.load_state_dict(mine)
        if self.guard is not None:
            codec.guard = self.guard.member(index)
        return codec

    @classmethod
    def stacked(cls, codecs: Sequence["DenseCodec"]) -> "DenseCodec":
        """The codecs, of equal sizes and without guards, as members of one."""
        like = codecs[0]
        codec = cls(
            like.sizes,
            like.activation,
            tied=like.tied,
            anchored=like.anchored,
            members=len(codecs),
            bound=like.bound,
            code_activation=like.code_activation,
            n_outputs=like.n_outputs,
            n_context=like.n_context,
        ).to(like.input_scale)
        states = [one.state_dict() for one in codecs]
        codec.load_state_dict(
            {
                name: tensor
                if name == "input_scale"
                else torch.stack([state[name] for state in states])
                for name, tensor in states[0].items()
            }
        )
        return codec.requires_grad_(False)

    @property
    def n_components(self) -> int:
        """Width of the code."""
        return self.sizes[-1]

    @property
    def keeps_units(self) -> bool:
        """Whether codes are in the units of the rows."""
        return self.code_activation == "identity" and self.n_outputs == self.sizes[-1]

    @property
    def _act(self) -> Activation:
        return ACTIVATIONS[self.activation]

    def _bounded(self, x: Tensor) -> Tensor:
        return x if self.bound is None else x.clamp(-self.bound, self.bound)

    def _per_row(self, vector: Tensor) -> Tensor:
        return vector if self.members is None else vector.unsqueeze(-2)


def _perceptron(x: Tensor, layers: Layers, activation: Activation) -> Tensor:
    *hidden, (weight, bias) = layers
    for w, b in hidden:
        x = activation.forward(_affine(x, w, b))
    return _affine(x, weight, bias)


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if x.ndim == weight.ndim == 2:
        if _is_unsteady(weight):
            return product(x, weight) + bias
        return torch.addmm(bias, x, weight)
    return x @ weight + (bias if weight.ndim == 2 else bias.unsqueeze(-2))


def joined(x: Tensor, context: Tensor | None) -> Tensor:
    """Rows with their context in columns after their own."""
    return x if context is None else torch.cat([x, context], dim=-1)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x @ weight; without gradients, each row alike wherever in x it stands."""
    if x.ndim == weight.ndim == 2 and _is_unsteady(weight):
        n_out = weight.shape[1]
        padded = F.pad(weight, (0, -n_out % _STEADY_WIDTH)).contiguous()
        return (x @ padded)[:, :n_out]
    return x @ weight


def _is_unsteady(weight: Tensor) -> bool:
    """Whether the last bits of a row of the product may depend on its place."""
    if torch.is_grad_enabled() or weight.device.type != "cpu":
        return False
    return weight.shape[1] % _STEADY_WIDTH > 0 or not weight.is_contiguous()


def _trust(size: Tensor, limit: Tensor) -> Tensor:
    far = (size.abs() / limit).amax(-1, keepdim=True)
    return (2 - far / 3).clamp(0, 1)


def _row(vector: Tensor, axes: Tensor) -> Tensor:
    """A per-feature vector in the shape that broadcasts over rows."""
    return vector if axes.ndim == 2 else vector.unsqueeze(-2)
