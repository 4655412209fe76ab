"""Greedy layer-wise pretraining: autoencoders of codes of autoencoders.

Bengio et al. (2006), *Greedy layer-wise training of deep networks*, NeurIPS 19; with
noise, Vincent et al. (2010), JMLR 11. `pretrain` fits one `AutoencoderTransformer` a
layer and computes the codes of the training rows once a layer; `layers_of` turns fitted
autoencoders into the layers of a `Stack`. Labels are not used.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch

from skae.fitting.defaults import defaults_from_random
from skae.models.stack import NormalisedLayer, Product
from skae.parts.corruption import GaussianNoise
from skae.parts.layers import widest
from skae.rows.chunks import map_rows
from skae.rows.derived import HELD_BYTES, MappedRows, is_mapped
from skae.rows.devices import product_rows
from skae.rows.sources import RowSource
from skae.rows.tensors import as_double
from skae.training.checkpoint import joined

__all__ = ["layers_of", "pretrain"]

_STEPS = 200


def pretrain(
    X,
    widths,
    autoencoder_class,
    *,
    corruption,
    hidden_noise,
    first=None,
    weight=None,
    recording=None,
    **parameters,
) -> Iterator:
    """Fit one autoencoder a layer, each to the codes of the one before.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Validated rows.
    widths : sequence of int
        Width of each code.
    autoencoder_class : type
        `AutoencoderTransformer`, or what takes its parameters.
    corruption : corruption part
        Of X.
    hidden_noise : float
        Noise on codes, in standard deviations of each unit.
    first : fitted autoencoder, optional
        Its codes are the input of the first layer.
    weight : ndarray of shape (n_samples,), optional
    recording : Recording, optional
        Of the fit around these.
    **parameters
        Of `AutoencoderTransformer`; ``max_iter=None`` trains for one epoch and at least
        200 steps, fewer for fewer than 50 rows.

    Yields
    ------
    autoencoder : AutoencoderTransformer
        Fitted, the layer nearest the rows first.
    """
    codes, noise, below = X, corruption, first
    for width in widths:
        if below is not None:
            codes, noise = codes_of(below, codes), GaussianNoise(hidden_noise)
        below = autoencoder_class(
            width,
            hidden_layer_sizes=(),
            code_activation="relu",
            init="random",
            corruption=noise,
            **_schedule(codes.shape, parameters),
        )
        callbacks = below.callbacks
        below.callbacks = joined(callbacks, recording)
        try:
            below.fit(codes, sample_weight=weight)
        finally:
            below.callbacks = callbacks
        yield below


def codes_of(autoencoder, X):
    """Codes of validated rows in single precision, as `coded` gives them."""
    parameter = next(autoencoder.net_.parameters())
    to_model = partial(autoencoder.units_.to_model, dtype=parameter.dtype)
    if hasattr(autoencoder, "encoder_"):
        encode = autoencoder.encoder_
    else:
        scale = autoencoder.code_scale_

        def encode(x):
            return autoencoder.net_.code(x).cpu().double() * scale

    device, width = parameter.device, X.shape[1]
    n_rows = product_rows(device, lambda: widest(autoencoder.net_, width))
    n_codes = autoencoder.n_components_
    return coded(X, to_model, encode, n_codes, device=device, n_rows=n_rows)


def coded(X, to_model, encode, width, *, device, n_rows):
    """Codes of rows: an array, or a source where X is on disk and codes do not fit.

    Parameters
    ----------
    X : ndarray, memmap, CSR matrix or RowSource of shape (n_samples, n_features)
    to_model, encode : callable
        As ``to_model`` and ``function`` of `map_rows`.
    width : int
    device : torch.device
    n_rows : int
        Of a product.

    Returns
    -------
    codes : float32 ndarray or MappedRows of shape (n_samples, width)
        An array of up to 128 MiB, or of any size where X is in memory.
    """

    def mapped(rows):
        codes = np.empty((rows.shape[0], width), dtype=np.float32)
        return map_rows(rows, to_model, encode, codes, device, n_rows=n_rows)

    is_stored = isinstance(X, RowSource) or is_mapped(X)
    if is_stored and 4 * X.shape[0] * width > HELD_BYTES:
        return MappedRows(X, mapped, width)
    return mapped(X)


def _schedule(shape, parameters):
    n_samples = shape[0]
    schedule = {
        "alpha": 0.0,
        "early_stopping": False,
        "batch_size": min(128 if n_samples > 4000 else 32, n_samples),
        "learning_rate_init": defaults_from_random(*shape, 1).lr,
        **{name: value for name, value in parameters.items() if value is not None},
    }
    if "max_iter" not in schedule:
        n_batches = max(1, n_samples // schedule["batch_size"])
        schedule["max_iter"] = math.ceil(min(_STEPS, 4 * n_samples) / n_batches)
    return schedule


def layers_of(autoencoder, units=None) -> list[NormalisedLayer]:
    """The encoder of a fitted autoencoder as layers.

    Dense encoders without a linear path of their own come apart into one layer for each
    product; others are one layer as a whole. The weights are copies.

    Parameters
    ----------
    autoencoder : fitted autoencoder or StackedAEClassifier
    units : Units, optional
        Of the layers' input, where those are not the autoencoder's.
    """
    if hasattr(autoencoder, "encoder_"):
        return list(copy.deepcopy(autoencoder.encoder_))
    own = autoencoder.units_
    units = own if units is None else units
    codec = autoencoder.net_.codec.dense_layers()
    if codec is None or autoencoder.net_.codec.is_anchored:
        return [_whole(autoencoder)]
    names = [codec.activation] * (len(codec.sizes) - 2) + [codec.code_activation]
    slope, offset = _into(own, units, codec.input_scale)
    layers = []
    for (weight, bias), name in zip(codec.encoder_layers(), names, strict=True):
        weight, bias = weight.detach().float(), bias.detach().float()
        if not layers:
            bias = bias + offset.to(weight) @ weight
            weight = slope.to(weight)[:, None] * weight
        if len(layers) == len(names) - 1:
            scale = autoencoder.code_scale_
            weight, bias = weight * scale, bias * scale
        layers.append(NormalisedLayer(Product(weight), *weight.shape, name, bias))
    return layers


def _into(own, units, input_scale):
    """Slope and offset that map a row in ``units`` to the encoder's input."""
    scale = input_scale.cpu().double()
    slope = scale * as_double(units.scale / own.scale)
    offset = scale * as_double((units.center - own.center) / own.scale)
    return slope, offset


class FrozenEncoder(torch.nn.Module):
    """The codes of any codec, in evaluation mode also where its layer is trained."""

    def __init__(self, codec, scale: float):
        super().__init__()
        self.codec = copy.deepcopy(codec).eval()
        self.scale = scale

    def forward(self, x):
        # cuDNN has no gradient of recurrent layers in evaluation mode.
        is_refused = x.is_cuda and torch.is_grad_enabled()
        others = torch.backends.cudnn.flags(enabled=False)
        with others if is_refused else nullcontext():
            return self.codec.encode(x) * self.scale

    def train(self, mode=True):
        return self


def _whole(autoencoder) -> NormalisedLayer:
    codec = autoencoder.net_.codec
    encoder = FrozenEncoder(codec, autoencoder.code_scale_).float().requires_grad_(True)
    n_in, n_out = autoencoder.n_features_in_, autoencoder.n_components_
    return NormalisedLayer(encoder, n_in, n_out, "identity")
