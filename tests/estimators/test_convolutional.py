"""ConvAE: images of any shape come back as they came."""

import itertools
import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_sample_image
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from skorch.callbacks import Callback

from skae import ConvAE
from skae.callbacks import Checkpoint
from skae.fitting import autoencoder_fit, image_start
from skae.parts.corruption import GaussianNoise
from skae.parts.likelihoods import Bernoulli, Gaussian

# Added to pixels: they are no bytes any more, and nearly the same.
OFF = 1e-3


@pytest.fixture(scope="module")
def digits():
    return load_digits()


@pytest.fixture(scope="module")
def some():
    """The images of 500 digits."""
    return load_digits().images[:500]


def small(**parameters):
    defaults = {"channels": 6, "kernel_size": 2, "stride": 2, "max_iter": 2}
    return ConvAE(random_state=0, **{**defaults, **parameters})


def images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


class TestShapes:
    @pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (3, 7, 10), (2, 5, 5)])
    def test_images_come_back_in_the_shape_in_which_they_came(self, shape):
        X = images(20, *shape)
        ae = small().fit(X)
        assert ae.reconstruct(X).shape == ae.denoise(X).shape == X.shape
        Z = ae.transform(X)
        assert Z.shape == (20, ae.n_components_)
        assert ae.n_components_ == np.prod(ae.code_shape_)
        assert ae.inverse_transform(Z).shape == X.shape
        np.testing.assert_allclose(
            ae.inverse_transform(Z), ae.reconstruct(X), atol=1e-5
        )
        flat = X.reshape(20, -1)
        assert ae.reconstruct(flat).shape == flat.shape
        np.testing.assert_array_equal(
            ae.reconstruct(flat).ravel(), ae.reconstruct(X).ravel()
        )

    def test_flat_rows_with_their_shape_are_the_same_images(self, some):
        flat = some.reshape(len(some), 64)
        of_images = small().fit(some)
        of_rows = small(sample_shape=(1, 8, 8)).fit(flat)
        assert of_rows.sample_shape_ == of_images.sample_shape_ == (1, 8, 8)
        codes = of_rows.transform(flat)
        np.testing.assert_array_equal(codes, of_images.transform(some))
        assert of_rows.inverse_transform(codes[:3]).shape == (3, 64)

    def test_a_dense_code_on_top(self, some):
        ae = small(n_components=5).fit(some)
        assert ae.transform(some).shape == (500, 5)
        assert ae.code_shape_ == (6, 4, 4)
        assert list(ae.get_feature_names_out()[:2]) == ["convae0", "convae1"]

    def test_rows_that_nobody_called_images_are_lines(self, digits):
        ae = small().fit(digits.data[:50, :7])
        assert ae.sample_shape_ == (1, 1, 7)
        assert ae.reconstruct(digits.data[:5, :7]).shape == (5, 7)

    def test_refitting_to_another_shape(self):
        ae = small().fit(images(20, 8, 8))
        assert ae.fit(images(20, 3, 6, 4)).sample_shape_ == (3, 6, 4)


class TestBadInput:
    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ((1, 8, 9), r"means 72 features; X has 64"),
            ((64,), r"must be a tuple \(n_channels, height, width\)"),
            ((1, 0, 8), r"must be a tuple"),
            ((1, "a", 8), r"must be a tuple"),
        ],
    )
    def test_shapes_that_do_not_fit_flat_rows(self, digits, shape, message):
        with pytest.raises(ValueError, match=message):
            small(sample_shape=shape).fit(digits.data)

    def test_shapes_that_contradict_the_images(self, digits):
        with pytest.raises(ValueError, match="differs from the shape of the samples"):
            small(sample_shape=(1, 4, 16)).fit(digits.images)

    def test_other_images_after_fit(self, digits):
        ae = small().fit(digits.images)
        with pytest.raises(ValueError, match=r"fitted to samples of shape \(1, 8, 8\)"):
            ae.transform(images(3, 4, 16))

    def test_images_smaller_than_the_layers_allow(self, digits):
        with pytest.raises(ValueError, match="needs at least 5 pixels"):
            ConvAE(channels=(4, 4), kernel_size=5, stride=5).fit(digits.images)

    def test_strides_that_skip_pixels(self, digits):
        with pytest.raises(ValueError, match="stride=3 must not exceed kernel_size=2"):
            small(kernel_size=2, stride=3).fit(digits.images)

    def test_even_output_kernels(self, digits):
        with pytest.raises(ValueError, match="output_kernel_size must be odd"):
            small(output_kernel_size=2).fit(digits.images)

    @pytest.mark.parametrize("channels", [(), (0,), (4, "a"), (2.5,)])
    def test_channels(self, digits, channels):
        with pytest.raises(ValueError, match="channels must be .*positive"):
            small(channels=channels).fit(digits.images)

    def test_pairs_of_another_shape(self, digits):
        with pytest.raises(ValueError, match=r"of those of X, \(8, 8\); got \(4, 8\)"):
            small().fit(digits.images, digits.images[:, :4])

    def test_pairs_of_as_many_pixels(self):
        with pytest.raises(ValueError, match=r"of those of X, \(3, 4\); got \(2, 6\)"):
            small().fit(images(20, 3, 4), images(20, 2, 6))

    def test_five_axes(self):
        with pytest.raises(ValueError, match="sample"):
            small().fit(images(5, 1, 2, 4, 4))

    def test_empty_images(self):
        with pytest.raises(ValueError, match="holds no samples"):
            small().fit(np.zeros((5, 0, 8)))

    def test_a_failed_fit_leaves_the_earlier_one(self, digits):
        ae = small().fit(digits.images)
        before = ae.transform(digits.images[:3])
        with pytest.raises(ValueError, match="NaN"):
            ae.fit(np.full((5, 4, 4), np.nan))
        np.testing.assert_array_equal(ae.transform(digits.images[:3]), before)
        assert ae.inverse_transform(before).shape == (3, 8, 8)

    def test_images_that_are_all_the_same(self):
        same = np.tile(images(1, 3, 8, 8), (5, 1, 1, 1))
        with pytest.raises(ValueError, match="5 images that are all the same"):
            small().fit(same)
        with pytest.raises(ValueError, match="all the same"):
            small(sample_shape=(3, 8, 8)).fit(same.reshape(5, -1))

    def test_one_photograph(self):
        photo = load_sample_image("china.jpg")[:40, :50]
        with pytest.raises(ValueError, match="looks like one image"):
            small().fit(photo)
        grey = small(sample_shape=(1, 50, 3)).fit(photo)
        assert grey.sample_shape_ == (1, 50, 3)
        with pytest.raises(ValueError, match="minimum of 2"):
            small().fit(photo.transpose(2, 0, 1)[None])


@pytest.fixture(scope="module")
def patches():
    """Overlapping patches of a photograph, 8-bit, and others of its right side."""
    photo = load_sample_image("flower.jpg")[::2, ::2].transpose(2, 0, 1)
    windows = np.lib.stride_tricks.sliding_window_view(photo, (16, 16), axis=(1, 2))
    windows = windows[:, ::10, ::10].transpose(1, 2, 0, 3, 4)
    left, right = windows[:, :21], windows[:, 23:]
    return tuple(each.reshape(-1, 3, 16, 16) for each in (left, right))


@pytest.fixture(scope="module")
def bright():
    """Images of black and white discs, 8-bit, which codes of few entries overshoot."""
    rng = np.random.default_rng(0)
    place = np.arange(8)
    centers = rng.uniform(1, 7, (60, 2, 1))
    high, wide = np.abs(place - centers).transpose(1, 0, 2)
    return np.uint8(255 * (np.hypot(high[:, :, None], wide[:, None]) < 3))


class TestPhotographs:
    def test_short_codes_are_better_than_pca_on_another_part(self, patches):
        train, test = patches
        ae = ConvAE(24, channels=16, max_iter=8, random_state=0).fit(train)
        pca = PCA(24).fit(train.reshape(len(train), -1))
        rows = test.reshape(len(test), -1)
        error = np.square(pca.inverse_transform(pca.transform(rows)) - rows).mean()
        assert np.square(ae.reconstruct(test) - test).mean() < 0.97 * error
        assert not ae.net_.codec.codec.by_code
        assert ae.pca_ratio_ < 0.97
        copy = pickle.loads(pickle.dumps(ae))
        np.testing.assert_array_equal(copy.transform(test), ae.transform(test))

    def test_bytes_come_back_within_their_range(self, patches):
        train, _ = patches
        ae = small(n_components=3).fit(train)
        Z = ae.transform(train)
        far = ae.inverse_transform(Z + 20 * (Z - Z.mean(0)))
        assert far.min() == 0
        assert far.max() == 255
        rebuilt = ae.reconstruct(train)
        assert rebuilt.min() >= 0
        assert rebuilt.max() <= 255
        free = small(n_components=3).fit(train + OFF)
        assert free.inverse_transform(Z + 20 * (Z - Z.mean(0))).max() > 255

    @pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
    def test_all_methods_judge_bytes_by_what_comes_back(self, bright, likelihood):
        ae = small(n_components=3, likelihood=likelihood).fit(bright)
        free = small(n_components=3, likelihood=likelihood).fit(bright + OFF)
        rebuilt, beyond = ae.reconstruct(bright), free.reconstruct(bright + OFF) - OFF
        # Values outside do occur.
        assert beyond.min() < -1
        assert beyond.max() > 256
        np.testing.assert_allclose(rebuilt, beyond.clip(0, 255), atol=5e-3)
        X = bright.reshape(len(bright), -1).astype(float)
        error = np.square(rebuilt.reshape(X.shape) - X).sum(1)
        spread = np.square(X - X.mean(0)).sum()
        assert ae.score(bright) == pytest.approx(1 - error.sum() / spread, rel=1e-5)
        assert ae.score(bright) > free.score(bright + OFF) + 1e-3
        if likelihood == "gaussian":
            np.testing.assert_allclose(ae.score_samples(bright), -error / 2, rtol=1e-4)
        else:
            gain = ae.score_samples(bright) - free.score_samples(bright + OFF)
            assert gain.min() >= -1e-2
            assert gain.mean() > 0.1
        pairs = bright.reshape(len(bright), -1)
        assert ae.score(bright, bright) == pytest.approx(ae.score(pairs), rel=1e-6)

    def test_the_likelihood_suits_the_values_and_the_task(self, patches, digits):
        grey, sharp = patches[0] / 255, (digits.images > 8) * 1.0
        for expected, X, parameters in [
            (Gaussian, grey, {"noise": "gaussian"}),
            (Gaussian, sharp, {}),
            (Bernoulli, sharp, {"noise": "gaussian"}),
            (Bernoulli, sharp, {"n_components": 3}),
            (Gaussian, grey, {"n_components": 3}),
        ]:
            ae = small(max_iter=1, **parameters).fit(X[:100])
            assert type(ae.net_.likelihood) is expected

    def test_denoising_starts_from_random_weights(self, some):
        for parameters, starts in [
            ({}, True),
            ({"noise": "gaussian"}, False),
            ({"init": "random"}, False),
            ({"init": "pca", "noise": "gaussian"}, True),
        ]:
            ae = small(n_components=3, max_iter=1, **parameters).fit(some)
            assert ae.net_.codec.is_anchored == starts
        paired = small(n_components=3, max_iter=1).fit(some, some)
        assert not paired.net_.codec.is_anchored

    def test_without_held_out_images_all_corrections_are_trained(self, some):
        ae = small(n_components=3, early_stopping=False).fit(some)
        assert ae.net_.codec.codec.by_code
        assert not hasattr(ae, "pca_ratio_")


class TestInterrupts:
    @staticmethod
    def stop_trials(monkeypatch):
        """Ctrl-C after some steps of the short training before the training."""

        def tried(module, schedule, batches, *others):
            def some():
                yield from itertools.islice(batches, 3)
                raise KeyboardInterrupt

            return image_start.tried(module, schedule, some(), *others)

        monkeypatch.setattr(autoencoder_fit, "tried", tried)

    def test_ctrl_c_in_the_trial_keeps_the_start(self, patches, monkeypatch):
        train, test = patches
        self.stop_trials(monkeypatch)
        ae = small(n_components=24, max_iter=20)
        with pytest.warns(ConvergenceWarning, match="interrupted after 0 epochs"):
            ae.fit(train)
        assert ae.interrupted_
        assert ae.stop_reason_ == "interrupted"
        assert ae.n_iter_ == ae.departure_ == 0
        assert len(ae.loss_curve_) == len(ae.validation_scores_) == 0
        # PCA's path, with axes of images that are the same everywhere.
        rows = test.reshape(len(test), -1)
        pca = PCA(24).fit(train.reshape(len(train), -1))
        error = np.square(pca.inverse_transform(pca.transform(rows)) - rows).mean()
        assert np.square(ae.reconstruct(test) - test).mean() < error
        copy = pickle.loads(pickle.dumps(ae))
        np.testing.assert_array_equal(copy.transform(test), ae.transform(test))

    def test_ctrl_c_in_the_trial_leaves_the_checkpoint(
        self, patches, monkeypatch, tmp_path
    ):
        path = tmp_path / "fit.skae"

        class Kill(Callback):
            kills = True

            def on_epoch_end(self, net, **kwargs):
                if self.kills:
                    raise RuntimeError("killed")

        def fit():
            callbacks = [Checkpoint(path), Kill]
            return small(n_components=24, max_iter=10, callbacks=callbacks).fit(train)

        train = patches[0]
        with pytest.raises(RuntimeError, match="killed"):
            fit()
        monkeypatch.setattr(Kill, "kills", False)
        with monkeypatch.context() as patch:
            self.stop_trials(patch)
            with pytest.warns(ConvergenceWarning, match="interrupted"):
                fit()
        assert path.exists()
        assert not fit().interrupted_
        assert not path.exists()


class TestLearning:
    def test_it_removes_noise(self, digits):
        X = digits.images / 16
        train, test = X[:1400], X[1400:]
        rng = np.random.default_rng(0)
        Y = np.clip(test + 0.2 * rng.normal(size=test.shape), 0, 1)
        noise = GaussianNoise(0.2, relative=False, clip=(0, 1))
        ae = ConvAE(channels=16, kernel_size=2, stride=2, noise=noise, max_iter=8)
        ae.set_params(random_state=0).fit(train)
        assert np.mean((ae.denoise(Y) - test) ** 2) < 0.6 * np.mean((Y - test) ** 2)

    def test_pairs_of_images(self, some):
        X = some
        Y = X + np.random.default_rng(0).normal(size=X.shape)
        ae = small(max_iter=5).fit(Y, X)
        assert ae.denoise(Y).shape == Y.shape

    def test_codes_serve_a_classifier(self, digits):
        pipe = make_pipeline(
            small(sample_shape=(1, 8, 8), max_iter=10), LinearSVC(random_state=0)
        )
        assert (
            pipe.fit(digits.data[:900], digits.target[:900]).score(
                digits.data[900:], digits.target[900:]
            )
            > 0.8
        )

    def test_same_seed_same_codes_also_after_pickling_and_in_parts(self, some):
        X = some
        ae = small(noise="masking", noise_level=0.2).fit(X)
        again = small(noise="masking", noise_level=0.2).fit(X)
        expected = ae.transform(X)
        np.testing.assert_array_equal(again.transform(X), expected)
        copy = pickle.loads(pickle.dumps(ae))
        np.testing.assert_array_equal(copy.transform(X), expected)
        np.testing.assert_array_equal(ae.transform(X[7:8]), expected[7:8])

    def test_warm_start_goes_on(self, digits):
        ae = small(warm_start=True, max_iter=3).fit(digits.images)
        first = ae.score(digits.images)
        assert ae.fit(digits.images).score(digits.images) > first

    def test_partial_fit_takes_images(self, digits):
        ae = small(batch_size=20)
        for _ in range(3):
            ae.partial_fit(digits.images)
        assert ae.score(digits.images) > 0.3
