import numpy as np
import pytest
import torch
from scipy import sparse

from skae import AutoencoderTransformer
from skae.parts.categorical import Categorical


def test_nll_is_that_of_torch_distributions():
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(5, 4 * 3, generator=generator)
    x = torch.randint(3, (5, 4), generator=generator).float()
    logits = raw.view(5, 4, 3)
    expected = -torch.distributions.Categorical(logits=logits).log_prob(x).sum(-1)
    torch.testing.assert_close(Categorical(3).nll(raw, x), expected)


def test_a_reconstruction_is_the_likeliest_class():
    raw = torch.tensor([[0.0, 2.0, 1.0, 5.0, 0.0, 0.0]])
    assert Categorical(3).mean(raw).tolist() == [[1.0, 0.0]]


def test_draws_follow_the_probabilities():
    raw = torch.tensor([0.2, 0.5, 0.3]).log().expand(20_000, 3)
    drawn = Categorical(3).draw(raw, torch.Generator().manual_seed(0)).flatten()
    shares = torch.bincount(drawn.long()) / len(drawn)
    torch.testing.assert_close(shares, torch.tensor([0.2, 0.5, 0.3]), atol=0.02, rtol=0)


def table():
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, size=300)
    noise = rng.random((300, 6)) < 0.05
    return np.where(noise, rng.integers(0, 3, (300, 6)), kind[:, None]).astype(float)


def test_classes_come_back():
    X = table()
    ae = AutoencoderTransformer(
        2, likelihood=Categorical(3), init="random", random_state=0
    ).fit(X)
    rebuilt = ae.reconstruct(X)
    assert set(np.unique(rebuilt)) <= {0.0, 1.0, 2.0}
    assert np.mean(rebuilt == X) > 0.9


def test_pca_is_no_start_for_classes():
    with pytest.raises(ValueError, match="init='pca' .* likelihood=Categorical"):
        AutoencoderTransformer(2, likelihood=Categorical(3)).fit(table())


def test_values_beyond_the_classes_are_named():
    with pytest.raises(ValueError, match="from 0 to 1, but X ranges from 0 to 2"):
        AutoencoderTransformer(2, likelihood=Categorical(2), init="random").fit(table())


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_fractions_are_refused_by_name(container):
    X = table()
    ae = AutoencoderTransformer(2, likelihood=Categorical(3), init="random", max_iter=1)
    ae.fit(container(X))
    X[4, 2] = 1.5
    message = r"n_classes=3\) needs X of class numbers .* holds 1.5 in row 4, column 2"
    with pytest.raises(ValueError, match=message):
        ae.score_samples(container(X))
    with pytest.raises(ValueError, match=message):
        ae.fit(container(X))


def test_missing_entries_are_no_fractions():
    Categorical(2).check_rows(np.array([[0.0, np.nan], [1.0, np.nan]]))
