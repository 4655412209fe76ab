"""`ConditionalVAE`: the variational autoencoder that is told what its rows are."""

from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skae.checks.conditions import Classes, context_of, told, used_entries
from skae.estimators.generative import Augmenting, check_n_samples, path, seeded
from skae.estimators.parameters import choice, estimator, parameter
from skae.estimators.variational import Variational

__all__ = ["ConditionalVAE"]


@estimator
class ConditionalVAE(Augmenting, Variational):
    """Variational autoencoder of rows given y (Sohn et al. 2015, NeurIPS).

    Encoder and decoder are told y, classes or numbers, so that the code holds what y
    does not say: style, where y is the digit. Samples are drawn for the y asked for.
    In training the encoder does without y for a tenth of the rows, so that it can do
    without it in ``transform``.

    Parameters
    ----------
    context : {"auto", "classes", "numbers"}, default="auto"
        What y is. "auto" takes strings, booleans and whole numbers in one column for
        classes, everything else for numbers.
    code_density : {"prior", "mixture"}, default="mixture"
        Where ``sample`` draws codes: the standard normal prior, or mixtures of
        Gaussians fitted to the codes of the training rows, of each class or, for
        numbers, of all,
        whose samples are more like them (Ghosh et al. 2020, arXiv 1903.12436).
    activation : {"identity", "logistic", "tanh", "relu", "silu", "gelu"}, \
default="relu"
        Activation of the hidden layers.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Only of a model that was fitted with classes.
    active_units_ : ndarray of bool of shape (n_components_,)
        Whether the mean of a unit varies over training samples by more than 0.01.
    noise_variance_ : float or ndarray of shape (n_features,)
        Of the Gaussian likelihood, in X's units squared.
    sample_shape_ : tuple (n_channels, height, width)
        Only for images.

    See Also
    --------
    VariationalAE : The one that is told nothing.

    Notes
    -----
    In a pipeline ``y`` reaches ``transform`` by metadata routing, after
    ``set_transform_request(y=True)``; without it rows are encoded without y.
    ``fit_transform`` encodes without y, so routing is for models that come last: a
    classifier behind one should not be told y in one call and not in the other.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import ConditionalVAE
    >>> X, y = load_digits(return_X_y=True)
    >>> cvae = ConditionalVAE(likelihood="bernoulli", random_state=0).fit(X / 16, y)
    >>> cvae.sample(3, y=7).shape
    (3, 64)
    >>> more, labels = cvae.augment(X / 16, y, n_per_class=100)
    >>> more.shape
    (2797, 64)
    """

    context: Any = parameter("auto", choice("auto", "classes", "numbers"))
    code_density: str = parameter("mixture")

    # Routed only when asked for: without it transform does without y.
    __metadata_request__transform = {"y": False}

    _hidden_context = 0.1
    # What rows are is no part of PCA.
    _init = "random"

    def fit(self, X, y, sample_weight=None):
        """Learn the distribution of X given y.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            At least two rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Classes or numbers, see ``context``.
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
        return super().fit(X, y, sample_weight)

    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch on these rows, at a constant learning rate.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The first call has to have all classes, and sets the units of numbers. Where
            codes of a class are is known from the last call with enough rows of it, ten
            for each entry of the code or so; before, they are drawn from the prior.
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return super().partial_fit(X, y, sample_weight)

    def transform(self, X, y=None, return_std=False):
        """Encode rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            What is known of the rows. None encodes them without: the encoder learns
            that too, a little less exactly.
        return_std : bool, default=False

        Returns
        -------
        mean : ndarray of shape (n_samples, n_components_)
            Mean of the code's posterior.
        std : ndarray of shape (n_samples, n_components_)
            Its standard deviation. Only if ``return_std``.
        """
        rows = self._rows(X)
        context = self._told(y, rows)
        mean = self._encoded_as(rows, context)
        std = self._encoded_as(rows, context, scale=True) if return_std else None
        return (mean, std) if return_std else mean

    def inverse_transform(self, Z, y=None):
        """Decode codes.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components_)
        y : scalar or array-like of shape (n_samples,) or (n_samples, n_outputs)
            What the samples are to be; a single value holds for all. Needed, whatever
            the signature says for the sake of pipelines.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the shape, dtype and units of the training samples.
        """
        Z = self._codes(Z)
        if y is None:
            raise ValueError(
                "y must be given: codes do not hold what the samples are to be."
            )
        return self._samples_of(Z, told(self._context, y, len(Z), single=True), None)

    def reconstruct(self, X, y=None):
        """Encode and decode rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            None takes the likeliest class of each row.

        Returns
        -------
        X_hat : ndarray of shape (n_samples, n_features)
            In X's units and dtype.
        """
        rows = self._rows(X)
        context = self._told_or_likeliest(y, rows)

        def rebuild(x, context):
            return self._to_x(self.net_.reconstruct(x, context))

        out = self._map_known(rows, context, rebuild, self.n_features_in_)
        return self._restored(out, X)

    def score_samples(self, X, y=None):
        """Bound of the log-likelihood of each row given y, or of the row alone.

        The importance-weighted one of ``n_importance_samples`` draws, see
        `VariationalAE`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            None sums the densities over the classes, weighted as in training, which
            takes as many times as long as there are classes.

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            Nats per sample; higher is more likely.

        Raises
        ------
        ValueError
            When y is left out of a model that was fitted with numbers.
        """
        rows = self._judged_rows(X)
        if y is not None:
            return self._bounds(rows, self._told(y, rows))
        return logsumexp(self._joint(rows), axis=1)

    def score(self, X, y=None, sample_weight=None):
        """Mean bound of the log-likelihood, see ``score_samples``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        score : float
            Nats per sample.
        """
        scores = self.score_samples(X, y)
        return self._mean(scores, sample_weight)

    def sample(self, n_samples=1, *, y=None, random_state=None, noise=False):
        """Draw samples given y.

        Parameters
        ----------
        n_samples : int, default=1
        y : scalar or array-like of shape (n_samples,) or (n_samples, n_outputs), \
default=None
            What each sample is to be; a single value holds for all, None draws values
            as the training rows had them.
        random_state : int, RandomState or None, default=None
            None takes the estimator's own, so that an int there gives the same samples
            in every call.
        noise : bool, default=False
            Draw from the likelihood too. False gives its mean, as papers show images.

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
        given = self.random_state if random_state is None else random_state
        random = check_random_state(given)
        generator = seeded(random)
        if y is None:
            y = self._context.draw(n_samples, random)
        context = told(self._context, y, n_samples, single=True)
        Z = self._drawn_codes(n_samples, generator, context)
        return self._samples_of(Z, context, generator if noise else None)

    def interpolate(self, a, b, n_steps=10, *, y=None, method="spherical"):
        """Samples on the way from one sample to another, through the code.

        Parameters
        ----------
        a, b : array-like of shape (n_features,) or (1, n_features)
            Single samples.
        n_steps : int, default=10
            Samples on the way, both ends included; at least 2.
        y : scalar, default=None
            What all of them are to be; None takes the likeliest class of ``a``.
        method : {"spherical", "linear"}, default="spherical"
            Along a great circle or a straight line.

        Returns
        -------
        X : ndarray of shape (n_steps, n_features)
            In the shape of the training samples.
        """
        ends = self._ends(a, b, n_steps, method)
        context = self._told_or_likeliest(y, self._rows(ends[0]))
        codes = [self._encoded_as(self._rows(end), context)[0] for end in ends]
        Z = path(*codes, n_steps, method)
        return self._samples_of(Z, np.repeat(context, n_steps, axis=0), None)

    def _context_of(self, y, n_samples, sample_weight, *, reset):
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None."
            )
        y, weight = used_entries(y, n_samples, sample_weight)
        if reset:
            self._context = context_of(y, self.context, weight)
        return told(self._context, y, len(y))

    def _told(self, y, rows):
        """Columns of the context, zeros where y is not known."""
        n_rows = rows.shape[0]
        if y is None:
            return np.zeros((n_rows, self._context.width), dtype=np.float32)
        return told(self._context, y, n_rows)

    def _after(self, fitting):
        super()._after(fitting)
        self.__dict__.pop("classes_", None)
        if isinstance(self._context, Classes):
            self.classes_ = self._context.classes

    def _n_kinds(self):
        return self._context.width if isinstance(self._context, Classes) else 1

    def _kinds(self, context):
        is_classes = isinstance(self._context, Classes)
        return context.argmax(axis=1) if is_classes else None

    def _synthetic(self, X, y, kinds, random_state):
        given = self.random_state if random_state is None else random_state
        random = check_random_state(given)
        codes = self.transform(X, y)
        first, second = (_rows_of(y, kinds, random) for _ in range(2))
        share = random.uniform(0, 0.5, size=(len(kinds), 1))
        Z = (1 - share) * codes[first] + share * codes[second]
        return self.inverse_transform(Z, kinds)

    def _told_or_likeliest(self, y, rows):
        if y is not None:
            return told(self._context, y, rows.shape[0], single=True)
        likeliest = self._joint(rows).argmax(axis=1)
        return self._context.encode(self._context.classes[likeliest])

    def _joint(self, rows):
        """log p(x, y) of each row and class, within the bound."""
        known = self._context
        if not isinstance(known, Classes):
            raise ValueError(
                f"y must be given: this {type(self).__name__} was fitted with numbers, "
                "over which nothing can be summed."
            )
        n_rows = rows.shape[0]
        bounds = [
            self._bounds(rows, told(known, each, n_rows, single=True))
            for each in known.classes
        ]
        return np.stack(bounds, axis=1) + np.log(known.shares)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _rows_of(y, kinds, random) -> np.ndarray:
    """Number of a random row of each of these classes."""
    rows = np.empty(len(kinds), dtype=int)
    for kind in np.unique(kinds):
        asked = kinds == kind
        rows[asked] = random.choice(np.flatnonzero(y == kind), asked.sum())
    return rows
