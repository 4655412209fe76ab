"""Estimators as steps of Pipelines that skl2onnx converts."""

import importlib
import sys

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skae
import skae.export
from skae import AEOutlierDetector, AutoencoderTransformer, StackedAEClassifier

skl2onnx = pytest.importorskip("skl2onnx")
onnxruntime = pytest.importorskip("onnxruntime")

SHORT = {"max_iter": 3, "random_state": 0}
X, Y = (part[::3] for part in load_breast_cancer(return_X_y=True))
NAMES_OF = np.array(["bad", "good"])
NAMES = NAMES_OF[Y]
SINGLE = X.astype(np.float32)
TENSORS = {"zipmap": False}


def run(model, rows):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: rows})


def scaled(*steps):
    return make_pipeline(StandardScaler(), *steps)


def agree(estimator, rows, options=None, methods=("predict", "predict_proba")):
    """Results for several numbers of rows; the graph."""
    model = skl2onnx.to_onnx(estimator, rows[:1], options=options)
    for n in (1, 2, 7, len(rows)):
        results = run(model, rows[:n])
        for method, result in zip(methods, results, strict=True):
            expected = getattr(estimator, method)(rows[:n])
            if method == "predict":
                assert result.shape == expected.shape
                assert (result == expected).all()
                continue
            if isinstance(result, list):
                result = [
                    [row[label] for label in estimator.classes_] for row in result
                ]
            size = np.abs(expected).max()
            np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-5 * size)
    return model


def test_double_precision_from_end_to_end():
    steps = AutoencoderTransformer(4, **SHORT), LogisticRegression()
    model = agree(scaled(*steps).fit(X, Y), X, TENSORS)
    assert model.graph.output[1].type.tensor_type.elem_type == 11


def test_two_autoencoders_in_one_pipeline_and_a_search():
    steps = [AutoencoderTransformer(n, **SHORT) for n in (6, 3)]
    pipeline = scaled(*steps, LogisticRegression())
    grid = {"logisticregression__C": [0.1, 1.0]}
    agree(GridSearchCV(pipeline, grid, cv=2).fit(X, NAMES), SINGLE, TENSORS)


def test_columns_of_their_own():
    columns = ColumnTransformer(
        [
            ("wide", scaled(AutoencoderTransformer(3, **SHORT)), slice(0, 10)),
            ("narrow", skae.DenoisingAE(2, **SHORT), [10, 12, 14]),
            ("kept", "passthrough", [20]),
        ]
    )
    pipeline = make_pipeline(columns, StandardScaler(), LogisticRegression())
    agree(pipeline.fit(X, Y), SINGLE, TENSORS)


class TestClassifier:
    @pytest.mark.parametrize("rows", [SINGLE, X], ids=["float32", "float64"])
    def test_names_as_labels(self, rows):
        agree(scaled(StackedAEClassifier((8,), **SHORT)).fit(X, NAMES), rows)

    def test_truth_values_as_labels(self):
        pipeline = scaled(StackedAEClassifier((8,), **SHORT))
        agree(pipeline.fit(X, Y == 1), SINGLE, TENSORS)

    def test_options_of_classifiers(self):
        pipeline = scaled(StackedAEClassifier((8,), **SHORT)).fit(X, NAMES)
        last = id(pipeline[-1])

        def result(**options):
            model = skl2onnx.to_onnx(pipeline, SINGLE[:1], options={last: options})
            names = [each.name for each in model.graph.output]
            return dict(zip(names, run(model, SINGLE), strict=True))

        numbers = result(nocl=True, **TENSORS)["label"]
        assert (NAMES_OF[numbers] == pipeline.predict(X)).all()
        labels = result(output_class_labels=True, **TENSORS)["class_labels"]
        assert (labels == NAMES_OF).all()


class TestDetector:
    METHODS = "predict", "decision_function"

    def test_labels_and_decisions(self):
        pipeline = scaled(AEOutlierDetector(n_estimators=2, random_state=0)).fit(X)
        agree(pipeline, SINGLE, methods=self.METHODS)

    def test_scores_of_doubles_by_an_option(self):
        detector = AEOutlierDetector(estimator=AutoencoderTransformer(2, **SHORT))
        options = {AEOutlierDetector: {"score_samples": True}}
        agree(detector.fit(X), X, options, (*self.METHODS, "score_samples"))


SAMPLES = {"ConvAE": (60, 1, 8, 8), "RecurrentAE": (60, 3, 3)}


@pytest.mark.parametrize(
    "name", [name for name in skae.__all__ if hasattr(getattr(skae, name), "to_torch")]
)
def test_every_estimator_is_a_step(name):
    kind = getattr(skae, name)
    if hasattr(kind, "predict"):
        pytest.skip("Detectors and classifiers have tests of their own.")
    rng = np.random.default_rng(0)
    rows = rng.random(SAMPLES.get(name, (60, 5))).astype(np.float32)
    y = rng.integers(2, size=60) if name == "ConditionalVAE" else None
    estimator = kind(2, **SHORT).fit(rows, y)
    method = "transform" if hasattr(kind, "transform") else "score_samples"
    agree(estimator, rows, methods=[method])


def test_integers_keep_their_digits():
    rows = np.random.default_rng(0).integers(10**9, 10**9 + 50, size=(80, 4))
    agree(AutoencoderTransformer(2, **SHORT).fit(rows), rows, methods=["transform"])


def test_old_operator_sets_are_refused():
    encoder = AutoencoderTransformer(2, **SHORT).fit(X)
    with pytest.raises(ValueError, match="target_opset must be at least 18 .* got 15"):
        skl2onnx.to_onnx(encoder, SINGLE[:1], target_opset=15)


def test_exports_do_without_skl2onnx(monkeypatch):
    monkeypatch.setattr(skae, "export", skae.export)
    monkeypatch.setattr(skae, "exporting", skae.exporting)
    for name in list(sys.modules):
        if name.startswith(("skl2onnx", "skae.export")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    export = importlib.import_module("skae.export")
    model = export.to_onnx(AutoencoderTransformer(2, activation="identity").fit(X))
    assert [each.name for each in model.graph.output] == ["Z"]
