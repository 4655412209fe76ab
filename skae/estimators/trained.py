"""What estimators share that train a torch module on rows, autoencoders or not.

Parameters of the training, rows in model units, chunks on the device and pickling.
Nothing here knows what the module computes.
"""

from functools import partial, wraps

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.metadata_routing import UNUSED
from torch.nn import Module

from skae.checks.rows import check_fitted, fitted_rows
from skae.estimators.exportable import Exportable
from skae.estimators.parameters import TrainingParameters
from skae.estimators.stored import StoredState
from skae.exporting.ends import RowUnits
from skae.fitting.callbacks import CallbackSupport
from skae.parts.layers import widest
from skae.rows.chunks import map_rows
from skae.rows.devices import product_rows
from skae.rows.outputs import check_out, fill
from skae.training.callbacks import named_callbacks

__all__ = ["SingleTraining", "TrainedEstimator"]


class TrainedEstimator(
    Exportable, TrainingParameters, CallbackSupport, StoredState, BaseEstimator
):
    """Estimators with a trained module ``net_``, which sees (X - center) / scale.

    Attributes
    ----------
    net_ : Module
        The trained torch module; it sees centred and scaled rows.
    n_iter_ : int
        Epochs of training, also of those that led to this fit.
    epochs_ : ndarray of shape (n_evaluations,)
        When the losses below were noted, in epochs and fractions of them.
    loss_curve_ : list of float
        Training loss at each evaluation, nats per sample of the scaled rows.
    validation_scores_ : list of float or None
        Minus the held-out loss at each evaluation; None without held-out samples.
    interrupted_ : bool
        Whether Ctrl-C ended the training early.
    n_features_in_ : int
        Features seen in ``fit``.
    feature_names_in_ : ndarray of str
        Only when X has string column names.
    """

    # The user's memory is not for pipelines to pass on.
    __metadata_request__transform = {"out": UNUSED}

    def get_params(self, deep=True):
        """Parameters of the estimator and, if ``deep``, of its callbacks.

        Parameters
        ----------
        deep : bool, default=True
            Callbacks are there as ``callbacks__NAME`` and their parameters as
            ``callbacks__NAME__PARAMETER``; the name is that of the class where the
            callback did not come with one.

        Returns
        -------
        params : dict
        """
        params = super().get_params(deep)
        callbacks = params.get("callbacks") if deep else None
        if not isinstance(callbacks, list | tuple):
            return params
        for name, callback in named_callbacks(callbacks):
            params[f"callbacks__{name}"] = callback
            if hasattr(callback, "get_params") and not isinstance(callback, type):
                for key, value in callback.get_params().items():
                    params[f"callbacks__{name}__{key}"] = value
        return params

    def set_params(self, **params):
        """Set parameters of the estimator and of its callbacks.

        Parameters
        ----------
        **params
            As in `get_params`. A callback set to None is left out.

        Returns
        -------
        self : object
        """
        own = {k: v for k, v in params.items() if not k.startswith("callbacks__")}
        super().set_params(**own)
        nested = {k: v for k, v in params.items() if k not in own}
        # Callbacks as a whole come before what is inside them.
        for key in sorted(nested):
            _, name, *inside = key.split("__", 2)
            self._set_callback(name, inside, nested[key])
        return self

    def _set_callback(self, name, inside, value):
        callbacks = named_callbacks(self.callbacks)
        names = [own for own, _ in callbacks]
        if name not in names:
            raise ValueError(
                f"callbacks__{name} names no callback of this {type(self).__name__}; "
                f"it has {names or 'none'}."
            )
        place = names.index(name)
        if inside:
            callback = callbacks[place][1]
            callback = callback() if isinstance(callback, type) else callback
            callback.set_params(**{inside[0]: value})
            value = callback
        changed = [*self.callbacks]
        changed[place : place + 1] = [] if value is None else [(name, value)]
        self.callbacks = changed

    # Hooks for estimators whose samples are no flat rows.
    _allows_nan = False
    # Shape of a sample as it came in fit; None for flat rows.
    _input_shape = None
    # Smallest and largest value of what comes back; None for any.
    _value_range = None

    def _note_range(self, X):
        """Set the range that values keep to, where training rows say one."""

    def _flattened(self, X, *, reset, name="X"):
        """Samples as flat rows; X is not validated yet."""
        return X

    def _restored(self, rows, X):
        """Flat rows in the shape in which X came."""
        return rows

    def _rows(self, X):
        """X for the fitted estimator, as float array or CSR matrix of rows."""
        check_fitted(self)
        rows = self._flattened(X, reset=False)
        return fitted_rows(self, rows, allow_nan=self._allows_nan, like=X)

    @property
    def _runs_on_threads(self) -> bool:
        """Whether several threads may use the model, each with rows of its own."""
        return True

    @property
    def _device(self):
        return next(self.net_.parameters()).device

    def _map_rows(
        self,
        X,
        function,
        width,
        condition=None,
        *,
        units=None,
        dtype=None,
        out=None,
        draws=False,
        n_rows=None,
    ):
        """Apply a function of scaled rows, and of their conditions, to chunks of X.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_columns)
        function : callable
            Maps a tensor (batch, n_columns) and, with a condition, a tensor
            (batch, n_context) to a tensor (batch, width).
        width : int
        condition : ndarray of shape (n_samples, n_context), optional
        units : tuple (center, scale), optional
            Instead of the estimator's.
        dtype : optional
            Of the result; X's when left out.
        out : ndarray of shape (n_samples, width), optional
            Where the result goes.
        draws : bool, default=False
            Whether the function draws random numbers, which follow the batch's shape.
        n_rows : int, optional
            Rows of every call of the function, by default `product_rows`.
        """
        own = self.units_.center, self.units_.scale
        center, scale = own if units is None else units
        model = next(self.net_.parameters())
        if out is None:
            out = np.empty((X.shape[0], width), X.dtype if dtype is None else dtype)
        apply = function
        if condition is not None:
            apply, widths = _of_both(function, X, condition)
            center, scale = (
                np.append(np.broadcast_to(unit, widths[0]), np.full(widths[1], neutral))
                for unit, neutral in ((center, 0.0), (scale, 1.0))
            )
            X = _Joined(X, condition)

        def to_model(block):
            # Sums follow the memory layout, which frames and slices bring along.
            scaled = np.ascontiguousarray((block - center) / scale)
            return torch.from_numpy(scaled).to(model.dtype)

        owner = function if isinstance(function, Module) else self.net_
        n_rows = n_rows or product_rows(
            model.device, partial(widest, self.net_, X.shape[1], width)
        )
        return map_rows(
            X,
            to_model,
            apply,
            out,
            model.device,
            n_rows=n_rows,
            owner=None if draws else owner,
            in_order=draws or not self._runs_on_threads,
        )

    def _into(self, out, X, function, width=None, condition=None):
        """A function of validated rows, block by block where there is an ``out``.

        The width is that of the result, by default of codes; with a condition the
        function gets those of its rows as ``condition``.
        """
        given = {} if condition is None else {"condition": condition}
        if out is None:
            return function(X, **given)
        width = self.n_components_ if width is None else width
        check_out(out, (X.shape[0], width), X)
        container = _get_output_config("transform", self)["dense"]
        if container != "default":
            raise ValueError(
                f"out, of type {type(out).__name__}, cannot be returned as a frame of "
                f"{container}: call set_output(transform='default'), or leave it out."
            )

        def of_block(rows):
            return function(X[rows], **{k: v[rows] for k, v in given.items()})

        return fill(out, X, of_block)

    def _row_units(self, **options) -> RowUnits:
        """The end where rows of X enter or leave a module."""
        units = self.units_
        training_shape = getattr(self, "sample_shape_", None)
        options = {"value_range": self._value_range, **options}
        return RowUnits(
            units.center,
            units.scale,
            units.constant,
            shape=self._input_shape,
            training_shape=training_shape or self._input_shape,
            is_complete=True,
            **options,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class SingleTraining(TrainedEstimator):
    """Estimators whose module is trained once, on centred samples.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
        Mean of the training samples.
    kept_epoch_ : float or None
        Epoch whose weights the model has, an entry of ``epochs_``; None where no epoch
        was better than the start, and after ``partial_fit``.
    """

    @property
    def kept_epoch_(self):
        epochs = self.epochs_
        kept = getattr(self, "kept_round_", None)
        is_pca = getattr(self, "init", "random") != "random" and not self.departure_
        return None if is_pca or not kept else epochs[kept - 1]


def _of_both(function, X, condition):
    """A function of rows with their conditions behind them, and the widths of both."""
    widths = [X.shape[1], condition.shape[1]]

    @wraps(function)
    def apply(rows):
        return function(*(part.contiguous() for part in rows.split(widths, 1)))

    return apply, widths


class _Joined:
    """Rows with their conditions as further columns, joined as they are read."""

    def __init__(self, X, condition):
        self._X, self._condition = X, condition
        self.shape = X.shape[0], X.shape[1] + condition.shape[1]

    def __getitem__(self, rows):
        block = self._X[rows]
        block = block.toarray() if sparse.issparse(block) else block
        return np.hstack([block, self._condition[rows].astype(block.dtype)])
