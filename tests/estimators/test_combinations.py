"""Every combination of one part per axis fits, or is refused by the names of both."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from skae import AutoencoderTransformer
from skae.parts.base import Architecture, Codec, Likelihood, Prior
from skae.parts.categorical import Categorical
from skae.parts.conv import Conv
from skae.parts.corruption import GaussianNoise, MaskingNoise
from skae.parts.dense import Dense
from skae.parts.likelihoods import Bernoulli, Gaussian, LearnedGaussian
from skae.parts.penalties import Contraction, KLSparsity, L1Sparsity
from skae.parts.priors import StandardNormal
from skae.parts.recurrent import Recurrent
from skae.parts.student_t import StudentT

N, D, K = 24, 16, 3
X = np.random.default_rng(0).uniform(0.02, 0.98, (N, D))


class Affine(Architecture):
    """A user's architecture: one affine map each way, of the widths that are given."""

    def build(self, n_features, n_components, *, generator):
        codec = AffineCodec(n_features, n_components)
        with torch.no_grad():
            for parameter in codec.parameters():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        return codec


class AffineCodec(Codec):
    def __init__(self, n_features, n_components):
        super().__init__()
        self.n_components = n_components
        self.down = nn.Linear(n_features, n_components)
        self.up = nn.Linear(n_components, n_features)

    def encode(self, x, context=None):
        return self.down(x)

    def decode(self, z, context=None):
        return self.up(z)

    def last_parameters(self):
        return list(self.parameters())


class Laplace(Likelihood):
    """A user's likelihood of as many outputs as features."""

    def nll(self, raw, x):
        return ((raw - x).abs() + math.log(2)).sum(-1)

    def mean(self, raw):
        return raw


class TwoMoments(Likelihood):
    """A user's likelihood of two outputs a feature: a mean and a log-variance."""

    starts_as_pca = False

    def n_outputs(self, n_features):
        return 2 * n_features

    def nll(self, raw, x):
        mean, log_var = raw.unflatten(-1, (-1, 2)).unbind(-1)
        return 0.5 * (log_var + (x - mean) ** 2 * (-log_var).exp()).sum(-1)

    def mean(self, raw):
        return raw.unflatten(-1, (-1, 2))[..., 0]


class LaplaceCode(Prior):
    """A user's prior: codes without chance that pay as under a Laplace density."""

    def draw(self, h, generator):
        return h

    def divergence(self, h):
        return h.abs().sum(-1)


def halved(x, generator):
    """A user's corruption, of samples in their shape."""
    return x * torch.rand(x.shape[:1], generator=generator).view(
        -1, *[1] * (x.ndim - 1)
    )


def modules(likelihood, prior, penalty):
    """A pair of modules of the widths that the other parts ask for."""
    n_outputs = 2 * K if prior == "normal" else K
    n_raw = 2 * D if likelihood in TWO_OUTPUTS else D
    encoder = [nn.Linear(D, 8), nn.Tanh(), nn.Linear(8, n_outputs)]
    encoder += [nn.Sigmoid()] * (penalty == "kl")
    decoder = nn.Sequential(nn.Linear(K, 8), nn.Tanh(), nn.Linear(8, n_raw))
    return nn.Sequential(*encoder), decoder


def dense(likelihood, prior, penalty):
    return Dense((8,), code_activation="logistic" if penalty == "kl" else "identity")


ARCHITECTURES = {
    "dense": dense,
    "pair": modules,
    "conv": lambda *_: Conv((1, 4, 4), kernel_size=2, stride=2, channels=(4,)),
    "recurrent": lambda *_: Recurrent((8, 2), hidden_size=8),
    "own": lambda *_: Affine(),
}
LIKELIHOODS = {
    "gaussian": Gaussian,
    "bernoulli": Bernoulli,
    "learned": lambda: LearnedGaussian("per_feature"),
    "own": Laplace,
    "two_moments": TwoMoments,
    "student_t": StudentT,
    "categorical": lambda: Categorical(n_classes=2),
}
# Those of two outputs a feature, which have no linear start.
TWO_OUTPUTS = {"two_moments": "TwoMoments", "categorical": "Categorical"}
PRIORS = {"none": lambda: None, "normal": StandardNormal, "own": LaplaceCode}
CORRUPTIONS = {
    "none": lambda: None,
    "gaussian": GaussianNoise,
    "masking": MaskingNoise,
    "own": lambda: halved,
}
PENALTIES = {
    "none": lambda: None,
    "l1": L1Sparsity,
    "contraction": Contraction,
    "kl": KLSparsity,
}


def names_of_refusal(architecture, penalty, likelihood, prior, init):
    """What the error names where parts contradict each other, or None.

    All of it is known before training, and nothing depends on the corruption.
    """
    if likelihood in TWO_OUTPUTS:
        name = f"likelihood={TWO_OUTPUTS[likelihood]}"
        if init == "pca":
            return "init='pca'", name
        if architecture == "own":
            return "architecture=Affine", name, "n_raw"
    if architecture == "own" and prior == "normal":
        return "architecture=Affine", "prior=StandardNormal", "n_outputs"
    if penalty != "kl":
        return None
    if architecture == "dense":
        # Its code is logistic, which no linear path leads to.
        return ("code_activation='logistic'", "init=") if init == "pca" else None
    if architecture == "pair" and init == "random":
        # Its encoder ends in a Sigmoid.
        return None
    if architecture == "own" and init == "random":
        return "KLSparsity", "Sigmoid"
    return "KLSparsity", "code_activation='identity'"


def fitted(architecture, corruption, penalty, likelihood, prior, **options):
    return AutoencoderTransformer(
        # A pair decides the width itself.
        n_components=K,
        architecture=ARCHITECTURES[architecture](likelihood, prior, penalty),
        corruption=CORRUPTIONS[corruption](),
        penalty=PENALTIES[penalty](),
        likelihood=LIKELIHOODS[likelihood](),
        prior=PRIORS[prior](),
        max_iter=1,
        random_state=0,
        **options,
    ).fit(rows_for(likelihood))


def rows_for(likelihood):
    return X.round() if likelihood == "categorical" else X


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_combination_fits_or_is_refused_by_name(architecture, likelihood, prior):
    chosen = itertools.product(enumerate(CORRUPTIONS), enumerate(PENALTIES))
    shift = list(PRIORS).index(prior)
    for (row, corruption), (column, penalty) in chosen:
        # Either start meets every pair of parts.
        init = ("pca", "random")[(row + column + shift) % 2]
        parts = architecture, corruption, penalty, likelihood, prior
        # Some are judged by held-out rows, those of dense models by folds.
        options = {"init": init, "early_stopping": row == column == 2}
        names = names_of_refusal(architecture, penalty, likelihood, prior, init)
        if names is not None:
            with pytest.raises(ValueError, match=".*".join(map(re.escape, names))):
                fitted(*parts, **options)
            continue
        model, rows = fitted(*parts, **options), rows_for(likelihood)
        reconstruction = model.reconstruct(rows)
        assert reconstruction.shape == rows.shape, parts
        assert np.isfinite(reconstruction).all(), parts
        assert model.transform(rows).shape == (N, K), parts
        assert np.isfinite(model.score_samples(rows)).all(), parts
