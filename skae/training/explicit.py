"""The gradient of a dense autoencoder written out by hand.

For dense codecs with a canonical or Gaussian likelihood, no penalty and a code that is
given or drawn from a Gaussian, the backward pass is a handful of batched products into
preallocated gradients, three times faster than autograd for small batches. Codecs with
members train all of them in the same calls. `Autoencoder.gradient` builds it where
`supports` says so.
"""

from typing import Any

import torch
from torch import Generator, Tensor

from skae.parts.activations import ACTIVATIONS
from skae.parts.dense import DenseCodec, joined
from skae.parts.likelihoods import BoundGaussian
from skae.parts.priors import NoPrior, StandardNormal

__all__ = ["ExplicitGradient", "supports"]


def supports(model: Any) -> bool:
    """Whether `ExplicitGradient` computes this model's objective."""
    return (
        type(model.codec) is DenseCodec
        and _has_slope(model)
        and type(model.prior) in (NoPrior, StandardNormal)
        and not model.penalties
    )


def _has_slope(model: Any) -> bool:
    if isinstance(model.likelihood, BoundGaussian):
        return model.members is None
    return getattr(model.likelihood, "canonical", False)


class ExplicitGradient:
    """Callable that fills the gradients of a model's flat parameters.

    Parameters
    ----------
    model : Autoencoder
        With parameters that have ``.grad`` allocated (see `FlatParameters`).
    generator : torch.Generator, optional
        Where the corruption, the prior and the hidden context draw from.

    Shape
    -----
    ``gradient(x, weight)`` takes rows ``(batch, n_features)``, or those of each member
    ``(members, batch, n_features)``, and, optionally, row weights ``(batch,)`` or
    ``(members, batch)``, and returns the weighted mean of the objective over the batch,
    summed over members. The encoder sees ``x_tilde``, of x's shape, where it is given,
    and both halves the ``context``.
    """

    def __init__(self, model: Any, generator: Generator | None = None):
        codec = model.codec
        self.model = model
        self.prior = model.prior
        self.is_drawn = isinstance(model.prior, StandardNormal)
        self.corruption = model.corruption
        self.generator = generator
        self.codec = codec
        self.likelihood = model.likelihood
        self.activation = ACTIVATIONS[codec.activation]
        self.code_activation = ACTIVATIONS[codec.code_activation]
        self.n_members = codec.members or 1
        self.encoder = [(_lead(w), _lead(b, 1)) for w, b in codec.encoder_layers()]
        self.decoder = [(_lead(w), _lead(b, 1)) for w, b in codec.decoder_layers()]
        grads = [w.grad for w in codec.encoder_weights]
        self.encoder_grads = [
            (_lead(g), _lead(b.grad, 1))
            for g, b in zip(grads, codec.encoder_biases, strict=True)
        ]
        grads = (
            [g.mT for g in reversed(grads)]
            if codec.tied
            else [w.grad for w in codec.decoder_weights]
        )
        self.decoder_grads = [
            (_lead(g), _lead(b.grad, 1))
            for g, b in zip(grads, codec.decoder_biases, strict=True)
        ]
        if codec.anchored:
            self.sigma = _lead(codec.code_scale, 1)
            self.encoder_path = _lead(codec.encoder_path.detach())
            self.encoder_path_grad = _lead(codec.encoder_path.grad)
            self.decoder_path = _lead(codec.decoder_axes().detach())
            self.decoder_path_grad = (
                self.encoder_path_grad.mT
                if codec.tied
                else _lead(codec.decoder_path.grad)
            )
        # One is the usual case for rows that are scaled already.
        self.scale = None if bool((codec.input_scale == 1).all()) else codec.input_scale

    @torch.no_grad()
    def __call__(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        x_tilde: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        codec, batch = self.codec, x.shape[-2]
        x = x.expand(self.n_members, *x.shape[-2:])
        if x_tilde is None:
            x_tilde = self.corruption(x, self.generator)
        seen = x_tilde.expand(x.shape)
        scaled = seen if self.scale is None else seen * self.scale
        known = self._for_members(context)
        hint = self._for_members(self.model.seen_context(context, self.generator))
        encoder = self._forward(joined(self._bounded(scaled), hint), self.encoder)
        h = code = self.code_activation.forward(encoder[-1][1])
        if self.is_drawn:
            epsilon = self.prior.noise(self.prior.location(h), self.generator)
            spread = self.prior.scale(h).mul_(epsilon)
            code = self.prior.location(h) + spread
        if codec.anchored:
            code = code + torch.bmm(seen, self.encoder_path) / self.sigma
        decoder = self._forward(joined(self._bounded(code), known), self.decoder)
        raw = decoder[-1][1]
        if codec.anchored:
            z = code * self.sigma
            raw = torch.baddbmm(raw, z, self.decoder_path)

        loss = self.likelihood.nll(raw, x)
        if self.is_drawn:
            warmth = self.model.warmth()
            loss += warmth * self.prior.divergence(h)
        share = 1 / batch if weight is None else (weight / batch).unsqueeze(-1)
        if isinstance(self.likelihood, BoundGaussian):
            delta = self.likelihood.slope(raw, x)
            self.likelihood.fill_gradient(delta, share)
        else:
            # In place: nothing reads the raw output after the loss.
            delta = self.likelihood.mean(raw).sub_(x)
        delta *= share
        loss = (loss.unsqueeze(-1) * share).sum()

        self._backward(delta, decoder, self.decoder, self.decoder_grads, beta=0)
        delta_code = torch.bmm(self._delta, self.decoder[0][0].mT)
        if context is not None:
            delta_code = delta_code[..., : code.shape[-1]]
        if codec.bound is not None:
            delta_code *= code.abs() <= codec.bound
        if codec.anchored:
            torch.bmm(z.mT, delta, out=self.decoder_path_grad)
            delta_code.addcmul_(torch.bmm(delta, self.decoder_path.mT), self.sigma)
            through = seen.mT, delta_code / self.sigma
            self.encoder_path_grad.baddbmm_(*through, beta=int(codec.tied))
        if self.is_drawn:
            drawn = torch.cat([delta_code, 0.5 * delta_code * spread], -1)
            delta_code = drawn + warmth * share * self.prior.divergence_slope(h)
        delta_code = self.code_activation.backward(delta_code, encoder[-1][1], h)
        self._backward(
            delta_code, encoder, self.encoder, self.encoder_grads, beta=int(codec.tied)
        )
        return loss

    def _for_members(self, context):
        if context is None:
            return None
        return context.expand(self.n_members, *context.shape[-2:])

    def _forward(self, x, layers):
        """(input, pre-activation) of each layer."""
        trace = []
        for index, (weight, bias) in enumerate(layers):
            if index:
                x = self.activation.forward(trace[-1][1])
            a = torch.baddbmm(bias, x, weight)
            trace.append((x, a))
        return trace

    def _backward(self, delta, trace, layers, grads, beta):
        """Weight gradients of a stack; leaves the first layer's delta behind."""
        for index in range(len(layers) - 1, -1, -1):
            x, _ = trace[index]
            grad_weight, grad_bias = grads[index]
            grad_weight.baddbmm_(x.mT, delta, beta=beta)
            torch.sum(delta, 1, keepdim=True, out=grad_bias)
            if index:
                delta = torch.bmm(delta, layers[index][0].mT)
                delta = self.activation.backward(delta, trace[index - 1][1], x)
        self._delta = delta

    def _bounded(self, x):
        bound = self.codec.bound
        return x if bound is None else x.clamp(-bound, bound)


def _lead(tensor: Tensor, bias: int = 0) -> Tensor:
    """The tensor with a member axis in front, and a batch axis for biases."""
    tensor = tensor.detach()
    if bias:
        tensor = tensor.unsqueeze(-2)
    return tensor if tensor.ndim == 3 else tensor.unsqueeze(0)
