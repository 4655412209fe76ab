"""RecurrentAE: sequences of any length, in any of their forms."""

import pickle

import numpy as np
import pytest
import torch
from scipy import sparse

from skae import RecurrentAE
from skae.parts.corruption import GaussianNoise

FAST = {
    "hidden_size": 8,
    "n_components": 2,
    "init": "random",
    "max_iter": 3,
    "random_state": 0,
}
LENGTHS = np.random.default_rng(1).integers(3, 8, 30)
LENGTHS[0] = 7


def waves(width=1):
    """Thirty sequences of three to seven steps."""
    rng = np.random.default_rng(0)
    phases = rng.uniform(0, 6, size=(30, 1, width))
    X = np.sin(np.arange(7)[:, None] + phases)
    return [x[:length] for x, length in zip(X, LENGTHS, strict=True)]


def padded(sequences, n_steps=7):
    """The same as an array with NaN after the end of each."""
    shape = len(sequences), n_steps, sequences[0].shape[1]
    X = np.full(shape, np.nan)
    for row, x in zip(X, sequences, strict=True):
        row[: len(x)] = x
    return X


def same_everywhere(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.filterwarnings("ignore:No weights were better on held-out rows")
@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("width", [1, 2])
def test_lists_arrays_and_flat_rows_are_the_same_sequences(cell, width):
    listed = waves(width)
    full = padded(listed)
    flat = full.reshape(30, -1)
    models = [
        RecurrentAE(cell=cell, **FAST).fit(listed),
        RecurrentAE(cell=cell, **FAST).fit(full),
        RecurrentAE(sample_shape=(7, width), cell=cell, **FAST).fit(flat),
    ]
    for model in models:
        assert model.sample_shape_ == (7, width)
        assert model.n_features_in_ == 7 * width
        for X in (listed, full, flat):
            np.testing.assert_array_equal(
                model.transform(X), models[0].transform(listed)
            )
            np.testing.assert_array_equal(
                model.score_samples(X), models[0].score_samples(listed)
            )
            assert model.score(X) == models[0].score(listed)


def test_reconstructions_come_in_the_form_of_the_sequences():
    listed = waves(2)
    full = padded(listed)
    model = RecurrentAE(**FAST).fit(listed)
    found = model.reconstruct(listed)
    assert isinstance(found, list)
    assert [x.shape for x in found] == [x.shape for x in listed]
    of_array = model.reconstruct(full)
    np.testing.assert_array_equal(np.isnan(of_array), np.isnan(full))
    np.testing.assert_array_equal(of_array, padded(found))
    flat = model.reconstruct(full.reshape(30, -1))
    np.testing.assert_array_equal(flat, of_array.reshape(30, -1))
    one_axis = [x[:, 0] for x in listed]
    model = RecurrentAE(**FAST).fit(one_axis)
    assert [x.shape for x in model.denoise(one_axis)] == [x.shape for x in one_axis]
    as_lists = [x.tolist() for x in one_axis]
    assert same_everywhere(model.reconstruct(as_lists), model.reconstruct(one_axis))


def test_decoded_codes_have_all_steps():
    listed = waves(2)
    model = RecurrentAE(**FAST).fit(listed)
    Z = model.transform(listed)
    decoded = model.inverse_transform(Z)
    assert decoded.shape == (30, 7, 2)
    for whole, part in zip(decoded, model.reconstruct(listed), strict=True):
        np.testing.assert_allclose(whole[: len(part)], part)
    flat = RecurrentAE(**FAST).fit(padded(waves()).reshape(30, 7))
    assert flat.inverse_transform(Z).shape == (30, 7)


@pytest.mark.parametrize("noise", [None, "gaussian", "masking", "salt_and_pepper"])
@pytest.mark.parametrize("frame", [1, 3])
def test_more_padding_changes_nothing(noise, frame):
    listed = waves(2)
    options = FAST | {"noise": noise, "noise_level": 0.0, "frame_size": frame}
    short = RecurrentAE(**options).fit(listed)
    long = RecurrentAE(sample_shape=(11, 2), **options).fit(listed)
    assert long.n_features_in_ == 22
    np.testing.assert_allclose(long.loss_curve_, short.loss_curve_, rtol=1e-5)
    np.testing.assert_allclose(
        long.transform(listed), short.transform(listed), atol=1e-5
    )
    np.testing.assert_allclose(
        long.score_samples(listed), short.score_samples(listed), rtol=1e-4
    )
    np.testing.assert_allclose(long.score(listed), short.score(listed), rtol=1e-4)


def test_center_and_scale_are_those_of_the_valid_steps():
    listed = waves(2)
    model = RecurrentAE(**FAST).fit(listed)
    steps = np.concatenate(listed)
    np.testing.assert_allclose(model.units_.center.reshape(7, 2)[3], steps.mean(0))
    np.testing.assert_allclose(model.units_.scale**2, steps.var(axis=0).mean())
    np.testing.assert_allclose(
        model.mean_, np.nanmean(padded(listed), axis=0).ravel(), atol=1e-12
    )


def test_scores_are_those_of_the_valid_entries():
    full = padded(waves(2))
    model = RecurrentAE(**FAST).fit(full)
    error = full - model.reconstruct(full)
    np.testing.assert_allclose(
        model.score_samples(full), -0.5 * np.nansum(error**2, axis=(1, 2)), rtol=1e-5
    )
    spread = full - model.mean_.reshape(7, 2)
    expected = 1 - np.nansum(error**2) / np.nansum(spread**2)
    np.testing.assert_allclose(model.score(full), expected)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_fits_are_reproducible_bit_for_bit(cell):
    listed = waves()
    options = FAST | {"noise": "gaussian", "cell": cell, "n_layers": 2}
    first, second = (RecurrentAE(**options).fit(listed) for _ in range(2))
    np.testing.assert_array_equal(first.transform(listed), second.transform(listed))
    other = RecurrentAE(**options | {"random_state": 1}).fit(listed)
    assert not np.array_equal(first.transform(listed), other.transform(listed))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_fitted_models_pickle(cell):
    listed = waves()
    model = RecurrentAE(cell=cell, **FAST).fit(listed)
    copied = pickle.loads(pickle.dumps(model))
    assert same_everywhere(copied.reconstruct(listed), model.reconstruct(listed))


def test_codes_do_not_depend_on_the_rows_they_come_with():
    listed = waves()
    model = RecurrentAE(**FAST).fit(listed)
    np.testing.assert_array_equal(
        model.transform(listed)[4:5], model.transform(listed[4:5])
    )


def test_training_lowers_the_loss_of_sequences():
    listed = waves()
    model = RecurrentAE(n_components=2, hidden_size=16, max_iter=300, random_state=0)
    assert model.fit(listed).score(listed) > 0.9


@pytest.mark.parametrize("noise", ["gaussian", "masking", "salt_and_pepper"])
def test_noise_leaves_missing_steps_missing(noise):
    model = RecurrentAE(noise=noise, **FAST).fit(waves())
    assert np.isfinite(model.loss_curve_).all()
    assert np.isfinite(model.validation_scores_).all()


def test_corruption_objects_are_taken():
    noise = GaussianNoise(0.2, relative=False, clip=(-1, 1))
    model = RecurrentAE(noise=noise, **FAST).fit(waves())
    assert np.isfinite(model.loss_curve_).all()


@pytest.mark.parametrize("form", [list, padded])
def test_pairs_are_denoised(form):
    clean = waves()
    rng = np.random.default_rng(2)
    noisy = [x + rng.normal(scale=0.5, size=x.shape) for x in clean]
    model = RecurrentAE(hidden_size=16, n_components=2, early_stopping=False)
    model.set_params(max_iter=200, random_state=0)
    found = model.fit(form(noisy), form(clean)).denoise(noisy)
    error = np.concatenate(found) - np.concatenate(clean)
    before = np.concatenate(noisy) - np.concatenate(clean)
    assert np.mean(error**2) < 0.7 * np.mean(before**2)


def test_labels_are_ignored():
    listed = waves()
    labelled = RecurrentAE(**FAST).fit(listed, np.arange(30) % 2)
    plain = RecurrentAE(**FAST).fit(listed)
    np.testing.assert_array_equal(labelled.transform(listed), plain.transform(listed))


def test_bernoulli_sequences_have_means_in_the_unit_interval():
    listed = [(x > 0).astype(float) for x in waves()]
    model = RecurrentAE(likelihood="bernoulli", **FAST).fit(listed)
    found = np.concatenate(model.reconstruct(listed))
    assert found.min() >= 0
    assert found.max() <= 1
    assert np.isfinite(model.score_samples(listed)).all()
    with pytest.raises(ValueError, match="needs X within"):
        RecurrentAE(likelihood="bernoulli", **FAST).fit(waves())


@pytest.mark.filterwarnings("ignore:No weights were better on held-out rows")
def test_weights_of_sequences_are_heard():
    listed = waves()
    weight = np.r_[np.zeros(10), np.ones(20)]
    weighted = RecurrentAE(**FAST).fit(listed, sample_weight=weight)
    without = RecurrentAE(sample_shape=(7, 1), **FAST).fit(listed[10:])
    np.testing.assert_array_equal(weighted.transform(listed), without.transform(listed))


def test_sparse_rows_are_sequences():
    X = np.maximum(padded(waves()).reshape(30, 7), 0)
    dense, of_sparse = (
        RecurrentAE(**FAST).fit(rows) for rows in (X, sparse.csr_array(X))
    )
    np.testing.assert_array_equal(of_sparse.transform(X), dense.transform(X))
    found = dense.reconstruct(sparse.csr_array(X))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(X))


def test_training_goes_on_with_shorter_sequences():
    listed = waves(2)
    model = RecurrentAE(**FAST).partial_fit(listed)
    before = model.transform(listed)
    model.partial_fit([x[:3] for x in listed])
    assert model.sample_shape_ == (7, 2)
    assert not np.array_equal(model.transform(listed), before)
    warm = RecurrentAE(warm_start=True, **FAST).fit(listed)
    assert warm.fit([x[:4] for x in listed]).sample_shape_ == (7, 2)


def test_another_fit_may_have_another_shape():
    model = RecurrentAE(**FAST).fit(waves(2))
    model.fit(padded(waves(1)), padded(waves(1)))
    assert model.sample_shape_ == (7, 1)


def test_long_sequences_are_read_in_sixteen_frames_at_most():
    X = np.random.default_rng(0).normal(size=(20, 100))
    model = RecurrentAE(**FAST).fit(X)
    assert model.net_.codec.frame_size == 7
    assert model.net_.codec.n_frames == 15
    assert model.reconstruct(X).shape == X.shape
    stepwise = RecurrentAE(frame_size=1, **FAST).fit(X)
    assert stepwise.net_.codec.n_frames == 100


def test_float32_stays_float32():
    listed = [x.astype(np.float32) for x in waves()]
    model = RecurrentAE(**FAST).fit(listed)
    assert model.transform(listed).dtype == np.float32
    assert model.reconstruct(listed)[0].dtype == np.float32
    assert model.transform(waves()).dtype == np.float64


def with_nan(*where):
    X = padded(waves(2))
    X[where] = np.nan
    return X


LISTED = waves(2)
BAD = [
    (with_nan(0, 2), r"X\[0\] has NaN at step 2"),
    (with_nan(0, 6, 1), r"X\[0\] has NaN at step 6"),
    (with_nan(3), r"X\[3\] is NaN throughout"),
    ([*LISTED, np.zeros((0, 2))], r"number 30 of the list has the shape \(0, 2\)"),
    ([*LISTED, np.zeros((3, 1))], "number 0 of the list has 2 and number 30 1"),
    (
        [*LISTED, np.zeros((3, 1, 1))],
        r"number 30 of the list has the shape \(3, 1, 1\)",
    ),
    (np.zeros((9, 4, 2, 2)), r"expected \(n_steps, n_step_features\)"),
    (np.zeros((9, 0, 2)), "holds no samples, or empty ones"),
    ([np.array([1.0, np.inf]), np.ones(3)], "infinity"),
]


@pytest.mark.parametrize(("X", "message"), BAD)
def test_sequences_that_are_none_are_named(X, message):
    with pytest.raises(ValueError, match=message):
        RecurrentAE(**FAST).fit(X)


@pytest.mark.parametrize(("X", "message"), BAD[:6])
def test_fitted_models_take_no_such_sequences_either(X, message):
    model = RecurrentAE(**FAST).fit(LISTED)
    for method in (model.transform, model.reconstruct, model.score):
        with pytest.raises(ValueError, match=message):
            method(X)


@pytest.mark.parametrize("shape", [(7, 3), (0, 2), (7, 2, 1), (), (7.5, "b")])
def test_shapes_that_do_not_describe_x_are_named(shape):
    with pytest.raises(ValueError, match="sample_shape"):
        RecurrentAE(sample_shape=shape, **FAST).fit(padded(LISTED).reshape(30, 14))
    with pytest.raises(ValueError, match="sample_shape"):
        RecurrentAE(sample_shape=shape, **FAST).fit(LISTED)


def test_sequences_longer_than_those_of_the_fit_are_refused():
    model = RecurrentAE(**FAST).fit([x[:3] for x in LISTED])
    with pytest.raises(ValueError, match="up to 3 steps of 2 features; .* 7 steps"):
        model.transform(LISTED)
    with pytest.raises(ValueError, match=r"samples of shape \(7, 2\)"):
        model.transform(padded(LISTED))


def test_pairs_of_different_lengths_are_refused():
    clean = [x[:3] for x in LISTED]
    with pytest.raises(ValueError, match=r"y\[0\] has 3 steps and X\[0\] 7"):
        RecurrentAE(**FAST).fit(LISTED, clean)
    with pytest.raises(ValueError, match="must have the shape of X"):
        RecurrentAE(**FAST).fit(LISTED, LISTED[:-1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cell", "rnn"),
        ("hidden_size", 0),
        ("n_layers", 0),
        ("frame_size", 0),
        ("n_components", 0),
    ],
)
def test_parameters_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        RecurrentAE(**FAST | {name: value}).fit(LISTED)


def test_noise_levels_out_of_range_are_named():
    with pytest.raises(ValueError, match="noise_level"):
        RecurrentAE(noise="masking", noise_level=1.5, **FAST).fit(LISTED)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_gpu_learns_what_the_cpu_learns(cell):
    listed = waves(2)
    here, there = (
        RecurrentAE(cell=cell, device=device, **FAST).fit(listed)
        for device in ("cpu", "cuda")
    )
    copied = pickle.loads(pickle.dumps(there))
    for model in (there, copied):
        np.testing.assert_allclose(
            model.transform(listed), here.transform(listed), rtol=1e-3, atol=1e-4
        )
