"""Methods of a fitted detector as modules and as ONNX models."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

from skae import AEOutlierDetector, AutoencoderTransformer, ConvAE
from skae.export import to_onnx
from skae.exporting.detection import Inlier, PValue
from skae.outliers.calibration import Calibration

METHODS = ["score_samples", "decision_function", "predict", "p_values"]
SHORT = {"max_iter": 2, "random_state": 0}


def table(n=300, kind="plain", seed=0):
    """Correlated rows with a few outliers; columns of other kinds where wanted."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) @ np.random.default_rng(9).normal(size=(3, 7))
    X = 100 + X + 0.3 * rng.normal(size=X.shape)
    X[::40] += 4 * rng.normal(size=X[::40].shape)
    if kind == "odd":
        X[:, 1], X[:, 2], X[:, 3] = 5, np.round(X[:, 2]), rng.random(n) < 0.05
    if kind == "missing":
        X[rng.random(X.shape) < 0.1] = np.nan
    return X


CASES = {
    "default": ({}, "plain"),
    "odd columns": ({}, "odd"),
    "rate": ({"false_alarm_rate": 0.2}, "plain"),
    "contamination": ({"contamination": 0.1}, "plain"),
    "subsets": ({"max_features": 3}, "plain"),
    "one member": ({"n_estimators": 1, "bootstrap": True}, "odd"),
    "missing": ({}, "missing"),
    "unusual": ({"missing": "unusual"}, "missing"),
    "novelty": ({"novelty": True, "missing": "unusual"}, "missing"),
    "estimator": ({"estimator": AutoencoderTransformer(2, **SHORT)}, "plain"),
}


def fitted(case, **more):
    options, kind = CASES[case]
    return AEOutlierDetector(random_state=0, **options, **more).fit(table(kind=kind))


def rows_of(case):
    """New rows, some far out, and training rows."""
    kind = CASES[case][1]
    X = table(100, kind, seed=1)
    X[:3] *= 1e3
    return np.r_[X, table(kind=kind)]


def close(result, expected, method, detector):
    """Up to rounding, and p-values up to one calibration row."""
    step = 1.5 / (len(detector.calibration_scores_) + 1) if method == "p_values" else 0
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6 + step)


@pytest.mark.parametrize("case", CASES)
def test_modules_agree_with_the_detector(case):
    detector, X = fitted(case), rows_of(case)
    for method in METHODS:
        module, expected = detector.to_torch(method), getattr(detector, method)(X)
        result = module(torch.from_numpy(X))
        assert result.dtype == (torch.int64 if method == "predict" else torch.float64)
        close(result, expected, method, detector)
        for n in (1, 2, 7):
            close(module(torch.from_numpy(X[:n])), expected[:n], method, detector)


def test_images_are_judged_by_an_autoencoder_of_images():
    X = np.random.default_rng(0).random((40, 8, 8))
    judge = FrozenEstimator(ConvAE(2, **SHORT).fit(X[:20]))
    detector = AEOutlierDetector(estimator=judge).fit(X[20:])
    for method in METHODS:
        result = detector.to_torch(method)(torch.from_numpy(X))
        close(result, getattr(detector, method)(X), method, detector)


def test_single_precision_loses_no_digits_of_large_offsets():
    detector = AEOutlierDetector(random_state=0).fit(table() + 1e6)
    X = (table(50, seed=2) + 1e6).astype(np.float32)
    scores = detector.to_torch()(torch.from_numpy(X))
    np.testing.assert_allclose(scores, detector.score_samples(X), rtol=1e-6)


@pytest.mark.parametrize("case", ["subsets", "novelty"])
def test_scores_are_differentiable(case):
    module = fitted(case).to_torch()
    X = torch.from_numpy(table(20, seed=3)).requires_grad_()
    (gradient,) = torch.autograd.grad(module(X).sum(), X)
    way = 1e-4 * torch.randn(X.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        change = module(X + way) - module(X - way)
    slope = (gradient * 2 * way).sum(1)
    # A few rows cross an edge between two codes.
    assert ((slope - change).abs() < 0.05 * change.abs().max()).sum() >= 18


def test_modules_keep_the_threshold_that_they_were_made_with():
    detector, X = fitted("default"), rows_of("default")
    before, labels = detector.to_torch("predict"), detector.predict(X)
    detector.set_alert_rate(0.3)
    assert before(torch.from_numpy(X)).tolist() == labels.tolist()
    after = detector.to_torch("predict")(torch.from_numpy(X))
    assert after.tolist() == detector.predict(X).tolist() != labels.tolist()


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))]
)
def test_copies_of_modules_can_be_traced(again):
    module = again(fitted("default").to_torch())
    X = torch.from_numpy(rows_of("default"))
    batch = {0: torch.export.Dim("batch")}
    traced = torch.export.export(module, (X[:3],), dynamic_shapes=(batch,)).module()
    torch.testing.assert_close(traced(X), module(X), rtol=1e-6, atol=0)


def test_the_state_of_another_detector_is_refused():
    one, other = (fitted("default", max_samples=n).to_torch() for n in (200, 100))
    one.load_state_dict(one.state_dict())
    with pytest.raises(ValueError, match="of another detector"):
        other.load_state_dict(one.state_dict())


def test_modules_in_double_precision_keep_their_weights():
    X = torch.from_numpy(rows_of("default"))
    module = fitted("default").to_torch()
    scores = module(X)
    torch.testing.assert_close(module.double()(X), scores, rtol=1e-5, atol=0)


def test_rounding_flags_nobody():
    calibration = Calibration([-4.0, -3.0, -2.0, -1.0])
    scores = torch.tensor([-3.0 - 1e-6, -3.0, -3.0 - 1e-4, torch.nan]).double()
    assert Inlier(-3.0, calibration)(scores).tolist() == [1, 1, 0, 0]
    expected = calibration.p_values([-3.0, -3.0, -3.1])
    assert PValue(calibration)(scores[:3]).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("case", "value"), [("estimator", np.nan), ("default", np.inf)]
)
def test_rows_that_the_detector_refuses_are_outliers(case, value):
    X = table(2)
    X[0, 0] = value
    detector = fitted(case)
    label, score, p = (
        detector.to_torch(method)(torch.from_numpy(X)).tolist()
        for method in ("predict", "score_samples", "p_values")
    )
    assert label[0] == -1
    assert np.isnan([score, p]).tolist() == [[True, False], [True, False]]


class Mean(BaseEstimator):
    """A foreign judge."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def reconstruct(self, X):
        return np.zeros_like(X)

    def score_samples(self, X):
        return -np.square(X).sum(1)


def test_what_has_no_module_is_named():
    with pytest.raises(ValueError, match="'explain' of AEOutlierDetector.*'p_values'"):
        fitted("default").to_torch("explain")
    foreign = AEOutlierDetector(estimator=Mean()).fit(table())
    with pytest.raises(ValueError, match=r"Mean\(\) has no to_torch"):
        foreign.to_torch()


class TestONNX:
    runtime = pytest.importorskip("onnxruntime")

    def run(self, model, X):
        session = self.runtime.InferenceSession(model.SerializeToString())
        return session.run(None, {"X": X})

    @pytest.mark.parametrize(
        ("case", "methods"),
        [
            ("default", ["predict", "decision_function", "p_values"]),
            ("subsets", ["score_samples"]),
            ("one member", ["score_samples"]),
            ("novelty", ["predict"]),
        ],
    )
    def test_models_agree_for_batches_of_all_sizes(self, case, methods):
        detector, X = fitted(case), np.tile(rows_of(case), (3, 1))
        model = to_onnx(detector, method=methods, dtype="float64")
        # What methods have in common is there once.
        assert len(model.graph.node) < 200
        for n in (1, 2, 7, 1000):
            results = self.run(model, X[:n])
            for method, result in zip(methods, results, strict=True):
                close(result, getattr(detector, method)(X[:n]), method, detector)
