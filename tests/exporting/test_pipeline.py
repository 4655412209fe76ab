"""Pipelines and searches through `skae.export.to_onnx`."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skae import AEOutlierDetector, AutoencoderTransformer
from skae.export import ExportError, to_onnx

pytest.importorskip("skl2onnx")
onnxruntime = pytest.importorskip("onnxruntime")

X, Y = load_wine(return_X_y=True)
NAMES = np.array(["red", "green", "blue"])[Y]


def encoder():
    return AutoencoderTransformer(3, max_iter=2, random_state=0)


def classifier():
    return make_pipeline(StandardScaler(), encoder(), LogisticRegression())


def results(model, *inputs):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [each.name for each in session.get_inputs()]
    values = session.run(None, dict(zip(names, inputs, strict=True)))
    return dict(zip([each.name for each in session.get_outputs()], values, strict=True))


def test_labels_and_probabilities_in_one_file(tmp_path):
    grid = {"logisticregression__C": [0.1, 1.0]}
    search = GridSearchCV(classifier(), grid, cv=2).fit(X, NAMES)
    path = tmp_path / "wine.onnx"
    model = to_onnx(search, path)
    assert path.read_bytes() == model.SerializeToString()
    found = results(model, X.astype(np.float32))
    assert list(found) == ["label", "probabilities"]
    assert found["label"].tolist() == search.predict(X).tolist()
    expected = search.predict_proba(X)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    metadata = {each.key: each.value for each in model.metadata_props}
    assert metadata["skae_classes"] == '["blue", "green", "red"]'


def test_some_methods_and_double_precision():
    pipeline = classifier().fit(X, Y)
    model = to_onnx(pipeline, method="predict_proba", X=X, dtype="float64", opset=20)
    assert {each.domain: each.version for each in model.opset_import}[""] == 20
    found = results(model, X)
    np.testing.assert_allclose(found.pop("probabilities"), pipeline.predict_proba(X))
    assert not found


def test_other_last_steps():
    judge = AEOutlierDetector(estimator=encoder(), random_state=0)
    detector = make_pipeline(StandardScaler(), judge).fit(X)
    found = results(to_onnx(detector, X=X, dtype="float64"), X)
    assert list(found) == ["label", "decision"]
    assert found["label"].tolist() == detector.predict(X).tolist()
    codes = make_pipeline(StandardScaler(), encoder()).fit(X)
    found = results(to_onnx(codes, X=X), X.astype(np.float32))
    np.testing.assert_allclose(found["Z"], codes.transform(X), rtol=1e-4, atol=1e-5)
    regressor = make_pipeline(StandardScaler(), encoder(), Ridge()).fit(X, X[:, 0])
    found = results(to_onnx(regressor), X.astype(np.float32))
    np.testing.assert_allclose(found["label"][:, 0], regressor.predict(X), rtol=1e-5)


def test_columns_of_a_data_frame_are_inputs():
    frame = pd.DataFrame(X[:, :3], columns=["a", "b", "c"])
    frame["kind"] = NAMES
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(StandardScaler(), encoder()), ["a", "b", "c"]),
            ("words", OneHotEncoder(), ["kind"]),
        ]
    )
    pipeline = make_pipeline(columns, LogisticRegression()).fit(frame, Y)
    model = to_onnx(pipeline, X=frame)
    numbers = [frame[[name]].to_numpy(np.float32) for name in "abc"]
    found = results(model, *numbers, frame[["kind"]].to_numpy(object))
    assert found["label"].tolist() == pipeline.predict(frame).tolist()
    with pytest.raises(ValueError, match="X must have rows"):
        to_onnx(pipeline)


class Foreign(TransformerMixin, BaseEstimator):
    """A transformer that skl2onnx has no converter for."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X


def test_what_cannot_be_exported_is_named():
    pipeline = classifier().fit(X, Y)
    with pytest.raises(ValueError, match=r"method must be among \['predict', 'predict"):
        to_onnx(pipeline, method="transform")
    with pytest.raises(ValueError, match="leave out y"):
        to_onnx(pipeline, X=X, y=Y)
    with pytest.raises(ValueError, match="got str"):
        to_onnx("pipeline")
    with pytest.raises(ExportError, match="skl2onnx cannot convert this Pipeline"):
        to_onnx(make_pipeline(Foreign(), encoder()).fit(X))
