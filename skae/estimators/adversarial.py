"""`AdversarialAE`: codes that follow any distribution that can be sampled."""

from numbers import Real
from typing import Any

from skae.estimators.base import BaseAutoencoder
from skae.estimators.generative import Generative
from skae.estimators.parameters import (
    AUTO,
    WIDTHS,
    DenseParameters,
    at_least,
    choice,
    estimator,
    parameter,
)
from skae.fitting.adversarial_fit import AdversarialFit
from skae.fitting.defaults import defaults_for_matching
from skae.fitting.resolve import hidden_widths
from skae.parts.dense import Dense
from skae.parts.targets import TARGETS, Custom

__all__ = ["AdversarialAE"]


@estimator
class AdversarialAE(Generative, DenseParameters, BaseAutoencoder):
    """Autoencoder whose codes a critic matches to a prior (Makhzani et al. 2015).

    The critic learns to tell codes from samples of the prior, the encoder to mislead it
    (arXiv 1511.05644). The prior can be any distribution that can be sampled; decoded
    samples of it are new rows. The code of a row is deterministic, in the prior's
    units.

    Parameters
    ----------
    n_components : int, default=2
        Width of the code.
    prior : {"normal", "swiss_roll", "mixture"} or callable, default="normal"
        Distribution of the codes: standard normal; a spiral of two turns, for two
        components; ten Gaussians, the petals of a flower in the first two components;
        or that of ``prior(n_samples, random_state=...)``, an array of shape
        ``(n_samples, n_components)``; the NumPy RandomState is passed where the
        callable has such a parameter. Best with a variance near one in each direction.
    matching_weight : "auto" or float, default="auto"
        Nats per sample for one nat of the critic's loss. "auto" is n_features / 4, half
        the Gaussian loss of a reconstruction by the mean. Lower it for better
        reconstructions, raise it for codes closer to the prior.
    hidden_layer_sizes : "auto", int or tuple of int, default="auto"
        Widths between the input and the code; the decoder mirrors them. "auto" is
        (500, 250) for more than 200 features and (128, 64) else.
    early_stopping : bool, default=True
        Hold out samples to choose the weights of the best epoch and to stop. False
        trains on all samples and keeps the last epoch's weights.

    Attributes
    ----------
    net_ : Module
        The trained torch module with the critic; its rows are centred and scaled.
    loss_curve_ : list of float
        Training loss of the autoencoder after each round, nats per sample of the scaled
        rows, with the critic's part.
    critic_loss_curve_ : list of float
        Training loss of the critic likewise; 2 log 2 where it can only guess.
    validation_scores_ : list of float or None
        Minus the held-out loss after each round: the reconstruction's plus
        matching_weight times the energy distance of codes to samples of the prior. None
        without held-out samples.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import AdversarialAE
    >>> X, _ = load_digits(return_X_y=True)
    >>> ae = AdversarialAE(prior="mixture", max_iter=5, random_state=0).fit(X)
    >>> ae.sample(3).shape
    (3, 64)
    """

    n_components: int = parameter(2, at_least(1), positional=True)
    prior: str = parameter("normal", choice(*TARGETS), callable)
    matching_weight: Any = parameter("auto", AUTO, at_least(0, Real))
    hidden_layer_sizes: Any = parameter("auto", AUTO, *WIDTHS)

    _fit_class = AdversarialFit
    # Codes are in the prior's units.
    code_scale_ = 1.0

    def sample(self, n_samples=1, *, random_state=None):
        """Draw samples: decoded samples of the prior.

        Parameters
        ----------
        n_samples : int, default=1

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the shape and units of the training samples; float32 if those were, else
            float64.

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
        dense = Dense(hidden, self.activation, self.tied_weights)
        return self._parts_of(
            X, dense, defaults_for_matching, columns_apart=True, prior=prior
        )
