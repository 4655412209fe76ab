"""The gradient of a dense autoencoder written out by hand.

For dense codecs with a canonical or Gaussian likelihood, no penalty and a code that is
given or drawn from a Gaussian, the backward pass is a handful of batched products into
preallocated gradients, three times faster than autograd for small batches. Codecs with
members train all of them in the same calls. `Autoencoder` offers it to the trainer
where its parts say that they have gradients.
"""

from typing import Any

import torch
from torch import Generator, Tensor

from skae.parts.activations import ACTIVATIONS
from skae.parts.layers import joined
from skae.training.terms import Term

__all__ = ["ExplicitGradient", "supports"]


def supports(model) -> bool:
    """Whether `ExplicitGradient` computes this model's objective."""
    return (
        model.codec.dense_layers() is not None
        and (not model.codec.is_anchored or model.codec.encoder_path.requires_grad)
        and model.likelihood.has_gradient
        and model.prior.has_gradient
        and not model.penalties
    )


class ExplicitGradient:
    """Callable that fills the gradients of a model's flat parameters.

    Parameters
    ----------
    model : Autoencoder
        With parameters that have ``.grad`` allocated (see `FlatParameters`).
    generator : torch.Generator, optional
        Where the corruption, the prior and the hidden context draw from.
    scales : bool, optional
        Whether the inputs are multiplied; looked up in the model where left out.

    Shape
    -----
    ``gradient(x, weight)`` takes rows ``(batch, n_features)``, or those of each member
    ``(members, batch, n_features)``, and, optionally, row weights ``(batch,)`` or
    ``(members, batch)``, and returns the weighted mean of the objective over the batch,
    summed over members. The encoder sees ``x_tilde``, of x's shape, where it is given,
    and both halves the ``context``.
    """

    def __init__(
        self,
        model: Any,
        generator: Generator | None = None,
        *,
        scales: bool | None = None,
    ):
        gradients = {p: p.grad for p in model.parameters() if p.grad is not None}
        # Of the batch, where the terms of a shard are taken.
        self._share = 1.0
        self._terms: list[Term] | None = None
        codec = model.codec.dense_layers()
        self.anchored = model.codec if model.codec.is_anchored else None
        self.model = model
        self.prior = model.prior
        self.generator = generator
        self.codec = codec
        self.likelihood = model.likelihood
        self.activation = ACTIVATIONS[codec.activation]
        self.code_activation = ACTIVATIONS[codec.code_activation]
        self.n_members = codec.members or 1
        self.encoder = _leading(codec.encoder_weights, codec.encoder_biases)
        self.decoder = _leading(*zip(*codec.decoder_layers(), strict=True))
        grads = [gradients[p] for p in codec.encoder_weights]
        biases = [gradients[p] for p in codec.encoder_biases]
        self.encoder_grads = _leading(grads, biases)
        if codec.tied:
            grads = [g.mT for g in reversed(grads)]
        else:
            grads = [gradients[p] for p in codec.decoder_weights]
        biases = [gradients[p] for p in codec.decoder_biases]
        self.decoder_grads = _leading(grads, biases)
        if self.anchored is not None:
            self._take_path(self.anchored, gradients)
        learned = self.likelihood.learned_parameters()
        self.likelihood_grads = [gradients.get(p) for p in learned]
        # One is the usual case for rows that are scaled already.
        scale = (self.anchored or codec).input_scale
        scales = bool((scale != 1).any()) if scales is None else scales
        self.scale = scale if scales else None

    def _take_path(self, anchored, gradients):
        """The linear path and its gradients."""
        self.sigma = _lead(anchored.scale, 1)
        self.nu = _lead(anchored.raw_center, 1)
        scale = anchored.output_scale
        self.output_scale = None if bool((scale == 1).all()) else scale
        self.path_in = _lead(anchored.encoder_path)
        self.path_in_grad = _lead(gradients[anchored.encoder_path])
        self.path_out = _lead(anchored.decoder_axes())
        self.path_out_grad = (
            self.path_in_grad.mT
            if anchored.tied
            else _lead(gradients[anchored.decoder_path])
        )

    def terms_of(self, share: float, *batch) -> tuple[Tensor, list[Term]]:
        """Of rows that are this share of a batch: their part of loss and gradient.

        No gradient is filled: the terms of all rows of the batch are to be added.
        """
        self._share, self._terms = share, []
        try:
            return self(*batch), self._terms
        finally:
            self._share, self._terms = 1.0, None

    @torch.no_grad()
    def __call__(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        x_tilde: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        anchored = self.anchored
        x = x.expand(self.n_members, *x.shape[-2:])
        if x_tilde is None:
            x_tilde = self.model.corrupted(x, self.generator)
        seen = x_tilde.expand(x.shape)
        scaled = seen if self.scale is None else seen * self.scale
        hidden = self.model.encoder_context(context, self.generator)
        inputs = joined(self._bounded(scaled), self._for_members(hidden))
        encoder = self._forward(inputs, self.encoder)
        h = code = self.code_activation.forward(encoder[-1][1])
        if anchored is not None:
            # The lead axis of one member is no axis of the anchor's.
            seen = anchored.centred(seen)
            path = torch.bmm(seen, self.path_in) / self.sigma
            h = code = anchored.moved(h, path)
        if self.prior.is_drawn:
            epsilon = self.prior.noise(self.prior.location(h), self.generator)
            spread = self.prior.scale(h).mul_(epsilon)
            code = self.prior.location(h) + spread
        inputs = joined(self._bounded(code), self._for_members(context))
        decoder = self._forward(inputs, self.decoder)
        raw = decoder[-1][1]
        if anchored is not None:
            z = code * self.sigma
            raw = torch.baddbmm(raw, z, self.path_out)
            raw = raw if self.output_scale is None else raw.mul_(self.output_scale)
            raw += self.nu

        loss, delta = self.likelihood.nll_and_gradient(raw, x)
        if self.prior.is_drawn:
            kl_weight = self.model.kl_weight()
            loss += kl_weight * self.prior.divergence(h)
        n_rows = x.shape[-2] / self._share
        share = 1 / n_rows if weight is None else (weight / n_rows).unsqueeze(-1)
        gradients = self.likelihood.parameter_gradients(delta, share)
        for grad, gradient in zip(self.likelihood_grads, gradients, strict=True):
            if grad is not None:
                self._add(grad, gradient)
        delta *= share
        loss = (loss.unsqueeze(-1) * share).sum()
        if anchored is not None and self.output_scale is not None:
            delta *= self.output_scale

        self._backward(delta, decoder, self.decoder, self.decoder_grads, beta=0)
        delta_code = torch.bmm(self._delta, self.decoder[0][0].mT)
        if context is not None:
            delta_code = delta_code[..., : code.shape[-1]]
        if anchored is not None and anchored.bound is not None:
            delta_code *= code.abs() <= anchored.bound
        if anchored is not None:
            self._add_product(self.path_out_grad, z, delta)
            delta_code.addcmul_(torch.bmm(delta, self.path_out.mT), self.sigma)
        if self.prior.is_drawn:
            drawn = torch.cat([delta_code, 0.5 * delta_code * spread], -1)
            delta_code = drawn + kl_weight * share * self.prior.divergence_gradient(h)
        if anchored is not None:
            moved = delta_code[..., : self.sigma.shape[-1]] / self.sigma
            self._add_product(self.path_in_grad, seen, moved, int(anchored.tied))
        delta_code = self.code_activation.backward(delta_code, encoder[-1][1], h)
        self._backward(
            delta_code,
            encoder,
            self.encoder,
            self.encoder_grads,
            beta=int(self.codec.tied),
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
            a = _affine(bias, x, weight)
            trace.append((x, a))
        return trace

    def _backward(self, delta, trace, layers, grads, beta):
        """Weight gradients of a stack; leaves the first layer's delta behind."""
        for index in range(len(layers) - 1, -1, -1):
            x, _ = trace[index]
            grad_weight, grad_bias = grads[index]
            self._add_product(grad_weight, x, delta, beta)
            if self._terms is None:
                torch.sum(delta, 1, keepdim=True, out=grad_bias)
            else:
                self._add(grad_bias, delta.sum(1, keepdim=True))
            if index:
                delta = torch.bmm(delta, layers[index][0].mT)
                delta = self.activation.backward(delta, trace[index - 1][1], x)
        self._delta = delta

    def _add_product(self, grad: Tensor, x: Tensor, delta: Tensor, beta: int = 0):
        """x^T delta into a gradient, which is kept where beta is one."""
        if self._terms is None:
            grad.baddbmm_(x.mT, delta, beta=beta)
        else:
            self._terms.append(Term(grad, x, delta))

    def _add(self, grad: Tensor, gradient: Tensor):
        if self._terms is None:
            grad.copy_(gradient)
        else:
            self._terms.append(Term(grad, None, gradient))

    def _bounded(self, x):
        return x if self.anchored is None else self.anchored.bounded(x)


def _affine(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """x weight + bias for each member."""
    if x.device.type == "cpu" or len(weight) > 1:
        return torch.baddbmm(bias, x, weight)
    # The bias in the product itself, without a launch of its own.
    return torch.addmm(bias[0, 0], x[0], weight[0]).unsqueeze(0)


def _leading(weights, biases) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of layers with a member axis in front."""
    layers = zip(weights, biases, strict=True)
    return [(_lead(weight), _lead(bias, 1)) for weight, bias in layers]


def _lead(tensor: Tensor, bias: int = 0) -> Tensor:
    """The tensor with a member axis in front, and a batch axis for biases."""
    tensor = tensor.detach()
    if bias:
        tensor = tensor.unsqueeze(-2)
    return tensor if tensor.ndim == 3 else tensor.unsqueeze(0)
