"""A user's own encoder and decoder as an architecture.

`ModulePair` wraps two ``nn.Module`` objects into a codec. The modules are copied when
it is built, so the user's own are never trained.
"""

import copy
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

__all__ = ["ModulePair", "PairCodec"]


class ModulePair:
    """Architecture of an encoder and a decoder that the user wrote.

    Parameters
    ----------
    encoder : Module
        Maps ``(batch, n_features)`` to ``(batch, n_components)``.
    decoder : Module
        Maps ``(batch, n_components)`` to ``(batch, n_features)``.

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

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        self.encoder = encoder
        self.decoder = decoder

    def build(
        self,
        n_features: int,
        n_components: int | None = None,
        *,
        generator: Generator | None = None,
        location: Callable[[Tensor], Tensor] | None = None,
    ) -> "PairCodec":
        """A codec with copies of the modules, which alone decide n_components.

        Where the code is drawn, ``location`` is the prior's map from what the encoder
        gives to a code.

        Raises
        ------
        ValueError
            When the modules do not fit n_features or one another.
        """
        codec = PairCodec(copy.deepcopy(self.encoder), copy.deepcopy(self.decoder))
        codec.float().eval()
        probe = torch.zeros(2, n_features)
        try:
            with torch.no_grad():
                code = codec.encode(probe)
                code = code if location is None else location(code)
                raw = codec.decode(code)
        except RuntimeError as error:
            raise ValueError(
                f"The modules given as architecture do not accept rows of {n_features} "
                f"features: {error}"
            ) from error
        if code.ndim != 2 or raw.shape != probe.shape:
            raise ValueError(
                "The encoder given as architecture must map (batch, n_features) to "
                "(batch, n_components), or to what the prior makes that of, and the "
                "decoder back; for input of shape "
                f"{tuple(probe.shape)} the code has shape {tuple(code.shape)} and the "
                f"reconstruction {tuple(raw.shape)}."
            )
        return codec


class PairCodec(nn.Module):
    """Codec of two modules.

    Shape
    -----
    ``encode`` maps ``(batch, n_features)`` to ``(batch, n_components)``; ``decode``
    back.
    """

    keeps_units = True

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def encode(self, x: Tensor) -> Tensor:
        """The encoder's output."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """The decoder's output."""
        return self.decoder(z)
