"""`AutoencoderTransformer`: the drop-in for PCA, and any combination of parts.

This file declares and documents the parameters and turns them into parts; fitting and
everything after it is `BaseAutoencoder`'s.
"""

from typing import Any

from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    RealNotInt,
)

from skae.estimators.architectures import AnyArchitecture
from skae.estimators.base import BaseAutoencoder
from skae.estimators.parameters import (
    AUTO,
    WIDTHS,
    DenseParameters,
    at_least,
    choice,
    estimator,
    parameter,
)
from skae.fitting.defaults import DEFAULTS
from skae.fitting.resolve import Parts, hidden_widths, part_of, penalties_of
from skae.parts.activations import ACTIVATIONS
from skae.parts.base import (
    Corruption,
    Likelihood,
    Prior,
)
from skae.parts.corruption import CORRUPTIONS, NoCorruption
from skae.parts.dense import Dense
from skae.parts.likelihoods import LIKELIHOODS
from skae.parts.penalties import PENALTIES
from skae.parts.priors import PRIORS, NoPrior

__all__ = ["AutoencoderTransformer"]


@estimator
class AutoencoderTransformer(AnyArchitecture, DenseParameters, BaseAutoencoder):
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
    init : {"pca", "random"}, default="pca"
        Start as PCA plus a correction, or from random weights without PCA's path.
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

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
        Mean of the training rows.
    loss_curve_ : list of float
        Training loss after each round: nats per sample of the scaled rows; for linear
        autoencoders trained on the covariance, squared error over the variance.
    validation_scores_ : list of float or None
        Minus the held-out loss after each round; None without held-out rows.
    departure_ : float
        What is kept of the trained departure from PCA: 0 is PCA itself or a linear
        model, 1 all of it or a model that held-out rows did not judge.
    pca_ratio_ : float
        Held-out loss of the model kept over that of the start as PCA; 1 where PCA is
        kept. Only when the model started as PCA and rows were held out.
    pca_t_ : float
        t of the held-out rows' gain over PCA, which decided. Likewise.
    components_ : ndarray of shape (n_components, n_features)
        Principal axes in PCA's order and signs. Only when the model is linear.
    explained_variance_, explained_variance_ratio_ : ndarray of shape (n_components,)
        Variance of each code and its share of the total, as in PCA. Likewise.

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

    n_components: int = parameter(
        2, at_least(1), Interval(RealNotInt, 0, 1, closed="neither"), positional=True
    )
    architecture: str = parameter(
        "dense", choice("dense"), tuple, list, HasMethods(["build"])
    )
    hidden_layer_sizes: Any = parameter("auto", AUTO, *WIDTHS)
    code_activation: str = parameter("identity", choice(*ACTIVATIONS))
    init: str = parameter("pca", choice("pca", "random"))
    corruption: Any = parameter(None, None, choice(*CORRUPTIONS), callable)
    penalty: Any = parameter(None, None, choice(*PENALTIES), callable, list, tuple)
    prior: Any = parameter(
        None, None, choice(*PRIORS), HasMethods(["draw", "divergence"])
    )

    def _parts(self, X):
        if isinstance(self.architecture, str):
            self._check_code_activation()
        self._check_dense_alone(
            hidden_layer_sizes="auto",
            activation="relu",
            code_activation="identity",
            tied_weights=False,
        )
        architecture = self._architecture()
        is_fixed = architecture.decides_width
        return Parts(
            architecture=architecture,
            n_components=None if is_fixed else self.n_components,
            defaults=DEFAULTS[architecture.data],
            columns_apart=self.init == "random" and not architecture.is_linear,
            likelihood=part_of(self.likelihood, Likelihood, LIKELIHOODS),
            corruption=part_of(self.corruption, Corruption, CORRUPTIONS, NoCorruption),
            prior=part_of(self.prior, Prior, PRIORS, NoPrior),
            penalties=penalties_of(self.penalty),
            init=self.init,
        )

    def _dense(self):
        widths = hidden_widths(self.hidden_layer_sizes, self.activation)
        return Dense(widths, self.activation, self.tied_weights, self.code_activation)

    def _check_code_activation(self):
        if self.code_activation != "identity" and self.init == "pca":
            raise ValueError(
                f"code_activation={self.code_activation!r} needs init='random': PCA's "
                "start has a linear code."
            )
