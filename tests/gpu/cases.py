"""Every exported estimator with rows for it, and what its methods return.

`check_estimators` and `test_cuda` compare devices by these.
"""

import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator

import skae

__all__ = ["METHODS", "assert_alike", "cases", "devices_of", "on", "uses"]

DIGITS = load_digits()
X, Y = DIGITS.data[:100] / 16, DIGITS.target[:100] % 3
IMAGES = X.reshape(-1, 8, 8)
FEW = np.where(np.arange(len(Y)) < 40, Y, -1)
SHORT = {"max_iter": 1, "random_state": 0}
# Some epochs, for ensembles.
BRIEF = {"max_iter": 3, "random_state": 0}


def cases(device):
    """Estimators with their data, by name; inner ones are on the device."""
    return {
        "AutoencoderTransformer": (skae.AutoencoderTransformer(3, **SHORT), X),
        "Bernoulli": (
            skae.AutoencoderTransformer(3, likelihood="bernoulli", **SHORT),
            X,
        ),
        "linear": (skae.AutoencoderTransformer(3, activation="identity", **SHORT), X),
        "DenoisingAE": (skae.DenoisingAE(3, **SHORT), X),
        "masking": (skae.DenoisingAE(3, noise="masking", **SHORT), X),
        "peppering": (skae.DenoisingAE(3, noise="salt_and_pepper", **SHORT), X),
        "SparseAE": (skae.SparseAE(9, **SHORT), X),
        "ContractiveAE": (skae.ContractiveAE(3, **SHORT), X),
        "ConvAE": (skae.ConvAE(3, channels=(4,), **SHORT), IMAGES),
        "RecurrentAE": (skae.RecurrentAE(3, hidden_size=4, **SHORT), IMAGES[:60]),
        "GRU": (skae.RecurrentAE(3, hidden_size=4, cell="gru", **SHORT), IMAGES[:60]),
        "VariationalAE": (skae.VariationalAE(3, code_density="mixture", **SHORT), X),
        "ConditionalVAE": (skae.ConditionalVAE(3, **SHORT), X, Y),
        "AdversarialAE": (skae.AdversarialAE(2, prior="swiss_roll", **SHORT), X),
        "GAN": (skae.GAN(3, replay=0.5, minibatch_discrimination=True, **SHORT), X, Y),
        "convolutional GAN": (
            skae.GAN(3, architecture="conv", channels=(4,), **SHORT),
            IMAGES,
        ),
        "growing GAN": (
            skae.GAN(3, architecture="progressive", channels=(4,), **SHORT),
            IMAGES,
        ),
        "GAN by styles": (
            skae.GAN(3, architecture="style", channels=(4,), **SHORT),
            IMAGES,
        ),
        "AEOutlierDetector": (
            skae.AEOutlierDetector(n_estimators=4, random_state=0),
            X,
        ),
        "features": (
            skae.AEOutlierDetector(n_estimators=4, max_features=0.5, **BRIEF),
            X,
        ),
        "novelty": (
            skae.AEOutlierDetector(n_estimators=4, novelty=True, **BRIEF),
            X,
        ),
        "few rows": (skae.AEOutlierDetector(n_estimators=4, **BRIEF), X[:25]),
        "reconstruction": (
            skae.AEOutlierDetector(
                estimator=skae.VariationalAE(3, device=device, **SHORT), random_state=0
            ),
            X,
        ),
        # With seed 0 a rectifier is within rounding of zero on some processors.
        "StackedAEClassifier": (
            skae.StackedAEClassifier(
                (8, 6), pretrain_max_iter=1, **SHORT | {"random_state": 1}
            ),
            X,
            FEW,
        ),
        "classifier on images": (
            skae.StackedAEClassifier(
                (6,),
                encoder=_encoder(),
                pretrain_max_iter=1,
                early_stopping=True,
                **SHORT,
            ),
            X,
            Y,
        ),
    }


_EXPORTED = {skae.StackedAEClassifier: "predict_proba"}
# In this order: the last ones change the estimator.
METHODS = {
    "transform": lambda m, X, *y: m.transform(X),
    "inverse_transform": lambda m, X, *y: m.inverse_transform(
        m.transform(X)[:5], *(part[:5] for part in y if _is_conditional(m))
    ),
    "reconstruct": lambda m, X, *y: m.reconstruct(X),
    "score_samples": lambda m, X, *y: m.score_samples(X),
    "score": lambda m, X, *y: m.score(X, *y),
    "corrupt": lambda m, X, *y: m.corrupt(X),
    "denoise": lambda m, X, *y: m.denoise(X),
    "sample": lambda m, X, *y: m.sample(5),
    "styles": lambda m, X, *y: m.styles(5, random_state=0),
    "from_styles": lambda m, X, *y: m.from_styles(_styles(m)),
    "mix": lambda m, X, *y: m.mix(_styles(m), _styles(m)[::-1], 1),
    "project": lambda m, X, *y: m.project(X[:2], n_steps=1)[1],
    "interpolate": lambda m, X, *y: m.interpolate(*_ends(m, X)),
    "augment": lambda m, X, *y: m.augment(X, *y, 5)[0] if y else None,
    "discriminate": lambda m, X, *y: m.discriminate(X),
    "decision_function": lambda m, X, *y: m.decision_function(X),
    "predict": lambda m, X, *y: m.predict(X),
    "predict_proba": lambda m, X, *y: m.predict_proba(X),
    "predict_log_proba": lambda m, X, *y: m.predict_log_proba(X),
    "p_values": lambda m, X, *y: m.p_values(X),
    "explain": lambda m, X, *y: m.explain(X[:2]),
    "to_torch": lambda m, X, *y: (
        m.to_torch(_EXPORTED.get(type(m), "score_samples")) and None
    ),
    "drift": lambda m, X, *y: m.drift(X).p_value,
    "tune_threshold": lambda m, X, *y: (
        m.tune_threshold(X, np.arange(len(X)) % 9 == 0).offset_
    ),
    "set_alert_rate": lambda m, X, *y: m.set_alert_rate(0.1).offset_,
    "refresh": lambda m, X, *y: m.refresh(X).offset_,
}


def on(model, device):
    return clone(model).set_params(device=device)


def uses(model, *data):
    """What the methods of a fitted model return."""
    return {
        name: use(model, *data)
        for name, use in METHODS.items()
        if callable(getattr(model, name, None))
    }


def devices_of(value, depth=0):
    """Devices of the tensors that a value holds."""
    if isinstance(value, torch.Tensor):
        return {value.device.type}
    if isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    else:
        parts = vars(value).values() if hasattr(value, "__dict__") else ()
    if depth > 8:
        return set()
    return set().union(*(devices_of(part, depth + 1) for part in parts))


def assert_alike(result, expected, what, tolerance=1e-3):
    if expected is None:
        return
    result, expected = (np.asarray(value, dtype=float) for value in (result, expected))
    spread = np.nanstd(expected) or 1.0
    np.testing.assert_allclose(
        result, expected, rtol=0, atol=tolerance * spread, err_msg=what
    )


def _styles(model):
    return model.styles(4, random_state=0)


def _ends(model, X):
    return _styles(model)[:2] if isinstance(model, skae.GAN) else X[:2]


def _is_conditional(model):
    return isinstance(model, skae.ConditionalVAE)


def _encoder():
    conv = skae.ConvAE(4, sample_shape=(1, 8, 8), channels=(2,), device="cpu", **SHORT)
    return FrozenEstimator(conv.fit(IMAGES))
