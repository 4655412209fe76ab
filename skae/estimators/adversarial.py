"""`AdversarialAE`: codes that follow any distribution that can be sampled."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from skae.estimators.base import BaseAutoencoder
from skae.estimators.generative import Generative
from skae.estimators.matched_fitting import MatchedFit
from skae.estimators.naming import Parts, hidden_widths, part_of
from skae.parts.activations import ACTIVATIONS
from skae.parts.base import Likelihood
from skae.parts.dense import Dense
from skae.parts.likelihoods import LIKELIHOODS
from skae.parts.targets import TARGETS, Custom
from skae.training.defaults import defaults_for_matching

__all__ = ["AdversarialAE"]


class AdversarialAE(Generative, BaseAutoencoder):
    """Autoencoder whose codes a critic matches to a prior (Makhzani et al. 2015).

    The critic learns to tell codes from samples of the prior, the encoder to be
    mistaken (arXiv 1511.05644). Any distribution that can be sampled will do, and
    decoding its samples gives new rows. The code of a row is deterministic, and in the
    prior's units.

    Parameters
    ----------
    n_components : int, default=2
        Width of the code.
    prior : {"normal", "swiss_roll", "mixture"} or callable, default="normal"
        Distribution of the codes: standard normal; a spiral of two turns, for two
        components; ten Gaussians, the petals of a flower in the first two components;
        or what ``prior(n_samples, random_state=...)`` returns, of shape
        ``(n_samples, n_components)``, with a NumPy RandomState where the callable has
        such a parameter. Best of variance near one in each direction.
    matching_weight : "auto" or float, default="auto"
        Nats per sample for one nat of the critic's judgement of the code. "auto" is
        n_features / 4, half of what a Gaussian likelihood takes for a reconstruction by
        the mean. Lower it for better reconstructions, raise it for codes closer to the
        prior.
    hidden_layer_sizes : "auto", int or tuple of int, default="auto"
        Widths between the input and the code; the decoder mirrors them. "auto" is
        (500, 250) for more than 200 features and (128, 64) else.
    activation : {"identity", "logistic", "tanh", "relu", "silu", "gelu"}, \
default="relu"
        Activation of the hidden layers; the code has none.
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
        trains on all samples and keeps the last epoch's weights.
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
        The trained torch module, the critic included; it sees centred and scaled rows.
    mean_ : ndarray of shape (n_features,)
        Mean of the training samples.
    n_iter_ : int
        Epochs of training, also of those that led to this fit.
    epochs_ : ndarray of shape (n_evaluations,)
        When the losses below were noted, in epochs and fractions of them.
    loss_curve_ : list of float
        Training loss of the autoencoder after each round, nats per sample of the scaled
        rows, the critic's judgement included.
    critic_loss_curve_ : list of float
        Training loss of the critic likewise; 2 log 2 where it can only guess.
    validation_scores_ : list of float or None
        Minus the held-out loss after each round: the reconstruction's, and
        matching_weight times the energy distance of held-out codes to samples of the
        prior. None without held-out samples.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only when X has string column names.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AdversarialAE
    >>> X, _ = load_digits(return_X_y=True)
    >>> ae = AdversarialAE(prior="mixture", max_iter=5, random_state=0).fit(X)
    >>> ae.sample(3).shape
    (3, 64)
    """

    _parameter_constraints: dict = {
        **BaseAutoencoder._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "prior": [StrOptions(set(TARGETS)), callable],
        "matching_weight": [
            StrOptions({"auto"}),
            Interval(Real, 0, None, closed="left"),
        ],
        "hidden_layer_sizes": [
            StrOptions({"auto"}),
            tuple,
            list,
            np.ndarray,
            Integral,
        ],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "tied_weights": ["boolean"],
        "likelihood": [StrOptions(set(LIKELIHOODS)), HasMethods(["nll", "mean"])],
    }

    _fit_class = MatchedFit
    # Codes are in the prior's units.
    _code_scale = 1.0

    def __init__(
        self,
        n_components=2,
        *,
        prior="normal",
        matching_weight="auto",
        hidden_layer_sizes="auto",
        activation="relu",
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
        self.prior = prior
        self.matching_weight = matching_weight
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

    def sample(self, n_samples=1, *, random_state=None):
        """Draw samples: decoded samples of the prior.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None
            None takes the estimator's own, so that an int there gives the same samples
            in every call.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the shape, dtype and units of the training samples.

        Raises
        ------
        ValueError
            When n_samples is no positive integer.
        """
        return super().sample(n_samples, random_state=random_state)

    def _parts(self, X):
        name = self.prior
        prior = TARGETS[name]() if isinstance(name, str) else Custom(name)
        prior.check(self.n_components)
        sizes = self.hidden_layer_sizes
        hidden = sizes if isinstance(sizes, str) else hidden_widths(sizes, None)
        return Parts(
            architecture=Dense(hidden, self.activation, self.tied_weights),
            n_components=self.n_components,
            defaults=defaults_for_matching,
            columns_apart=True,
            likelihood=part_of(self.likelihood, Likelihood, LIKELIHOODS),
            prior=prior,
        )
