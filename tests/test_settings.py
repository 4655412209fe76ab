"""The settings of torch that a process or a thread has, and every estimator.

None of them changes a result, and none is changed.
"""

import contextlib
import inspect

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone, is_classifier
from threadpoolctl import threadpool_info

import skae

ESTIMATORS = {
    name: value()
    for name, value in ((name, getattr(skae, name)) for name in skae.__all__)
    if inspect.isclass(value) and issubclass(value, BaseEstimator)
}
VARIANTS = {
    "images from PCA": skae.ConvAE(2, sample_shape=(1, 4, 4)),
    "sequences from PCA": skae.RecurrentAE(2, sample_shape=(4, 4)),
    "linear from random weights": skae.AutoencoderTransformer(
        2, init="random", hidden_layer_sizes=(), activation="identity"
    ),
    "dense from random weights": skae.AutoencoderTransformer(2, init="random"),
    "a mixture to match": skae.AdversarialAE(prior="mixture"),
    "a density of codes": skae.VariationalAE(2, code_density="mixture"),
    "masking": skae.DenoisingAE(2, noise="masking", likelihood="student_t"),
    "an autoencoder as judge": skae.AEOutlierDetector(
        estimator=skae.AutoencoderTransformer(2, max_iter=2)
    ),
    "convolutional GAN": skae.GAN(architecture="conv", sample_shape=(1, 4, 4)),
}
CASES = ESTIMATORS | VARIANTS

# Noise, and few rows of it, has nothing to learn.
pytestmark = [
    pytest.mark.filterwarnings("ignore:No weights were better on held-out"),
    pytest.mark.filterwarnings("ignore:The linear autoencoder did not converge"),
]


@contextlib.contextmanager
def setting(change, value, before):
    change(value)
    try:
        yield
    finally:
        change(before)


SETTINGS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default dtype": lambda: setting(
        torch.set_default_dtype, torch.float64, torch.float32
    ),
    "default device": lambda: setting(torch.set_default_device, "meta", None),
    "deterministic": lambda: setting(torch.use_deterministic_algorithms, True, False),
    "threads": lambda: setting(torch.set_num_threads, 3, torch.get_num_threads()),
}


def settings():
    """What torch and the BLAS libraries have set now."""
    return {
        **{each["filepath"]: each["num_threads"] for each in threadpool_info()},
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "random numbers": torch.get_rng_state().numpy().tobytes(),
    }


def results(name):
    """What a brief fit, and what can be called afterwards, results in."""
    X = np.random.default_rng(0).normal(size=(60, 16))
    y = np.arange(60) % 3
    estimator = clone(CASES[name]).set_params(max_iter=2, random_state=0)
    if is_classifier(estimator):
        estimator.set_params(pretrain_max_iter=2)
        estimator.fit(X, np.where(np.arange(60) < 30, y, -1))
        return [estimator.predict_proba(X), estimator.transform(X)]
    labels = (y,) if isinstance(estimator, skae.ConditionalVAE) else ()
    estimator.fit(X, *labels)
    found = [estimator.score_samples(X, *labels)]
    for method in ("transform", "reconstruct", "explain", "corrupt"):
        if hasattr(estimator, method):
            found.append(getattr(estimator, method)(X, *labels))
    if hasattr(estimator, "sample"):
        found.append(estimator.sample(3, random_state=0))
    return found


@pytest.fixture(scope="module")
def expected():
    return {name: results(name) for name in CASES}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("changed", SETTINGS)
def test_settings_change_nothing_and_stay(name, changed, expected):
    with SETTINGS[changed]():
        before = settings()
        found = results(name)
        assert settings() == before
    for mine, other in zip(found, expected[name], strict=True):
        np.testing.assert_array_equal(mine, other)
