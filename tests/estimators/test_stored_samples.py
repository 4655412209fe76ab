"""Images and sequences in files are read by blocks, like flat rows of their shape."""

import warnings
from functools import cache

import numpy as np
import pytest

from skae import AEOutlierDetector, ConvAE, DenoisingAE, RecurrentAE
from skae.parts.conv import Conv
from skae.rows import blocks, sources

h5py = pytest.importorskip("h5py")

N, SIDE = 96, 8
BRIEF = {"max_iter": 2, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def images(dtype=np.uint8):
    random = np.random.default_rng(0)
    return random.integers(0, 256, (N, SIDE, SIDE)).astype(dtype)


class Sliced:
    """What has a shape, a dtype, chunks and slices, of which it keeps the longest."""

    def __init__(self, X):
        self.X, self.shape, self.dtype, self.chunks = X, X.shape, X.dtype, (8, 4, 4)
        self.most = 0

    def __getitem__(self, rows):
        self.most = max(self.most, len(self.X[rows]))
        return self.X[rows]


def hdf5(folder, X):
    return h5py.File(folder / "x.h5", "w").create_dataset("x", data=X, chunks=(8, 4, 8))


def zarr_array(folder, X):
    zarr = pytest.importorskip("zarr")
    rows = zarr.create_array(
        folder / "x", shape=X.shape, chunks=(8, 4, 8), dtype=X.dtype
    )
    rows[:] = X
    return rows


def dask_array(folder, X):
    return pytest.importorskip("dask.array").from_array(X, chunks=(30, 4, 8))


KINDS = {
    "hdf5": hdf5,
    "zarr": zarr_array,
    "dask": dask_array,
    "slices": lambda folder, X: Sliced(X),
}


@pytest.fixture(params=[0, sources._LOADED_BYTES], ids=["read", "loaded"])
def limits(request, monkeypatch):
    monkeypatch.setattr(sources, "_LOADED_BYTES", request.param)
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 16 * 4 * SIDE**2)


@cache
def fitted_to_rows(dtype, limit):
    """An autoencoder of images, and the flat rows to which it was fitted."""
    flat = Sliced(images(dtype).reshape(N, -1))
    return ConvAE(2, sample_shape=(1, SIDE, SIDE), **BRIEF).fit(flat), flat


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_images_give_the_bits_of_flat_rows(kind, dtype, tmp_path):
    X = images(dtype)
    stored = KINDS[kind](tmp_path, X)
    ae = ConvAE(2, **BRIEF).fit(stored)
    assert ae.sample_shape_ == (1, SIDE, SIDE)
    of_rows, flat = fitted_to_rows(dtype, sources._LOADED_BYTES)
    np.testing.assert_array_equal(ae.transform(X), of_rows.transform(X))
    for method in ("transform", "score_samples", "reconstruct"):
        # Lazy methods give the bits of arrays.
        expected = getattr(of_rows, method)(X if kind == "dask" else flat)
        result = np.asarray(getattr(ae, method)(stored))
        np.testing.assert_array_equal(result.reshape(expected.shape), expected)
    assert np.asarray(ae.reconstruct(stored)).shape == X.shape


def test_no_more_than_blocks_are_read(monkeypatch):
    monkeypatch.setattr(sources, "_LOADED_BYTES", 0)
    monkeypatch.setattr(sources, "_RUN_BLOCKS", 1)
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 16 * 4 * SIDE**2)
    stored = Sliced(images())
    ae = ConvAE(2, **BRIEF).fit(stored)
    ae.score_samples(stored)
    assert 0 < stored.most <= 16


@pytest.mark.usefixtures("limits")
def test_clean_images_may_be_stored_too(tmp_path):
    X = images(np.float32)
    clean = hdf5(tmp_path, X)
    options = {"architecture": Conv((1, SIDE, SIDE)), **BRIEF}
    ae = DenoisingAE(2, **options).fit(Sliced(X + 1), clean)
    of_rows = DenoisingAE(2, **options).fit(
        Sliced((X + 1).reshape(N, -1)), Sliced(X.reshape(N, -1))
    )
    np.testing.assert_array_equal(ae.transform(X), of_rows.transform(X))


@pytest.mark.usefixtures("limits")
def test_sequences(tmp_path):
    X = images(np.float32)
    ae = RecurrentAE(2, **BRIEF).fit(hdf5(tmp_path, X))
    of_rows = RecurrentAE(2, sample_shape=(SIDE, SIDE), **BRIEF)
    of_rows.fit(Sliced(X.reshape(N, -1)))
    np.testing.assert_array_equal(ae.transform(X), of_rows.transform(X))


def test_errors_name_the_image(tmp_path):
    X = images(np.float32)
    X[70, 1, 2] = np.nan
    with pytest.raises(ValueError, match=r"contains NaN: X\[70, 1, 2\] is nan"):
        ConvAE(2, **BRIEF).fit(hdf5(tmp_path, X))


def test_other_shapes_are_refused_unread(tmp_path):
    ae = ConvAE(2, **BRIEF).fit(images())
    stored = Sliced(images()[:, :6])
    with pytest.raises(ValueError, match=r"samples of shape \(6, 8\), but"):
        ae.transform(stored)
    assert not stored.most


def test_detectors_load_few_images_and_refuse_many(monkeypatch, tmp_path):
    stored = hdf5(tmp_path, images())
    detector = AEOutlierDetector(estimator=ConvAE(2, **BRIEF), random_state=0)
    with warnings.catch_warnings(action="ignore"):
        detector.fit(stored)
    scores = detector.score_samples(stored)
    np.testing.assert_allclose(scores, detector.score_samples(images()), rtol=1e-4)
    monkeypatch.setattr(sources, "_LOADED_BYTES", 4 * N * SIDE**2 - 1)
    for method in (detector.fit, detector.score_samples):
        with pytest.raises(ValueError, match=r"sample_shape=\(8, 8\)"):
            method(stored)
