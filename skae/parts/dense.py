"""The dense architecture: perceptrons that map rows to codes and back.

`Dense` holds hyperparameters and builds a `DenseCodec`, which holds weights::

    c = s(f(x r))        raw = g(c)

with perceptrons f and g, the activation s of the code, the identity unless asked
otherwise, and a context that joins the inputs of f and g. With ``members`` every weight
carries a leading axis and the codec is that many independent models, evaluated
together.
"""

from collections.abc import Sequence

import torch
from sklearn.base import clone
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from skae.parts.activations import ACTIVATIONS, Activation
from skae.parts.base import Architecture, Codec

__all__ = ["Dense", "DenseCodec", "joined", "product"]

# Products of other widths take up rows one by one in kernels of their own.
_STEADY_WIDTH = 16

Layers = list[tuple[Tensor, Tensor]]


class Dense(Architecture):
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

    batches_members = True
    scales_inputs = True
    trains_path = True

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
        n_outputs: int | None = None,
        n_raw: int | None = None,
        n_context: int = 0,
        members: int | None = None,
        input_scale: Tensor | None = None,
        alike: bool = True,
    ) -> "DenseCodec":
        """Draw the weights of a codec.

        Parameters
        ----------
        n_features, n_components : int
        generator : torch.Generator
            On the CPU, so that every device starts from the same weights.
        n_outputs : int, optional
            What the encoder gives, if not n_components.
        n_raw : int, optional
            What the decoder gives, if not n_features.
        n_context : int, default=0
            Width of the context.
        members : int, optional
            Number of models that share a leading axis.
        input_scale : Tensor of shape (n_features,), optional
            The r above; one when left out.
        alike : bool, default=True
            Whether members start alike, or each from weights of its own.

        Returns
        -------
        DenseCodec

        Raises
        ------
        ValueError
            When tied weights meet a width that has no transpose.
        """
        codec = DenseCodec(
            [n_features, *self.hidden_layer_sizes, n_components],
            self.activation,
            tied=self.tied_weights,
            members=members,
            code_activation=self.code_activation,
            n_outputs=n_outputs,
            n_raw=n_raw,
            n_context=n_context,
        )
        codec.reset(generator, input_scale, alike=alike)
        return codec

    @property
    def is_linear(self) -> bool:  # type: ignore[override]
        """Whether no layer has an activation."""
        return self.activation == self.code_activation == "identity"

    @property
    def is_shallow(self) -> bool:  # type: ignore[override]
        """Whether there are no hidden layers."""
        return not self.hidden_layer_sizes

    @property
    def is_tied(self) -> bool:  # type: ignore[override]
        """Whether the decoder uses the encoder's weights."""
        return self.tied_weights

    def resolved(self, defaults) -> "Dense":
        """With the hidden layers of the defaults where they are "auto"."""
        if not isinstance(self.hidden_layer_sizes, str):
            return self
        sizes = defaults.hidden_layer_sizes
        return clone(self).set_params(hidden_layer_sizes=sizes)


class DenseCodec(Codec):
    """Encoder and decoder made of dense layers, see the formulas above.

    Shape
    -----
    ``encode`` maps ``(..., batch, n_features)`` to ``(..., batch, n_outputs)`` and
    ``decode`` ``(..., batch, n_components)`` to ``(..., batch, n_raw)``; both also take
    a context ``(..., batch, n_context)``. With ``members`` the leading axis of the
    result is the member.

    Parameters
    ----------
    sizes : sequence of int
        n_features, hidden widths, n_components.
    activation : str
    tied : bool, default=False
    members : int, optional
    code_activation : str, default="identity"
    n_outputs, n_raw : int, optional
        Widths of what encoder and decoder give; n_components and n_features where left
        out, and always with tied weights.
    n_context : int, default=0
        Width of the context; zero with tied weights.
    """

    input_scale: Tensor
    code_activation: str

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str,
        *,
        tied: bool = False,
        members: int | None = None,
        code_activation: str = "identity",
        n_outputs: int | None = None,
        n_raw: int | None = None,
        n_context: int = 0,
    ):
        super().__init__()
        self.sizes = list(sizes)
        self.n_outputs = sizes[-1] if n_outputs is None else n_outputs
        self.n_raw = sizes[0] if n_raw is None else n_raw
        self.n_context = n_context
        if tied and (self.n_outputs, self.n_raw, n_context) != (sizes[-1], sizes[0], 0):
            raise ValueError(
                "tied_weights=True can not be combined with a prior that draws the "
                "code, a likelihood of several outputs a feature or a condition: the "
                "decoder's weights are the encoder's. Use tied_weights=False."
            )
        self.activation = activation
        self.code_activation = code_activation
        self.tied = tied
        self.members = members
        self.n_components = sizes[-1]
        is_plain = self.n_outputs == sizes[-1] and code_activation == "identity"
        self.keeps_units = is_plain
        inner = self.sizes[1:-1]
        down = [sizes[0] + n_context, *inner, self.n_outputs]
        up = [sizes[-1] + n_context, *reversed(inner), self.n_raw]
        self.encoder_weights, self.encoder_biases = self._layers(down)
        self.decoder_weights, self.decoder_biases = self._layers(up)
        if tied:
            self.decoder_weights = nn.ParameterList()
        self.register_buffer("input_scale", torch.ones(sizes[0]))

    def _layers(self, widths):
        lead = () if self.members is None else (self.members,)
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        weights = nn.ParameterList(_empty(lead, *pair) for pair in pairs)
        biases = nn.ParameterList(
            nn.Parameter(torch.zeros(*lead, width)) for _, width in pairs
        )
        return weights, biases

    @torch.no_grad()
    def reset(
        self,
        generator: Generator,
        input_scale: Tensor | None = None,
        *,
        alike: bool = True,
    ) -> None:
        """Draw the weights anew."""
        gain = ACTIVATIONS[self.activation].gain
        if input_scale is not None:
            self.input_scale.copy_(input_scale)
        stacks = [(self.encoder_weights, self.encoder_biases)]
        stacks += [(self.decoder_weights, self.decoder_biases)] * (not self.tied)
        for weights, biases in stacks:
            for weight, bias in zip(weights, biases, strict=True):
                shape = weight.shape[-2:] if alike else weight.shape
                # Transposes decode as well: from a wide code at its scale.
                fan = max(shape[-2:]) if self.tied else shape[-2]
                std = (gain / fan) ** 0.5
                weight.copy_(torch.randn(shape, generator=generator) * std)
                bias.zero_()

    def last_parameters(self) -> list[nn.Parameter]:
        """The last weights and biases of f and g; g's weights are f's when tied."""
        ends = [self.encoder_weights, self.encoder_biases]
        ends += [self.decoder_weights, self.decoder_biases]
        return [parameters[-1] for parameters in ends if len(parameters)]

    @torch.no_grad()
    def start_at_mean(self, raw: Tensor) -> None:
        """By the last biases of the decoder; not with tied weights."""
        if not self.tied:
            self.decoder_weights[-1].zero_()
            self.decoder_biases[-1].copy_(raw)

    @torch.no_grad()
    def start_at_zero(self, generator: Generator | None = None) -> None:
        """Zero the last layers; hidden biases are spread, if not tied.

        Raises
        ------
        ValueError
            When the code has an activation, which no linear path could pass.
        """
        if self.code_activation != "identity":
            raise ValueError(
                f"code_activation={self.code_activation!r} needs init='random': PCA's "
                "start has a linear code."
            )
        super().start_at_zero()
        if self.tied:
            # g starts constant, but only at zero where the activation of zero is.
            zero = self.decoder_biases[-1].new_zeros(1, self.n_components)
            constant = _perceptron(zero, self.decoder_layers(), self._act)
            self.decoder_biases[-1].sub_(constant.squeeze(-2))
        elif generator is not None:
            # Whitened inputs are small: units have to bend at different places.
            for bias in [*self.encoder_biases[:-1], *self.decoder_biases[:-1]]:
                draw = torch.rand(bias.shape[-1:], generator=generator).to(bias)
                bias.copy_(2 * draw - 1)

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

    def decayed_parameters(self) -> list[nn.Parameter]:
        """The weights; biases are not decayed."""
        return [*self.encoder_weights, *self.decoder_weights]

    def dense_layers(self) -> "DenseCodec":
        """Itself."""
        return self

    def one_layer(self) -> tuple[Tensor, str] | None:
        """Weights of an encoder of one layer as rows see it, and its activation."""
        if len(self.sizes) > 2:
            return None
        return self.encoder_weights[0] * self.input_scale[:, None], self.code_activation

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """h for rows x in model units; z, where it is not drawn from h."""
        seen = joined(x * self.input_scale, context)
        code = _perceptron(seen, self.encoder_layers(), self._act)
        return ACTIVATIONS[self.code_activation].forward(code)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Raw output for codes z."""
        return _perceptron(joined(z, context), self.decoder_layers(), self._act)

    def member(self, index: int) -> "DenseCodec":
        """A copy of one member as a codec without the leading axis."""
        codec = DenseCodec(
            self.sizes,
            self.activation,
            tied=self.tied,
            code_activation=self.code_activation,
            n_outputs=self.n_outputs,
            n_raw=self.n_raw,
            n_context=self.n_context,
        )
        mine = {
            name: tensor if name == "input_scale" else tensor[index]
            for name, tensor in self.state_dict().items()
        }
        codec.to(self.input_scale)
        codec.load_state_dict(mine)
        return codec

    @classmethod
    def stacked(cls, codecs: Sequence["DenseCodec"]) -> "DenseCodec":
        """The codecs, of equal sizes, as members of one."""
        like = codecs[0]
        codec = cls(
            like.sizes,
            like.activation,
            tied=like.tied,
            members=len(codecs),
            code_activation=like.code_activation,
            n_outputs=like.n_outputs,
            n_raw=like.n_raw,
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
    def _act(self) -> Activation:
        return ACTIVATIONS[self.activation]


def _empty(lead: tuple[int, ...], n_in: int, n_out: int) -> nn.Parameter:
    """Weights without values; narrow ones are stored by columns, for fast products."""
    if n_out < n_in:
        return nn.Parameter(torch.zeros(*lead, n_out, n_in).mT)
    return nn.Parameter(torch.zeros(*lead, n_in, n_out))


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
