"""Results are written where the user says, or are refused before any work."""

import numpy as np
import pytest
import torch

from skae.rows.outputs import check_out, fill
from skae.rows.readers import row_source


class Stored:
    """An array in chunks, as h5py and zarr have them."""

    def __init__(self, shape, chunk, dtype="f4", read_only=False):
        self.values = np.zeros(shape, dtype)
        self.shape, self.dtype = shape, self.values.dtype
        self.chunks = (chunk, *shape[1:])
        self.read_only = read_only
        self.written = []

    def __setitem__(self, rows, values):
        self.written.append((rows.start, rows.stop))
        self.values[rows] = values


def test_rows_are_written_in_whole_chunks(monkeypatch):
    monkeypatch.setattr("skae.rows.outputs._BLOCK_BYTES", 8 * 4 * 100)
    X = np.arange(250 * 4.0).reshape(250, 4)
    out = Stored((250, 2), 30)
    assert fill(out, X, lambda rows: X[rows, :2]) is out
    np.testing.assert_array_equal(out.values, X[:, :2])
    assert out.written == [(0, 90), (90, 180), (180, 250)]


def test_larger_chunks_than_memory_takes_are_written_in_parts(monkeypatch):
    monkeypatch.setattr("skae.rows.outputs._BLOCK_BYTES", 8 * 4 * 100)
    X = np.ones((250, 4))
    out = Stored((250, 2), 250)
    fill(out, X, lambda rows: X[rows, :2])
    assert [stop - start for start, stop in out.written] == [100, 100, 50]


@pytest.mark.parametrize(
    ("out", "what"),
    [
        ([[0.0, 0.0]] * 5, "an array that rows can be assigned to"),
        (np.empty((5, 3)), r"shape \(5, 2\) of the result; got \(5, 3\)"),
        (np.empty((5, 2), int), "dtype float32 or float64"),
        (np.empty((5, 2), "f2"), "dtype float32 or float64"),
        (np.broadcast_to(0.0, (5, 2)), "read-only"),
        (Stored((5, 2), 2, read_only=True), "read-only"),
    ],
)
def test_what_cannot_hold_the_result_is_refused(out, what):
    with pytest.raises(ValueError, match=what):
        check_out(out, (5, 2))


def test_memory_that_is_still_read_is_refused():
    X = np.zeros((6, 2))
    with pytest.raises(ValueError, match="other memory than X"):
        check_out(X[1:], (5, 2), X[:-1])
    check_out(np.zeros((5, 2), ">f4"), (5, 2), X[:-1])


def test_datasets_of_closed_files_and_of_the_rows_are_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    file = h5py.File(tmp_path / "rows.h5", "w")
    stored = file.create_dataset("x", data=np.zeros((6, 2)))
    with pytest.raises(ValueError, match="other memory than X"):
        check_out(file["x"], (6, 2), row_source(stored))
    file.close()
    with pytest.raises(ValueError, match="closed"):
        check_out(stored, (6, 2))


def test_tensors_are_refused():
    with pytest.raises(ValueError, match="got Tensor"):
        check_out(torch.zeros(6, 2), (6, 2))
