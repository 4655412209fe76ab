"""`AutoencoderTransformer`: the drop-in for PCA, and any combination of parts.

This file declares and documents the parameters and turns them into parts; fitting and
everything after it is `BaseAutoencoder`'s.
"""

from typing import Any

from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt

from skae.estimators.architectures import DENSE_PARAMETERS, AnyArchitecture
from skae.estimators.base import BaseAutoencoder
from skae.estimators.parameters import (
    AUTO,
    WIDTHS,
    PCAStart,
    at_least,
    choice,
    estimator,
    parameter,
)
from skae.fitting.defaults import DEFAULTS
from skae.fitting.resolve import part_of, penalties_of
from skae.parts.activations import ACTIVATIONS
from skae.parts.base import Corruption, Prior
from skae.parts.corruption import CORRUPTIONS, NoCorruption
from skae.parts.priors import PRIORS, NoPrior

__all__ = ["AutoencoderTransformer"]


@estimator
class AutoencoderTransformer(AnyArchitecture, PCAStart, BaseAutoencoder):
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
    hidden_layer_sizes : "auto" or tuple of int, default="auto"
        Widths between the input and the code; the decoder mirrors them. "auto" is one
        layer of 128 units, and no layer for the identity activation.
    activation : {"identity", "logistic", "tanh", "relu", "silu", "gelu"}, \
default="relu"
        Activation of the hidden layers. "identity" makes the autoencoder linear.
    code_activation : str, default="identity"
        Activation of the code itself, one of those of ``activation``; others than
        "identity" need ``init="random"``.
    corruption : str or corruption part, default=None
        "gaussian", "masking", "salt_and_pepper" or what is called as
        ``corruption(x, generator)`` on the encoder's input, in the sample's shape, at
        each training step; the target stays clean.
    prior : str or prior part, default=None
        How the code is drawn from what the encoder gives, and what that costs:
        "normal" or one of `skae.parts.priors`.
    max_iter : int, default=None
        Epochs, passes over the training rows. None takes a number of steps that suits
        the shape of X. For linear autoencoders trained on the covariance, the largest
        number of L-BFGS iterations.
    validation_fraction : float, default=0.15
        Share of the rows held out, 1,000 at most, also to judge the model against PCA.
        Up to 600 rows the default model is chosen by 4-fold cross-validation instead.

    Attributes
    ----------
    loss_curve_ : list of float
        Training loss after each round: nats per sample of the scaled rows; for linear
        autoencoders trained on the covariance, squared error over the variance.
    components_ : ndarray of shape (n_components, n_features)
        Principal axes in PCA's order and signs. Only when the model is linear.
    explained_variance_, explained_variance_ratio_ : ndarray of shape (n_components,)
        Variance of each code and its share of the total, as in PCA. Likewise.

    See Also
    --------
    sklearn.decomposition.PCA : The linear case, in closed form.

    Notes
    -----
    Computation is in float32, also for float64 input; linear models use float64. Large
    networks train on as many threads as torch has, on shards of a batch whose gradients
    are added in a fixed order: the result is the same bit for bit for any number of
    threads, as for every n_jobs of a surrounding search. For
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

    n_components: Any = parameter(
        2, at_least(1), Interval(RealNotInt, 0, 1, closed="neither"), positional=True
    )
    hidden_layer_sizes: Any = parameter("auto", AUTO, *WIDTHS)
    code_activation: str = parameter("identity", choice(*ACTIVATIONS))
    corruption: Any = parameter(None, None, choice(*CORRUPTIONS), callable)
    prior: Any = parameter(
        None, None, choice(*PRIORS), HasMethods(["draw", "divergence"])
    )

    _dense_parameters = (*DENSE_PARAMETERS, "code_activation")

    def _parts(self, X):
        architecture = self._architecture(self.code_activation)
        is_dense = isinstance(self.architecture, str)
        if is_dense and self.code_activation != "identity" and self.init == "pca":
            raise ValueError(
                f"code_activation={self.code_activation!r} needs init='random': PCA's "
                "start has a linear code."
            )
        return self._parts_of(
            X,
            architecture,
            DEFAULTS[architecture.data],
            columns_apart=self.init == "random" and not architecture.is_linear,
            corruption=part_of(self.corruption, Corruption, CORRUPTIONS, NoCorruption),
            prior=part_of(self.prior, Prior, PRIORS, NoPrior),
            penalties=penalties_of(self.penalty),
            init=self.init,
        )
