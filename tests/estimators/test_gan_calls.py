"""Calls of a GAN one after another, and parameters that do not go together."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skae import GAN
from skae.callbacks import SampleGrid

DENSE = {"hidden_layer_sizes": 8, "random_state": 0, "max_iter": 2}
X = load_digits().data[:60] / 16
Y = load_digits().target[:60]


def conv(**parameters):
    return GAN(architecture="conv", channels=4, random_state=0, **parameters)


def test_later_calls_may_repeat_the_classes_and_not_change_them():
    gan = GAN(**DENSE).partial_fit(X, Y, classes=range(10))
    gan.partial_fit(X, Y, classes=range(10)).partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"differ from those of the first call, \[0"):
        gan.partial_fit(X, Y, classes=[1, 2])
    plain = GAN(**DENSE).partial_fit(X)
    with pytest.raises(ValueError, match="of the first call, none"):
        plain.partial_fit(X, classes=[1, 2])


def test_advice_also_helps_after_partial_fit():
    gan = GAN(**DENSE).partial_fit(X)
    with pytest.raises(ValueError, match="Use a new estimator, or fit with"):
        gan.partial_fit(X, Y)
    with pytest.raises(ValueError, match="Use a new estimator, or fit with"):
        gan.set_params(hidden_layer_sizes=9).partial_fit(X)


def test_what_was_measured_of_an_earlier_model_is_gone():
    gan = GAN(features="rows", n_modes=2, **DENSE).partial_fit(X)
    assert gan.precision_recall_ is None
    gan.set_params(warm_start=True).fit(X)
    assert len(gan.precision_recall_) == 2
    gan.partial_fit(X)
    assert gan.precision_recall_ is None
    curve = gan.mode_coverage_curve_
    assert len(curve) == len(gan.epochs_) == 4
    np.testing.assert_array_equal(np.isnan(curve), [True, False, False, True])


@pytest.mark.parametrize(
    ("features", "got"),
    [
        (lambda rows: np.array([["a"]] * len(rows)), "got dtype <U1"),
        (lambda rows: np.full((len(rows), 2), np.nan), "got NaN or infinity"),
        (lambda rows: np.zeros(3), r"got shape \(3,\)"),
    ],
)
def test_features_that_are_no_numbers_are_named(features, got):
    with pytest.raises(ValueError, match=f"features must map 2 samples .*{got}"):
        GAN(features=features, **DENSE).fit(X)


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [
        ("dense", {"sample_shape": (1, 8, 8)}),
        ("dense", {"channels": 4}),
        ("dense", {"kernel_size": 3}),
        ("dense", {"stride": 1}),
        ("dense", {"growth": 0.5}),
        ("conv", {"hidden_layer_sizes": 8}),
        ("conv", {"growth": 0.5}),
        ("progressive", {"hidden_layer_sizes": 8}),
        ("style", {"kernel_size": 3}),
    ],
)
def test_parameters_of_other_architectures_are_refused(architecture, parameters):
    rows = X if architecture == "dense" else X.reshape(-1, 8, 8)
    (name,) = parameters
    with pytest.raises(ValueError, match=f"{name}=.* is for architecture="):
        GAN(architecture=architecture, max_iter=1, **parameters).fit(rows)


def test_methods_go_by_the_networks_that_were_trained():
    gan = conv(max_iter=1).fit(X.reshape(-1, 8, 8)).set_params(architecture="style")
    with pytest.raises(AttributeError, match="this GAN has architecture='conv'"):
        gan.styles(2)
    with pytest.raises(ValueError, match="this GAN has architecture='conv'"):
        gan.sample(2, truncation=0.5)


class TestSampleGrid:
    @pytest.fixture(autouse=True)
    def _matplotlib(self):
        pytest.importorskip("matplotlib")

    def test_epochs_go_on_from_call_to_call(self, tmp_path):
        grid = SampleGrid(tmp_path / "at-{epoch}.png", n_samples=1)
        gan = conv(max_iter=2, callbacks=[grid], warm_start=True)
        images = X.reshape(-1, 8, 8)
        gan.partial_fit(images).partial_fit(images).fit(images)
        assert grid.epochs_ == [1, 2, 3, 4]
        assert len(grid.samples_) == 4
        assert sorted(each.name for each in tmp_path.iterdir()) == [
            f"at-{number}.png" for number in (1, 2, 3, 4)
        ]

    @pytest.mark.parametrize(
        ("name", "message"),
        [("grid.foo", "ends in .foo, in which matplotlib"), ("", "is a folder")],
    )
    def test_paths_are_checked_before_the_training(self, tmp_path, name, message):
        gan = conv(max_iter=10**6, callbacks=[SampleGrid(tmp_path / name)])
        with pytest.raises(ValueError, match=message):
            gan.fit(X.reshape(-1, 8, 8))

    def test_images_of_two_channels_are_refused_before_the_training(self, tmp_path):
        gan = conv(max_iter=10**6, callbacks=[SampleGrid(tmp_path / "grid.png")])
        with pytest.raises(ValueError, match="cannot be drawn with kind='image'"):
            gan.fit(X.reshape(-1, 2, 8, 4))
