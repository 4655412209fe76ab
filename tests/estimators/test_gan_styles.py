"""GANs of images that grow, and the methods of their styles."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from skorch.callbacks import Callback

import skae
from skae import GAN
from skae.estimators.style_arrays import Styles

TINY = {"channels": 4, "max_iter": 2, "random_state": 0, "batch_size": 16}
ARCHITECTURES = ["progressive", "style"]
LOSSES = ["non_saturating", "hinge", "wasserstein_gp", "relativistic"]

pytestmark = pytest.mark.filterwarnings(
    "ignore:No weights were better:sklearn.exceptions.ConvergenceWarning",
    "ignore:Mode collapse:sklearn.exceptions.ConvergenceWarning",
)


@pytest.fixture(scope="module")
def images():
    return (load_digits().images[:80] / 16).astype(np.float32)


@pytest.fixture(scope="module")
def y():
    return load_digits().target[:80]


@pytest.fixture(scope="module")
def colours():
    return np.random.default_rng(0).random((40, 3, 16, 24))


def gan(architecture="style", **parameters):
    return GAN(architecture=architecture, **{**TINY, **parameters})


@pytest.fixture(scope="module")
def fitted(images):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return gan(max_iter=6).fit(images)


@pytest.fixture(scope="module")
def conditional(images, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return gan(max_iter=6).fit(images, y)


class Stop(Callback):
    """Ctrl-C in an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("architecture", ARCHITECTURES)
class TestImages:
    def test_samples_have_the_shape_dtype_and_range_of_the_images(
        self, architecture, images, colours
    ):
        for X in (images, colours):
            made = gan(architecture).fit(X).sample(3)
            assert made.shape == (3, *X.shape[1:])
            assert made.dtype == X.dtype
            assert made.min() >= 0
            assert made.max() <= 1
        assert gan(architecture).fit(colours).discriminate(colours).shape == (40,)

    def test_flat_rows_are_images_of_the_shape_that_is_given(
        self, architecture, images
    ):
        flat = gan(architecture, sample_shape=(1, 8, 8)).fit(images.reshape(80, 64))
        whole = gan(architecture).fit(images)
        np.testing.assert_array_equal(flat.sample(2).ravel(), whole.sample(2).ravel())

    @pytest.mark.parametrize("loss", LOSSES)
    def test_every_loss_trains(self, architecture, loss, images, y):
        made = gan(architecture, loss=loss).fit(images, y).sample(4, y=3)
        assert np.isfinite(made).all()

    def test_the_same_seed_gives_the_same_samples(self, architecture, images):
        model = gan(architecture).fit(images)
        np.testing.assert_array_equal(
            model.sample(5), gan(architecture).fit(images).sample(5)
        )
        np.testing.assert_array_equal(model.sample(5), model.sample(5))
        np.testing.assert_array_equal(model.sample(64)[:32], model.sample(32))
        assert not np.array_equal(model.sample(5), model.sample(5, random_state=1))

    def test_files_and_pickles_keep_it(self, architecture, images, y, tmp_path):
        model = gan(architecture).fit(images, y)
        skae.save(model, tmp_path / "gan.skae")
        for again in (
            skae.load(tmp_path / "gan.skae"),
            pickle.loads(pickle.dumps(model)),
        ):
            np.testing.assert_array_equal(again.sample(5, y=1), model.sample(5, y=1))
            np.testing.assert_array_equal(
                again.score_samples(images, y), model.score_samples(images, y)
            )

    def test_rows_of_weight_zero_are_left_out(self, architecture, images, y):
        weight = np.ones(len(images))
        weight[::3] = 0
        weighted = gan(architecture).fit(images, y, sample_weight=weight)
        alone = gan(architecture).fit(images[weight > 0], y[weight > 0])
        np.testing.assert_array_equal(
            weighted.sample(4, y=[1, 2, 4, 5]), alone.sample(4, y=[1, 2, 4, 5])
        )

    def test_to_torch_gives_samples_with_the_noise_inputs_of_the_model(
        self, architecture, images
    ):
        model = gan(architecture).fit(images)
        z = torch.randn(4, model.n_components_, generator=torch.Generator())
        made = model.to_torch("sample")(z).numpy()
        assert made.shape == (4, 8, 8)
        if architecture == "style":
            W = model.net_.generator.styles(z).detach().numpy()
            np.testing.assert_allclose(made, model.from_styles(W), atol=1e-5)

    def test_warm_start_goes_on_with_whole_images(self, architecture, images):
        options = {"warm_start": True, "growth": 0.9, "early_stopping": False}
        model = gan(architecture, **options).fit(images)
        before = model.sample(3)
        model.fit(images)
        assert model.n_iter_ == len(model.loss_curve_) == 4
        assert 0 < np.abs(model.sample(3) - before).max() < 1


def test_styles_are_mixed_in_training(images, y):
    plain, mixed = (
        gan(early_stopping=False, style_mixing=share).fit(images, y).sample(2)
        for share in (0.0, 0.5)
    )
    assert np.isfinite(mixed).all()
    assert not np.array_equal(plain, mixed)


class TestGrowth:
    def test_whole_images_alone_choose_the_weights(self, images):
        model = gan("progressive", max_iter=10, growth=0.6).fit(images)
        assert len(model.validation_scores_) == 10
        # Rounds up to the sixth are of smaller images.
        assert model.kept_round_ > 5

    def test_an_interrupted_growth_keeps_the_images_of_its_level(self, images):
        model = gan("progressive", max_iter=20, growth=0.9, callbacks=[Stop(3)])
        with pytest.warns(ConvergenceWarning, match="interrupted"):
            model.fit(images)
        net = model.net_.generator
        z = torch.randn(4, model.n_components_, generator=torch.Generator())
        blocks = net.values(z, None, None).view(4, 4, 2, 4, 2)
        assert net.level == 0
        assert torch.equal(blocks, blocks[:, :, :1, :, :1].expand_as(blocks))
        assert np.isfinite(model.sample(4)).all()
        model.set_params(warm_start=True, callbacks=None, max_iter=1).fit(images)
        assert model.net_.generator.level == 1


class TestStyles:
    def test_equal_styles_give_equal_images(self, fitted):
        W = fitted.styles(6, random_state=1)
        assert W.shape == (6, fitted.n_components_)
        made = fitted.from_styles(W)
        assert made.shape == (6, 8, 8)
        np.testing.assert_array_equal(made[2:3], fitted.from_styles(W[2:3]))
        layered = np.repeat(np.asarray(W)[:, None], 2, axis=1)
        np.testing.assert_array_equal(fitted.from_styles(layered), made)

    def test_truncation_leads_to_the_mean_style(self, conditional):
        for truncation in (0, 0.5):
            W, full = (
                np.asarray(conditional.styles(9, y=3, truncation=t, random_state=0))
                for t in (truncation, 1.0)
            )
            mean = np.asarray(conditional.styles(1, y=3, truncation=0))
            np.testing.assert_allclose(W, mean + truncation * (full - mean), atol=1e-5)
        spread = [
            conditional.sample(40, y=3, truncation=t).std(0).mean()
            for t in (0.0, 0.3, 0.6, 1.0)
        ]
        assert spread == sorted(spread)
        other = conditional.styles(1, y=4, truncation=0)
        assert not np.allclose(other, mean)

    def test_mixed_images_follow_one_style_in_each_layer(self, fitted):
        W = fitted.styles(5, random_state=1)
        coarse, fine = W[:1], W[1:]
        mixed = fitted.mix(coarse, fine, 1)
        assert mixed.shape == (4, 8, 8)
        layers = np.stack(
            [np.stack([np.asarray(coarse[0]), style]) for style in np.asarray(fine)]
        )
        np.testing.assert_array_equal(mixed, fitted.from_styles(layers))
        np.testing.assert_array_equal(fitted.mix(W, W, 1), fitted.from_styles(W))

    def test_interpolation_begins_and_ends_with_the_styles(self, fitted):
        W = fitted.styles(2, random_state=1)
        way = fitted.interpolate(W[0], W[1:], 5)
        np.testing.assert_allclose(way[[0, -1]], fitted.from_styles(W), atol=1e-6)
        middle = fitted.from_styles(np.asarray(W).mean(0, keepdims=True))
        np.testing.assert_allclose(way[2], middle[0], atol=1e-5)

    def test_projection_finds_images_of_the_model(self, fitted):
        X = fitted.from_styles(fitted.styles(4, random_state=5))
        W, made = fitted.project(X, n_steps=60)
        assert W.shape == (4, 2, fitted.n_components_)
        assert made.shape == X.shape
        np.testing.assert_array_equal(made, fitted.from_styles(W))
        assert np.square(made - X).mean() < 0.02 * X.var(axis=0).mean()

    def test_projected_rows_do_not_depend_on_the_others(self, fitted, images):
        together, _ = fitted.project(images[:6], n_steps=5)
        alone, _ = fitted.project(images[3:4], n_steps=5)
        np.testing.assert_allclose(alone, together[3:4], rtol=1e-3, atol=1e-3)

    def test_projected_images_are_in_the_units_of_the_training(self, fitted, images):
        with pytest.raises(ValueError, match=r"X ranges from 0 to 255, but .* 0 to 1"):
            fitted.project(np.uint8(255 * images[:2]))
        free = gan(max_iter=1).fit(4 * images - 2)
        with pytest.warns(UserWarning, match="X ranges from 0 to 255") as caught:
            free.project(255 * images[:2], n_steps=1)
        assert {each.filename for each in caught} == {__file__}

    def test_a_longer_projection_is_nearer(self, fitted, images):
        errors = [
            np.square(fitted.project(images[:10], n_steps=n)[1] - images[:10]).mean()
            for n in (1, 40)
        ]
        assert errors[1] < errors[0]


class TestPartialFit:
    @pytest.mark.parametrize("architecture", ["dense", "conv", *ARCHITECTURES])
    def test_chunks_train_one_model(self, architecture, images, y):
        is_dense = architecture == "dense"
        widths = {"hidden_layer_sizes": 8} if is_dense else {"channels": (4,)}
        model = GAN(architecture=architecture, batch_size=16, random_state=0, **widths)
        losses = 0
        for rows in (slice(0, 40), slice(40, 80)):
            assert model.partial_fit(images[rows], y[rows]) is model
            losses += 1
            assert len(model.loss_curve_) == losses
        assert model.sample(3, y=2).shape == (3, 8, 8)
        assert model.kept_epoch_ is None
        again = clone(model)
        for rows in (slice(0, 40), slice(40, 80)):
            again.partial_fit(images[rows], y[rows])
        np.testing.assert_array_equal(again.sample(3, y=2), model.sample(3, y=2))

    def test_training_goes_on_from_the_last_weights(self, images):
        flat = images.reshape(80, 64)
        options = {"hidden_layer_sizes": 8, "random_state": 0, "batch_size": 16}
        averaged = GAN(ema=0.99, **options).partial_fit(flat)
        last = GAN(ema=0.0, **options).partial_fit(flat)
        np.testing.assert_array_equal(
            averaged.optimizer_state_["weights"], last.optimizer_state_["weights"]
        )
        assert not np.array_equal(averaged.sample(2), last.sample(2))
        for model in (averaged, last):
            model.partial_fit(flat)
        np.testing.assert_array_equal(
            averaged.optimizer_state_["weights"], last.optimizer_state_["weights"]
        )

    def test_classes_to_come_are_named_in_the_first_call(self, images, y):
        model = gan().partial_fit(images[:10], y[:10] % 3, classes=[0, 1, 2, 3])
        assert list(model.classes_) == [0, 1, 2, 3]
        model.partial_fit(images[10:20], np.full(10, 3))
        with pytest.raises(ValueError, match="y must be of the classes"):
            model.partial_fit(images[10:20], np.full(10, 4))
        with pytest.raises(ValueError, match=r"classes are for y .* got none"):
            gan().partial_fit(images[:10], classes=[0, 1])
        with pytest.raises(ValueError, match="continued with y"):
            model.partial_fit(images[:10])

    def test_a_fitted_model_goes_on(self, images):
        model = gan().fit(images)
        before = model.sample(2)
        model.partial_fit(images[:20])
        assert np.abs(model.sample(2) - before).max() > 0
        with pytest.raises(ValueError, match="shape"):
            model.partial_fit(np.zeros((10, 16, 16)))


class TestPrecisionRecall:
    def test_it_is_there_on_request(self, images):
        assert gan().fit(images).precision_recall_ is None
        shapes = []

        def features(X):
            shapes.append(X.shape)
            return X.reshape(len(X), -1)[:, :5]

        for given in (features, "rows"):
            model = gan(features=given).fit(images)
            assert len(model.precision_recall_) == 2
            assert all(0 <= share <= 1 for share in model.precision_recall_)
        assert shapes == [(2, 8, 8), (80, 8, 8), (80, 8, 8)]

    def test_what_are_no_features_is_named_before_training(self, images):
        for wrong in (lambda X: X, lambda X: X[:1, 0], lambda X: np.nan * X[:, 0]):
            with pytest.raises(ValueError, match="features must map 2 samples"):
                gan(features=wrong, max_iter=10**6).fit(images)


class TestBadInput:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    @pytest.mark.parametrize(
        ("X", "message"),
        [
            (np.zeros((9, 28, 28)), r"multiples of 8; got 28 x 28.* 32 x 32"),
            (np.zeros((9, 4, 8)), "multiples of 8; got 4 x 8"),
            (np.zeros((9, 64)), "is for images; pass X of shape"),
            (np.zeros((9, 16, 16, 3)), "channels last"),
            (np.full((9, 8, 8), 0.5), "9 images that are all the same"),
            (np.ones((1, 8, 8)), "minimum of 2"),
            (np.full((9, 8, 8), np.nan), "NaN"),
        ],
    )
    def test_images_that_do_not_fit_are_named(self, architecture, X, message):
        with pytest.raises(ValueError, match=message):
            gan(architecture, max_iter=10**6).fit(X)
        with pytest.raises(ValueError, match=message):
            gan(architecture).partial_fit(X)

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"kernel_size": 3}, "kernel_size=3 is for architecture='conv'"),
            ({"stride": 1}, "stride=1 is for architecture='conv'"),
            ({"channels": (4, 4, 4)}, "channels must be 'auto', one number, or 1"),
            ({"growth": 1.0}, "growth"),
            ({"features": "inception"}, "features"),
            ({"architecture": "stylish"}, "architecture"),
            ({"loss": "relative"}, "loss"),
            ({"architecture": "conv", "growth": 0.5}, "growth=0.5 is for"),
            ({"architecture": "progressive", "style_mixing": 0.5}, "is for architec"),
            ({"style_mixing": 1.5}, "style_mixing"),
        ],
    )
    def test_parameters_that_do_not_fit_are_named(self, images, parameters, message):
        with pytest.raises(ValueError, match=message):
            gan(**{"max_iter": 10**6, **parameters}).fit(images)

    @pytest.mark.parametrize("truncation", [-0.1, 1.1, np.nan, "half", True])
    def test_truncation_is_a_share(self, fitted, truncation):
        for method in (fitted.sample, fitted.styles):
            with pytest.raises(ValueError, match=r"truncation must lie in \[0, 1\]"):
                method(2, truncation=truncation)

    def test_other_architectures_have_no_styles(self, images):
        model = gan("progressive").fit(images)
        for name in ("styles", "from_styles", "mix", "interpolate", "project"):
            assert not hasattr(model, name)
            with pytest.raises(AttributeError, match=f"{name} is for architecture="):
                getattr(model, name)
        with pytest.raises(ValueError, match="truncation=0.5 is for"):
            model.sample(2, truncation=0.5)

    def test_nothing_is_drawn_before_fit(self, images):
        for call in (gan().styles, lambda: gan().from_styles([[0.0]])):
            with pytest.raises(NotFittedError):
                call()

    def test_styles_of_other_models_are_refused(self, fitted, images):
        other = gan(random_state=1).fit(images)
        own, foreign = fitted.styles(2), other.styles(2)
        assert isinstance(own, Styles)
        for call in (
            lambda: fitted.mix(own, foreign, 1),
            lambda: fitted.from_styles(foreign[:1]),
            lambda: fitted.interpolate(own[0], foreign[0]),
        ):
            with pytest.raises(ValueError, match="styles of another model"):
                call()
        # Their width says so where they are plain arrays.
        with pytest.raises(
            ValueError, match=r"fine must be styles.*got shape \(2, 3\)"
        ):
            fitted.mix(own, np.zeros((2, 3)), 1)

    @pytest.mark.parametrize("n_layers", [0, 2, 1.0, True, None])
    def test_layers_to_mix_are_some_and_not_all(self, fitted, n_layers):
        W = fitted.styles(2)
        with pytest.raises(ValueError, match="n_layers must be an integer from 1 to 1"):
            fitted.mix(W, W, n_layers)

    def test_other_arguments_of_styles_are_named(self, fitted, images):
        W = fitted.styles(3)
        for call, message in (
            (lambda: fitted.mix(W, W[:2], 1), "as many styles.* got 3 and 2"),
            (lambda: fitted.interpolate(W, W[0]), "a must be a single style; got 3"),
            (lambda: fitted.interpolate(W[0], W[1], 1), "n_steps must be an integer"),
            (lambda: fitted.from_styles(np.nan * W), "W must hold finite"),
            (lambda: fitted.from_styles(W[:0]), "W must be styles"),
            (lambda: fitted.styles(0), "n_samples must be a positive"),
            (lambda: fitted.project(images[:, :4]), "X has samples of shape"),
            (lambda: fitted.project(images.reshape(80, 64)[:, :9]), "features"),
            (lambda: fitted.project(images[:2], n_steps=0), "n_steps must be"),
        ):
            with pytest.raises(ValueError, match=message):
                call()
