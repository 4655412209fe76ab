"""The ladder's decoder: from noisy activations back to clean ones, layer by layer.

Rasmus et al. (2015), *Semi-supervised learning with ladder networks*, arXiv 1507.02672.
From the top down, each level sees the noisy z of the encoder beside it and a projection
u of what the level above made clean, so an upper layer need not carry details that
matter for the reconstruction alone.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from skae.models.stack import Pass, normalised

__all__ = ["LadderDecoder"]


class LadderDecoder(nn.Module):
    """Clean z of every level of a stack.

    Parameters
    ----------
    sizes : sequence of int
        Widths of the stack, from its input to the logits.
    generator : torch.Generator

    Shape
    -----
    A `Pass` of the stack to a list of tensors ``(batch, size)``, input first.
    """

    def __init__(self, sizes: Sequence[int], generator: Generator):
        super().__init__()
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.weights = nn.ParameterList(
            torch.randn(upper, lower, generator=generator) * upper**-0.5
            for lower, upper in pairs
        )
        self.combinators = nn.ModuleList(_Combinator(size) for size in sizes)

    def forward(self, noisy: Pass) -> list[Tensor]:
        """Estimates of the clean input and of the clean z of each layer."""
        levels = [noisy.x, *noisy.z]
        u = normalised(noisy.logits.softmax(1))
        found = [self.combinators[-1](levels[-1], u)]
        for level in range(len(levels) - 2, -1, -1):
            u = normalised(found[0] @ self.weights[level])
            found.insert(0, self.combinators[level](levels[level], u))
        return found


class _Combinator(nn.Module):
    """g(z_tilde, u) = (z_tilde - mu(u)) v(u) + mu(u), the paper's appendix B.

    mu and v are a line plus a sigmoid in u, with parameters of each unit's own.
    """

    def __init__(self, size: int):
        super().__init__()
        start = torch.tensor([0.0, 1, 0, 0, 0, 0, 1, 0, 0, 0])
        self.parameters_of_units = nn.Parameter(start[:, None].repeat(1, size))

    def forward(self, z: Tensor, u: Tensor) -> Tensor:
        a = self.parameters_of_units
        mu = a[0] * torch.sigmoid(a[1] * u + a[2]) + a[3] * u + a[4]
        v = a[5] * torch.sigmoid(a[6] * u + a[7]) + a[8] * u + a[9]
        return (z - mu) * v + mu
