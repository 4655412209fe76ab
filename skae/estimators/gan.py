"""`GAN`: a generator that is trained against a critic, for tables and images."""

from numbers import Real
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from sklearn.utils.validation import _num_samples, check_is_fitted

from skae.checks.conditions import context_of, encode_conditions, used_entries
from skae.checks.rows import training_rows, unchanged_on_error
from skae.estimators.architectures import Images, channel_widths
from skae.estimators.exported_gan import ExportedGAN
from skae.estimators.generative import Augmenting, check_n_samples, seeded
from skae.estimators.parameters import (
    AUTO,
    WIDTHS,
    at_least,
    choice,
    estimator,
    parameter,
    share,
)
from skae.fitting.callbacks import with_callbacks
from skae.fitting.gan_fit import GANFit
from skae.fitting.resolve import hidden_widths
from skae.models.gan import LOSSES
from skae.parts.critics import ConvCritic, DenseCritic
from skae.parts.generators import ConvGenerator, DenseGenerator
from skae.parts.random_numbers import normal_numbers
from skae.rows.isolation import isolated
from skae.rows.readers import as_rows
from skae.statistics.energy import energy_distance
from skae.training.recording import recording_of

__all__ = ["GAN"]

_MAX_SCORED = 5000
# Parameters that a model has in common with the one it continues.
_NETWORK = (
    "n_components",
    "architecture",
    "hidden_layer_sizes",
    "channels",
    "kernel_size",
    "stride",
    "minibatch_discrimination",
)


@estimator
class GAN(Augmenting, Images, ExportedGAN):
    """Generative adversarial network: samples that a critic cannot tell from rows.

    A generator maps noise to rows, a critic learns to tell them from those of X, and
    the generator learns from the critic (Goodfellow et al. 2014, arXiv 1406.2661).
    There are no codes of rows and no likelihood: for those use `VariationalAE`. With y
    in ``fit`` the model is conditional, and samples can be drawn by class or value.

    Parameters
    ----------
    n_components : "auto" or int, default="auto"
        Width of the noise; "auto" is n_features, 64 at most.
    architecture : {"dense", "conv"}, default="dense"
        Perceptrons for tables, or strided convolutions for images (Radford et al. 2016,
        arXiv 1511.06434, without its batch normalisation).
    sample_shape : tuple (n_channels, height, width), default=None
        Of images passed as flat rows. Only for ``architecture="conv"``.
    hidden_layer_sizes : int or tuple of int, default=(128, 128, 128)
        Widths of the perceptrons, generator and critic.
    channels : int or tuple of int, default=(32, 64)
        Of the critic's strided layers, from the image on; the generator mirrors them.
    kernel_size : int, default=4
        Of the strided layers.
    stride : int, default=2
        Of the strided layers; at most kernel_size.
    loss : {"non_saturating", "hinge", "wasserstein_gp"}, default="hinge"
        The critic learns the log odds of a row being real; values beyond a margin of
        one on either side; or values whose means differ most, at a slope of one
        (Gulrajani et al. 2017, arXiv 1704.00028), which takes more steps.
    gradient_penalty : "auto" or float, default="auto"
        Twice the weight of the critic's squared slope at the rows (Mescheder et al.
        2018, arXiv 1801.04406); for ``loss="wasserstein_gp"`` the weight of the slope's
        squared distance from one. Slopes are per root mean square over the scaled
        features. "auto" is 0.03, and 0.1 for that loss. Raise it where training is
        unstable, lower it where samples are blurred.
    minibatch_discrimination : bool, default=False
        Show the critic how similar the rows of a batch are (Salimans et al. 2016, arXiv
        1606.03498): a remedy for mode collapse. Steps of small perceptrons take three
        times as long.
    replay : float, default=0.0
        Share of the critic's generated rows that are of earlier generators, in [0, 1)
        (Shrivastava et al. 2017, arXiv 1612.07828): another remedy, for generators that
        cycle through the modes.
    ema : float, default=0.999
        Decay of the moving average of the weights per step, in [0, 1); samples are
        those of the average.
    n_critic_steps : "auto" or int, default="auto"
        Steps of the critic for one of the generator; "auto" is 1, and 3 for
        ``loss="wasserstein_gp"``.
    n_modes : int, default=None
        Number of modes, k-means cells of the rows, to look for in samples after each
        round: see ``mode_coverage_``.
    early_stopping : bool, default=True
        Hold out samples to choose the best epoch by their energy distance to generated
        ones, and to stop. False trains on all samples and keeps the last epoch.
    n_iter_no_change : int, default=inf
        Evaluations without improvement by ``tol`` after which training stops. Samples
        become sharper for longer than the held-out distance can tell.

    Attributes
    ----------
    n_components_ : int
        Width of the noise.
    classes_ : ndarray of shape (n_classes,)
        Only of a model that was fitted with classes.
    sample_shape_ : tuple (n_channels, height, width)
        Only for ``architecture="conv"``.
    mode_coverage_ : float or None
        Share of the ``n_modes`` modes with at least a fifth of the samples expected
        there; None without ``n_modes``.
    mode_coverage_curve_ : list of float or None
        The same after each round.
    loss_curve_, critic_loss_curve_ : list of float
        Training losses of the generator and of the critic after each round. They do
        not fall together: each depends on the other network.
    validation_scores_ : list of float or None
        Minus the energy distance between held-out rows and generated ones after each
        round, in scaled units; None without held-out samples. The last round that is
        worse than the best by no more than chance is kept.

    See Also
    --------
    VariationalAE : Samples and codes, with a bound of the likelihood.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skae import GAN
    >>> X, y = load_iris(return_X_y=True)
    >>> gan = GAN(max_iter=200, random_state=0).fit(X, y)
    >>> gan.sample(3, y=2).shape
    (3, 4)
    """

    n_components: Any = parameter("auto", AUTO, at_least(1), positional=True)
    architecture: str = parameter("dense", choice("dense", "conv"))
    sample_shape: Any = parameter(None, tuple, list, np.ndarray, None)
    hidden_layer_sizes: tuple = parameter((128, 128, 128), *WIDTHS)
    channels: tuple = parameter((32, 64), at_least(1), tuple, list)
    kernel_size: int = parameter(4, at_least(1))
    stride: int = parameter(2, at_least(1))
    loss: str = parameter("hinge", choice(*LOSSES))
    gradient_penalty: Any = parameter("auto", AUTO, at_least(0, Real))
    minibatch_discrimination: bool = parameter(False, "boolean")
    replay: float = parameter(0.0, share("left"))
    ema: float = parameter(0.999, share("left"))
    n_critic_steps: Any = parameter("auto", AUTO, at_least(1))
    n_modes: Any = parameter(None, None, at_least(1))
    n_iter_no_change: Any = parameter(np.inf)

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    @isolated
    def fit(self, X, y=None, sample_weight=None):
        """Learn to draw rows like those of X.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            At least two rows; images may have a shape of their own.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Classes or numbers to condition samples on; None models X without any.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative; rows of weight zero are left out.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            When X, y or a parameter does not fit, before any training.
        FloatingPointError
            When training diverges at every learning rate tried.
        """
        fitted = self if self.warm_start and hasattr(self, "net_") else None
        recording = recording_of(self, continues=fitted is not None)
        with unchanged_on_error(self), recording as own:
            rows = as_rows(self._flattened(X, reset=fitted is None))
            n_samples = _num_samples(rows)
            rows, weight = training_rows(
                self, rows, sample_weight, reset=fitted is None
            )
            context = self._context_for(y, n_samples, sample_weight, fitted)
            if fitted is not None:
                self._check_same_network()
            fitting = GANFit(self, rows, weight, context, self._parts(), own)
            with fitting.computing():
                attributes = fitting.run(fitted)
            network = {name: getattr(self, name) for name in _NETWORK}
            vars(self).update(attributes, network_=network)
            fitting.end(attributes)
        return self

    def sample(self, n_samples=1, *, y=None, random_state=None):
        """Draw samples.

        Parameters
        ----------
        n_samples : int, default=1
        y : scalar or array-like of shape (n_samples,) or (n_samples, n_outputs), \
default=None
            Condition of each sample; a single value holds for all, None draws values
            from the training rows'. Only for models fitted with y.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the shape, dtype and units of the training samples.

        Raises
        ------
        ValueError
            When n_samples is no positive integer, or y is of no class of the fit.
        """
        check_is_fitted(self)
        check_n_samples(n_samples)
        random = check_random_state(
            self.random_state if random_state is None else random_state
        )
        generator = seeded(random)
        if y is None and self._context is not None:
            y = self._context.draw(n_samples, random)
        condition = self._condition(y, n_samples, single=True)
        return self._restored(self._generated(n_samples, generator, condition), None)

    def discriminate(self, X, y=None):
        """How real rows look to the critic.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Condition of the rows; None judges them without. Only for models fitted
            with y.

        Returns
        -------
        values : ndarray of shape (n_samples,), float64
            For ``loss="non_saturating"`` the probability of a real row; else the
            critic's value, which is higher for rows that look real.
        """
        values = self.score_samples(X, y)
        if not self.net_.loss.probability:
            return values
        return torch.from_numpy(values).sigmoid().numpy()

    def score_samples(self, X, y=None):
        """The critic's value of rows, before any probability.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            Higher looks more real. Not a likelihood: the critic of a perfect generator
            gives all rows the same value.
        """
        rows = self._rows(X)
        condition = self._condition(y, rows.shape[0])

        def judge(x, context=None):
            return self.net_.critic(x, context)[:, None]

        return self._map_rows(rows, judge, 1, condition, dtype=np.float64)[:, 0]

    def score(self, X, y=None):
        """Minus the energy distance between rows and as many samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Of more than 5,000 rows as many are drawn.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Condition of the samples, for models fitted with y.

        Returns
        -------
        score : float
            At most 0, in X's units; compare scores of as many rows only.
        """
        rows = self._rows(X)
        n_rows = rows.shape[0]
        if self._context is None:
            y = None
        elif y is None:
            y = self._context.draw(n_rows, check_random_state(self.random_state))
        condition = self._condition(y, n_rows)
        random = check_random_state(self.random_state)
        if n_rows > _MAX_SCORED:
            kept = np.sort(random.permutation(n_rows)[:_MAX_SCORED])
            rows = rows[kept]
            condition = None if condition is None else condition[kept]
        rows = rows.toarray() if sparse.issparse(rows) else rows[:]
        made = self._generated(len(rows), seeded(random), condition)
        return -isolated(energy_distance)(rows, made)

    def _generated(self, n_samples, generator, condition):
        """Flat rows in X's units."""
        shape = n_samples, self.n_components_
        noise = normal_numbers(shape, generator).numpy()

        def generate(z, context=None):
            return self.units_.to_x(self.net_.generator(z, context))

        out = self._map_rows(
            noise,
            generate,
            self.n_features_in_,
            condition,
            units=(0.0, 1.0),
            dtype=np.float64,
        )
        if self.net_.generator.is_confined:
            # Rounding of the units.
            np.clip(out, 0, 1, out=out)
        return out.astype(self._dtype, copy=False)

    # The condition

    def _context_for(self, y, n_samples, sample_weight, fitted):
        """The condition of the training rows with a weight, or None."""
        weight = None
        if y is not None:
            y, weight = used_entries(y, n_samples, sample_weight)
        if fitted is None:
            self._context = None if y is None else context_of(y, weight=weight)
            self.__dict__.pop("classes_", None)
            if hasattr(self._context, "classes"):
                self.classes_ = self._context.classes
        elif (y is None) != (self._context is None):
            raise ValueError(
                "A model is continued with y if it was fitted with y, and without if "
                "not. Set warm_start=False or use a new estimator."
            )
        return None if y is None else self._condition(y, len(y))

    def _condition(self, y, n_samples, *, single=False):
        """y in columns, zeros for None; None for a model fitted without y."""
        if self._context is None:
            if y is not None:
                raise ValueError(
                    f"y was passed, but this {type(self).__name__} was fitted without "
                    "y; leave it out."
                )
            return None
        if y is None:
            return np.zeros((n_samples, self._context.width), dtype=np.float32)
        return encode_conditions(self._context, y, n_samples, single=single)

    # The networks

    def _parts(self):
        """Hyperparameters of generator and critic."""
        minibatch = self.minibatch_discrimination
        if self.architecture == "dense":
            sizes = hidden_widths(self.hidden_layer_sizes, "relu")
            return DenseGenerator(sizes), DenseCritic(sizes, minibatch)
        self.sample_shape_ = self._resolved_shape()
        layers = (
            self.sample_shape_,
            channel_widths(self.channels),
            *self._windows(self.kernel_size, self.stride),
        )
        return (
            ConvGenerator(*layers),
            ConvCritic(*layers, minibatch_discrimination=minibatch),
        )

    def _check_same_network(self):
        for name, fitted in self.network_.items():
            value = getattr(self, name)
            if not np.array_equal(value, fitted):
                raise ValueError(
                    f"{name}={value!r} differs from the {fitted!r} of the fitted model "
                    "that is to be continued. Set warm_start=False or use a new "
                    "estimator."
                )
