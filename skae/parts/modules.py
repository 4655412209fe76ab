"""A user's own encoder and decoder as an architecture.

`ModulePair` wraps two ``nn.Module`` objects into a codec. The modules are copied when
it is built, so the user's own are never trained.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor, nn

from skae.parts.base import Architecture, Codec
from skae.parts.layers import channel_groups
from skae.rows.tensors import SINGLE

__all__ = ["ModulePair", "PairCodec"]


class ModulePair(Architecture):
    """Architecture of an encoder and a decoder that the user wrote.

    Parameters
    ----------
    encoder : Module
        Maps ``(batch, *sample_shape)`` to ``(batch, n_components)``.
    decoder : Module
        Maps ``(batch, n_components)`` to ``(batch, *sample_shape)``, or to as many
        numbers as the likelihood asks for.
    sample_shape : tuple of int, optional
        Shape of one sample; flat rows where left out.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from skae.parts.modules import ModulePair
    >>> pair = ModulePair(nn.Linear(8, 2), nn.Linear(2, 8))
    >>> codec = pair.build(8)
    >>> codec.encode(torch.zeros(5, 8)).shape
    torch.Size([5, 2])
    """

    decides_width = True
    draws_globally = True

    def __init__(self, encoder: nn.Module, decoder: nn.Module, sample_shape=None):
        self.encoder = encoder
        self.decoder = decoder
        self.sample_shape = sample_shape

    def build(
        self,
        n_features: int,
        n_components: int | None = None,
        *,
        generator: Generator | None = None,
        n_raw: int | None = None,
        location: Callable[[Tensor], Tensor] | None = None,
    ) -> "PairCodec":
        """A codec with copies of the modules, which alone decide n_components.

        Where the code is drawn, ``location`` is the prior's map from what the encoder
        gives to a code.

        Raises
        ------
        ValueError
            When the modules do not fit the samples or one another.
        """
        codec = PairCodec(
            copy.deepcopy(self.encoder), copy.deepcopy(self.decoder), self.sample_shape
        )
        codec.float().eval()
        probe = torch.zeros(2, n_features, **SINGLE)
        shape = tuple(self.sample_shape or (n_features,))
        n_raw = n_raw or n_features
        try:
            with torch.no_grad():
                code = codec.encode(probe)
                codec.n_outputs = code.shape[-1]
                code = code if location is None else location(code)
                raw = codec.decode(code)
        except (RuntimeError, IndexError) as error:
            raise ValueError(
                f"The modules given as architecture do not accept samples of shape "
                f"{shape} ({n_features} features): {error}"
            ) from error
        if code.ndim != 2 or raw.shape != (2, n_raw):
            raise ValueError(
                "The encoder given as architecture must map (batch, "
                f"{', '.join(map(str, shape))}) to (batch, n_components), or to what "
                f"the prior makes that of, and the decoder to {n_raw} numbers a "
                f"sample; for two samples the code has shape "
                f"{tuple(code.shape)} and the reconstruction, flat, {tuple(raw.shape)}."
            )
        codec.n_components = code.shape[1]
        return codec

    def unit_groups(self, n_features: int) -> np.ndarray | None:
        """The pixels of a channel, for samples (n_channels, height, width)."""
        if self.sample_shape is None or len(self.sample_shape) != 3:
            return None
        return channel_groups(self.sample_shape)

    def network(self) -> dict:
        """Modules are compared by their printed structure."""
        return {
            "architecture": "a pair of modules",
            "encoder": repr(self.encoder),
            "decoder": repr(self.decoder),
        }


class PairCodec(Codec):
    """Codec of two modules, which see samples in their shape."""

    keeps_units = True

    def __init__(self, encoder: nn.Module, decoder: nn.Module, sample_shape=None):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.sample_shape = None if sample_shape is None else tuple(sample_shape)
        self.encoder_gain: nn.Parameter | None = None
        self.decoder_gain: nn.Parameter | None = None
        self.n_outputs = 0

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.sample_shape is not None:
            x = x.unflatten(-1, self.sample_shape)
        h = self.encoder(x)
        return h if self.encoder_gain is None else h * self.encoder_gain

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        raw = self.decoder(z).flatten(1)
        return raw if self.decoder_gain is None else raw * self.decoder_gain

    def last_parameters(self) -> list[nn.Parameter]:
        """Gains of the modules' outputs, as their last layers may be anything.

        They are zero at the start (Bachlechner et al. 2020, arXiv 2003.04887).
        """
        if self.encoder_gain is None or self.decoder_gain is None:
            parameter = next(self.parameters())
            with torch.no_grad():
                n_raw = self.decode(parameter.new_zeros(1, self.n_components)).shape[1]
            self.encoder_gain = nn.Parameter(parameter.new_ones(self.n_outputs))
            self.decoder_gain = nn.Parameter(parameter.new_ones(n_raw))
        return [self.encoder_gain, self.decoder_gain]

    def decayed_parameters(self) -> list[nn.Parameter]:
        """Those of the modules; gains are not decayed."""
        return [*self.encoder.parameters(), *self.decoder.parameters()]
