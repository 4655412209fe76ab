"""`AutoencoderTransformer`: the drop-in for PCA, and any combination of parts.

This file declares and documents the parameters and turns them into parts; fitting and
everything after it is `BaseAutoencoder`'s.
"""

from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    RealNotInt,
    StrOptions,
)

from skae.estimators.architectures import architecture_of
from skae.estimators.base import BaseAutoencoder
from skae.estimators.naming import Parts, hidden_widths, part_of
from skae.estimators.shaped import Shaped
from skae.parts.activations import ACTIVATIONS
from skae.parts.base import (
    Architecture,
    Corruption,
    Likelihood,
    Penalty,
    Prior,
    as_part,
)
from skae.parts.corruption import CORRUPTIONS, NoCorruption
from skae.parts.dense import Dense
from skae.parts.likelihoods import LIKELIHOODS
from skae.parts.penalties import PENALTIES
from skae.parts.priors import PRIORS, NoPrior
from skae.training.defaults import DEFAULTS

__all__ = ["AutoencoderTransformer"]


class AutoencoderTransformer(Shaped, BaseAutoencoder):
    """Autoencoder with PCA's interface: codes out, reconstructions back.

    The default model is PCA plus a non-linear correction in encoder and decoder that
    starts at zero. It is trained to lower the reconstruction error, and held-out rows
    decide how much of the correction is kept; where it does not help reliably, the
    result is PCA itself.

    Parameters
    ----------
    n_components : int or float, default=2
        Width of the code. A float in (0, 1) is the share of variance that PCA with
        this width would keep. May exceed n_features.
    architecture : "dense", (encoder, decoder) or architecture part, default="dense"
        "dense" follows the next four parameters. A pair of ``nn.Module`` maps
        ``(batch, *sample_shape)`` to ``(batch, n_components)`` and back; the modules
        see centred samples divided by one scalar (for a Bernoulli likelihood X as it
        is), are copied, and fix n_components. Parts are those of `skae.parts`, such as
        ``Conv((1, 28, 28))``, or your own; X may then have samples in their shape.
    hidden_layer_sizes : "auto" or tuple of int, default="auto"
        Widths between the input and the code; the decoder mirrors them. "auto" is one
        layer of 128 units, and no layer for the identity activation.
    activation : {"identity", "logistic", "tanh", "relu", "silu", "gelu"}, \
default="relu"
        Activation of the hidden layers. "identity" makes the autoencoder linear.
    code_activation : str, default="identity"
        Activation of the code itself, one of the above; others than "identity" need
        ``init="random"``.
    tied_weights : bool, default=False
        Whether the decoder uses the transposes of the encoder's weights.
    init : {"pca", "random"}, default="pca"
        Start as PCA plus a correction, or from random weights without PCA's path.
    likelihood : {"gaussian", "bernoulli"} or likelihood part, default="gaussian"
        How reconstructions are judged: squared error, or cross-entropy for X in
        [0, 1].
    corruption : str or corruption part, default=None
        "gaussian", "masking", "salt_and_pepper" or what is called as
        ``corruption(x, generator)`` on the encoder's input, in the sample's shape, at
        each training step; the target stays clean.
    penalty : str, penalty part or list of them, default=None
        "contraction", "kl", "l1" or what is called as ``penalty(state)``, nats per
        sample added to the loss.
    prior : str or prior part, default=None
        How the code is drawn from what the encoder gives, and what that costs:
        "normal" or one of `skae.parts.priors`.
    alpha : "auto" or float, default="auto"
        Decoupled weight decay of the hidden layers' weights, per unit of learning
        rate. Raise it against overfitting.
    batch_size : "auto" or int, default="auto"
        Rows a training step.
    learning_rate_init : "auto" or float, default="auto"
        Peak learning rate of AdamW; it rises over the first 5% of the steps and falls
        as a cosine.
    max_iter : int, default=None
        Epochs, passes over the training rows. None takes a number of steps that suits
        the shape of X. For linear autoencoders trained on the covariance, the largest
        number of L-BFGS iterations.
    early_stopping : bool, default=True
        Hold out rows to choose the weights of the best epoch, to stop, and to judge
        against PCA. False trains on all rows and keeps the epoch of
        the lowest training loss.
    validation_fraction : float, default=0.15
        Share of the rows held out, 1,000 at most. Up to 600 rows the default model is
        chosen by 4-fold cross-validation instead.
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
        One shows a progress bar.
    random_state : int, RandomState or None, default=None
        Decides everything random.

    Attributes
    ----------
    n_components_ : int
        Width of the code.
    net_ : Module
        The trained torch module; it sees centred and scaled rows.
    mean_ : ndarray of shape (n_features,)
        Mean of the training rows.
    n_iter_ : int
        Rounds of training, the length of ``loss_curve_``. A round is an epoch if
        max_iter is given, else a fixed number of steps.
    loss_curve_ : list of float
        Training loss after each round: nats per sample of the scaled rows; for linear
        autoencoders trained on the covariance, squared error over the variance.
    validation_scores_ : list of float or None
        Minus the held-out loss after each round; None without held-out rows.
    departure_ : float
        What is kept of the trained departure from PCA: 0 is PCA itself or a linear
        model, 1 all of it or a model that held-out rows did not judge.
    components_ : ndarray of shape (n_components, n_features)
        Principal axes in PCA's order and signs. Only when the model is linear.
    explained_variance_, explained_variance_ratio_ : ndarray of shape (n_components,)
        Variance of each code and its share of the total, as in PCA. Likewise.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only when X has string column names.

    See Also
    --------
    sklearn.decomposition.PCA : The linear case, in closed form.

    Notes
    -----
    Computation is in float32, also for float64 input; linear models use float64. On the
    CPU it takes one thread, since sums over several would depend on how many there are:
    the result is the same bit for bit for every n_jobs of a surrounding search. For
    the equivalence of linear autoencoders and PCA see Baldi and Hornik (1989) and
    Kunin et al. (2019, arXiv 1901.08168).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AutoencoderTransformer
    >>> X, _ = load_digits(return_X_y=True)
    >>> ae = AutoencoderTransformer(n_components=8, random_state=0).fit(X)
    >>> ae.transform(X).shape
    (1797, 8)
    >>> bool(ae.score(X) > 0.75)
    True
    """

    _parameter_constraints: dict = {
        **BaseAutoencoder._parameter_constraints,
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
        ],
        "architecture": [StrOptions({"dense"}), tuple, list, HasMethods(["build"])],
        "hidden_layer_sizes": [StrOptions({"auto"}), tuple, list, np.ndarray, Integral],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "code_activation": [StrOptions(set(ACTIVATIONS))],
        "tied_weights": ["boolean"],
        "init": [StrOptions({"pca", "random"})],
        "likelihood": [StrOptions(set(LIKELIHOODS)), HasMethods(["nll", "mean"])],
        "corruption": [None, StrOptions(set(CORRUPTIONS)), callable],
        "penalty": [None, StrOptions(set(PENALTIES)), callable, list, tuple],
        "prior": [None, StrOptions(set(PRIORS)), HasMethods(["draw", "divergence"])],
    }

    def __init__(
        self,
        n_components=2,
        *,
        architecture="dense",
        hidden_layer_sizes="auto",
        activation="relu",
        code_activation="identity",
        tied_weights=False,
        init="pca",
        likelihood="gaussian",
        corruption=None,
        penalty=None,
        prior=None,
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
        self.architecture = architecture
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.code_activation = code_activation
        self.tied_weights = tied_weights
        self.init = init
        self.likelihood = likelihood
        self.corruption = corruption
        self.penalty = penalty
        self.prior = prior
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
        self._check_dense()
        architecture = architecture_of(
            self.architecture,
            {"dense": self._dense},
            self._given_shape,
            self.n_features_in_,
        )
        penalty = self.penalty
        penalties = penalty if isinstance(penalty, list | tuple) else [penalty]
        is_fixed = architecture.decides_width
        return Parts(
            architecture=architecture,
            n_components=None if is_fixed else self.n_components,
            defaults=DEFAULTS[architecture.data],
            columns_apart=self.init == "random" and not architecture.is_linear,
            likelihood=part_of(self.likelihood, Likelihood, LIKELIHOODS),
            corruption=part_of(self.corruption, Corruption, CORRUPTIONS, NoCorruption),
            prior=part_of(self.prior, Prior, PRIORS, NoPrior),
            penalties=tuple(
                part_of(each, Penalty, PENALTIES)
                for each in penalties
                if each is not None
            ),
            init=self.init,
        )

    def _dense(self):
        widths = hidden_widths(self.hidden_layer_sizes, self.activation)
        return Dense(widths, self.activation, self.tied_weights, self.code_activation)

    def _check_dense(self):
        """Raise where parameters of the dense architecture contradict others."""
        if isinstance(self.architecture, str):
            if self.code_activation != "identity" and self.init == "pca":
                raise ValueError(
                    f"code_activation={self.code_activation!r} needs init='random': "
                    "PCA's start has a linear code."
                )
            return
        dense = {"activation": "relu", "code_activation": "identity"}
        dense |= {"hidden_layer_sizes": "auto", "tied_weights": False}
        for name, default in dense.items():
            value = getattr(self, name)
            if isinstance(value, str) != isinstance(default, str) or value != default:
                raise ValueError(
                    f"{name}={value!r} is for architecture='dense'; "
                    "code_activation, tied_weights, activation and hidden_layer_sizes "
                    "say nothing of other architectures, which have their own."
                )

    # Samples in the shape of the architecture

    @property
    def _allows_nan(self):
        if isinstance(self.architecture, str | tuple | list):
            return False
        return as_part(self.architecture, Architecture).allows_missing

    def _flattened(self, X, *, reset, name="X"):
        if isinstance(self.architecture, str):
            # Arrays of more axes are refused, as by PCA.
            self._given_shape = None
            return X
        return super()._flattened(X, reset=reset, name=name)

    def _after(self, fitting):
        super()._after(fitting)
        if self._given_shape is not None:
            self.sample_shape_ = self._given_shape
