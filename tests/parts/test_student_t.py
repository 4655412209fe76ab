import math

import pytest
import torch

from skae.parts.base import Features
from skae.parts.student_t import BoundStudentT, StudentT


def features(n_features):
    zeros = torch.zeros(n_features, dtype=torch.float64)
    shape = (n_features,)
    return Features(zeros, zeros + 1, shape, lambda: zeros + 1, lambda: (zeros, zeros))


@pytest.mark.parametrize("df", [1.0, 4.0, 30.0])
@pytest.mark.parametrize("scale", [0.2, 3.0])
def test_nll_is_that_of_torch_distributions(df, scale):
    generator = torch.Generator().manual_seed(0)
    raw, x = torch.randn(2, 5, 3, generator=generator)
    likelihood = BoundStudentT(df)
    torch.nn.init.constant_(likelihood.log_scale, math.log(scale))
    expected = -torch.distributions.StudentT(df, raw, scale).log_prob(x).sum(-1)
    torch.testing.assert_close(likelihood.nll(raw, x), expected)


def test_the_scale_is_learned():
    likelihood = StudentT().bind(features(3))
    x = 0.1 * torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.LBFGS(
        likelihood.parameters(), max_iter=50, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = likelihood.nll(torch.zeros_like(x), x).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    # The best t_4 for normal rows is a little narrower than they are.
    assert 0.07 < likelihood.log_scale.exp().item() < 0.1


def test_draws_have_the_quantiles_of_the_distribution():
    drawn = BoundStudentT(4.0).draw(
        torch.zeros(100_000), torch.Generator().manual_seed(0)
    )
    # scipy.stats.t(4).ppf([.75, .975])
    quantiles = torch.quantile(drawn, torch.tensor([0.75, 0.975]))
    torch.testing.assert_close(
        quantiles, torch.tensor([0.7407, 2.7764]), rtol=0.03, atol=0
    )


def test_degrees_of_freedom_are_positive():
    with pytest.raises(ValueError, match="df must be positive; got 0"):
        StudentT(0).bind(features(2))
