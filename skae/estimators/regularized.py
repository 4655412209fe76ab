"""`SparseAE` and `ContractiveAE`: autoencoders whose codes pay a penalty."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from skae.estimators.base import BaseAutoencoder
from skae.estimators.naming import Parts, hidden_widths, part_of
from skae.parts.activations import ACTIVATIONS
from skae.parts.base import Likelihood
from skae.parts.dense import Dense
from skae.parts.likelihoods import LIKELIHOODS
from skae.parts.penalties import Contraction, KLSparsity, L1Sparsity
from skae.training.defaults import defaults_from_random

__all__ = ["ContractiveAE", "SparseAE"]

_DENSE_CONSTRAINTS = {
    "n_components": [Interval(Integral, 1, None, closed="left")],
    "hidden_layer_sizes": [tuple, list, np.ndarray, Integral],
    "activation": [StrOptions(set(ACTIVATIONS))],
    "tied_weights": ["boolean"],
    "likelihood": [StrOptions(set(LIKELIHOODS)), HasMethods(["nll", "mean"])],
}


class SparseAE(BaseAutoencoder):
    """Autoencoder whose code units are rarely active.

    Parameters
    ----------
    n_components : int, default=100
        Width of the code; may exceed n_features.
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
    hidden_layer_sizes : int or tuple of int, default=()
        Widths between the input and the code; the decoder mirrors them.
    activation : {"identity", "logistic", "tanh", "relu", "silu", "gelu"}, \
default="logistic"
        Activation of the hidden layers and of the code.
    tied_weights : bool, default=False
        Whether the decoder uses the transposes of the encoder's weights.
    likelihood : {"gaussian", "bernoulli"} or likelihood part, default="gaussian"
        How reconstructions are judged: squared error, or cross-entropy for X in
        [0, 1].
    alpha : "auto" or float, default="auto"
        Decoupled weight decay of the weights, per unit of learning rate. Raise it
        against overfitting.
    batch_size : "auto" or int, default="auto"
        Samples a training step.
    learning_rate_init : "auto" or float, default="auto"
        Peak learning rate of AdamW; it rises over the first 5% of the steps and falls
        as a cosine.
    max_iter : int, default=None
        Epochs, passes over the training samples. None takes as many as suit the shape
        of X.
    early_stopping : bool, default=True
        Hold out samples to choose the weights of the best epoch and to stop. False
        trains on all samples and keeps the epoch of the lowest training loss.
    validation_fraction : float, default=0.15
        Share of the samples held out, 1,000 at most.
    n_iter_no_change : int, default=10
        Evaluations without improvement by ``tol`` after which training stops.
    tol : float, default=1e-4
        Relative improvement of the held-out loss that counts.
    warm_start : bool, default=False
        Continue from the previous fit's weights.
    device : str, default="auto"
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    callbacks : list of skorch callbacks, default=None
        Notified by the training loop. The learning rate follows the estimator's own
        schedule, and there is no dataset: LRScheduler and EpochScoring are refused.
    verbose : int, default=0
        One shows a progress bar and leaves a line on how the training went.
    random_state : int, RandomState or None, default=None
        Decides everything random.

    Attributes
    ----------
    n_components_ : int
        Width of the code.
    activity_ : ndarray of shape (n_components_,)
        Mean code of the training samples.
    net_ : Module
        The trained torch module; it sees centred and scaled rows.
    mean_ : ndarray of shape (n_features,)
        Mean of the training samples.
    n_iter_ : int
        Epochs of training, also of those that led to this fit.
    epochs_ : ndarray of shape (n_evaluations,)
        When the losses below were noted, in epochs and fractions of them.
    loss_curve_ : list of float
        Training loss at each evaluation, nats per sample of the scaled rows.
    validation_scores_ : list of float or None
        Minus the held-out loss at each evaluation; None without held-out samples.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only when X has string column names.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import SparseAE
    >>> X, _ = load_digits(return_X_y=True)
    >>> ae = SparseAE(64, sparsity=0.1, random_state=0).fit(X)
    >>> bool(abs(ae.activity_.mean() - 0.1) < 0.05)
    True
    """

    _parameter_constraints: dict = {
        **BaseAutoencoder._parameter_constraints,
        **_DENSE_CONSTRAINTS,
        "sparsity": [Interval(Real, 0, 1, closed="neither")],
        "sparsity_weight": [
            StrOptions({"auto"}),
            Interval(Real, 0, None, closed="left"),
        ],
        "kind": [StrOptions({"kl", "l1"})],
    }

    def __init__(
        self,
        n_components=100,
        *,
        sparsity=0.05,
        sparsity_weight="auto",
        kind="kl",
        hidden_layer_sizes=(),
        activation="logistic",
        tied_weights=False,
        likelihood="gaussian",
        alpha="auto",
        batch_size="auto",
        learning_rate_init="auto",
        max_iter=None,
        early_stopping=True,
        validation_fraction=0.15,
        n_iter_no_change=10,
        tol=1e-4,
        warm_start=False,
        device="auto",
        callbacks=None,
        verbose=0,
        random_state=None,
    ):
        self.n_components = n_components
        self.sparsity = sparsity
        self.sparsity_weight = sparsity_weight
        self.kind = kind
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.tied_weights = tied_weights
        self.likelihood = likelihood
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.device = device
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    def _parts(self, X):
        weight = self.sparsity_weight
        if isinstance(weight, str):
            weight = X.shape[1] / (2 * self.n_components)
        if self.kind == "l1":
            penalty = L1Sparsity(weight)
        elif self.activation == "logistic":
            penalty = KLSparsity(self.sparsity, weight)
        else:
            raise ValueError(
                "kind='kl' needs activation='logistic', whose activities lie in "
                f"(0, 1); got activation={self.activation!r}. Use kind='l1' with it."
            )
        return _penalised(self, penalty)

    def _after(self, fitting):
        codes = self._encoded(fitting.X)
        self.activity_ = np.average(codes, axis=0, weights=fitting.weight)


class ContractiveAE(BaseAutoencoder):
    """Autoencoder whose code changes little with the input (Rifai et al. 2011, ICML).

    The penalty is the squared Frobenius norm of the encoder's Jacobian at the training
    samples: in closed form without hidden layers, else exact for codes of up to 32
    entries and an unbiased estimate from 8 random projections beyond.

    Parameters
    ----------
    n_components : int, default=100
        Width of the code; may exceed n_features.
    contraction : float, default=1.0
        Nats per sample for one unit of the norm, for X divided by its root mean
        variance.
    hidden_layer_sizes : int or tuple of int, default=()
        Widths between the input and the code; the decoder mirrors them.
    activation : {"identity", "logistic", "tanh", "relu", "silu", "gelu"}, \
default="relu"
        Activation of the hidden layers and of the code; Rifai et al. have "logistic".
    tied_weights : bool, default=True
        Whether the decoder uses the transposes of the encoder's weights. Free decoder
        weights could make up for any contraction of the encoder.
    likelihood : {"gaussian", "bernoulli"} or likelihood part, default="gaussian"
        How reconstructions are judged: squared error, or cross-entropy for X in
        [0, 1].
    alpha : "auto" or float, default="auto"
        Decoupled weight decay of the weights, per unit of learning rate. Raise it
        against overfitting.
    batch_size : "auto" or int, default="auto"
        Samples a training step.
    learning_rate_init : "auto" or float, default="auto"
        Peak learning rate of AdamW; it rises over the first 5% of the steps and falls
        as a cosine.
    max_iter : int, default=None
        Epochs, passes over the training samples. None takes as many as suit the shape
        of X.
    early_stopping : bool, default=True
        Hold out samples to choose the weights of the best epoch and to stop. False
        trains on all samples and keeps the epoch of the lowest training loss.
    validation_fraction : float, default=0.15
        Share of the samples held out, 1,000 at most.
    n_iter_no_change : int, default=10
        Evaluations without improvement by ``tol`` after which training stops.
    tol : float, default=1e-4
        Relative improvement of the held-out loss that counts.
    warm_start : bool, default=False
        Continue from the previous fit's weights.
    device : str, default="auto"
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    callbacks : list of skorch callbacks, default=None
        Notified by the training loop. The learning rate follows the estimator's own
        schedule, and there is no dataset: LRScheduler and EpochScoring are refused.
    verbose : int, default=0
        One shows a progress bar and leaves a line on how the training went.
    random_state : int, RandomState or None, default=None
        Decides everything random.

    Attributes
    ----------
    n_components_ : int
        Width of the code.
    net_ : Module
        The trained torch module; it sees centred and scaled rows.
    mean_ : ndarray of shape (n_features,)
        Mean of the training samples.
    n_iter_ : int
        Epochs of training, also of those that led to this fit.
    epochs_ : ndarray of shape (n_evaluations,)
        When the losses below were noted, in epochs and fractions of them.
    loss_curve_ : list of float
        Training loss at each evaluation, nats per sample of the scaled rows.
    validation_scores_ : list of float or None
        Minus the held-out loss at each evaluation; None without held-out samples.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only when X has string column names.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import ContractiveAE
    >>> X, _ = load_digits(return_X_y=True)
    >>> ae = ContractiveAE(64, random_state=0).fit(X)
    >>> ae.transform(X).shape
    (1797, 64)
    """

    _parameter_constraints: dict = {
        **BaseAutoencoder._parameter_constraints,
        **_DENSE_CONSTRAINTS,
        "contraction": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_components=100,
        *,
        contraction=1.0,
        hidden_layer_sizes=(),
        activation="relu",
        tied_weights=True,
        likelihood="gaussian",
        alpha="auto",
        batch_size="auto",
        learning_rate_init="auto",
        max_iter=None,
        early_stopping=True,
        validation_fraction=0.15,
        n_iter_no_change=10,
        tol=1e-4,
        warm_start=False,
        device="auto",
        callbacks=None,
        verbose=0,
        random_state=None,
    ):
        self.n_components = n_components
        self.contraction = contraction
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.tied_weights = tied_weights
        self.likelihood = likelihood
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.device = device
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    def _parts(self, X):
        return _penalised(self, Contraction(self.contraction))


def _penalised(estimator, penalty) -> Parts:
    hidden = hidden_widths(estimator.hidden_layer_sizes, estimator.activation)
    activation = estimator.activation
    return Parts(
        architecture=Dense(hidden, activation, estimator.tied_weights, activation),
        n_components=estimator.n_components,
        defaults=defaults_from_random,
        columns_apart=True,
        likelihood=part_of(estimator.likelihood, Likelihood, LIKELIHOODS),
        penalties=(penalty,),
    )
