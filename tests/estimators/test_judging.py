"""Fitted autoencoders say by which likelihood they judge."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import skae
from skae import (
    AutoencoderTransformer,
    ConditionalVAE,
    ConvAE,
    RecurrentAE,
    VariationalAE,
)
from skae.parts.base import Likelihood
from skae.parts.likelihoods import Bernoulli, Gaussian

NUMBERS = np.random.default_rng(0)
GREY = NUMBERS.random((40, 8, 8))
BLACK_AND_WHITE = np.round(GREY)
BRIEF = {"max_iter": 1, "random_state": 0, "early_stopping": False}


class Laplace(Likelihood):
    def nll(self, raw, x):
        return (raw - x).abs().sum(-1)

    def mean(self, raw):
        return raw


class Halved(Gaussian):
    def nll(self, raw, x):
        return super().nll(raw, x) / 2


def test_auto_says_what_it_chose():
    for X, name in ((GREY, "gaussian"), (BLACK_AND_WHITE, "bernoulli")):
        ae = ConvAE(4, **BRIEF)
        assert not hasattr(ae, "likelihood_")
        with pytest.raises(NotFittedError, match="ConvAE"):
            ae.likelihood_  # noqa: B018
        assert ae.fit(X).likelihood_ == name
        assert ae.likelihood == "auto"


def test_later_rows_are_judged_as_the_first():
    ae = ConvAE(4, random_state=0)
    for X in (BLACK_AND_WHITE, GREY):
        assert ae.partial_fit(X).likelihood_ == "bernoulli"


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "student_t"])
def test_names_stand_for_themselves(likelihood, tmp_path):
    X, y = GREY.reshape(40, -1), np.arange(40) % 2
    options = {"likelihood": likelihood, **BRIEF}
    path = tmp_path / "model"
    for estimator in (
        AutoencoderTransformer(2, init="random", **options),
        VariationalAE(2, **options),
        ConditionalVAE(2, **options),
        RecurrentAE(2, **options),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(X, y)
        assert estimator.likelihood_ == likelihood
        skae.save(estimator, path)
        assert skae.load(path).likelihood_ == likelihood


def test_parts_are_named_where_they_have_a_name():
    X = GREY.reshape(40, -1)
    for part, name in ((Gaussian(), "gaussian"), (Bernoulli(), "bernoulli")):
        ae = AutoencoderTransformer(2, init="random", likelihood=part, **BRIEF)
        assert ae.fit(X).likelihood_ == name
    for part in (Laplace(), Halved()):
        ae = AutoencoderTransformer(2, init="random", likelihood=part, **BRIEF).fit(X)
        assert isinstance(ae.likelihood_, type(part))
        assert ae.likelihood_ is ae.net_.likelihood


def test_a_subclass_is_trained_by_its_own_likelihood():
    X = GREY.reshape(40, -1)
    losses = [
        AutoencoderTransformer(2, init="random", likelihood=likelihood, **BRIEF)
        .fit(X)
        .loss_curve_[0]
        for likelihood in (Halved(), "gaussian")
    ]
    assert losses[0] < 0.75 * losses[1]
