"""ONNX models of fitted methods, run in ONNX Runtime beside the estimator."""

import json
import logging
import subprocess
import sys
import warnings
from functools import cache

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from torch import nn

import skae
from skae.export import ExportError, to_onnx
from skae.exporting.onnx_check import check_model

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SHORT = {"max_iter": 2, "random_state": 0}
DIGITS, DIGIT = (part[:150] for part in load_digits(return_X_y=True))
IRIS, SPECIES = load_iris(return_X_y=True)
NAMES = np.array(["red", "green", "blue"])[SPECIES]


def run(model, *inputs):
    """Results of a model in ONNX Runtime."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def names_of(model):
    values = (*model.graph.input, *model.graph.output)
    return [each.name for each in values]


def agree(model, expected, *inputs):
    """One result, for all samples at once and for a single one."""
    (result,) = run(model, *inputs)
    assert result.shape == expected.shape
    spread = np.nanmax(expected) - np.nanmin(expected)
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-5 * spread)
    (single,) = run(model, *(each[:1] for each in inputs))
    np.testing.assert_allclose(single, expected[:1], rtol=1e-6, atol=1e-5 * spread)


def settings():
    """What an export must leave as it was."""
    return (
        {
            name: (logger.level, logger.disabled, len(logger.handlers))
            for name, logger in logging.root.manager.loggerDict.items()
            # torch takes the handler of this one off when it first traces.
            if isinstance(logger, logging.Logger) and name != "torch.__trace"
        },
        list(warnings.filters),
        warnings.showwarning,
        (logging.root.level, logging.root.manager.disable),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.get_rng_state().tolist(),
    )


@pytest.fixture(scope="module")
def encoder():
    return skae.AutoencoderTransformer(2, init="random", **SHORT).fit(IRIS)


def test_a_model_says_what_it_is_and_replaces_the_file(encoder, tmp_path, capfd):
    path = tmp_path / "model.onnx"
    path.write_text("an earlier one")
    before = settings()
    model = to_onnx(encoder, path)
    after = settings()
    assert capfd.readouterr() == ("", "")
    assert {name: after[0].get(name) for name in before[0]} == before[0]
    assert after[1:] == before[1:]
    assert list(tmp_path.iterdir()) == [path]
    assert onnx.load(path) == model
    assert names_of(model) == ["X", "Z"]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata == {
        "skae_version": skae.__version__,
        "skae_class": "AutoencoderTransformer",
        "skae_method": "transform",
    }
    assert str(tmp_path.parent).encode() not in model.SerializeToString()
    assert b"skae/" not in model.SerializeToString()
    assert model.opset_import[0].version == 18
    agree(model, encoder.transform(IRIS), IRIS.astype(np.float32))


def test_float64_keeps_the_digits_of_large_offsets():
    X = np.random.default_rng(0).normal(size=(100, 6)) + 1e6
    ae = skae.VariationalAE(2, **SHORT).fit(X)
    model = to_onnx(ae, method="reconstruct", dtype="float64", opset=20, X=X)
    assert model.opset_import[0].version == 20
    agree(model, ae.reconstruct(X), X)
    single = X.astype(np.float32)
    agree(to_onnx(ae, X=single), ae.transform(single), single)


@pytest.mark.parametrize(
    ("estimator", "method"),
    [
        (skae.AutoencoderTransformer(3, max_iter=20, random_state=0), "reconstruct"),
        (skae.AutoencoderTransformer(3, activation="identity"), "inverse_transform"),
        (
            skae.AutoencoderTransformer(
                3, tied_weights=True, activation="gelu", likelihood="student_t", **SHORT
            ),
            "score_samples",
        ),
        (skae.VariationalAE(3, likelihood="bernoulli", **SHORT), "score_samples"),
    ],
    ids=["anchored", "linear", "tied", "bound"],
)
def test_rows(estimator, method):
    X = DIGITS / 16
    estimator.fit(X)
    inputs = estimator.transform(X) if method == "inverse_transform" else X
    inputs = inputs.astype(np.float32)
    model = to_onnx(estimator, method=method)
    agree(model, np.asarray(getattr(estimator, method)(inputs)), inputs)


def test_images():
    """Of bytes, which stay within their range."""
    X = np.uint8(255 * (DIGITS.reshape(-1, 8, 8) > 8))
    ae = skae.ConvAE(3, kernel_size=3, stride=2, **SHORT).fit(X + 1e-3)
    assert ae.denoise(X).max() > 256
    ae.fit(X)
    model = to_onnx(ae, method=["denoise", "score_samples"])
    assert names_of(model) == ["X", "X_clean", "scores"]
    images = X.astype(np.float32)
    for n_images in (len(images), 1):
        clean, scores = run(model, images[:n_images])
        assert clean.max() == 255
        np.testing.assert_allclose(clean, ae.denoise(images[:n_images]), atol=1e-3)
        np.testing.assert_allclose(scores, ae.score_samples(images[:n_images]), 1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_sequences_of_different_lengths(cell):
    X = np.sin(np.arange(6.0) + np.arange(40.0)[:, None])[..., None]
    X = X.astype(np.float32)
    X[::3, 4:] = np.nan
    ae = skae.RecurrentAE(2, cell=cell, frame_size=2, **SHORT).fit(X)
    model = to_onnx(ae, method="reconstruct")
    agree(model, ae.reconstruct(X), X)
    X[1, 3], X[2, 0] = np.nan, np.inf
    (result,) = run(model, X[:4])
    whole = np.isnan(result).all(axis=(1, 2)).tolist()
    assert whole == [False, True, True, False]


def test_strings_as_condition():
    vae = skae.ConditionalVAE(2, n_importance_samples=3, **SHORT).fit(IRIS, NAMES)
    Z = vae.transform(IRIS).astype(np.float32)
    model = to_onnx(vae, method="inverse_transform")
    assert names_of(model) == ["Z", "y", "X"]
    agree(model, vae.inverse_transform(Z, NAMES), Z, NAMES.astype(object))
    (unknown,) = run(model, Z[:2], np.array(["red", "black"], dtype=object))
    assert np.isnan(unknown).all(axis=1).tolist() == [False, True]
    X = IRIS.astype(np.float32)
    plain = to_onnx(vae, method="score_samples", with_y=False)
    assert names_of(plain) == ["X", "scores"]
    agree(plain, vae.score_samples(X), X)


def test_numbers_as_condition():
    y = np.random.default_rng(0).normal(3, 5, size=(150, 2)).astype(np.float32)
    X = IRIS.astype(np.float32)
    vae = skae.ConditionalVAE(2, n_importance_samples=3, **SHORT).fit(X, y)
    agree(to_onnx(vae, X=X, y=y), vae.transform(X, y), X, y)


def test_noise_of_a_gan():
    gan = skae.GAN(**SHORT).fit(IRIS, SPECIES)
    model = to_onnx(gan)
    assert names_of(model) == ["Z", "y", "X"]
    Z = np.random.default_rng(0).normal(size=(5, gan.n_components_)).astype(np.float32)
    y = np.array([0, 1, 2, 2, 1])
    with torch.no_grad():
        expected = gan.to_torch("sample")(torch.from_numpy(Z), torch.from_numpy(y))
    agree(model, expected.numpy(), Z, y)


@cache
def growing(architecture):
    """A GAN of images that grow, and what it was fitted to."""
    X = (DIGITS[:40].reshape(-1, 8, 8) / 16).astype(np.float32)
    y = np.array([f"digit {digit}" for digit in DIGIT[:40]], dtype=object)
    gan = skae.GAN(architecture=architecture, channels=4, **SHORT)
    return gan.fit(X, y), X, y


@pytest.mark.parametrize("architecture", ["progressive", "style"])
def test_samples_of_images_that_grow(architecture):
    gan, _, y = growing(architecture)
    Z = np.random.default_rng(0).normal(size=(5, gan.n_components_)).astype(np.float32)
    with torch.no_grad():
        numbers = torch.from_numpy(DIGIT[:5])
        expected = gan.to_torch("sample")(torch.from_numpy(Z), numbers).numpy()
    assert expected.shape == (5, 8, 8)
    agree(to_onnx(gan), expected, Z, y[:5])


def test_the_critic_of_images_that_grow():
    gan, X, y = growing("style")
    model = to_onnx(gan, method="score_samples")
    agree(model, gan.score_samples(X, y), X, y)


@pytest.mark.parametrize("y", [SPECIES * 10.0, NAMES], ids=["float", "str"])
def test_labels_and_probabilities(y):
    model = skae.StackedAEClassifier(
        (6, 4), pretrain_max_iter=1, max_iter=2, random_state=0
    ).fit(IRIS, y)
    graph = to_onnx(model, X=IRIS)
    assert names_of(graph) == ["X", "label", "probabilities"]
    X = IRIS.astype(np.float32)
    for rows in (X, X[:1]):
        labels, probabilities = run(graph, rows)
        assert labels.tolist() == model.predict(rows).tolist()
        np.testing.assert_allclose(probabilities, model.predict_proba(rows), atol=1e-6)
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(metadata["skae_classes"]) == model.classes_.tolist()
    assert metadata["skae_method"] == "predict,predict_proba"


class Encoder(nn.Module):
    """A module of a user that asks Python for the number of rows."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x.view(len(x), -1))


class Branches(Encoder):
    """One whose way depends on the values of its input."""

    def forward(self, x):
        return self.layer(x if x.sum() > 0 else -x)


def test_modules_of_the_user(tmp_path):
    ae = skae.AutoencoderTransformer(architecture=(Encoder(), nn.Linear(2, 4)), **SHORT)
    ae.fit(IRIS)
    agree(to_onnx(ae), ae.transform(IRIS), IRIS.astype(np.float32))
    ae = skae.AutoencoderTransformer(
        architecture=(Branches(), nn.Linear(2, 4)), **SHORT
    )
    path = tmp_path / "model.onnx"
    with pytest.raises(ExportError, match="cannot trace the modules"):
        to_onnx(ae.fit(IRIS), path)
    assert not path.exists()


def test_frames_and_their_names(tmp_path):
    frame = load_iris(as_frame=True).data
    ae = skae.AutoencoderTransformer(2, activation="identity")
    ae.set_output(transform="pandas").fit(frame)
    for X in (None, frame, csr_matrix(IRIS)):
        model = to_onnx(ae, X=X)
    expected = ae.transform(frame).to_numpy()
    agree(model, expected, IRIS.astype(np.float32))


def test_the_first_export_of_a_process_leaves_it_as_it_was():
    script = """
import threading, warnings
from sklearn.datasets import load_iris
import skae
from skae.export import to_onnx
X = load_iris().data
ae = skae.AutoencoderTransformer(2, activation="identity").fit(X)
before = list(warnings.filters)
threads = [threading.Thread(target=to_onnx, args=(ae,)) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert warnings.filters == before
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# What is wrong is refused


def test_a_model_that_differs_is_refused(encoder, monkeypatch, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("an earlier one")
    transform = encoder.transform
    monkeypatch.setattr(encoder, "transform", lambda X: transform(X) + 1e-3)
    with pytest.raises(
        ExportError, match="transform in ONNX Runtime gives .*, in skae"
    ):
        to_onnx(encoder, path)
    assert path.read_text() == "an earlier one"
    assert list(tmp_path.iterdir()) == [path]


def test_only_ties_may_have_other_labels():
    helper = onnx.helper
    X = helper.make_tensor_value_info("X", onnx.TensorProto.INT64, ["batch"])
    label = helper.make_tensor_value_info("label", onnx.TensorProto.INT64, ["batch"])
    node = helper.make_node("Identity", ["X"], ["label"])
    model = helper.make_model(
        helper.make_graph([node], "labels", [X], [label]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    classifier = skae.StackedAEClassifier((3,), pretrain=False, **SHORT)
    functions = {"predict": classifier.fit(IRIS, SPECIES).to_torch("predict")}
    inputs = (np.arange(12) % 3,)

    def check(expected, is_tie):
        check_model(
            model, functions, inputs, lambda method, *_: expected if method else is_tie
        )

    other = inputs[0].copy()
    other[5] = 0
    check(inputs[0], None)
    check(other, np.arange(12) == 5)
    with pytest.raises(ExportError, match="gives 2, in skae 0 for sample 5"):
        check(other, np.arange(12) == 6)


def test_wrong_parameters_are_named(encoder):
    with pytest.raises(NotFittedError):
        to_onnx(skae.DenoisingAE())
    with pytest.raises(ValueError, match="method='corrupt' .*offers 'transform'"):
        to_onnx(encoder, method="corrupt")
    with pytest.raises(ValueError, match="several different ones"):
        to_onnx(encoder, method=["transform", "transform"])
    with pytest.raises(ValueError, match="methods of the same input"):
        to_onnx(encoder, method=["transform", "inverse_transform"])
    with pytest.raises(ValueError, match="opset must be .* at least 18; got 17"):
        to_onnx(encoder, opset=17)
    with pytest.raises(ValueError, match=r"dtype must be one of .*; got 'float16'"):
        to_onnx(encoder, dtype="float16")
    with pytest.raises(ValueError, match=r"X must have the shape \(batch, 4\)"):
        to_onnx(encoder, X=IRIS[:, :3])
    with pytest.raises(ValueError, match="sequences padded with NaN"):
        to_onnx(encoder, X=[[1, 2], [1, 2, 3]])
    with pytest.raises(ValueError, match="at least one sample"):
        to_onnx(encoder, X=IRIS[:0])
    with pytest.raises(ValueError, match="fitted without a condition"):
        to_onnx(encoder, with_y=True)
    with pytest.raises(ValueError, match=r"one of skae's, or a Pipeline.*; got str"):
        to_onnx("encoder")
    with pytest.raises(NotFittedError):
        to_onnx(PCA())


def test_conditions_that_do_not_fit_are_named():
    vae = skae.ConditionalVAE(2, **SHORT).fit(IRIS, NAMES)
    with pytest.raises(ValueError, match="classes of the fit.*'black'"):
        to_onnx(vae, X=IRIS[:1], y=["black"])
    with pytest.raises(ValueError, match="one entry for each row of X; got 1 for no"):
        to_onnx(vae, y=["red"])
    with pytest.raises(ValueError, match="one entry for each row of X; got 1 for 2"):
        to_onnx(vae, X=IRIS[:2], y=["red"])
    with pytest.raises(ValueError, match="with_y=False is not for sample"):
        to_onnx(vae, method="sample", with_y=False)
    with pytest.raises(ValueError, match="with_y=False exports a model without y"):
        to_onnx(vae, X=IRIS[:1], y=["red"], with_y=False)


def test_what_is_missing_is_named(encoder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxscript", None)
        with pytest.raises(ImportError, match=r'pip install "skae\[onnx\]"'):
            to_onnx(encoder)
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(ImportError, match=r"torch>=2.6; 2.5.1\+cpu is installed"):
        to_onnx(encoder)


def test_columns_that_float32_cannot_hold_are_named():
    X = IRIS + np.array([0, 1e6, 0, 0])
    encoder = skae.AutoencoderTransformer(2, activation="identity").fit(X)
    with pytest.warns(UserWarning, match="rounds column 1 of X.*dtype='float64'"):
        to_onnx(encoder, X=X)
    to_onnx(encoder, X=X, dtype="float64")


def test_what_cannot_be_written_is_refused_before_the_export(encoder, tmp_path):
    with pytest.raises(IsADirectoryError, match="path must name a file"):
        to_onnx(encoder, tmp_path)
    with pytest.raises(TypeError, match="path must be a string"):
        to_onnx(encoder, 3)


@pytest.mark.parametrize("method", [None, 3, ["transform"]])
def test_a_method_that_is_no_name_is_refused(encoder, method):
    with pytest.raises(TypeError, match="method must be the name"):
        encoder.to_torch(method)
    with pytest.raises(ValueError, match="must hold names of methods"):
        to_onnx(encoder, method=["transform", method])


def test_an_operator_set_that_torch_does_not_have_is_refused(encoder):
    with pytest.raises(ExportError, match="opset=99 is none that the installed torch"):
        to_onnx(encoder, opset=99)
