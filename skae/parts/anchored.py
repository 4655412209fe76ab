"""A linear path beside any codec, so that the model starts as PCA.

`AnchoredCodec` wraps a codec of any architecture with encoder f and decoder g, whose
last layers start at zero, and computes ::

    c   = (x - mu + F(x r)) E / sigma + f(x r)
    y   = sigma c D + g(c)
    raw = nu + s (y + G(y r))

where E and D start as the axes of a linear autoencoder, in practice PCA: the untrained
model is that autoencoder. Some codecs map rows to rows besides, F and G, which start at
zero too. ``s`` is each column's standard deviation, at most one model unit: corrections
of small columns are in their own scale, of constant columns zero. A `Guard` keeps rows
unlike the training rows at the start. Held-out rows decide in ``fitting/departure.py``
what of the corrections is kept.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from skae.parts.base import Codec
from skae.parts.guard import Guard
from skae.parts.layers import copy_member, product

__all__ = ["Anchor", "AnchoredCodec"]


class Anchor(NamedTuple):
    """The linear autoencoder in which a codec starts.

    Attributes
    ----------
    axes : Tensor of shape (n_features, n_components) or (members, ...)
        Orthonormal columns, zero columns beyond the rank.
    scale : Tensor of shape (n_components,) or (members, ...)
        sigma: standard deviation of the rows along each axis, positive.
    center : Tensor of shape (n_features,) or (members, ...)
        mu: mean of the rows in model units.
    raw_center : Tensor of shape (n_features,) or (members, ...)
        nu: raw output for a zero code.
    raw_slope : Tensor of shape (n_features,) or (members, ...)
        Raw units per model unit; one for a Gaussian likelihood.
    shrinkage : Tensor of shape (n_components,) or (members, ...)
        Share of each code's variance that is kept, one for PCA; probabilistic PCA
        (Tipping and Bishop 1999) shrinks codes by the noise in them.
    """

    axes: Tensor
    scale: Tensor
    center: Tensor
    raw_center: Tensor
    raw_slope: Tensor
    shrinkage: Tensor

    def encoder(self) -> Tensor:
        """E at the start."""
        return self.axes * self.shrinkage.sqrt().unsqueeze(-2)

    def decoder(self) -> Tensor:
        """s D at the start."""
        return self.encoder().mT * self.raw_slope.unsqueeze(-2)


class AnchoredCodec(Codec):
    """A codec beside a linear path, see the formulas above.

    Parameters
    ----------
    codec : Codec
        f and g, with ``members`` where the anchor has; its last layers are set to zero.
    anchor : Anchor
        Its fields become buffers of the same names.
    input_scale : Tensor of shape (n_features,)
        r: one over the standard deviation of each column, or of its unit group.
    output_scale : Tensor of shape (n_features,)
        s.
    start : Tensor of shape (..., n_outputs - n_components), optional
        What the encoder gives beyond the location, before training.
    tied : bool, default=False
        Whether D is the transpose of E.
    bound : float, optional
        Inputs of f and g are clipped to +-bound.
    whitened : bool, default=False
        Whether z is c; else sigma c, in the units of the rows.
    frozen : bool, default=False
        Whether E and D stay as they are.
    generator : torch.Generator, optional
        On the CPU; for the biases that ``start_at_zero`` draws.
    """

    is_anchored = True
    axes: Tensor
    shrinkage: Tensor
    scale: Tensor
    center: Tensor
    raw_center: Tensor
    raw_slope: Tensor
    input_scale: Tensor
    output_scale: Tensor
    start: Tensor | None

    def __init__(
        self,
        codec: Codec,
        anchor: Anchor,
        input_scale: Tensor,
        output_scale: Tensor,
        *,
        start: Tensor | None = None,
        tied: bool = False,
        bound: float | None = None,
        whitened: bool = False,
        frozen: bool = False,
        generator: Generator | None = None,
    ):
        super().__init__()
        codec.start_at_zero(generator)
        self.codec = codec
        self.members = codec.members
        self.allows_missing = codec.allows_missing
        self.code_shape = codec.code_shape
        self.n_components = codec.n_components
        self.tied = tied
        self.bound = bound
        self.keeps_units = not whitened
        self.code_activation = "identity"
        self.guard: Guard | None = None
        scales = {"input_scale": input_scale, "output_scale": output_scale}
        for name, tensor in {**anchor._asdict(), **scales, "start": start}.items():
            self.register_buffer(name, tensor)
        # Model units are centred for most likelihoods.
        self.is_centred = not bool(anchor.center.any())
        self.encoder_path = nn.Parameter(anchor.encoder().clone())
        self.decoder_path = None
        if not tied:
            safe = torch.where(output_scale > 0, output_scale, 1)
            self.decoder_path = nn.Parameter(anchor.decoder() / safe)
            self.decoder_path.requires_grad_(not frozen)
        self.encoder_path.requires_grad_(not frozen)

    @property
    def is_rowwise(self) -> bool:  # type: ignore[override]
        """Whether f and g are."""
        return self.codec.is_rowwise

    def anchor(self) -> Anchor:
        return Anchor(*(getattr(self, name) for name in Anchor._fields))

    def decayed_parameters(self) -> list[nn.Parameter]:
        """Those of f and g; E and D are not decayed."""
        return self.codec.decayed_parameters()

    def dense_layers(self):
        return self.codec.dense_layers()

    def decoder_axes(self) -> Tensor:
        """D: its own parameter, or the transpose of E when tied."""
        return self.encoder_path.mT if self.decoder_path is None else self.decoder_path

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """h for rows x in model units; missing entries count as their mean."""
        scaled = x * self.input_scale
        inputs = self.bounded(scaled)
        h = self.codec.encode(inputs, context)
        centred, sigma, guard = self.centred(x), self._row(self.scale), self.guard
        # In the units of the rows or of whitened codes, as z is.
        correction = self.codec.correction_of_inputs(inputs)
        corrected = centred if correction is None else centred + correction
        path = product(corrected, self.encoder_path)
        h, path = (h * sigma, path) if self.keeps_units else (h, path / sigma)
        h = self.moved(h, path)
        if guard is not None and not self.training:
            kept = self._kept() if self.keeps_units else self._kept() / sigma
            start = product(centred, self.axes) * kept
            if self.n_components < h.shape[-1]:
                start = self.moved(torch.zeros_like(h), start)
            scaled = scaled.nan_to_num() if self.allows_missing else scaled
            h = torch.lerp(start, h, guard.input_trust(scaled))
        return h

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        sigma = self._row(self.scale)
        code, z = (z / sigma, z) if self.keeps_units else (z, z * sigma)
        raw = self.codec.decode(self.bounded(code), context)
        raw = raw + product(z, self.decoder_axes())
        correction = self.codec.correction_of_outputs(raw, self.input_scale)
        raw = (raw if correction is None else raw + correction) * self.output_scale
        guard = self.guard
        if guard is not None and not self.training:
            start = product(z * self._kept(), self.axes.mT) * self._row(self.raw_slope)
            raw = torch.lerp(start, raw, guard.code_trust(code))
        return raw + self._row(self.raw_center)

    @torch.no_grad()
    def move_to(self, anchor: Anchor, x: Tensor) -> None:
        """Take over another anchor, for corrections that do not depend on its codes.

        x are rows, of shape (batch, n_features), whose codes the guard is to admit.
        """
        for name, tensor in anchor._asdict().items():
            getattr(self, name).copy_(tensor)
        self.is_centred = not bool(anchor.center.any())
        self.encoder_path.copy_(anchor.encoder())
        if self.decoder_path is not None:
            safe = torch.where(self.output_scale > 0, self.output_scale, 1)
            self.decoder_path.copy_(anchor.decoder() / safe)
        if self.guard is not None:
            guard, self.guard = self.guard, None
            guard.code_limit.copy_(self.magnitudes(x)[1].amax(0).clamp_min(1e-12))
            self.guard = guard

    @torch.no_grad()
    def release(self, columns: Tensor, x: Tensor) -> None:
        """Let columns vary that were constant until now, as they do in rows x."""
        largest = x[:, columns].nan_to_num().abs().amax(0)
        self.output_scale[columns] = 1.0 if self.tied else largest.clamp(max=1)
        if self.guard is not None:
            limit = largest * self.input_scale[columns]
            self.guard.input_limit[..., columns] = limit

    def magnitudes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitudes of scaled inputs and whitened codes, which a guard limits."""
        h = self.encode(x)[..., : self.n_components]
        code = h / self._row(self.scale) if self.keeps_units else h
        return (x * self.input_scale).nan_to_num().abs(), code.abs()

    def centred(self, x: Tensor) -> Tensor:
        """x - mu with zeros for what is missing."""
        if not self.is_centred:
            x = x - self._row(self.center)
        # NaN is rare and nan_to_num a pass over the rows: only where it may occur.
        return x.nan_to_num() if self.allows_missing else x

    def moved(self, h: Tensor, code: Tensor) -> Tensor:
        """h with a code added to its location, and with the start of the rest."""
        n_rest = h.shape[-1] - self.n_components
        if not n_rest:
            return h + code
        if self.start is not None:
            rest = self._row(self.start).expand(*code.shape[:-1], n_rest)
            return h + torch.cat([code, rest], -1)
        return h + F.pad(code, (0, n_rest))

    def bounded(self, x: Tensor) -> Tensor:
        """Inputs of f and g, clipped."""
        return x if self.bound is None else x.clamp(-self.bound, self.bound)

    def member(self, index: int) -> "AnchoredCodec":
        codec = AnchoredCodec(
            self.codec.member(index),
            Anchor(*(part[index] for part in self.anchor())),
            self.input_scale,
            self.output_scale,
            start=None if self.start is None else self.start[index],
            tied=self.tied,
            bound=self.bound,
            whitened=not self.keeps_units,
        )
        copy_member(self, index, codec)
        if self.guard is not None:
            codec.guard = self.guard.member(index)
        return codec

    def anchored_parameters(self) -> list[nn.Parameter]:
        """Parameters that start at zero or at the anchor's values.

        Interpolating them to their start shrinks the model to the anchor.
        """
        paths = [self.encoder_path, self.decoder_path]
        trained = [p for p in paths if p is not None and p.requires_grad]
        return trained + self.codec.last_parameters()

    def _kept(self) -> Tensor:
        """What E and D at the start leave of a code along each axis."""
        return self._row(self.shrinkage.sqrt())

    def _row(self, vector: Tensor) -> Tensor:
        return vector if self.members is None else vector.unsqueeze(-2)
