"""The dense architecture: perceptrons that map rows to codes and back.

`Dense` holds hyperparameters and builds a `DenseCodec`, which holds weights::

    c = s(f(x r))        raw = g(c)

with perceptrons f and g, the activation s of the code, by default the identity, and a
context that joins the inputs of f and g. With ``members`` every weight carries a
leading axis and the codec is that many independent models, evaluated together.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from sklearn.base import clone
from torch import Generator, Tensor, nn

from skae.parts.activations import ACTIVATIONS
from skae.parts.base import Architecture, Codec
from skae.parts.layers import affine, copy_member, joined
from skae.parts.random_numbers import normal_numbers, uniform_numbers
from skae.rows.tensors import SINGLE

__all__ = ["Dense", "DenseCodec", "Parameters"]

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
        input_scale: Tensor | None = None,
        same_start: bool = True,
        **widths: Any,
    ) -> "DenseCodec":
        """Draw the weights of a codec, see `skae.parts.base.Architecture.build`.

        Parameters
        ----------
        input_scale : Tensor of shape (n_features,), optional
            The r above; one when left out.
        same_start : bool, default=True
            Whether members start from the same weights.
        **widths
            n_outputs, n_raw, n_context and members.

        Raises
        ------
        ValueError
            When tied weights meet a width that has no transpose.
        """
        codec = DenseCodec(self, n_features, n_components, **widths)
        if input_scale is not None:
            codec.input_scale.copy_(input_scale)
        codec.draw_weights(generator, same_start)
        return codec

    @property
    def is_linear(self) -> bool:  # type: ignore[override]
        return self.activation == self.code_activation == "identity"

    @property
    def is_shallow(self) -> bool:  # type: ignore[override]
        return not self.hidden_layer_sizes

    @property
    def is_tied(self) -> bool:  # type: ignore[override]
        return self.tied_weights

    def resolved(self, defaults) -> "Dense":
        """With the hidden layers of the defaults where they are "auto"."""
        if not isinstance(self.hidden_layer_sizes, str):
            return self
        sizes = defaults.hidden_layer_sizes
        return clone(self).set_params(hidden_layer_sizes=sizes)

    def row_work(self, n_features: int, n_components: int) -> float:
        widths = [n_features, *self.hidden_layer_sizes, n_components]
        return 2 * sum(n_in * n_out for n_in, n_out in pairwise(widths))


class DenseCodec(Codec):
    """Encoder and decoder of the formulas above, as `Dense` builds them.

    ``sizes`` lists n_features, the hidden widths and n_components.
    """

    is_rowwise = True
    input_scale: Tensor
    code_activation: str

    def __init__(
        self,
        dense: Dense,
        n_features: int,
        n_components: int,
        *,
        n_outputs: int | None = None,
        n_raw: int | None = None,
        n_context: int = 0,
        members: int | None = None,
    ):
        super().__init__()
        self.dense = dense
        self.activation = dense.activation
        self.code_activation = dense.code_activation
        self.tied = dense.tied_weights
        hidden = list(dense.hidden_layer_sizes)
        self.sizes = [n_features, *hidden, n_components]
        self.n_components = n_components
        self.n_outputs = n_components if n_outputs is None else n_outputs
        self.n_raw = n_features if n_raw is None else n_raw
        self.n_context = n_context
        self.members = members
        is_plain = self.n_outputs == n_components
        if self.tied and not (is_plain and self.n_raw == n_features and not n_context):
            raise ValueError(
                "tied_weights=True cannot be combined with a prior that draws the "
                "code, a likelihood of several outputs a feature or a condition: the "
                "decoder's weights are the encoder's. Use tied_weights=False."
            )
        self.keeps_units = is_plain and self.code_activation == "identity"
        down = [n_features + n_context, *hidden, self.n_outputs]
        up = [n_components + n_context, *reversed(hidden), self.n_raw]
        self.encoder_weights, self.encoder_biases = _empty(down, members)
        self.decoder_weights, self.decoder_biases = _empty(up, members)
        if self.tied:
            self.decoder_weights = Parameters()
        self.register_buffer("input_scale", torch.ones(n_features, **SINGLE))

    @torch.no_grad()
    def draw_weights(self, generator: Generator, same_start: bool = True) -> None:
        """Draw the weights from N(0, gain / fan_in); members may start from the same.

        Tied weights decode as well: from a wide code at its scale.
        """
        gain = ACTIVATIONS[self.activation].gain
        for weight in self.decayed_parameters():
            shape = weight.shape[-2:] if same_start else weight.shape
            fan = max(shape[-2:]) if self.tied else shape[-2]
            draw = normal_numbers(shape, generator)
            weight.copy_(draw * (gain / fan) ** 0.5)

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
            self.decoder_biases[-1].sub_(self.decode(zero).squeeze(-2))
        elif generator is not None:
            # Whitened inputs are small: units have to bend at different places.
            for bias in [*self.encoder_biases[:-1], *self.decoder_biases[:-1]]:
                draw = uniform_numbers(bias.shape[-1:], generator).to(bias)
                bias.copy_(2 * draw - 1)

    def encoder_layers(self) -> Layers:
        """Weights ``(d_in, d_out)`` and biases ``(d_out,)`` of f, input first."""
        return list(zip(self.encoder_weights, self.encoder_biases, strict=True))

    def decoder_layers(self) -> Layers:
        """The same for g; transposed views of f's weights when tied."""
        weights = list(self.decoder_weights)
        if self.tied:
            weights = [weight.mT for weight in reversed(self.encoder_weights)]
        return list(zip(weights, self.decoder_biases, strict=True))

    def decayed_parameters(self) -> list[nn.Parameter]:
        """The weights; biases are not decayed."""
        return [*self.encoder_weights, *self.decoder_weights]

    def dense_layers(self) -> "DenseCodec":
        return self

    def one_layer(self) -> tuple[Tensor, str] | None:
        """Weights of an encoder of one layer as rows see it, and its activation."""
        if len(self.sizes) > 2:
            return None
        return self.encoder_weights[0] * self.input_scale[:, None], self.code_activation

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x = joined(x * self.input_scale, context)
        code = self._perceptron(x, self.encoder_layers())
        return ACTIVATIONS[self.code_activation].forward(code)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self._perceptron(joined(z, context), self.decoder_layers())

    def _perceptron(self, x: Tensor, layers: Layers) -> Tensor:
        activation = ACTIVATIONS[self.activation].forward
        *hidden, (last_weight, last_bias) = layers
        for weight, bias in hidden:
            x = activation(affine(x, weight, bias))
        return affine(x, last_weight, last_bias)

    def with_members(self, members: int | None) -> "DenseCodec":
        """A codec of the same structure with so many members, all weights zero."""
        codec = DenseCodec(
            self.dense,
            self.sizes[0],
            self.n_components,
            n_outputs=self.n_outputs,
            n_raw=self.n_raw,
            n_context=self.n_context,
            members=members,
        ).to(self.input_scale.dtype)
        if self.input_scale.device.type != "cpu":
            # Zeros are made there: each upload would have the host wait.
            codec.to_empty(device=self.input_scale.device)
            for parameter in codec.parameters():
                parameter.detach().zero_()
        codec.input_scale.copy_(self.input_scale)
        return codec

    def member(self, index: int) -> "DenseCodec":
        codec = self.with_members(None)
        copy_member(self, index, codec)
        return codec

    @classmethod
    @torch.no_grad()
    def stacked(cls, codecs: Sequence["DenseCodec"]) -> "DenseCodec":
        """The codecs, of equal sizes, as members of one."""
        codec = codecs[0].with_members(len(codecs)).requires_grad_(False)
        apart = [one.parameters() for one in codecs]
        for own, *members in zip(codec.parameters(), *apart, strict=True):
            own.copy_(torch.stack(members))
        return codec


def _empty(widths: list[int], members: int | None) -> tuple["Parameters", "Parameters"]:
    """Weights and biases of zero between layers of these widths."""
    lead = () if members is None else (members,)
    weights, biases = Parameters(), Parameters()
    for n_in, n_out in pairwise(widths):
        weight = torch.zeros(*lead, n_in, n_out, **SINGLE)
        if n_out < n_in:
            # Narrow ones are stored by columns, for fast products.
            weight = torch.zeros(*lead, n_out, n_in, **SINGLE).mT
        weights.append(nn.Parameter(weight))
        biases.append(nn.Parameter(torch.zeros(*lead, n_out, **SINGLE)))
    return weights, biases


class Parameters(nn.ParameterList):
    """A list of parameters that is quick to iterate."""

    def __iter__(self):
        return iter(self._parameters.values())
