"""`RecurrentAE`: sequences of any length to codes and back.

Sequences come as arrays padded with NaN, or as lists of arrays; this file turns both
into flat rows. What is missing stays NaN down to the codec and the likelihood, which
leave it out.
"""

import math
from numbers import Integral
from typing import Any

import numpy as np

from skae.checks.rows import check_padding
from skae.estimators.denoising import Denoising
from skae.estimators.parameters import (
    AUTO,
    PCAStart,
    at_least,
    choice,
    estimator,
    parameter,
)
from skae.estimators.shapes import SampleShape
from skae.fitting.defaults import defaults_for_sequences
from skae.fitting.resolve import noise_of
from skae.parts.recurrent import CELLS, Recurrent

__all__ = ["RecurrentAE"]

_FRAMES = 16


@estimator
class RecurrentAE(SampleShape, PCAStart, Denoising):
    """Recurrent autoencoder: a code for each sequence (Srivastava et al. 2015).

    X is an array of shape ``(n_samples, n_steps, n_step_features)``, or the same laid
    out flat, step after step, as rows of shape ``(n_samples, n_features)``. Sequences
    may differ in length: NaN fills up the steps that a sequence does not have, or X is
    a list of arrays of shape ``(n_steps, n_step_features)``, ``(n_steps,)`` for one
    feature. What is missing has no part in codes, losses and scores; reconstructions
    come in the form of X.

    Parameters
    ----------
    sample_shape : (n_steps, n_step_features), default=None
        Shape of the longest sequence. None takes it from X; flat rows are then
        sequences of one feature.
    cell : {"gru", "lstm"}, default="lstm"
        Recurrent cell of the encoder and the decoder.
    hidden_size : int, default=64
        Units of each recurrent layer.
    n_layers : int, default=1
        Recurrent layers of the encoder, and of the decoder.
    frame_size : "auto" or int, default="auto"
        Successive steps that a cell reads, or writes, at once. One is the textbook's
        step by step, which takes longer and, on long sequences, learns less. "auto"
        makes at most 16 frames of the longest sequence.

    Attributes
    ----------
    sample_shape_ : (n_steps, n_step_features)
        Shape of the longest sequence.

    See Also
    --------
    AutoencoderTransformer : Better and faster for sequences of equal length.

    Examples
    --------
    >>> import numpy as np
    >>> from skae import RecurrentAE
    >>> rng = np.random.default_rng(0)
    >>> X = [np.sin(np.arange(n) + rng.uniform(0, 6)) for n in rng.integers(5, 9, 50)]
    >>> ae = RecurrentAE(n_components=2, max_iter=2, random_state=0).fit(X)
    >>> ae.transform(X).shape
    (50, 2)
    >>> [len(x) for x in ae.reconstruct(X)] == [len(x) for x in X]
    True
    """

    n_components: Any = parameter(8, positional=True)
    cell: str = parameter("lstm", choice(*CELLS))
    hidden_size: int = parameter(64, at_least(1))
    n_layers: int = parameter(1, at_least(1))
    frame_size: Any = parameter("auto", AUTO, at_least(1))

    _allows_nan = True
    _n_axes = 2
    _shape_in_words = "(n_steps, n_step_features)"

    def _parts(self, X):
        shape = self._resolved_shape()
        frame = self.frame_size
        architecture = Recurrent(
            shape,
            self.cell,
            int(self.hidden_size),
            int(self.n_layers),
            math.ceil(shape[0] / _FRAMES) if frame == "auto" else int(frame),
        )
        return self._parts_of(
            X,
            architecture,
            defaults_for_sequences,
            init=self.init,
            columns_apart=self.init == "random",
            corruption=noise_of(self.noise, self.noise_level),
        )

    def _after(self, fitting):
        self.sample_shape_ = self._resolved_shape()

    def _fit_of(self, X, y, sample_weight, **options):
        fitting = super()._fit_of(X, y, sample_weight, **options)
        if fitting.clean is not None:
            shape = fitting.parts.architecture.sample_shape
            lengths = check_padding(fitting.X, shape)
            clean = check_padding(fitting.clean, shape, name="y")
            for row in np.flatnonzero(clean != lengths)[:1]:
                raise ValueError(
                    "y, the clean sequences, must be as long as those of X; y["
                    f"{row}] has {clean[row]} steps and X[{row}] {lengths[row]}."
                )
        return fitting

    # Shapes

    def _full_shape(self, shape):
        shape = tuple(shape)
        return (*shape, 1) if len(shape) == 1 else shape

    def _shape_of_rows(self, n_features):
        return n_features, 1

    def _flattened(self, X, *, reset, name="X"):
        if not _is_list_of_sequences(X):
            return super()._flattened(X, reset=reset, name=name)
        sequences = _checked_sequences(X)
        n_steps, width = max(map(len, sequences)), sequences[0].shape[1]
        if not reset:
            shape = getattr(self, "sample_shape_", None) or self._resolved_shape()
            if n_steps > shape[0] or width != shape[1]:
                raise ValueError(
                    f"This {type(self).__name__} takes sequences of up to {shape[0]} "
                    f"steps of {shape[1]} features; the longest in the list has "
                    f"{n_steps} steps of {width}. Give sample_shape=(n_steps, "
                    "n_step_features) to allow for longer ones than in training."
                )
            return _padded(sequences, shape[0])
        # Arrays of another form, with the same features, may follow the list.
        longest = self.sample_shape
        if longest is not None and len(longest) and isinstance(longest[0], Integral):
            n_steps = max(n_steps, int(longest[0]))
        one_axis = all(np.ndim(x) == 1 for x in X)
        self.__dict__.pop("sample_shape_", None)
        self._input_shape = (n_steps,) if one_axis else (n_steps, width)
        return _padded(sequences, n_steps)

    def _restored(self, rows, X):
        if X is None or not _is_list_of_sequences(X):
            return super()._restored(rows, X)
        sequences = zip(
            rows.reshape(len(rows), *self.net_.sample_shape), X, strict=True
        )
        return [steps[: len(x)].reshape(np.shape(x)) for steps, x in sequences]


def _is_list_of_sequences(X) -> bool:
    """Whether X is a list of arrays, or of lists of different lengths."""
    if not isinstance(X, list | tuple) or not len(X):
        return False
    if any(hasattr(x, "shape") and np.ndim(x) > 0 for x in X):
        return True
    lists = all(isinstance(x, list | tuple) for x in X)
    return lists and len({len(x) for x in X}) > 1


def _checked_sequences(X) -> list:
    """Float arrays of shape (n_steps, n_step_features)."""
    sequences = [np.asarray(x) for x in X]
    sequences = [x[:, None] if x.ndim == 1 else x for x in sequences]
    for number, x in enumerate(sequences):
        if x.ndim != 2 or 0 in x.shape:
            raise ValueError(
                "A sequence is an array of shape (n_steps,) or (n_steps, "
                f"n_step_features) with at least one step; number {number} of the list "
                f"has the shape {np.shape(X[number])}."
            )
        if x.shape[1] != sequences[0].shape[1]:
            raise ValueError(
                "All sequences must have the same features; number 0 of the list has "
                f"{sequences[0].shape[1]} and number {number} {x.shape[1]}."
            )
    is_single = all(x.dtype == np.float32 for x in sequences)
    dtype = np.float32 if is_single else np.float64
    return [x.astype(dtype, copy=False) for x in sequences]


def _padded(sequences, n_steps) -> np.ndarray:
    """Flat rows of n_steps steps, NaN after the end of each sequence."""
    shape = len(sequences), n_steps, sequences[0].shape[1]
    rows = np.full(shape, np.nan, dtype=sequences[0].dtype)
    for row, x in zip(rows, sequences, strict=True):
        row[: len(x)] = x
    return rows.reshape(len(rows), -1)
