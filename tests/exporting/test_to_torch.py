"""Modules of fitted methods compute what the methods do, in X's own units."""

import inspect
import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import skae
from skae.parts.categorical import Categorical
from skae.parts.conv import Conv
from skae.parts.dense import Dense
from skae.parts.likelihoods import LearnedGaussian
from skae.parts.recurrent import Recurrent

# Of the results' spread; modules with gradients take other products.
TOLERANCE = 2e-6
SHORT = {"max_iter": 2, "random_state": 0}
DIGITS, DIGIT = (part[:150] for part in load_digits(return_X_y=True))
IRIS, SPECIES = load_iris(return_X_y=True)
NAMES = np.array(["red", "green", "blue"])[SPECIES]
AUTOENCODER = ("transform", "reconstruct", "score_samples")


def tensor(values):
    return torch.from_numpy(np.array(values))


def agree(estimator, method, *inputs, tensors=None):
    """The module gives what the method does, in its shape and dtype."""
    expected = np.asarray(getattr(estimator, method)(*inputs))
    module = estimator.to_torch(method)
    result = module(*map(tensor, inputs if tensors is None else tensors)).numpy()
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    spread = max(np.nanmax(expected) - np.nanmin(expected), 1e-3)
    np.testing.assert_allclose(result, expected, rtol=0, atol=TOLERANCE * spread)


def sequences(n_samples=40, n_steps=8, n_features=2):
    """Padded waves of different lengths."""
    random = np.random.default_rng(0)
    times = np.arange(n_steps)[:, None] + random.uniform(0, 6, (n_samples, 1, 1))
    X = np.sin(times) * [1.0, 3.0][:n_features] + 5
    for steps, length in zip(
        X, random.integers(3, n_steps + 1, n_samples), strict=True
    ):
        steps[length:] = np.nan
    return X


@pytest.mark.parametrize(
    "estimator",
    [
        skae.AutoencoderTransformer(3, **SHORT),
        skae.AutoencoderTransformer(3, activation="identity", random_state=0),
        skae.AutoencoderTransformer(3, init="random", activation="gelu", **SHORT),
        skae.AutoencoderTransformer(3, tied_weights=True, **SHORT),
        skae.AutoencoderTransformer(3, hidden_layer_sizes=(30, 20), **SHORT),
        skae.AutoencoderTransformer(3, likelihood="student_t", **SHORT),
        skae.AutoencoderTransformer(3, likelihood=LearnedGaussian(), **SHORT),
        skae.AutoencoderTransformer(3, prior="normal", init="random", **SHORT),
        skae.AutoencoderTransformer(
            3, init="random", activation="silu", code_activation="tanh", **SHORT
        ),
        skae.DenoisingAE(80, **SHORT),
        skae.DenoisingAE(3, init="pca", noise="masking", **SHORT),
        skae.SparseAE(20, **SHORT),
        skae.ContractiveAE(20, **SHORT),
        skae.AdversarialAE(3, **SHORT),
        skae.VariationalAE(3, **SHORT),
        skae.VariationalAE(3, init="pca", noise_variance="per_feature", **SHORT),
    ],
    ids=lambda estimator: repr(estimator)[:70],
)
def test_rows(estimator):
    estimator.fit(DIGITS)
    for method in AUTOENCODER:
        agree(estimator, method, DIGITS)
        agree(estimator, method, DIGITS.astype(np.float32))
    codes = estimator.transform(DIGITS)
    agree(estimator, "inverse_transform", codes)
    agree(estimator, "inverse_transform", codes.astype(np.float32))
    agree(estimator, "transform", DIGITS[:1])


@pytest.mark.parametrize("anchored", ["random", "pca"])
def test_probabilities_of_pixels(anchored):
    X = DIGITS / 16
    ae = skae.AutoencoderTransformer(3, likelihood="bernoulli", init=anchored, **SHORT)
    ae.fit(X)
    for method in AUTOENCODER:
        agree(ae, method, X)
    rows = ae.to_torch("reconstruct").example_inputs[0]
    assert 0 <= rows.min()
    assert rows.max() <= 1


def test_class_numbers():
    X = np.random.default_rng(0).integers(0, 4, (80, 6)).astype(float)
    ae = skae.AutoencoderTransformer(
        2, likelihood=Categorical(4), init="random", **SHORT
    ).fit(X)
    for method in AUTOENCODER:
        agree(ae, method, X)
    ae.score_samples(ae.to_torch("score_samples").example_inputs[0].numpy())


def test_codes_that_pca_alone_gives():
    X = np.random.default_rng(0).normal(size=(60, 5)) @ np.diag([9, 5, 1, 1, 1])
    ae = skae.AutoencoderTransformer(2, random_state=0).fit(X)
    assert ae.departure_ == 0
    for method in AUTOENCODER:
        agree(ae, method, X)


@pytest.mark.parametrize(
    "X",
    [DIGITS.reshape(-1, 8, 8), DIGITS.reshape(-1, 1, 8, 8)],
    ids=["grey", "channel"],
)
@pytest.mark.parametrize("n_components", [None, 5])
def test_images(X, n_components):
    ae = skae.ConvAE(n_components, kernel_size=3, stride=2, **SHORT).fit(X)
    for method in (*AUTOENCODER, "denoise"):
        agree(ae, method, X)
    agree(ae, "reconstruct", X.reshape(len(X), -1))
    agree(ae, "inverse_transform", ae.transform(X))
    module = ae.to_torch()
    assert module.example_inputs[0].shape[1:] == X.shape[1:]
    with pytest.raises(ValueError, match=r"X must have the shape \(batch, .*8, 8\)"):
        module(torch.zeros(2, 4, 16))


@pytest.mark.parametrize(
    "estimator",
    [
        skae.ConvAE(3, kernel_size=2, stride=2, **SHORT),
        skae.ConvAE(3, kernel_size=2, stride=2, likelihood="student_t", **SHORT),
        skae.VariationalAE(3, noise_variance=0.5, **SHORT),
        skae.ConditionalVAE(3, noise_variance=0.5, **SHORT),
    ],
    ids=lambda estimator: repr(estimator)[:50],
)
def test_bytes_stay_within_their_range(estimator):
    X = np.uint8(255 * (DIGITS.reshape(-1, 8, 8) > 8))
    codes = 30 * estimator.fit(X + 1e-3, DIGIT).transform(X)
    y = (DIGIT,) if isinstance(estimator, skae.ConditionalVAE) else ()
    assert estimator.inverse_transform(codes, *y).min() < -1
    free = estimator.score_samples(X + 1e-3, *y)
    estimator.fit(X, DIGIT)
    for method in AUTOENCODER:
        agree(estimator, method, X.astype(float), *y)
    decoded = estimator.inverse_transform(codes, *y)
    assert decoded.min() == 0
    assert decoded.max() == 255
    agree(estimator, "inverse_transform", codes, *y)
    # Of values in the range only nearer means can come.
    gain = estimator.score_samples(X, *y) - free
    assert (gain >= -1e-4 * np.abs(free)).all()
    assert gain.max() > 0


def test_images_of_a_table_and_with_an_output_layer():
    ae = skae.ConvAE(4, sample_shape=(1, 8, 8), output_kernel_size=3, **SHORT)
    ae.fit(DIGITS)
    for method in AUTOENCODER:
        agree(ae, method, DIGITS)
    agree(ae, "reconstruct", DIGITS.reshape(-1, 8, 8))


@pytest.mark.parametrize("options", [{}, {"cell": "gru", "init": "random"}])
def test_sequences_of_different_lengths(options):
    X = sequences()
    ae = skae.RecurrentAE(2, **options, **SHORT).fit(X)
    for method in (*AUTOENCODER, "denoise"):
        agree(ae, method, X)
    agree(ae, "inverse_transform", ae.transform(X))
    examples = ae.to_torch().example_inputs[0]
    assert examples.isnan().any()
    ae.transform(examples.numpy())


def test_parts_as_architecture():
    images = DIGITS.reshape(-1, 8, 8)
    conv = skae.AutoencoderTransformer(
        3, architecture=Conv((1, 8, 8), kernel_size=2, stride=2), **SHORT
    ).fit(images)
    recurrent = skae.DenoisingAE(3, architecture=Recurrent((8, 2)), **SHORT)
    X = sequences()
    recurrent.fit(X)
    dense = skae.VariationalAE(3, architecture=Dense((20,), "tanh"), **SHORT)
    dense.fit(DIGITS)
    for estimator, rows in ((conv, images), (recurrent, X), (dense, DIGITS)):
        for method in AUTOENCODER:
            agree(estimator, method, rows)


class Encoder(nn.Module):
    """A module of a user, with what training and prediction differ in."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(64), nn.Dropout(0.5)
        self.out = nn.Linear(64, 3)

    def forward(self, x):
        return self.out(self.drop(self.norm(x.view(len(x), -1))))


def test_modules_of_the_user():
    images = DIGITS.reshape(-1, 8, 8)
    pair = Encoder(), nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, (8, 8)))
    for init in ("random", "pca"):
        ae = skae.AutoencoderTransformer(architecture=pair, init=init, **SHORT)
        ae.fit(images)
        for method in AUTOENCODER:
            agree(ae, method, images)


def test_columns_of_different_units_and_constant_ones():
    X = np.random.default_rng(0).normal(size=(80, 4)) * [1, 1e4, 1e-3, 0] + 7
    for estimator in (skae.VariationalAE(2, **SHORT), skae.DenoisingAE(2, **SHORT)):
        estimator.fit(X)
        module = estimator.to_torch("reconstruct")
        result, expected = module(tensor(X)).numpy(), estimator.reconstruct(X)
        spread = np.where(np.ptp(X, axis=0) > 0, np.ptp(X, axis=0), 1)
        np.testing.assert_allclose(result / spread, expected / spread, atol=TOLERANCE)
        assert (result[:, 3] == 7).all()
        for method in ("transform", "score_samples"):
            agree(estimator, method, X)


def test_offsets_many_times_the_deviation():
    X = np.random.default_rng(0).normal(size=(100, 6)) + 1e6
    for estimator in (
        skae.AutoencoderTransformer(2, init="random", **SHORT),
        skae.VariationalAE(2, **SHORT),
    ):
        estimator.fit(X)
        for method in AUTOENCODER:
            agree(estimator, method, X)


# Conditional models


@pytest.mark.parametrize("y", [SPECIES, SPECIES == 1], ids=["numbers", "booleans"])
def test_conditional_models_take_labels(y):
    vae = skae.ConditionalVAE(2, n_importance_samples=5, **SHORT).fit(IRIS, y)
    for method in AUTOENCODER:
        agree(vae, method, IRIS)
        agree(vae, method, IRIS, y)
    agree(vae, "inverse_transform", vae.transform(IRIS), y)


def test_conditional_models_take_numbers_of_strings():
    vae = skae.ConditionalVAE(2, n_importance_samples=5, **SHORT).fit(IRIS, NAMES)
    numbers = np.searchsorted(vae.classes_, NAMES)
    for method in AUTOENCODER:
        agree(vae, method, IRIS, NAMES, tensors=(IRIS, numbers))


@pytest.mark.parametrize("shape", [(150,), (150, 2)])
def test_conditional_models_take_numbers(shape):
    y = np.random.default_rng(0).normal(3, 5, size=shape)
    vae = skae.ConditionalVAE(2, n_importance_samples=5, **SHORT).fit(IRIS, y)
    agree(vae, "transform", IRIS)
    for method in AUTOENCODER:
        agree(vae, method, IRIS, y)
    for method in ("reconstruct", "score_samples"):
        with pytest.raises(ValueError, match="y must be passed"):
            vae.to_torch(method)(tensor(IRIS))


def test_rows_of_no_class_are_not_a_number():
    vae = skae.ConditionalVAE(2, n_importance_samples=5, **SHORT).fit(IRIS, SPECIES)
    y = torch.tensor([0, 7, -1, 2])
    for method in AUTOENCODER:
        out = vae.to_torch(method)(tensor(IRIS[:4]), y).reshape(4, -1)
        assert out.isnan().all(1).tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match="y must be passed"):
        vae.to_torch("sample")(torch.zeros(3, 2))
    plain = skae.VariationalAE(2, **SHORT).fit(IRIS).to_torch()
    with pytest.raises(ValueError, match="fitted without a condition"):
        plain(tensor(IRIS[:4]), y)


def test_rows_that_are_no_numbers_come_back_as_none():
    X = tensor(IRIS[:4])
    X[1, 2], X[3, 0] = torch.nan, torch.inf
    for estimator in (
        skae.AutoencoderTransformer(2, max_iter=20, random_state=0),
        skae.VariationalAE(2, n_importance_samples=3, **SHORT),
    ):
        estimator.fit(IRIS)
        for method in AUTOENCODER:
            out = estimator.to_torch(method)(X).reshape(4, -1)
            assert out.isnan().all(1).tolist() == [False, True, False, True]
            assert out[[0, 2]].isfinite().all()
    codes = torch.tensor([[0.0, 1], [torch.nan, 0]])
    rows = estimator.to_torch("sample")(codes)
    assert rows.isnan().all(1).tolist() == [False, True]


def test_sequences_with_gaps_come_back_as_none():
    X = sequences()
    ae = skae.RecurrentAE(2, **SHORT).fit(X)
    rows = tensor(X[:6])
    rows[:] = rows[:, :1]
    rows[1, 5:] = rows[2, 3] = rows[3, 2:, 0] = rows[4] = torch.nan
    rows[5, 0, 0] = torch.inf
    for method in AUTOENCODER:
        out = ae.to_torch(method)(rows).reshape(6, -1)
        assert out.isnan().all(1).tolist() == [False, False, True, True, True, True]


# Samples


@pytest.mark.parametrize(
    "estimator", [skae.VariationalAE(3, **SHORT), skae.AdversarialAE(3, **SHORT)]
)
def test_sample_decodes_codes(estimator):
    estimator.fit(DIGITS)
    Z = np.random.default_rng(0).normal(size=(5, 3))
    result = estimator.to_torch("sample")(tensor(Z)).numpy()
    np.testing.assert_allclose(result, estimator.inverse_transform(Z), atol=1e-5)


@pytest.mark.parametrize("architecture", ["dense", "conv", "progressive"])
def test_gan_samples_are_those_of_its_noise(architecture, monkeypatch):
    is_image = architecture != "dense"
    X = DIGITS.reshape(-1, 8, 8) / 16 if is_image else IRIS
    y = SPECIES if not is_image else None
    gan = skae.GAN(architecture=architecture, **SHORT).fit(X, y)
    noise = torch.randn(
        4, gan.n_components_, generator=torch.Generator().manual_seed(1)
    )
    monkeypatch.setattr(skae.estimators.gan, "normal_numbers", lambda *_: noise)
    condition = {} if is_image else {"y": [0, 1, 2, 1]}
    expected = gan.sample(4, **condition)
    given = [torch.tensor(value) for value in condition.values()]
    result = gan.to_torch("sample")(noise, *given)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, atol=1e-5 * np.ptp(X))


def test_gan_samples_of_bytes_stay_within_their_range():
    X = np.uint8(255 * (DIGITS.reshape(-1, 8, 8) > 8))
    gan = skae.GAN(**SHORT).fit(X + 1e-3)
    noise = torch.randn(
        20, gan.n_components_, generator=torch.Generator().manual_seed(1)
    )
    assert gan.to_torch("sample")(noise).min() < -1
    assert gan.sample(20).min() < -1
    gan.fit(X)
    assert gan.to_torch("sample")(noise).min() == 0
    assert gan.sample(20).min() == 0


def test_critics():
    for options in ({}, {"loss": "non_saturating", "minibatch_discrimination": True}):
        gan = skae.GAN(**options, **SHORT).fit(IRIS, SPECIES)
        for method in ("score_samples", "discriminate"):
            agree(gan, method, IRIS)
            agree(gan, method, IRIS, SPECIES)
    plain = skae.GAN(**SHORT).fit(IRIS)
    agree(plain, "score_samples", IRIS)


# The classifier


@pytest.mark.parametrize("y", [SPECIES * 10, NAMES, SPECIES == 1])
def test_classifier(y):
    model = skae.StackedAEClassifier(
        (6, 4), pretrain_max_iter=1, max_iter=2, random_state=0
    ).fit(IRIS, y)
    for method in ("transform", "reconstruct", "predict_proba", "predict_log_proba"):
        agree(model, method, IRIS)
    labels = model.to_torch("predict")(tensor(IRIS)).numpy()
    if y.dtype.kind == "U":
        labels = model.classes_[labels]
    np.testing.assert_array_equal(labels, model.predict(IRIS))


def test_classifier_without_layers_to_decode():
    model = skae.StackedAEClassifier(
        (6, 4), pretrain=False, max_iter=2, random_state=0
    ).fit(IRIS, SPECIES)
    with pytest.raises(ValueError, match="method='reconstruct' .* offers 'predict'"):
        model.to_torch("reconstruct")


# As torch modules


@pytest.mark.parametrize("method", ["transform", "reconstruct", "score_samples"])
def test_gradients_are_those_of_finite_differences(method):
    ae = skae.AutoencoderTransformer(2, init="random", activation="tanh", **SHORT).fit(
        IRIS
    )
    module = ae.to_torch(method).double()
    X = tensor(IRIS[:4]).requires_grad_()
    assert torch.autograd.gradcheck(module, X)


def test_modules_need_no_gradients_and_stay_as_they_are():
    ae = skae.AutoencoderTransformer(2, init="random", **SHORT).fit(IRIS)
    module = ae.to_torch()
    before = module(tensor(IRIS))
    assert not before.requires_grad
    assert not module.training
    ae.partial_fit(IRIS)
    assert torch.equal(module(tensor(IRIS)), before)
    assert all(p.requires_grad for p in ae.net_.codec.encoder_weights)


def test_modules_of_pickled_estimators_and_pickled_modules():
    for estimator, method in (
        (skae.AutoencoderTransformer(2, **SHORT), "reconstruct"),
        (skae.ConditionalVAE(2, n_importance_samples=3, **SHORT), "score_samples"),
        (skae.GAN(**SHORT), "discriminate"),
        (skae.StackedAEClassifier((4,), pretrain_max_iter=1, **SHORT), "reconstruct"),
    ):
        estimator.fit(IRIS, SPECIES)
        expected = estimator.to_torch(method)(tensor(IRIS))
        copied = pickle.loads(pickle.dumps(estimator)).to_torch(method)
        assert torch.equal(copied(tensor(IRIS)), expected)
        assert torch.equal(pickle.loads(pickle.dumps(copied))(tensor(IRIS)), expected)


def test_torch_export_takes_any_number_of_rows():
    ae = skae.AutoencoderTransformer(2, **SHORT).fit(IRIS)
    module = ae.to_torch("reconstruct")
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        module, module.example_inputs, dynamic_shapes=({0: batch},)
    )
    for n_rows in (1, 3):
        X = tensor(IRIS[:n_rows])
        torch.testing.assert_close(program.module()(X), module(X))


def test_names_of_a_frame_do_not_matter():
    frame = load_iris(as_frame=True).data
    ae = skae.AutoencoderTransformer(2, **SHORT).fit(frame)
    result = ae.to_torch()(tensor(frame.to_numpy())).numpy()
    np.testing.assert_allclose(result, ae.transform(frame), atol=1e-5)


def test_last_step_of_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), skae.AutoencoderTransformer(2, **SHORT))
    pipeline.fit(IRIS)
    agree(pipeline[-1], "transform", pipeline[0].transform(IRIS))


def test_process_stays_as_it_is():
    ae = skae.AutoencoderTransformer(2, **SHORT).fit(IRIS)
    state = torch.get_rng_state()
    ae.to_torch()
    assert torch.equal(torch.get_rng_state(), state)


# Errors


def test_methods_that_are_no_modules():
    ae = skae.AutoencoderTransformer(2, **SHORT).fit(IRIS)
    with pytest.raises(
        ValueError, match="'corrupt' .*draws random numbers.*'transform'"
    ):
        ae.to_torch("corrupt")
    with pytest.raises(ValueError, match="one number for all rows"):
        ae.to_torch("score")
    for method in ("denoise", "predict", "nothing"):
        with pytest.raises(
            ValueError, match=f"method='{method}' .* offers 'transform'"
        ):
            ae.to_torch(method)
    gan = skae.GAN(**SHORT).fit(IRIS)
    with pytest.raises(ValueError, match="GAN offers 'sample', 'score_samples'"):
        gan.to_torch()


def test_integers_give_results_in_double_precision():
    rows = (10 * IRIS).astype(int)
    model = skae.AutoencoderTransformer(2, **SHORT).fit(rows)
    for method in AUTOENCODER:
        agree(model, method, rows)


@pytest.mark.parametrize("method", ["transform", "score_samples"])
def test_what_is_no_tensor_is_refused(method):
    module = skae.ConditionalVAE(2, **SHORT).fit(IRIS, SPECIES).to_torch(method)
    X, y = tensor(IRIS), tensor(SPECIES)
    for rows in IRIS, IRIS.tolist():
        with pytest.raises(TypeError, match=r"X must be a tensor.*as_tensor\(X\)"):
            module(rows, y)
    with pytest.raises(TypeError, match="y must be a tensor; got ndarray"):
        module(X, SPECIES)


def test_other_widths_are_refused():
    ae = skae.AutoencoderTransformer(2, **SHORT).fit(IRIS)
    for X in (torch.zeros(3, 1), torch.zeros(3, 5), torch.zeros(4)):
        with pytest.raises(ValueError, match=r"X must have the shape \(batch, 4\)"):
            ae.to_torch()(X)
        with pytest.raises(ValueError, match=r"Z must have the shape \(batch, 2\)"):
            ae.to_torch("inverse_transform")(X)


@pytest.mark.parametrize(
    "estimator",
    [
        value
        for value in (getattr(skae, name) for name in skae.__all__)
        if inspect.isclass(value) and hasattr(value, "to_torch")
    ],
)
def test_every_estimator_offers_modules(estimator):
    with pytest.raises(NotFittedError):
        estimator().to_torch()
