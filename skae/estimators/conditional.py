"""`ConditionalVAE`: the variational autoencoder of rows given y."""

from typing import Any

import numpy as np
from scipy.sparse import issparse
from scipy.special import logsumexp
from sklearn.utils.metadata_routing import UNUSED

from skae.checks.conditions import (
    Classes,
    context_of,
    encode_conditions,
    used_entries,
    warn_of_minus_one,
)
from skae.checks.labels import typed
from skae.estimators.generative import Augmenting
from skae.estimators.parameters import choice, estimator, parameter
from skae.estimators.variational import Variational, check_mean_only
from skae.exporting.conditions import (
    Joint,
    Marginal,
    OfLikeliest,
    Unconditioned,
    conditional,
)
from skae.rows.outputs import check_out

__all__ = ["ConditionalVAE"]

# Rows of a batch whose condition the encoder does not see in training.
_HIDDEN_SHARE = 0.1
# Draws that tell the classes of a row apart.
_CLASS_DRAWS = 5
# Rows of which all classes are judged together.
_TOGETHER = 64


@estimator
class ConditionalVAE(Augmenting, Variational):
    """Variational autoencoder of rows given y (Sohn et al. 2015, NeurIPS).

    Encoder and decoder get y, classes or numbers, as a further input, so that the code
    holds what y does not say: style, where y is the digit. Samples are drawn for a
    requested y. In training the encoder does without y for a tenth of the rows, so that
    it can do without it in ``transform``.

    Parameters
    ----------
    context : {"auto", "classes", "numbers"}, default="auto"
        What y is. "auto" takes strings, booleans and whole numbers in one column for
        classes, everything else for numbers.
    code_density : {"mixture", "prior"}, default="mixture"
        Where ``sample`` draws codes: mixtures of Gaussians fitted to the codes of the
        training rows, of each class or, for numbers, of all, whose samples are more
        like them (Ghosh et al. 2020, arXiv 1903.12436), or the standard normal prior.
    activation : {"identity", "logistic", "tanh", "relu", "silu", "gelu"}, \
default="relu"
        Activation of the hidden layers.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Only of a model that was fitted with classes.

    See Also
    --------
    VariationalAE : Without y.

    Notes
    -----
    In a pipeline ``y`` reaches ``transform`` by metadata routing, after
    ``set_transform_request(y=True)``; without it rows are encoded without y.
    ``fit_transform`` encodes without y, so routing is for models that come last: the
    codes for a classifier should not depend on y in one call and not in the other.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skae import ConditionalVAE
    >>> X, y = load_digits(return_X_y=True)
    >>> cvae = ConditionalVAE(likelihood="bernoulli", max_iter=10, random_state=0)
    >>> cvae.fit(X / 16, y).sample(3, y=7).shape
    (3, 64)
    >>> more, labels = cvae.augment(X / 16, y, n_per_class=100)
    >>> more.shape
    (2797, 64)
    """

    context: Any = parameter("auto", choice("auto", "classes", "numbers"))

    # Requested only on demand: without it transform does without y.
    __metadata_request__transform = {"y": False, "out": UNUSED}

    def fit(self, X, y, sample_weight=None):
        """Learn the distribution of X given y.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Classes or numbers, see ``context``.
        """
        return super().fit(X, y, sample_weight)

    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch on these rows, at a constant learning rate.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The first call has to have all classes; their shares are those among the
            rows of all calls. Numbers have the units of the first call, and ``sample``
            draws from its numbers. The density of the codes of a class is that of the
            last call with enough rows of it, some ten for each entry of the code, and
            the prior before that.
        """
        return super().partial_fit(X, y, sample_weight)

    def transform(self, X, y=None, return_std=False, out=None):
        """Encode rows.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            The condition of each row. None encodes them without, which is a little less
            exact.
        return_std : bool, default=False
        out : array of shape (n_samples, n_components_), optional
            Where the means are written, as in `AutoencoderTransformer.transform`.

        Returns
        -------
        mean : ndarray of shape (n_samples, n_components_)
            Mean of the code's posterior.
        std : ndarray of shape (n_samples, n_components_)
            Its standard deviation. Only if ``return_std``.
        """
        rows = self._rows(X)
        condition = self._condition(y, rows.shape[0])
        if out is None:
            return self._posterior(rows, condition, return_std)
        check_mean_only(return_std)
        return self._into(out, rows, self._encoded, condition=condition)

    def inverse_transform(self, Z, y=None):
        """Decode codes.

        Parameters
        ----------
        y : scalar or array-like of shape (n_samples,) or (n_samples, n_outputs)
            The condition of each sample; a single value holds for all. Required; the
            default is there for pipelines.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the shape and units of the training samples; float32 where those were,
            else float64.
        """
        Z = self._codes(Z)
        if y is None:
            raise ValueError(
                "y must be passed: codes do not hold what the samples are to be."
            )
        condition = self._condition(y, len(Z), single=True)
        return self._decoded(Z, condition, dtype=self._dtype)

    def reconstruct(self, X, y=None, out=None):
        """Encode and decode rows.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            None takes the likeliest class of each row, by five draws of the bound of
            `score_samples`.
        """
        rows = self._judged_rows(X)
        if out is not None:
            check_out(out, (rows.shape[0], self.n_features_in_), rows)
        condition = self._condition_or_likeliest(y, rows)
        if out is None:
            return self._restored(self._reconstructed(rows, condition), X)
        width = self.n_features_in_
        return self._into(out, rows, self._reconstructed, width, condition)

    def score_samples(self, X, y=None):
        """Bound of the log-likelihood of each row given y, or of the row alone.

        The importance-weighted one of ``n_importance_samples`` draws, see
        `VariationalAE`.

        Parameters
        ----------
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
        return self._score_samples(X, y)

    def _score_samples(self, X, y):
        rows = self._judged_rows(X)
        if y is not None:
            return self._bounds(rows, self._condition(y, rows.shape[0]))
        return logsumexp(self._joint(rows), axis=1)

    def score(self, X, y=None, sample_weight=None):
        """
        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None

        Returns
        -------
        score : float
            Nats per sample.
        """
        return super().score(X, y, sample_weight)

    def sample(self, n_samples=1, *, y=None, random_state=None, noise=False):
        """Draw samples given y.

        Parameters
        ----------
        y : scalar or array-like of shape (n_samples,) or (n_samples, n_outputs), \
default=None
            The condition of each sample; a single value holds for all, None draws
            values as the training rows had them.

        Raises
        ------
        ValueError
            When n_samples is no positive integer, or y was not seen in fit.
        """
        return self._sample(n_samples, random_state, noise, y)

    def interpolate(self, a, b, n_steps=10, *, y=None, method="spherical"):
        """
        Parameters
        ----------
        y : scalar or array-like of shape (2,) or (2, n_outputs), default=None
            The condition of both ends, or of each: the steps between lead from the one
            to the other. None takes the likeliest class of each end.
        """
        return self._interpolate(a, b, n_steps, method, y)

    def _parts(self, X):
        # PCA has no condition to start from.
        return super()._parts(X, hidden_context=_HIDDEN_SHARE)

    def _context_of(self, y, n_samples, sample_weight, *, reset):
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None."
            )
        y, weight = used_entries(y, n_samples, sample_weight)
        if reset:
            self._context = context_of(y, self.context, weight)
            warn_of_minus_one(self._context)
        condition = encode_conditions(self._context, y, len(y))
        if not reset:
            self._context = self._context.with_rows(typed(y), weight)
        return condition

    def _after(self, fitting):
        self.__dict__.pop("classes_", None)
        if isinstance(self._context, Classes):
            self.classes_ = self._context.classes
        super()._after(fitting)

    def _labels(self, condition):
        return condition.argmax(axis=1) if hasattr(self, "classes_") else None

    def _condition(self, y, n_samples, single=False):
        """Encoded y, zeros without it."""
        if y is None:
            return np.zeros((n_samples, self._context.width), dtype=np.float32)
        return encode_conditions(self._context, y, n_samples, single=single)

    def _condition_to_draw(self, y, n_samples, random_state):
        if y is None:
            y = self._context.draw(n_samples, random_state)
        return self._condition(y, n_samples, single=True)

    def _condition_or_likeliest(self, y, rows):
        if y is None:
            joint = self._joint(rows, _CLASS_DRAWS)
            return np.eye(self._context.width)[joint.argmax(axis=1)]
        return self._condition(y, rows.shape[0], single=True)

    def _conditions_of_ends(self, y, ends):
        if y is None:
            return [self._condition_or_likeliest(None, end) for end in ends]
        return np.split(self._condition(y, 2, single=True), 2)

    def _joint(self, rows, n_draws=None):
        """Bound of log p(x, y) of each row and class."""
        if not isinstance(self._context, Classes):
            raise ValueError(
                f"y must be passed: this {type(self).__name__} was fitted with "
                "numbers, over which nothing can be summed."
            )
        n_rows, classes = rows.shape[0], self._context.classes
        if n_rows <= _TOGETHER:
            # Blocks of rows have a least size, which few rows do not fill.
            rows = rows.toarray() if issparse(rows) else rows[:]
            rows = np.repeat(rows, len(classes), axis=0)
            condition = self._condition(np.tile(classes, n_rows), len(rows))
            bounds = self._bounds(rows, condition, n_draws).reshape(n_rows, -1)
        else:
            conditions = [self._condition(y, n_rows, single=True) for y in classes]
            bounds = np.stack([self._bounds(rows, y, n_draws) for y in conditions], 1)
        return bounds + np.log(self._context.shares)

    def _exports(self):
        functions = super()._exports()
        bound = functions["score_samples"].body
        joint = likeliest = None
        if hasattr(self, "classes_"):
            joint = Joint(bound, self._context)
            likeliest = Joint(self._bound(bound.net, _CLASS_DRAWS), self._context)
        width = self._context.width

        def without(name, body):
            if name == "transform":
                return Unconditioned(body, width)
            if name == "reconstruct" and joint is not None:
                return OfLikeliest(body, likeliest)
            if name == "score_samples" and joint is not None:
                return Marginal(joint)
            return None

        return {
            name: conditional(function, self._context, without(name, function.body))
            for name, function in functions.items()
        }

    def _synthetic(self, X, y, labels, random_state):
        random = self._random(random_state)
        self._judged_rows(X)
        codes = self.transform(X, y)
        first, second = (_rows_of(y, labels, random) for _ in range(2))
        share = random.uniform(0, 0.5, size=(len(labels), 1))
        Z = (1 - share) * codes[first] + share * codes[second]
        return self.inverse_transform(Z, labels)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _rows_of(y, labels, random) -> np.ndarray:
    """Number of a random row of each of these classes."""
    rows = np.empty(len(labels), dtype=int)
    for label in np.unique(labels):
        wanted = labels == label
        rows[wanted] = random.choice(np.flatnonzero(y == label), wanted.sum())
    return rows
