"""DenoisingAE: noise of every kind, pairs, and what it is for."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skae import AutoencoderTransformer, DenoisingAE
from skae.parts.corruption import GaussianNoise, MaskingNoise, SaltAndPepperNoise

KINDS = ["gaussian", "masking", "salt_and_pepper"]


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X, y


def noisy(X, level, seed=0):
    return X + level * X.std(axis=0) * np.random.default_rng(seed).normal(size=X.shape)


def quick(**parameters):
    return DenoisingAE(24, random_state=0, max_iter=3, **parameters)


@pytest.mark.parametrize("noise", KINDS)
def test_the_encoder_sees_noise_and_the_target_is_clean(digits, noise):
    X = digits[0][:200]
    ae = quick(noise=noise, noise_level=0.3).fit(X)
    x = torch.as_tensor((X - ae.units_.center) / ae.units_.scale, dtype=torch.float32)
    state = ae.net_.run(x, generator=torch.Generator().manual_seed(0))
    assert state.x is x
    assert not torch.equal(state.x_tilde, x)
    nll = ae.net_(x, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(nll, ae.net_.likelihood.nll(state.raw, x))


def test_it_removes_the_noise_that_it_learned_to_remove(digits):
    X = digits[0]
    train, test = X[:1400], X[1400:]
    Y = noisy(test, 0.5)
    ae = DenoisingAE(64, noise_level=0.5, max_iter=30, random_state=0).fit(train)
    plain = DenoisingAE(64, noise=None, max_iter=30, random_state=0).fit(train)
    left, without = (np.mean((m.denoise(Y) - test) ** 2) for m in (ae, plain))
    assert left < 0.8 * np.mean((Y - test) ** 2)
    assert left < 0.9 * without


def test_pairs_are_taken_as_they_are(digits):
    X = digits[0]
    train, test = X[:1400], X[1400:]
    Y = noisy(test, 0.5, seed=1)
    ae = DenoisingAE(64, random_state=0).fit(noisy(train, 0.5), train)
    assert np.mean((ae.denoise(Y) - test) ** 2) < 0.8 * np.mean((Y - test) ** 2)
    assert np.array_equal(ae.denoise(Y), ae.reconstruct(Y))


def test_pairs_whose_target_is_the_row_itself_are_a_plain_autoencoder(digits):
    X = digits[0][:300]
    pairs = quick().fit(X, X)
    plain = quick(noise=None).fit(X)
    np.testing.assert_allclose(pairs.transform(X), plain.transform(X), rtol=1e-4)


def test_sparse_pairs_and_weights(digits):
    X = digits[0][:300]
    Y = noisy(X, 0.3) * (X > 0)
    dense = quick().fit(Y, X)
    of_sparse = quick().fit(sparse.csr_array(Y), sparse.csr_array(X))
    np.testing.assert_allclose(of_sparse.transform(Y), dense.transform(Y), rtol=1e-5)
    weight = np.r_[np.ones(200), np.zeros(100)]
    left_out = quick().fit(Y, X, sample_weight=weight)
    alone = quick().fit(Y[:200], X[:200])
    np.testing.assert_array_equal(left_out.transform(Y), alone.transform(Y))


def test_labels_are_ignored(digits):
    X, y = digits
    with_labels = quick().fit(X[:200], y[:200]).transform(X)
    assert np.array_equal(with_labels, quick().fit(X[:200]).transform(X))
    codes = make_pipeline(StandardScaler(), quick()).fit_transform(X[:200], y[:200])
    assert codes.shape == (200, 24)


@pytest.mark.parametrize("y", [np.zeros((200, 3)), np.zeros((199, 64)), [[1.0, 2.0]]])
def test_pairs_of_other_shapes_are_refused(digits, y):
    with pytest.raises(ValueError, match=r"must have the shape of X, \(200, 64\)"):
        quick().fit(digits[0][:200], y)


def test_clean_rows_must_be_finite(digits):
    X = digits[0][:200]
    with pytest.raises(ValueError, match="y contains NaN"):
        quick().fit(X, np.full_like(X, np.nan))


@pytest.mark.parametrize("noise", ["masking", "salt_and_pepper"])
def test_shares_beyond_one_are_refused(digits, noise):
    with pytest.raises(ValueError, match=r"noise_level .* \[0, 1\]; got 1.5"):
        quick(noise=noise, noise_level=1.5).fit(digits[0])


def test_gaussian_noise_is_in_standard_deviations_of_each_feature(digits):
    X = digits[0] * np.logspace(-2, 2, 64)
    ae = quick(noise_level=0.7).fit(X)
    std = ae.net_.corruption.std.numpy() * ae.units_.scale
    np.testing.assert_allclose(std, 0.7 * X.std(axis=0), rtol=1e-5)


def test_a_corruption_part_takes_absolute_units_and_a_range(digits):
    X = digits[0][:200] / 16
    ae = quick(noise=GaussianNoise(0.2, relative=False, clip=(0, 1))).fit(X)
    x = torch.as_tensor((X - ae.units_.center) / ae.units_.scale, dtype=torch.float32)
    x_tilde = ae.net_.corruption(x, torch.Generator().manual_seed(0)).numpy()
    Y = x_tilde * ae.units_.scale + ae.units_.center
    assert Y.min() == pytest.approx(0, abs=1e-6)
    assert Y.max() == pytest.approx(1, abs=1e-6)
    inside = (Y > 0.01) & (Y < 0.99) & (X > 0.4) & (X < 0.6)
    assert (Y - X)[inside].std() == pytest.approx(0.2, rel=0.1)


def test_masking_erases_and_pepper_goes_to_the_extremes(digits):
    X = digits[0] + 3.0
    for noise, values in (
        (MaskingNoise(0.3), [0.0]),
        (MaskingNoise(0.3, fill_value="mean"), None),
        (SaltAndPepperNoise(0.3), None),
        (SaltAndPepperNoise(0.3, low=-1, high=20), [-1.0, 20.0]),
    ):
        ae = quick(noise=noise).fit(X)
        x = torch.as_tensor((X - ae.units_.center) / ae.units_.scale).float()
        x_tilde = ae.net_.corruption(x, torch.Generator().manual_seed(0))
        changed = (x_tilde != x).numpy()
        Y = x_tilde.numpy() * ae.units_.scale + ae.units_.center
        varying = X.std(axis=0) > 1
        share = 0.3 if values else 0.15
        assert share - 0.01 < changed[:, varying].mean() < 0.31
        if values is not None:
            found = np.unique(Y[changed].round(3))
            np.testing.assert_allclose(found, values, atol=1e-3)
        elif isinstance(noise, MaskingNoise):
            mean = np.broadcast_to(X.mean(axis=0), X.shape)
            np.testing.assert_allclose(Y[changed], mean[changed], atol=1e-3)
        else:
            low, high = X.min(axis=0), X.max(axis=0)
            assert (np.isclose(Y, low, atol=1e-3) | np.isclose(Y, high, atol=1e-3))[
                changed
            ].all()


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (GaussianNoise(0.1, clip=(1, 0)), "clip must be a pair"),
        (GaussianNoise(0.1, clip=3), "clip must be a pair"),
        (MaskingNoise(1.2), r"share in \[0, 1\]; got 1.2"),
        (MaskingNoise(fill_value="median"), "fill_value must be a number or 'mean'"),
        (SaltAndPepperNoise(-0.1), r"share in \[0, 1\]"),
    ],
)
def test_parts_that_make_no_sense_are_named(digits, noise, message):
    with pytest.raises(ValueError, match=message):
        quick(noise=noise).fit(digits[0])


def test_codes_may_be_wider_than_the_data(digits):
    ae = DenoisingAE(100, max_iter=3, random_state=0).fit(digits[0][:200, :20])
    assert ae.transform(digits[0][:5, :20]).shape == (5, 100)


def test_tied_weights_are_held_once(digits):
    X = digits[0][:200]
    tied = quick(tied_weights=True).fit(X).net_.codec
    free = quick().fit(X).net_.codec
    n_tied, n_free = (sum(p.numel() for p in c.parameters()) for c in (tied, free))
    assert n_free - n_tied == 64 * 24


def test_codes_are_what_the_activation_gives(digits):
    Z = quick(activation="logistic").fit_transform(digits[0][:200])
    assert 0 < Z.min() < Z.max() < 1


def test_decoding_undoes_encoding_for_every_unit_of_x(digits):
    X = digits[0][:200]
    ae = quick().fit(1000 * X)
    found = ae.inverse_transform(ae.transform(1000 * X))
    np.testing.assert_allclose(found, ae.reconstruct(1000 * X), rtol=1e-4, atol=1e-2)


def test_the_same_corruption_in_the_transformer(digits):
    X = digits[0][:300]
    transformer = AutoencoderTransformer(
        24, corruption=GaussianNoise(0.5), max_iter=1, random_state=0
    ).fit(X)
    preset = quick(noise_level=0.5).fit(X)
    stds = [
        ae.net_.corruption.std.numpy() * ae.units_.scale for ae in (transformer, preset)
    ]
    np.testing.assert_allclose(*stds, rtol=1e-5)


def test_more_noise_costs_more_in_training(digits):
    losses = [quick(noise_level=v).fit(digits[0]).loss_curve_[-1] for v in (0.1, 2.0)]
    assert losses[1] > 1.5 * losses[0]


class TestScore:
    def test_clean_samples_are_what_counts(self, digits):
        X = digits[0]
        Y = noisy(X, 1.0)
        denoiser = DenoisingAE(64, random_state=0).fit(Y, X)
        copier = DenoisingAE(64, noise=None, random_state=0).fit(Y)
        assert denoiser.score(Y, X) > copier.score(Y, X) + 0.1
        expected = 1 - np.sum((denoiser.denoise(Y) - X) ** 2) / np.sum(
            (X - denoiser.mean_) ** 2
        )
        assert denoiser.score(Y, X) == pytest.approx(expected, rel=1e-6)
        assert denoiser.score(Y, digits[1]) == denoiser.score(Y)

    def test_a_search_over_pairs_scores_against_clean_samples(self, digits):
        X = digits[0][:300]
        scores = cross_val_score(quick(), noisy(X, 0.3), X, cv=2)
        assert (scores < 1).all()

    def test_grey_levels_judge_noisy_input(self, digits):
        X = digits[0][:200] / 16
        Y = noisy(X, 0.3)
        ae = quick(likelihood="bernoulli").fit(Y, X)
        assert ae.score(Y, X) < 1

    def test_weights_count_samples(self, digits):
        X = digits[0][:200]
        Y, weight = noisy(X, 0.5), np.arange(200) % 3
        ae = quick().fit(Y, X)
        kept = np.repeat(np.arange(200), weight)
        found = ae.score(Y, X, sample_weight=weight)
        assert found == pytest.approx(ae.score(Y[kept], X[kept]))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_going_on_takes_up_changed_noise(digits, method):
    X = digits[0][:200]
    ae = quick(noise_level=0.1, warm_start=True)
    getattr(ae, method)(X)
    getattr(ae.set_params(noise_level=0.9), method)(X)
    std = ae.net_.corruption.std.numpy() * ae.units_.scale
    np.testing.assert_allclose(std, 0.9 * X.std(axis=0), rtol=1e-5)


def test_going_on_without_pairs_makes_noise(digits):
    X = digits[0][:200]
    ae = quick().partial_fit(noisy(X, 0.1), X).partial_fit(X)
    x = torch.zeros(3, 64)
    assert not torch.equal(ae.net_.run(x, generator=torch.Generator()).x_tilde, x)


def test_a_single_weight_serves_all_pairs(digits):
    X = digits[0][:200]
    one = quick().fit(noisy(X, 0.1), X, sample_weight=1.0)
    assert np.array_equal(one.transform(X), quick().fit(noisy(X, 0.1), X).transform(X))


def test_a_code_activation_needs_a_random_start(digits):
    with pytest.raises(ValueError, match="code_activation='relu' needs init='random'"):
        AutoencoderTransformer(3, code_activation="relu").fit(digits[0])


def test_bernoulli_targets_must_be_grey_levels(digits):
    X = digits[0][:200] / 16
    ae = quick(likelihood="bernoulli").fit(noisy(X, 0.3), X)
    assert 0 <= ae.denoise(noisy(X, 0.3)).min() <= ae.denoise(X).max() <= 1
    with pytest.raises(ValueError, match=r"within \[0, 1\]"):
        quick(likelihood="bernoulli").fit(X, noisy(X, 0.3))
    with pytest.raises(ValueError, match=r"within \[0, 1\]"):
        ae.score_samples(2 * X)
