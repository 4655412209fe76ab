"""`GAN`: a generator that is trained against a critic, for tables and images."""

from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from sklearn.utils.validation import _num_samples, check_is_fitted

from skae.checks.integers import check_integer
from skae.checks.rows import training_rows, unchanged_on_error
from skae.estimators.exported_gan import ExportedGAN
from skae.estimators.gan_networks import GROWING, GANNetworks
from skae.estimators.generative import Augmenting, apart, seeded
from skae.estimators.parameters import (
    AUTO,
    WIDTHS,
    at_least,
    choice,
    estimator,
    parameter,
    share,
)
from skae.estimators.sample_quality import SampleQuality
from skae.estimators.styles import Styled, check_truncation
from skae.fitting.callbacks import with_callbacks
from skae.fitting.gan_fit import GANFit
from skae.models.gan import LOSSES
from skae.parts.random_numbers import normal_numbers
from skae.rows.isolation import isolated
from skae.rows.readers import as_rows
from skae.training.recording import recording_of

__all__ = ["GAN"]


@estimator
class GAN(Augmenting, SampleQuality, Styled, GANNetworks, ExportedGAN):
    """Generative adversarial network: samples that a critic cannot tell from rows.

    A generator maps noise to rows, a critic learns to tell them from those of X, and
    the generator learns from the critic (Goodfellow et al. 2014, arXiv 1406.2661).
    There are no codes of rows and no likelihood: for those use `VariationalAE`. With y
    in ``fit`` the model is conditional, and samples can be drawn by class or value.

    Parameters
    ----------
    n_components : "auto" or int, default="auto"
        Width of the noise; "auto" is n_features, 64 at most.
    architecture : {"dense", "conv", "progressive", "style"}, default="dense"
        Perceptrons for tables, or networks for images: strided convolutions (Radford
        et al. 2016, arXiv 1511.06434, without its batch normalisation); convolutions
        that grow from 4 pixels (Karras et al. 2018, arXiv 1710.10196); or a generator
        whose layers follow styles (Karras et al. 2020, arXiv 1912.04958), which can be
        mixed, found for images and drawn near their mean. Heights and widths of the
        last two are multiples of 8.
    sample_shape : tuple (n_channels, height, width), default=None
        Of images passed as flat rows. Not for ``architecture="dense"``.
    hidden_layer_sizes : int or tuple of int, default=(128, 128, 128)
        Widths of the perceptrons, generator and critic.
    channels : "auto", int or tuple of int, default="auto"
        Of the critic's strided layers, from the image on; the generator mirrors them.
        Growing images have one for each size but their own: 3 for 32 x 32. "auto" is
        (32, 64), and for growing images 32, then 64 for all smaller sizes.
    kernel_size : int, default=4
        Of the strided layers of "conv".
    stride : int, default=2
        Of the strided layers of "conv"; at most kernel_size.
    loss : {"non_saturating", "hinge", "relativistic", "wasserstein_gp"}, \
default="hinge"
        The critic learns the log odds of a row being real; values beyond a margin of
        one on either side; values whose means differ most, with gradients of norm one
        (Gulrajani et al. 2017, arXiv 1704.00028), which takes more steps; or the log
        odds of which row of a pair is real, with penalties at both (Huang et al. 2024,
        arXiv 2501.05441).
    gradient_penalty : "auto" or float, default="auto"
        Twice the weight of the critic's squared gradient norm at the rows (Mescheder et
        al. 2018, arXiv 1801.04406); for ``loss="wasserstein_gp"`` the weight of the
        norm's squared distance from one. Norms are per root mean square over the scaled
        features. "auto" is 0.1 for that loss, else 0.03; of images that grow 0.01,
        "relativistic" 0.003. Raise it for more variety, lower it for sharper samples.
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
    growth : "auto" or float, default="auto"
        Share of the training in which images grow, in [0, 1), for the architectures
        that grow them: the smallest are trained on, then each size is faded in and
        trained on for as long. "auto" is 0.3 for "progressive" and 0 for "style".
    style_mixing : float, default=0.0
        Share of images generated in training, in [0, 1), whose fine layers have another
        style (Karras et al. 2019, arXiv 1812.04948), for "style": raise it for `mix`.
    n_modes : int, default=None
        Number of modes, k-means cells of the rows, to look for in samples after each
        round: see ``mode_coverage_``.
    features : "rows" or callable, default=None
        What ``precision_recall_`` compares samples in: rows as they are, or what this
        function returns of samples in the shape of X, (n_samples, n) numbers.
    early_stopping : bool, default=True
        Hold out samples to choose the best epoch by their energy distance to generated
        ones, and to stop; of growing images only epochs of whole ones. False trains on
        all samples and keeps the last epoch.
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
        Of images.
    mode_coverage_ : float or None
        Share of the ``n_modes`` modes with at least a fifth of the samples expected
        there; None without ``n_modes``.
    mode_coverage_curve_ : list of float or None
        The same after each round.
    precision_recall_ : tuple of float or None
        Share of samples that look real, and of the training rows that samples may look
        like (Kynkaanniemi et al. 2019, arXiv 1904.06991), of 2,000 each; None without
        ``features`` and after ``partial_fit``.
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
    architecture: str = parameter("dense", choice("dense", "conv", *GROWING))
    sample_shape: Any = parameter(None, tuple, list, np.ndarray, None)
    hidden_layer_sizes: tuple = parameter((128, 128, 128), *WIDTHS)
    channels: Any = parameter("auto", AUTO, at_least(1), tuple, list)
    kernel_size: int = parameter(4, at_least(1))
    stride: int = parameter(2, at_least(1))
    loss: str = parameter("hinge", choice(*LOSSES))
    gradient_penalty: Any = parameter("auto", AUTO, at_least(0, Real))
    minibatch_discrimination: bool = parameter(False, "boolean")
    replay: float = parameter(0.0, share("left"))
    ema: float = parameter(0.999, share("left"))
    n_critic_steps: Any = parameter("auto", AUTO, at_least(1))
    growth: Any = parameter("auto", AUTO, share("left"))
    style_mixing: float = parameter(0.0, share("left"))
    n_modes: Any = parameter(None, None, at_least(1))
    features: Any = parameter(None, None, choice("rows"), callable)
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
                self, rows, sample_weight, reset=fitted is None, like=X
            )
            context = self._context_for(y, n_samples, sample_weight, fitted)
            self._begin(rows, fitted)
            options = {"recording": own, **self._sample_options()}
            fitting = GANFit(self, rows, weight, context, self._parts(), **options)
            if self.features is not None:
                self._features_of(rows[:2])
            with fitting.computing():
                attributes = {"optimizer_state_": None, **fitting.run(fitted)}
            vars(self).update(attributes, network_=self._network())
            self._compare_samples(rows, context)
            fitting.end(attributes)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    @isolated
    def partial_fit(self, X, y=None, sample_weight=None, *, classes=None):
        """Train for one epoch on these rows, at a constant learning rate.

        The first call sets the centre, the scale and the networks from its rows.
        Nothing is held out, images are whole from the start, and averages of the
        weights go on from call to call.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            As of ``fit``, in all calls or in none.
        classes : array-like of shape (n_classes,), default=None
            All classes that y will hold, for the first call; by default those in it.
            Later calls may repeat them.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            When rows or parameters do not fit, or classes are not those of the first.
        KeyboardInterrupt
            After Ctrl-C; the estimator is then as it was before the call.
        """
        fitted = self if hasattr(self, "net_") else None
        with unchanged_on_error(self):
            rows = as_rows(self._flattened(X, reset=fitted is None))
            n_samples = _num_samples(rows)
            options = {"min_rows": 2 if fitted is None else 1, "like": X}
            rows, weight = training_rows(
                self, rows, sample_weight, reset=fitted is None, **options
            )
            context = self._context_for(y, n_samples, sample_weight, fitted, classes)
            self._begin(rows, fitted)
            options = self._sample_options()
            fitting = GANFit(self, rows, weight, context, self._parts(), **options)
            with fitting.computing():
                attributes = fitting.continue_epoch(fitted)
            vars(self).update(attributes, network_=self._network())
        return self

    def sample(self, n_samples=1, *, y=None, truncation=1.0, random_state=None):
        """Draw samples.

        Parameters
        ----------
        n_samples : int, default=1
        y : scalar or array-like of shape (n_samples,) or (n_samples, n_outputs), \
default=None
            Condition of each sample; a single value holds for all, None draws values
            from the training rows'. Only for models fitted with y.
        truncation : float, default=1.0
            In [0, 1], for ``architecture="style"``: how far styles may be from the mean
            style of their condition. Lower values give more typical samples, which vary
            less; 0 gives the mean one.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the shape and units of the training samples; float32 where those were,
            else float64.

        Raises
        ------
        ValueError
            When n_samples is no positive integer, y is of no class of the fit, or
            truncation is out of range.
        """
        z, inputs, condition = self._drawn_noise(n_samples, y, random_state)
        check_truncation(truncation)
        if truncation != 1 and self._fitted_architecture != "style":
            raise ValueError(
                f"truncation={truncation!r} is for architecture='style'; this GAN has "
                f"architecture={self._fitted_architecture!r}."
            )
        made = self._generated(z, inputs, condition, truncation)
        return self._restored(made, None)

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

    # Samples

    def _drawn_noise(self, n_samples, y, random_state):
        """Noise of samples, the generator of noise inputs, and the condition."""
        check_is_fitted(self)
        check_integer("n_samples", n_samples)
        random = check_random_state(
            self.random_state if random_state is None else random_state
        )
        generator = seeded(random)
        if y is None and self._context is not None:
            y = self._context.draw(n_samples, random)
        condition = self._condition(y, n_samples, single=True)
        return *self._noise(n_samples, generator), condition

    def _noise(self, n_samples, generator):
        """Noise of samples, and a generator of noise inputs where there are some."""
        # Of its own, so that more samples begin with the same ones.
        inputs = apart(generator) if self.net_.generator.n_noise else None
        shape = n_samples, self.n_components_
        return normal_numbers(shape, generator).numpy(), inputs

    def _generated(self, z, inputs, condition, truncation=1.0):
        """Flat rows in X's units."""
        net = self.net_.generator

        def generate(z, context=None):
            noise = None
            if inputs is not None:
                noise = normal_numbers((len(z), net.n_noise), inputs).to(z)
            if truncation == 1:
                return self.units_.to_x(net(z, context, noise))
            w = self._truncated(z, context, truncation)
            return self.units_.to_x(net.images(w, noise))

        return self._finished(
            self._map_rows(
                z,
                generate,
                self.n_features_in_,
                condition,
                units=(0.0, 1.0),
                dtype=np.float64,
                draws=inputs is not None,
            )
        )
