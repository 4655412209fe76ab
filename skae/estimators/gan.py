"""`GAN`: a generator that is trained against a critic, for tables and images."""

from numbers import Real
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    _num_samples,
    check_is_fitted,
)

from skae.checks.conditions import context_of, told, used_entries
from skae.checks.rows import training_rows, unchanged_on_error
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
from skae.estimators.sample_shape import Images, channel_widths
from skae.estimators.trained import TrainedEstimator
from skae.fitting.callbacks import with_callbacks
from skae.fitting.gan_fit import GANFit
from skae.fitting.resolve import hidden_widths
from skae.models.gan import LOSSES
from skae.parts.critics import ConvCritic, DenseCritic
from skae.parts.generators import ConvGenerator, DenseGenerator
from skae.rows.isolation import isolated
from skae.statistics.energy import energy_distance

__all__ = ["GAN"]

_MOST_SCORED = 5000


@estimator
class GAN(Augmenting, Images, TrainedEstimator):
    """Generative adversarial network: samples that a critic can not tell from rows.

    A generator makes rows of noise, a critic learns to tell them from those of X, and
    the generator learns from the critic (Goodfellow et al. 2014, arXiv 1406.2661).
    There is no code of a row and no likelihood: for those take `VariationalAE`. With y
    in ``fit`` the model is conditional and samples can be asked for by class or value.

    Parameters
    ----------
    n_components : "auto" or int, default="auto"
        Width of the noise; "auto" is n_features, 64 at most.
    architecture : {"dense", "conv"}, default="dense"
        Perceptrons for tables, or strided convolutions for images (Radford et al. 2016,
        arXiv 1511.06434, without its batch normalisation).
    sample_shape : tuple (n_channels, height, width), default=None
        Of images that come as flat rows. Only for ``architecture="conv"``.
    hidden_layer_sizes : int or tuple of int, default=(128, 128, 128)
        Widths of the perceptrons, of the generator and of the critic.
    channels : int or tuple of int, default=(32, 64)
        Channels of the strided layers of the critic, from the image on; the generator
        mirrors them.
    kernel_size : int, default=4
        Of the strided layers.
    stride : int, default=2
        Of the strided layers; at most kernel_size.
    loss : {"non_saturating", "hinge", "wasserstein_gp"}, default="hinge"
        What the critic learns: the log odds of a row being real; values beyond a
        margin of one on either side; or values whose means differ most, at a slope of
        one (Gulrajani et al. 2017, arXiv 1704.00028), which takes more steps.
    gradient_penalty : "auto" or float, default="auto"
        Weight of the critic's squared slope at the rows (Mescheder et al. 2018, arXiv
        1801.04406), half of it; of the squared distance of the slope from one for
        ``loss="wasserstein_gp"``. Slopes are per root mean square over the scaled
        features. "auto" is 0.03, 0.1 for that loss. Raise it where training does
        not settle, lower it where samples are blurred.
    minibatch_discrimination : bool, default=False
        Let the critic see how like each other the rows of a batch are (Salimans et al.
        2016, arXiv 1606.03498): a remedy of mode collapse. Makes a step of small
        perceptrons three times as long.
    replay : float, default=0.0
        Share of the generated rows shown to the critic that are of earlier generators,
        in [0, 1) (Shrivastava et al. 2017, arXiv 1612.07828): another remedy, against
        generators that go round the modes.
    ema : float, default=0.999
        Decay of the moving average of the weights per step, in [0, 1); samples are
        those of the average.
    n_critic_steps : "auto" or int, default="auto"
        Steps of the critic for one of the generator; "auto" is 1, and 3 for
        ``loss="wasserstein_gp"``.
    n_modes : int, default=None
        Look for mode collapse in this many parts of the rows, the cells of k-means,
        after each round: see ``mode_coverage_``.
    early_stopping : bool, default=True
        Hold out samples to choose the weights of the best epoch, by their energy
        distance to generated ones, and to stop. False trains on all samples and keeps
        the last epoch.
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
        Share of ``n_modes`` parts of the training rows in which at least a fifth of the
        samples expected there fall; None without ``n_modes``.
    mode_coverage_curve_ : list of float or None
        The same after each round.
    net_ : Module
        The trained torch module; it sees centred and scaled rows.
    mean_ : ndarray of shape (n_features,)
        Mean of the training samples.
    n_iter_ : int
        Epochs of training, also of those that led to this fit.
    epochs_ : ndarray of shape (n_evaluations,)
        When the losses below were noted, in epochs and fractions of them.
    loss_curve_, critic_loss_curve_ : list of float
        Training losses of the generator and of the critic after each round. They do
        not fall together: each is measured by the other player.
    validation_scores_ : list of float or None
        Minus the energy distance between held-out rows and generated ones after each
        round, in scaled units; None without held-out samples. The last round that is
        worse than the best by no more than chance is kept.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only when X has string column names.

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
    def fit(self, X, y=None, sample_weight=None):
        """Learn to draw rows like those of X.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            At least two rows; images may have a shape of their own.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Classes or numbers that samples are to be asked for by; None models X alone.
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
        with unchanged_on_error(self), isolated():
            rows = self._flattened(X, reset=fitted is None)
            n_samples = _num_samples(rows)
            rows, weight = training_rows(
                self, rows, sample_weight, reset=fitted is None
            )
            context = self._context_for(y, n_samples, sample_weight, fitted)
            if fitted is not None:
                self._check_same_network()
            fitting = GANFit(self, rows, weight, context, self._parts())
            found = fitting.run(fitted)
            vars(self).update(found, _network=self._shape_of_network())
            fitting.end(found)
        return self

    def sample(self, n_samples=1, *, y=None, random_state=None):
        """Draw samples.

        Parameters
        ----------
        n_samples : int, default=1
        y : scalar or array-like of shape (n_samples,) or (n_samples, n_outputs), \
default=None
            What each sample is to be; a single value holds for all, None draws values
            as the training rows had them. Only for models fitted with y.
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
            When n_samples is no positive integer, or y was not seen in fit.
        """
        check_is_fitted(self)
        check_n_samples(n_samples)
        random = check_random_state(
            self.random_state if random_state is None else random_state
        )
        generator = seeded(random)
        if y is None and self._context is not None:
            y = self._context.draw(n_samples, random)
        columns = self._told(y, n_samples, single=True)
        made = self._generated(self._noise(n_samples, generator), columns)
        return self._restored(made, None)

    def discriminate(self, X, y=None):
        """How real the critic takes rows to be.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            What the rows are said to be; None judges them without. Only for models
            fitted with y.

        Returns
        -------
        values : ndarray of shape (n_samples,), float64
            For ``loss="non_saturating"`` the probability of being no generated row;
            else the critic's value, which is higher for rows that look real.
        """
        values = self.score_samples(X, y)
        if not self.net_.loss.probability:
            return values
        return torch.from_numpy(values).sigmoid().numpy()

    def score_samples(self, X, y=None):
        """The critic's value of rows, before any probability.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            Higher looks more real. No likelihood: a critic of a perfect generator
            takes all rows alike.
        """
        rows = self._rows(X)
        columns = self._told(y, rows.shape[0])

        def judge(x, context=None):
            return self.net_.critic(x, context)[:, None]

        return self._map_known(rows, columns, judge, 1, dtype=np.float64)[:, 0]

    def score(self, X, y=None):
        """Minus the energy distance between rows and as many samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Of more than 5,000 rows as many are drawn.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            What samples are asked to be, of a model that was fitted with y.

        Returns
        -------
        score : float
            At most 0, in X's units; compare scores of as many rows only.
        """
        rows = self._rows(X)
        n_rows = rows.shape[0]
        columns = self._told(y, n_rows, is_drawn=True)
        random = check_random_state(self.random_state)
        if n_rows > _MOST_SCORED:
            kept = np.sort(random.permutation(n_rows)[:_MOST_SCORED])
            rows, columns = rows[kept], None if columns is None else columns[kept]
        rows = rows.toarray() if sparse.issparse(rows) else rows
        generator = seeded(random)
        made = self._generated(self._noise(len(rows), generator), columns)
        with isolated():
            return -energy_distance(rows, made)

    def _noise(self, n_samples, generator):
        # Whatever the process's default dtype is.
        shape = n_samples, self.n_components_
        return torch.randn(shape, generator=generator, dtype=torch.float32).numpy()

    def _generated(self, z, columns):
        """Flat rows for noise, in X's units."""

        def generate(z, context=None):
            return self._units.to_x(self.net_.generator(z, context))

        out = self._map_known(
            z,
            columns,
            generate,
            self.n_features_in_,
            center=0.0,
            scale=1.0,
            dtype=np.float64,
        )
        if self.net_.generator.is_confined:
            # Rounding of the units.
            np.clip(out, 0, 1, out=out)
        return out.astype(self._dtype, copy=False)

    # What is known of the rows

    def _context_for(self, y, n_samples, sample_weight, fitted):
        """Columns that say what the training rows used are, or None."""
        weight = None
        if y is not None:
            y, weight = used_entries(y, n_samples, sample_weight)
            n_samples = len(y)
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
        return self._told(y, n_samples) if y is not None else None

    def _told(self, y, n_samples, *, is_drawn=False, single=False):
        """Columns of the context, zeros where nothing is known; None without one."""
        if self._context is None:
            if y is not None and not is_drawn:
                raise ValueError(
                    f"y is given, but this {type(self).__name__} was fitted without y."
                )
            return None
        if y is None and is_drawn:
            y = self._context.draw(n_samples, check_random_state(self.random_state))
        if y is None:
            return np.zeros((n_samples, self._context.width), dtype=np.float32)
        return told(self._context, y, n_samples, single=single)

    # Networks

    def _parts(self):
        """Generator and critic."""
        if self.architecture == "dense":
            sizes = hidden_widths(self.hidden_layer_sizes, "relu")
            return (
                DenseGenerator(sizes),
                DenseCritic(sizes, self.minibatch_discrimination),
            )
        shape = self._resolved_shape()
        self.sample_shape_ = shape
        channels = channel_widths(self.channels)
        kernel, stride = self._windows(self.kernel_size, self.stride)
        return (
            ConvGenerator(shape, channels, kernel, stride),
            ConvCritic(
                shape,
                channels,
                kernel,
                stride,
                minibatch_discrimination=self.minibatch_discrimination,
            ),
        )

    def _shape_of_network(self):
        names = ("n_components", "architecture", "hidden_layer_sizes", "channels")
        names += ("kernel_size", "stride", "minibatch_discrimination")
        return {name: getattr(self, name) for name in names}

    def _check_same_network(self):
        for name, value in self._network.items():
            asked = getattr(self, name)
            if not np.array_equal(asked, value):
                raise ValueError(
                    f"{name}={asked!r} differs from the {value!r} of the fitted model "
                    "that is to be continued. Set warm_start=False or use a new "
                    "estimator."
                )
