"""`SparseAE` and `ContractiveAE`: autoencoders whose codes pay a penalty."""

from numbers import Real
from typing import Any

import numpy as np

from skae.estimators.base import BaseAutoencoder
from skae.estimators.parameters import (
    AUTO,
    DenseParameters,
    at_least,
    choice,
    estimator,
    parameter,
    share,
)
from skae.fitting.defaults import defaults_from_random
from skae.parts.penalties import Contraction, KLSparsity, L1Sparsity
from skae.rows.sources import RowSource

__all__ = ["ContractiveAE", "SparseAE"]


@estimator
class Penalised(DenseParameters, BaseAutoencoder):
    """Dense autoencoders with one penalty, whose code has the layers' activation."""

    def _parts(self, X):
        return self._parts_of(
            X,
            self._dense(self.activation),
            defaults_from_random,
            columns_apart=True,
            penalties=(self._penalty(X),),
        )


@estimator
class SparseAE(Penalised):
    """Autoencoder whose code units are rarely active.

    Parameters
    ----------
    sparsity : float, default=0.05
        Mean activity that each code unit is pulled to, in (0, 1). Only for
        ``kind="kl"``.
    sparsity_weight : "auto" or float, default="auto"
        Nats per sample for one nat of divergence, or for one unit of activity. "auto"
        is n_features / (2 n_components): one nat in every code unit then costs what a
        Gaussian likelihood takes for a reconstruction by the mean.
    kind : {"kl", "l1"}, default="kl"
        Kullback-Leibler divergence between Bernoulli distributions with the target and
        with the mean activity of a batch (Ng 2011, CS294A notes), which needs
        ``activation="logistic"``; or the sum of the magnitudes of the code.
    activation : {"identity", "logistic", "tanh", "relu", "silu", "gelu"}, \
default="logistic"
        Activation of the hidden layers and of the code.

    Attributes
    ----------
    activity_ : ndarray of shape (n_components_,)
        Mean code of the training samples.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import SparseAE
    >>> X, _ = load_digits(return_X_y=True)
    >>> ae = SparseAE(64, sparsity=0.1, random_state=0).fit(X)
    >>> bool(abs(ae.activity_.mean() - 0.1) < 0.05)
    True
    """

    sparsity: float = parameter(0.05, share())
    sparsity_weight: Any = parameter("auto", AUTO, at_least(0, Real))
    kind: str = parameter("kl", choice("kl", "l1"))
    activation: str = parameter("logistic")

    def _penalty(self, X):
        weight = self.sparsity_weight
        if isinstance(weight, str):
            weight = X.shape[1] / (2 * self.n_components)
        if self.kind == "l1":
            return L1Sparsity(weight)
        if self.activation == "logistic":
            return KLSparsity(self.sparsity, weight)
        raise ValueError(
            "kind='kl' needs activation='logistic', whose activities lie in "
            f"(0, 1); got activation={self.activation!r}. Use kind='l1' with it."
        )

    def _after(self, fitting):
        X, weight = fitting.X, fitting.weight
        if not isinstance(X, RowSource):
            self.activity_ = np.average(self._encoded(X), axis=0, weights=weight)
            return
        weight = np.ones(len(X)) if weight is None else weight
        # The codes of all rows may not fit into memory.
        sums = [weight[rows] @ self._encoded(block) for rows, block in X.blocks()]
        self.activity_ = np.sum(sums, axis=0) / weight.sum()


@estimator
class ContractiveAE(Penalised):
    """Autoencoder whose code changes little with the input (Rifai et al. 2011, ICML).

    The penalty is the squared Frobenius norm of the encoder's Jacobian at the training
    samples: in closed form without hidden layers, else exact for codes of up to 32
    entries and an unbiased estimate from 8 random projections beyond.

    Parameters
    ----------
    contraction : float, default=1.0
        Nats per sample for one unit of the norm, for X divided by its root mean
        variance.
    activation : {"identity", "logistic", "tanh", "relu", "silu", "gelu"}, \
default="relu"
        Activation of the hidden layers and of the code; Rifai et al. have "logistic".
    tied_weights : bool, default=True
        Whether the decoder uses the transposes of the encoder's weights. Free decoder
        weights could make up for any contraction of the encoder.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import ContractiveAE
    >>> X, _ = load_digits(return_X_y=True)
    >>> ae = ContractiveAE(64, random_state=0).fit(X)
    >>> ae.transform(X).shape
    (1797, 64)
    """

    contraction: float = parameter(1.0, at_least(0, Real))
    activation: str = parameter("relu")
    tied_weights: bool = parameter(True)

    def _penalty(self, X):
        return Contraction(self.contraction)
