"""What all autoencoders share: fitting, coding, decoding, scoring, pickling.

Subclasses say in ``_parts`` what their parameters mean; `Fit` makes a model of it. All
public methods validate X once and then work on chunks of rows.
"""

from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.utils.validation import _check_sample_weight, _num_samples

from skae.checks.rows import (
    check_fitted,
    check_padding,
    code_rows,
    training_rows,
    unchanged_on_error,
)
from skae.checks.weights import training_weights
from skae.distributed import fits_on_cluster
from skae.estimators.corrupting import Corrupting
from skae.estimators.exported_autoencoder import ExportedAutoencoder
from skae.estimators.judging import Judging
from skae.estimators.parameters import (
    DecayParameters,
    at_least,
    estimator,
    parameter,
)
from skae.fitting.autoencoder_fit import Fit
from skae.fitting.callbacks import with_callbacks
from skae.fitting.resolve import Parts
from skae.parts.base import are_rowwise
from skae.rows.devices import place_of_doubles
from skae.rows.group import group_of
from skae.rows.isolation import isolated
from skae.rows.readers import as_rows
from skae.rows.tensors import as_double
from skae.training.recording import recording_of

__all__ = ["BaseAutoencoder"]

_PCA_ATTRIBUTES = (
    "components_",
    "explained_variance_",
    "explained_variance_ratio_",
    "pca_ratio_",
    "pca_t_",
)


@estimator
class BaseAutoencoder(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    Corrupting,
    Judging,
    ExportedAutoencoder,
    DecayParameters,
):
    """What all autoencoders share.

    Parameters
    ----------
    n_components : int, default=100
        Width of the code; may exceed n_features.

    Attributes
    ----------
    departure_ : float
        What is kept of the trained departure from PCA: 0 is PCA itself or a linear
        model, 1 all of it or a model that held-out rows did not judge.
    stop_reason_ : str
        What ended the training.
    units_ : Units
        Center and scale of the rows that ``net_`` sees.
    n_components_ : int
        Width of the code.
    """

    n_components: Any = parameter(100, at_least(1), positional=True)

    spreads_rows = True

    @fits_on_cluster
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    @isolated
    def fit(self, X, y=None, sample_weight=None):
        """Learn the encoder and the decoder.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            At least two rows.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative; rows of weight zero are left out.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            When X or a parameter does not fit, before any training.
        FloatingPointError
            When training diverges at every learning rate tried.
        """
        resuming = self.warm_start and hasattr(self, "net_")
        recording = recording_of(self, continues=resuming, group=group_of(X))
        with unchanged_on_error(self), recording as own:
            options = {"reset": not resuming, "recording": own}
            fitting = self._fit_of(X, y, sample_weight, **options)
            with fitting.computing():
                fitted = fitting.resume(self) if resuming else fitting.run()
            self._take_over({"optimizer_state_": None, "interrupted_": False, **fitted})
            self._after(fitting)
            fitting.end(fitted)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    @isolated
    def partial_fit(self, X, y=None, sample_weight=None):
        """Train for one epoch on these rows, at a constant learning rate.

        The first call sets the centre, the scale and the start of the model from its
        rows; nothing is held out, and a linear model loses its ``components_``.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C; the estimator is then as it was before the call.
        """
        first = not hasattr(self, "net_")
        with unchanged_on_error(self):
            fewest = 2 if first else 1
            fitting = self._fit_of(X, y, sample_weight, reset=first, min_rows=fewest)
            with fitting.computing():
                fitted = fitting.continue_epoch(None if first else self)
            self._take_over(fitted)
            self._after(fitting)
        return self

    def _fit_of(self, X, y, sample_weight, *, reset, min_rows=2, recording=None) -> Fit:
        """A fit of validated rows."""
        rows = as_rows(self._flattened(X, reset=reset))
        n_samples = _num_samples(rows)
        options = {"allow_nan": self._allows_nan, "balanced": False, "like": X}
        rows, weight = training_rows(
            self, rows, sample_weight, reset=reset, min_rows=min_rows, **options
        )
        clean = self._targets(y, (n_samples, rows.shape[1]))
        if clean is not None and sample_weight is not None:
            clean = clean[_check_sample_weight(sample_weight, clean) > 0]
        context = self._context_of(y, n_samples, sample_weight, reset=reset)
        if reset:
            self._note_range(rows if clean is None else clean)
        parts = self._parts(rows if clean is None else clean)
        return self._fit_class(self, rows, weight, parts, clean, context, recording)

    _fit_class = Fit

    # Hooks for estimators whose rows have targets or a condition.

    def _targets(self, y, shape):
        """Clean rows of this shape for pair training, or None."""
        return None

    def _context_of(self, y, n_samples, sample_weight, *, reset):
        """Condition of rows of positive weight, ``(n_rows, n_context)``, or None."""
        return None

    def _parts(self, X) -> Parts:
        """What the parameters say of a model of rows X, or where they contradict."""
        raise NotImplementedError

    def _parts_of(self, X, architecture, defaults, **others) -> Parts:
        """Parts with those that all autoencoders have parameters for."""
        return Parts(
            architecture=architecture,
            n_components=None if architecture.decides_width else self.n_components,
            defaults=defaults,
            likelihood=self._likelihood(X),
            value_range=self._value_range,
            **others,
        )

    def _take_over(self, fitted):
        """Replace what an earlier fit left behind."""
        for name in _PCA_ATTRIBUTES:
            self.__dict__.pop(name, None)
        self.__dict__.update(fitted)

    @property
    def _takes_noise(self):
        """Whether noise may take rows out of the range of the likelihood."""
        return not self.net_.corruption.is_identity

    def transform(self, X, out=None):
        """Encode rows.

        Parameters
        ----------
        out : array of shape (n_samples, n_components_), optional
            Where the codes are written, block by block: an ndarray, a memory map, a
            dataset of h5py or zarr, of dtype float32 or float64.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components_)
            Codes, in X's dtype; in X's units where the code has neither an activation
            nor a prior. With ``out``, that.
        """
        return self._into(out, self._rows(X), self._encoded)

    def inverse_transform(self, Z):
        """Decode codes.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components_)

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Reconstructions, in X's units and Z's dtype.
        """
        return self._decoded(self._codes(Z))

    def _decoded(self, Z, condition=None, *, generator=None, dtype=None):
        """Decode validated codes; with a generator, draw from the likelihood."""

        def decode(z, *condition):
            raw = self.net_.decode(z, *condition)
            likelihood = self.net_.likelihood
            x = likelihood.draw(raw, generator) if generator else likelihood.mean(raw)
            return self.units_.to_x(x)

        options = {"units": (0.0, self.code_scale_), "dtype": dtype}
        options["draws"] = generator is not None
        out = self._map_rows(Z, decode, self.n_features_in_, condition, **options)
        return self._restored(out, None)

    def _codes(self, Z):
        """Validated codes."""
        check_fitted(self)
        return code_rows(self, Z, self.n_components_)

    def reconstruct(self, X, out=None):
        """Encode and decode rows.

        Parameters
        ----------
        out : array of shape (n_samples, n_features), optional
            Where flat rows are written, as in ``transform``.

        Returns
        -------
        X_hat : ndarray of shape (n_samples, n_features)
            In X's units and dtype. With ``out``, that.
        """
        check_fitted(self)
        rows = self._rows(X) if self._takes_noise else self._judged_rows(X)
        if out is not None:
            return self._into(out, rows, self._reconstructed, self.n_features_in_)
        return self._restored(self._reconstructed(rows), X)

    def _reconstructed(self, rows, condition=None):
        """Reconstructions of validated rows."""
        return self._map_rows(rows, self._reconstruct, self.n_features_in_, condition)

    def score_samples(self, X):
        """Log-likelihood of each row given its code, up to a constant.

        For a Gaussian likelihood this is minus half the squared reconstruction error,
        summed over features, in X's units squared; for one that learns a variance the
        log-density in X's units, for a Bernoulli one minus the cross-entropy, in nats.

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            Higher is better reconstructed.
        """
        X = self._judged_rows(X)
        scale = self.units_.columns.to(place_of_doubles(self._device))

        def log_likelihood(x):
            return self.net_.log_likelihood(x, scale).cpu()[:, None]

        return self._map_rows(X, log_likelihood, 1, dtype=np.float64)[:, 0]

    def score(self, X, y=None, sample_weight=None):
        """Fraction of the variance that the reconstruction keeps (R2).

        One minus the squared error over the squared distance to the training mean,
        both summed over rows and features: on training rows of a linear autoencoder
        this is the sum of PCA's ``explained_variance_ratio_``.

        Returns
        -------
        score : float
            At most 1; 0 is what the mean would reach.
        """
        X = self._judged_rows(X)

        def errors(x):
            rows = self.units_.to_x(x)
            return self._squares(self._reconstruct(x), rows)

        parts = self._map_rows(X, errors, 2, dtype=np.float64)
        return self._explained(parts, X, sample_weight)

    def _squares(self, rebuilt, rows):
        """Squared errors and squared distances to the mean of each row."""
        departures = rebuilt - rows, rows - as_double(self.mean_)
        # Of missing entries both are NaN.
        squares = [(part / self.units_.typical).square() for part in departures]
        return torch.stack([square.nansum(1) for square in squares], dim=1)

    def _explained(self, squares, X, sample_weight):
        """R2 from the `_squares` of each row."""
        if sample_weight is not None:
            weight = training_weights(sample_weight, X, 1)
            squares = squares * weight[:, None]
        lost, spread = squares.sum(axis=0)
        if spread == 0:
            return 1.0 if lost == 0 else 0.0
        return float(1 - lost / spread)

    def _after(self, fitting):
        """Set attributes that need the fitted model and the training rows."""

    @property
    def code_scale_(self):
        return self.units_.of_codes if self.net_.codec.keeps_units else 1.0

    def _encoded(self, rows, out=None, condition=None):
        """Codes of validated rows, written into ``out`` where there is one."""
        scale = self.code_scale_

        def encode(x, *condition):
            return self.net_.code(x, *condition).cpu().double() * scale

        return self._map_rows(rows, encode, self.n_components_, condition, out=out)

    @property
    def _runs_on_threads(self) -> bool:
        # Code of the user's may keep something between calls.
        return are_rowwise(self.net_.codec, self.net_.likelihood)

    @property
    def _n_features_out(self):
        return self.n_components_

    def _reconstruct(self, x, *condition):
        raw = self.net_.reconstruct(x, *condition)
        rebuilt = self.units_.to_x(self.net_.likelihood.mean(raw))
        if not self.net_.codec.allows_missing:
            return rebuilt
        return rebuilt.masked_fill(x.cpu().isnan(), torch.nan)

    def _rows(self, X):
        rows = super()._rows(X)
        if self.net_.codec.allows_missing:
            check_padding(rows, self.net_.sample_shape)
        return rows

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
