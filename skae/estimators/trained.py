"""What estimators share that train a torch module on rows, autoencoders or not.

Parameters of the training, rows in model units, chunks on the device and pickling.
Nothing here knows what the module computes.
"""

import copy

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skae.checks.rows import fitted_rows
from skae.estimators.parameters import TrainingParameters
from skae.fitting.callbacks import CallbackSupport
from skae.rows.chunks import chunks, map_rows
from skae.training.trainer import named_callbacks

__all__ = ["TrainedEstimator"]


class TrainedEstimator(TrainingParameters, CallbackSupport, BaseEstimator):
    """Estimators with a trained module ``net_``, which sees (X - center) / scale.

    Attributes
    ----------
    kept_epoch_ : float or None
        Epoch whose weights the model has, an entry of ``epochs_``; None where these are
        the start's or PCA's, and after ``partial_fit``.
    """

    @property
    def kept_epoch_(self):
        epochs = self.epochs_
        kept = getattr(self, "_kept_round", None)
        is_pca = getattr(self, "init", None) == "pca" and not self.departure_
        return None if is_pca or not kept else epochs[kept - 1]

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
        known = [known for known, _ in callbacks]
        if name not in known:
            raise ValueError(
                f"callbacks__{name} names no callback of this {type(self).__name__}; "
                f"it has {known or 'none'}."
            )
        place = known.index(name)
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

    def _flattened(self, X, *, reset, name="X"):
        """Samples as flat rows; X is not validated yet."""
        return X

    def _restored(self, rows, X):
        """Flat rows in the shape in which X came."""
        return rows

    def _rows(self, X):
        """X for the fitted estimator, as float array or CSR matrix of rows."""
        check_is_fitted(self)
        rows = self._flattened(X, reset=False)
        return fitted_rows(self, rows, allow_nan=self._allows_nan)

    @property
    def _device(self):
        return next(self.net_.parameters()).device

    def _map_rows(
        self, X, function, width, *, center=None, scale=None, dtype=None, out=None
    ):
        """Apply a function of scaled rows to chunks of X.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_columns)
        function : callable
            Maps a tensor (batch, n_columns) to a tensor (batch, width).
        width : int
        center, scale : optional
            Instead of the estimator's units.
        dtype : optional
            Of the result; X's when left out.
        out : ndarray of shape (n_samples, width), optional
            Where the result goes.
        """
        center = self._units.center if center is None else center
        scale = self._units.scale if scale is None else scale
        parameter = next(self.net_.parameters())
        if out is None:
            dtype = X.dtype if dtype is None else dtype
            out = np.empty((X.shape[0], width), dtype=dtype)

        def to_model(block):
            # Sums follow the memory layout, which frames and slices bring along.
            scaled = np.ascontiguousarray((block - center) / scale)
            return torch.from_numpy(scaled).to(parameter.dtype)

        return map_rows(X, to_model, function, out, parameter.device)

    def _map_known(
        self, X, context, function, width, *, center=None, scale=None, dtype=None
    ):
        """`_map_rows` of rows of which something may be known.

        The function takes a tensor of rows and, where there is a context of shape
        (n_samples, n_context), a tensor of that.
        """
        center = self._units.center if center is None else center
        scale = self._units.scale if scale is None else scale
        units = {"center": center, "scale": scale}
        if context is None:
            return self._map_rows(X, function, width, dtype=dtype, **units)
        widths = [X.shape[1], context.shape[1]]
        for name, left_as_it_is in (("center", np.zeros), ("scale", np.ones)):
            own = np.broadcast_to(units[name], widths[0])
            units[name] = np.concatenate([own, left_as_it_is(widths[1])])

        def told(rows):
            return function(*(part.contiguous() for part in rows.split(widths, 1)))

        out = np.empty((X.shape[0], width), X.dtype if dtype is None else dtype)
        for part in chunks(X.shape[0], sum(widths)):
            block = X[part].toarray() if sparse.issparse(X) else X[part]
            block = np.hstack([block, context[part].astype(block.dtype)])
            self._map_rows(block, told, width, out=out[part], **units)
        return out

    def __getstate__(self):
        state = super().__getstate__()
        net = state.get("net_")
        if net is not None and self._device.type != "cpu":
            state = {**state, "net_": copy.deepcopy(net).cpu()}
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
