"""SparseAE and ContractiveAE: the penalties do what they say."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from skae import AutoencoderTransformer, ContractiveAE, SparseAE
from skae.parts.penalties import KLSparsity


@pytest.fixture(scope="module")
def X():
    return load_digits().data


class TestSparseAE:
    @pytest.mark.parametrize("sparsity", [0.05, 0.3])
    def test_activity_is_pulled_to_the_target(self, X, sparsity):
        ae = SparseAE(32, sparsity=sparsity, sparsity_weight=10, max_iter=45)
        ae.set_params(random_state=0).fit(X)
        assert abs(ae.activity_.mean() - sparsity) < 0.03
        np.testing.assert_allclose(ae.activity_, ae.transform(X).mean(0), rtol=1e-4)

    def test_a_higher_weight_pulls_harder(self, X):
        away = [
            np.abs(ae.fit(X).activity_ - 0.05).mean()
            for ae in (
                SparseAE(32, sparsity_weight=w, max_iter=20, random_state=0)
                for w in (0.0, 0.1, 10)
            )
        ]
        assert away[0] > away[1] > away[2]

    def test_l1_makes_codes_of_zeros(self, X):
        share = [
            np.mean(
                SparseAE(32, kind="l1", activation="relu", sparsity_weight=w)
                .set_params(max_iter=15, random_state=0)
                .fit_transform(X)
                == 0
            )
            for w in (0.0, 3.0)
        ]
        assert share[1] > share[0] + 0.2

    def test_activity_weighs_rows(self, X):
        weight = np.r_[np.full(900, 3.0), np.ones(897)]
        ae = SparseAE(16, max_iter=2, random_state=0).fit(X, sample_weight=weight)
        expected = np.average(ae.transform(X), axis=0, weights=weight)
        np.testing.assert_allclose(ae.activity_, expected, rtol=1e-5)

    @pytest.mark.parametrize("activation", ["relu", "tanh", "identity"])
    def test_divergence_needs_activities_between_zero_and_one(self, X, activation):
        with pytest.raises(ValueError, match="kind='kl' needs activation='logistic'"):
            SparseAE(activation=activation).fit(X)

    @pytest.mark.parametrize("sparsity", [0.0, 1.0, -0.1])
    def test_targets_are_inside_the_unit_interval(self, X, sparsity):
        with pytest.raises(ValueError, match="sparsity"):
            SparseAE(sparsity=sparsity).fit(X)

    def test_the_same_penalty_in_the_transformer(self, X):
        ae = AutoencoderTransformer(
            16,
            init="random",
            hidden_layer_sizes=(),
            activation="logistic",
            code_activation="logistic",
            penalty=KLSparsity(0.1, 10.0),
            learning_rate_init=0.1,
            max_iter=40,
            random_state=0,
        ).fit(X)
        assert abs(ae.transform(X).mean() - 0.1) < 0.05


class TestContractiveAE:
    @staticmethod
    def norm(ae, X):
        """Mean squared Frobenius norm of the Jacobian, in model units."""
        x = torch.as_tensor((X - ae.units_.center) / ae.units_.scale).float()
        jacobians = torch.func.vmap(
            torch.func.jacrev(lambda row: ae.net_.codec.encode(row[None])[0])
        )(x)
        return jacobians.square().sum((1, 2)).mean().item()

    @pytest.mark.parametrize("hidden", [(), (16,)])
    def test_a_higher_contraction_gives_a_smaller_jacobian(self, X, hidden):
        norms = [
            self.norm(
                ContractiveAE(8, contraction=c, hidden_layer_sizes=hidden)
                .set_params(max_iter=10, random_state=0)
                .fit(X),
                X[:100],
            )
            for c in (0.0, 30.0)
        ]
        assert norms[0] > 1.5 * norms[1]

    def test_loss_is_reconstruction_plus_the_weighted_norm(self, X):
        ae = ContractiveAE(8, contraction=0.7, max_iter=2, random_state=0).fit(X)
        x = torch.as_tensor((X[:50] - ae.units_.center) / ae.units_.scale).float()
        loss = ae.net_(x).mean().item()
        reconstruction = ae.net_.likelihood.nll(ae.net_.reconstruct(x), x)
        expected = reconstruction.mean().item() + 0.7 * self.norm(ae, X[:50])
        assert loss == pytest.approx(expected, rel=1e-4)

    def test_wide_codes_of_several_layers_train(self, X):
        ae = ContractiveAE(
            40, hidden_layer_sizes=(16,), activation="tanh", random_state=0, max_iter=2
        )
        assert np.isfinite(ae.fit(X).loss_curve_).all()
