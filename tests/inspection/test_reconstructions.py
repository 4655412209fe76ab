"""Samples above their reconstructions."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skae import GAN, AutoencoderTransformer, ConvAE, DenoisingAE, RecurrentAE
from skae.inspection import ReconstructionDisplay
from skae.inspection.drawing import Bars, new_axes

pytest.importorskip("matplotlib")

X = np.random.default_rng(0).normal(5.0, 2.0, size=(60, 12))
# Many entries in few rows: axes take more time than bars.
WIDE = np.random.default_rng(1).normal(5.0, 2.0, size=(60, 150))
draw = ReconstructionDisplay.from_estimator


@pytest.fixture(scope="module")
def plain():
    return AutoencoderTransformer(2, random_state=0).fit(X)


@pytest.fixture(scope="module")
def denoising():
    return DenoisingAE(6, noise_level=0.5, max_iter=2, random_state=0).fit(X)


def bar_heights(ax):
    (bars,) = ax.collections
    return [path.vertices[1, 1] for path in bars.get_paths()]


def heights(axes):
    return [bar_heights(ax) for ax in axes]


def test_rows_are_bars_above_their_reconstructions(plain):
    display = draw(plain, X, n_samples=3)
    assert display.axes_.shape == (2, 3)
    assert display.corrupted is None
    labels = [line[0].get_ylabel() for line in display.axes_]
    assert labels == ["original", "reconstructed"]
    np.testing.assert_array_equal(heights(display.axes_[0]), X[:3])
    np.testing.assert_array_equal(heights(display.axes_[1]), plain.reconstruct(X[:3]))


@pytest.mark.parametrize("sample_shape", [(3, 4), (1, 3, 4), [3, 4]])
def test_sample_shape_makes_images_of_rows(denoising, sample_shape):
    display = draw(denoising, X, sample_shape=sample_shape, n_samples=4)
    assert display.kind == "image"
    assert display.axes_.shape == (3, 4)
    (image,) = display.axes_[0, 0].images
    np.testing.assert_array_equal(image.get_array(), X[0].reshape(3, 4))
    limits = {ax.images[0].get_clim() for ax in display.axes_.flat}
    assert limits == {(X[:4].min(), X[:4].max())}


def test_panels_have_one_scale_and_numbers_at_the_outer_ones(plain):
    axes = draw(plain, X, n_samples=3).axes_
    limits = {(*ax.get_xlim(), *ax.get_ylim()) for ax in axes.flat}
    ((left, right, bottom, top),) = limits
    drawn = np.array([X[:3], plain.reconstruct(X[:3])])
    assert (left, right) == pytest.approx((-0.99, 11.99))
    assert (bottom, top) == (0, pytest.approx(1.05 * drawn.max()))
    numbered = [[ax.yaxis.get_tick_params()["labelleft"] for ax in r] for r in axes]
    assert numbered == [[True, False, False]] * 2
    axes[0, 0].set_ylim(0, 1)
    assert axes[1, 2].get_ylim() == (0, 1)


def test_no_panel_is_scaled_anew_for_each_sample(plain, monkeypatch):
    drawn_on = []
    monkeypatch.setattr(
        Bars, "draw", lambda _, ax, *samples: drawn_on.append(count(ax))
    )

    def count(ax):
        shared = ax.get_shared_x_axes(), ax.get_shared_y_axes()
        return [len(group.get_siblings(ax)) for group in shared]

    draw(plain, X, n_samples=3)
    assert drawn_on == [[1, 1]] * 6


def test_corrupted_rows_have_the_noise_of_training_in_the_units_of_x():
    ae = DenoisingAE(6, noise_level=0.5, max_iter=1, random_state=0).fit(WIDE)
    display = draw(ae, WIDE, n_samples=5, random_state=0)
    noise = display.corrupted - display.original
    np.testing.assert_allclose(noise.std() / WIDE.std(), 0.5, rtol=0.1)
    assert abs(noise.mean()) < 0.2


def test_masked_entries_are_zero_in_the_units_of_x():
    ae = DenoisingAE(6, noise="masking", noise_level=0.5, max_iter=1, random_state=0)
    display = draw(ae.fit(WIDE), WIDE, n_samples=5, random_state=0)
    kept = np.isclose(display.corrupted, display.original, rtol=1e-5)
    np.testing.assert_allclose(display.corrupted[~kept], 0, atol=1e-5)
    np.testing.assert_allclose(kept.mean(), 0.5, atol=0.1)


def test_what_is_reconstructed_is_what_was_corrupted(denoising):
    display = draw(denoising, X, random_state=0)
    expected = denoising.reconstruct(display.corrupted)
    np.testing.assert_allclose(display.reconstructed, expected, rtol=1e-6)


def test_random_state_decides_the_noise(denoising):
    state = torch.get_rng_state()
    first, again, other = (draw(denoising, X, random_state=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.corrupted, again.corrupted)
    assert (first.corrupted != other.corrupted).any()
    assert torch.equal(torch.get_rng_state(), state)


def test_noise_without_a_seed_is_the_estimators_and_leaves_the_global_generator(
    denoising,
):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again = (denoising.corrupt(X) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    after = np.random.get_state()[1]  # noqa: NPY002
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("name", ["plain", "denoising"])
def test_noisy_samples_of_the_user_are_drawn_and_reconstructed(name, request):
    estimator = request.getfixturevalue(name)
    display = draw(estimator, X, X_noisy=X + 1)
    np.testing.assert_array_equal(display.corrupted, X[:8] + 1)
    np.testing.assert_array_equal(
        display.reconstructed, estimator.reconstruct(X[:8] + 1)
    )


@pytest.mark.filterwarnings("ignore:No weights were better on held-out rows")
@pytest.mark.parametrize("shape", [(60, 4, 3), (60, 1, 4, 3), (60, 3, 2, 2)])
def test_image_estimators_bring_their_shape(shape):
    images = X.reshape(shape)
    ae = ConvAE(kernel_size=2, stride=2, max_iter=1, random_state=0).fit(images)
    display = draw(ae, images, n_samples=2)
    assert display.kind == "image"
    drawn = display.reconstructed.reshape(2, *shape[1:])
    np.testing.assert_array_equal(drawn, ae.reconstruct(images[:2]))
    channels_last = display.axes_[1, 1].images[0].get_array().shape
    assert channels_last == ((2, 2, 3) if shape[1] == 3 else (4, 3))


def test_sequences_have_the_original_behind_them(denoising):
    display = draw(denoising, X, sample_shape=(6, 2), kind="sequence", random_state=0)
    counts = [[len(ax.lines) for ax in line] for line in display.axes_]
    assert counts == [[2] * 8, [4] * 8, [4] * 8]
    behind = display.axes_[2, 0].lines[1].get_ydata()
    np.testing.assert_array_equal(behind, X[0].reshape(6, 2)[:, 1])


def test_padded_sequences_are_drawn_as_far_as_they_go():
    padded = np.array([[[0.0], [1.0], [np.nan]], [[1.0], [2.0], [3.0]]])
    display = ReconstructionDisplay(
        original=padded, reconstructed=padded, kind="sequence"
    ).plot()
    drawn = display.axes_[0, 0].lines[0].get_ydata()
    np.testing.assert_array_equal(drawn, [0, 1, np.nan])


def test_feature_names_are_written_below_the_bars():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=[f"feature {number}" for number in range(12)])
    ae = DenoisingAE(3, max_iter=1, random_state=0).fit(frame)
    display = draw(ae, frame, n_samples=1)
    labels = [label.get_text() for label in display.axes_[-1, 0].get_xticklabels()]
    assert labels == list(frame.columns)


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.coo_array])
def test_sparse_rows_are_drawn(plain, form):
    display = draw(plain, form(X), n_samples=2)
    np.testing.assert_array_equal(display.original, X[:2])


def test_pca_and_pipelines_are_drawn_too():
    for model in (PCA(2), make_pipeline(StandardScaler(), PCA(2))):
        display = draw(model.fit(X), X, n_samples=2)
        expected = model.inverse_transform(model.transform(X[:2]))
        np.testing.assert_allclose(display.reconstructed, expected)


def test_axes_may_be_passed(plain):
    axes = new_axes(2, 3)
    display = draw(plain, X, n_samples=3, axes=axes)
    assert display.figure_ is axes[0, 0].figure
    assert all(len(bar_heights(ax)) == 12 for ax in axes.flat)


def test_fewer_samples_than_requested_are_all_drawn(plain):
    assert draw(plain, X[:2]).axes_.shape == (2, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "n_samples must be a positive integer; got 0"),
        ({"sample_shape": (5, 5)}, r"\(5, 5\) means 25 features; X has 12"),
        ({"X_noisy": X[:3]}, "a noisy version of each sample"),
        ({"kind": "sequence", "sample_shape": (1, 3, 4)}, "cannot be drawn"),
        ({"axes": np.array([None])}, r"axes must be an array of shape \(2, 8\)"),
    ],
)
def test_what_does_not_fit_together_is_refused(plain, options, message):
    with pytest.raises(ValueError, match=message):
        draw(plain, X, **options)


def test_refuses_what_can_not_be_reconstructed():
    with pytest.raises(NotFittedError):
        draw(DenoisingAE(), X)
    clusters = KMeans(2, n_init=1, random_state=0).fit(X)
    gan = GAN(max_iter=1, hidden_layer_sizes=4, random_state=0).fit(X)
    for rows in (X, X.reshape(len(X), 1, -1)):
        with pytest.raises(ValueError, match="A GAN has no reconstructions"):
            draw(gan, rows)
    with pytest.raises(ValueError, match="KMeans has none"):
        draw(clusters, X)


def test_corrupt_keeps_the_form_of_x_and_the_rows_without_noise(plain, denoising):
    np.testing.assert_array_equal(plain.corrupt(X), X)
    assert denoising.corrupt(X.astype(np.float32), 0).dtype == np.float32
    dense = denoising.corrupt(X, 0)
    np.testing.assert_allclose(denoising.corrupt(sparse.csr_array(X), 0), dense)


def test_sequences_in_a_list_are_padded_to_be_drawn():
    lists = [row[:n] for row, n in zip(X, [3, 5, 4, 5] * 5, strict=False)]
    ae = RecurrentAE(2, hidden_size=4, noise="gaussian", max_iter=1, random_state=0)
    display = draw(ae.fit(lists), lists, n_samples=2, random_state=0)
    assert display.kind == "sequence"
    for samples in (display.original, display.corrupted, display.reconstructed):
        assert samples.shape == (2, 5, 1)
        np.testing.assert_array_equal(np.isnan(samples[0, :, 0]), [0, 0, 0, 1, 1])
