"""What estimators share that draw samples: sampling, interpolating, augmenting.

`Generative` decodes codes that belong to no row, for autoencoders whose prior can be
sampled; `Augmenting` draws labelled rows from anything that samples given y.
"""

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from skae.checks.conditions import Classes
from skae.checks.images import check_range
from skae.checks.integers import check_integer
from skae.checks.labels import typed
from skae.checks.samples import in_own_shape
from skae.estimators.parameters import estimator
from skae.rows.isolation import isolated
from skae.rows.readers import row_source

__all__ = [
    "Augmenting",
    "Generative",
    "apart",
    "path",
    "seeded",
]

_METHODS = ("spherical", "linear")
# Below this angle, in radians, the two ways to interpolate are one.
_SMALLEST_ANGLE = 1e-4


@estimator
class Generative:
    """Sampling and interpolation for autoencoders whose prior has ``sample``."""

    def sample(self, n_samples=1, *, random_state=None, noise=False):
        """Draw samples: decoded codes from the prior.

        Parameters
        ----------
        n_samples : int, default=1
        noise : bool, default=False
            Draw from the likelihood too. False gives its mean, as papers show images.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the shape and units of the training samples; float32 where those were,
            else float64.

        Raises
        ------
        ValueError
            When n_samples is no positive integer.
        """
        return self._sample(n_samples, random_state, noise)

    def _sample(self, n_samples, random_state, noise, y=None):
        check_is_fitted(self)
        check_integer("n_samples", n_samples)
        random = self._random(random_state)
        generator = seeded(random)
        condition = self._condition_to_draw(y, n_samples, random)
        Z = self._drawn_codes(n_samples, generator, condition)
        noise = generator if noise else None
        return self._decoded(Z, condition, generator=noise, dtype=self._dtype)

    def interpolate(self, a, b, n_steps=10, *, method="spherical"):
        """Samples on the way from one sample to another, through the code.

        Parameters
        ----------
        a, b : array-like of shape (n_features,) or (1, n_features)
            Single samples, in the units of the training ones.
        n_steps : int, default=10
            Samples on the way, the reconstructions of both ends included; at least 2.
        method : {"spherical", "linear"}, default="spherical"
            Along a great circle, which keeps codes of a normal prior at their usual
            distance from zero (White 2016, arXiv 1609.04468), or a straight line.

        Returns
        -------
        X : ndarray of shape (n_steps, n_features)
            In the shape of the training samples.

        Raises
        ------
        ValueError
            When a or b is not a single sample, or has values outside the range of the
            likelihood or of the training images; when n_steps is below 2.
        """
        return self._interpolate(a, b, n_steps, method)

    def _interpolate(self, a, b, n_steps, method, y=None):
        check_is_fitted(self)
        check_integer("n_steps", n_steps, least=2)
        if method not in _METHODS:
            raise ValueError(f"method must be one of {_METHODS}; got {method!r}.")
        ends = [self._end(a, "a"), self._end(b, "b")]
        conditions = self._conditions_of_ends(y, ends)
        Z = path(
            *(
                self._encoded(end, condition=condition)[0]
                for end, condition in zip(ends, conditions, strict=True)
            ),
            n_steps,
            method,
        )
        condition = None
        if conditions[0] is not None:
            condition = path(*np.concatenate(conditions), n_steps, "linear")
        return self._decoded(Z, condition, dtype=self._dtype)

    # Hooks for conditional estimators

    def _condition_to_draw(self, y, n_samples, random_state):
        """Condition of samples; without y as the training rows had it."""
        return None

    def _conditions_of_ends(self, y, ends):
        """Condition of each of two rows; without y the likeliest of each."""
        return [None for _ in ends]

    def _end(self, sample, name):
        """A validated row in the units of the training rows."""
        sample = self._single(sample, name)
        try:
            row = self._judged_rows(sample)
            if self._value_range is not None:
                is_bytes = getattr(sample, "dtype", None) == np.uint8
                check_range(row, self._value_range, is_bytes=is_bytes)
        except ValueError as error:
            error.add_note(f"X stands for {name}, an argument of interpolate.")
            raise
        return row

    def _single(self, sample, name):
        """A sample as an array of one."""
        shape = np.shape(sample)
        expected = self._input_shape or (self.n_features_in_,)
        if shape == expected:
            return np.asarray(sample)[None]
        if shape[:1] != (1,) or len(shape) < 2:
            raise ValueError(
                f"{name} must be a single sample of shape {expected}; got an array of "
                f"shape {shape}."
            )
        return sample

    def _random(self, random_state):
        """The RandomState of a call; None takes the estimator's own."""
        return check_random_state(
            self.random_state if random_state is None else random_state
        )

    @isolated
    def _drawn_codes(self, n_samples, generator, condition):
        """Codes from the prior."""
        z = self.net_.prior.sample(n_samples, self.n_components_, generator)
        return z.double().numpy()

    def _after(self, fitting):
        super()._after(fitting)
        self._dtype = fitting.X.dtype


@estimator
class Augmenting:
    """Synthetic labelled rows, for conditional estimators with ``_context``."""

    def augment(self, X, y, n_per_class, *, random_state=None):
        """Add synthetic rows of each class to labelled ones.

        Where the model has codes, a synthetic row is decoded from between the codes of
        two rows of X of its class (Chawla et al. 2002, JAIR 16, in the code instead of
        X), which needs fewer rows than a fitted distribution; else it is a sample.

        Parameters
        ----------
        X : array-like or row source of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Classes of the fit.
        n_per_class : int
            Synthetic rows of each class of y; as many as there are real ones is a good
            start.

        Returns
        -------
        X : ndarray of shape (n_samples + n_per_class * n_classes, n_features)
            The rows of X, then the synthetic ones, class by class; integers become
            floats.
        y : ndarray of shape (n_samples + n_per_class * n_classes,)

        Raises
        ------
        ValueError
            When the model was not fitted with classes, y has others, or n_per_class is
            no positive integer.

        Notes
        -----
        Fit the model to training rows only, like everything that a classifier learns
        from.
        """
        check_is_fitted(self)
        check_integer("n_per_class", n_per_class)
        if not isinstance(getattr(self, "_context", None), Classes):
            raise ValueError(
                f"augment needs a {type(self).__name__} that was fitted with classes "
                "in y."
            )
        if sparse.issparse(X):
            raise ValueError(
                "augment needs a dense X, whose rows come back; use X.toarray()."
            )
        if not in_own_shape(X):
            source = row_source(X)
            X = X if source is None else source[:]
        X, y = np.asarray(X), column_or_1d(typed(y))
        check_consistent_length(X, y)
        self._context.encode(y)
        labels = np.repeat(np.unique(y), n_per_class)
        synthetic = self._synthetic(X, y, labels, random_state)
        synthetic = synthetic.reshape(len(labels), *X.shape[1:])
        if X.dtype.kind == "f":
            synthetic = synthetic.astype(X.dtype, copy=False)
        return np.concatenate([X, synthetic]), np.concatenate([y, labels])

    def _synthetic(self, X, y, labels, random_state):
        """Samples of these classes, which may be made from the labelled ones."""
        return self.sample(len(labels), y=labels, random_state=random_state)


def seeded(random_state) -> torch.Generator:
    """A generator on the CPU from what scikit-learn takes as random_state."""
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    return torch.Generator("cpu").manual_seed(int(seed))


def apart(generator: torch.Generator) -> torch.Generator:
    """Another generator, whose seed comes from this one."""
    seed = torch.randint(2**62, (), generator=generator, device="cpu")
    return torch.Generator("cpu").manual_seed(int(seed))


def path(start, end, n_steps, method) -> np.ndarray:
    """Codes from one to another, shape ``(n_steps, n_components)``."""
    share = np.linspace(0, 1, n_steps)[:, None]
    norms = np.linalg.norm(start) * np.linalg.norm(end)
    cosine = np.dot(start, end) / norms if norms > 0 else 1.0
    angle = np.arccos(np.clip(cosine, -1, 1))
    if method == "linear" or min(angle, np.pi - angle) < _SMALLEST_ANGLE:
        return (1 - share) * start + share * end
    before, after = np.sin((1 - share) * angle), np.sin(share * angle)
    return (before * start + after * end) / np.sin(angle)
