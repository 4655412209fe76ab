"""Do exported models compute what estimators do, and how fast are they?

Every estimator, fitted to the digits (as rows, images, or sequences of eight pixels a
step) and a Pipeline(StandardScaler, AutoencoderTransformer, LogisticRegression), its
ONNX model in ONNX Runtime beside skae, on one thread, for 1,000 rows in float32. The
difference is the largest one over the spread of skae's results, in rows of any batch
size; times are the shortest of several turns that both take.

    python benchmarks/onnx.py [NAME...]
"""

import sys
from pathlib import Path

import numpy as np
from report import one_thread, print_table, progress, save, seconds

# This script is not the package of its name.
sys.path.remove(str(Path(__file__).parent))

import onnxruntime
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skae
from skae.export import to_onnx

N_ROWS, N_TURNS, N_SINGLE = 1000, 5, 100
GOAL = 1e-5
X, Y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
IMAGES = X.reshape(-1, 8, 8)
SEQUENCES = IMAGES.copy()
SEQUENCES[::3, 6:] = np.nan
NAMES = np.array("zero one two three four five six seven eight nine".split())[Y]
SHORT = {"max_iter": 20, "random_state": 0}
CODES = ("transform", "inverse_transform", "reconstruct", "score_samples")
# What is fitted to which rows and labels, and its methods.
CASES = {
    "AutoencoderTransformer": (
        skae.AutoencoderTransformer(8, random_state=0),
        (X,),
        CODES,
    ),
    "AutoencoderTransformer, linear": (
        skae.AutoencoderTransformer(8, activation="identity"),
        (X,),
        ("transform", "reconstruct"),
    ),
    "AutoencoderTransformer, Student's t": (
        skae.AutoencoderTransformer(8, likelihood="student_t", **SHORT),
        (X,),
        ("score_samples",),
    ),
    "DenoisingAE": (skae.DenoisingAE(64, **SHORT), (X,), ("transform", "denoise")),
    "SparseAE": (skae.SparseAE(64, **SHORT), (X,), ("transform", "reconstruct")),
    "ContractiveAE": (skae.ContractiveAE(64, **SHORT), (X,), CODES[:1]),
    "AdversarialAE": (skae.AdversarialAE(2, **SHORT), (X,), ("transform", "sample")),
    "VariationalAE": (
        skae.VariationalAE(10, likelihood="bernoulli", **SHORT),
        (X,),
        (*CODES, "sample"),
    ),
    "ConditionalVAE": (skae.ConditionalVAE(10, **SHORT), (X, NAMES), CODES),
    "ConvAE": (skae.ConvAE(16, kernel_size=3, stride=2, **SHORT), (IMAGES,), CODES),
    "RecurrentAE, LSTM": (skae.RecurrentAE(8, **SHORT), (SEQUENCES,), CODES),
    "RecurrentAE, GRU": (
        skae.RecurrentAE(8, cell="gru", n_layers=2, init="random", **SHORT),
        (SEQUENCES,),
        ("transform", "reconstruct"),
    ),
    "GAN": (skae.GAN(**SHORT), (X, Y), ("sample", "score_samples")),
    "StackedAEClassifier": (
        skae.StackedAEClassifier(
            (100, 50), pretrain_max_iter=5, max_iter=20, random_state=0
        ),
        (X, NAMES),
        ("transform", "reconstruct", ("predict", "predict_proba")),
    ),
    "AEOutlierDetector": (
        skae.AEOutlierDetector(random_state=0),
        (X,),
        (("predict", "decision_function"), "score_samples"),
    ),
    "AEOutlierDetector, novelty": (
        skae.AEOutlierDetector(novelty=True, random_state=0),
        (X,),
        (("predict", "decision_function"),),
    ),
}
PIPELINE = "StandardScaler, AutoencoderTransformer, LogisticRegression"


def main(names):
    lines = []
    with one_thread():
        for name, (estimator, data, methods) in CASES.items():
            if names and not any(wanted in name for wanted in names):
                continue
            estimator.fit(*data)
            for method in methods:
                lines.append(line_of(name, estimator, data, method))
                progress(f"{name}, {method}: {lines[-1]['difference']:.1e}")
        if not names or "Pipeline" in names:
            lines.append(line_of_pipeline())
    print_table("ONNX Runtime against skae on one thread", lines)
    worst = max(line["difference"] for line in lines)
    equal = all(line["labels equal"] is not False for line in lines)
    print(f"\nlargest difference {worst:.1e}, goal {GOAL:g}; labels equal: {equal}")
    if not names:
        summary = [{"models": len(lines), "largest difference": worst, "labels": equal}]
        save("onnx", summary=summary, models=lines)
    return worst <= GOAL and equal


def line_of(name, estimator, data, method):
    """Difference and times of one model."""
    spent, model = seconds(lambda: to_onnx(estimator, method=method))
    methods = (method,) if isinstance(method, str) else method
    inputs = inputs_of(estimator, data, methods[0])

    def ours(*inputs):
        return [result_of(estimator, method, inputs) for method in methods]

    return {
        "estimator": name,
        "method": ", ".join(methods),
        "export s": spent,
        **compared(model, ours, inputs),
    }


def inputs_of(estimator, data, method):
    """1,000 samples, or codes, and their y where the model takes it."""
    rows, *y = (part[:N_ROWS] for part in data)
    function = estimator.to_torch(method)
    y = [part.astype(object) if part.dtype.kind == "U" else part for part in y]
    y = y if function.condition is not None else []
    if method == "inverse_transform" or (method == "sample" and has_codes(estimator)):
        return [estimator.transform(rows, *y).astype(np.float32), *y]
    if method == "sample":
        shape = N_ROWS, estimator.n_components_
        return [np.random.default_rng(0).normal(size=shape).astype(np.float32), *y]
    return [rows, *y]


def has_codes(estimator):
    return hasattr(estimator, "inverse_transform")


def result_of(estimator, method, inputs):
    if method != "sample":
        return getattr(estimator, method)(*inputs)
    if has_codes(estimator):
        return estimator.inverse_transform(*inputs)
    # A GAN draws its noise itself.
    with torch.no_grad():
        return estimator.to_torch("sample")(*map(torch.from_numpy, inputs)).numpy()


def compared(model, ours, inputs):
    """Size, differences and microseconds a row of a model and of skae."""
    session = session_of(model)
    names = [each.name for each in session.get_inputs()]

    def theirs(*inputs):
        return session.run(None, dict(zip(names, inputs, strict=True)))

    differences, equal = [], None
    for batch in (inputs, [part[:1] for part in inputs], [part[:7] for part in inputs]):
        for result, expected in zip(theirs(*batch), ours(*batch), strict=True):
            if expected.dtype.kind not in "fc":
                equal = bool(np.all(result == expected)) and equal is not False
                continue
            if len(expected) == N_ROWS:
                spread = np.nanmax(expected) - np.nanmin(expected)
            differences.append(largest(result, expected) / spread)
    times = {}
    for size, n_calls in ((1, N_SINGLE), (N_ROWS, 1)):
        batch = [part[:size] for part in inputs]
        turns = [
            [seconds(repeat, each, batch, n_calls)[0] for each in (ours, theirs)]
            for _ in range(N_TURNS)
        ]
        ours_s, theirs_s = np.min(turns, axis=0) / (n_calls * size)
        times[f"skae us, {size}"] = 1e6 * float(ours_s)
        times[f"ONNX us, {size}"] = 1e6 * float(theirs_s)
    return {
        "kB": len(model.SerializeToString()) / 1e3,
        "difference": float(max(differences)),
        "labels equal": equal,
        **times,
    }


def largest(result, expected):
    return float(np.nanmax(np.abs(result.astype(float) - expected.astype(float))))


def repeat(call, inputs, n_calls):
    for _ in range(n_calls):
        call(*inputs)


def session_of(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def line_of_pipeline():
    """The whole pipeline, by skl2onnx and the converters of `skae.export`."""
    pipeline = make_pipeline(
        StandardScaler(),
        skae.AutoencoderTransformer(8, random_state=0),
        LogisticRegression(max_iter=1000),
    ).fit(X, NAMES)
    spent, model = seconds(lambda: to_onnx(pipeline, X=X))

    def ours(rows):
        return [pipeline.predict(rows), pipeline.predict_proba(rows)]

    return {
        "estimator": f"Pipeline({PIPELINE})",
        "method": "predict, predict_proba",
        "export s": spent,
        **compared(model, ours, [X[:N_ROWS]]),
    }


if __name__ == "__main__":
    sys.exit(not main(sys.argv[1:]))
