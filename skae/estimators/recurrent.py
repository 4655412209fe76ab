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
from skae.estimators.base import BaseAutoencoder
from skae.estimators.denoising import Denoising
from skae.estimators.parameters import AUTO, at_least, choice, estimator, parameter
from skae.estimators.sample_shape import Shaped
from skae.fitting.defaults import defaults_for_sequences
from skae.fitting.resolve import Parts, noise_of, part_of
from skae.parts.base import Likelihood
from skae.parts.likelihoods import LIKELIHOODS
from skae.parts.recurrent import CELLS, Recurrent

__all__ = ["RecurrentAE"]

_FRAMES = 16


@estimator
class RecurrentAE(Denoising, Shaped, BaseAutoencoder):
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
    n_components : int, default=8
        Width of the code.
    init : {"pca", "random"}, default="pca"
        With n_components: start as PCA plus a correction by the network, of which
        held-out samples decide how much is kept, or from random weights.
    noise : {"gaussian", "masking", "salt_and_pepper"}, corruption part or None, \
default=None
        Gaussian noise on every feature; features set to zero at random; features set to
        their smallest or largest training value at random; none. A part is called as
        ``corruption(x, generator)``; those of `skae.parts.corruption` take absolute
        units and ranges too.
    noise_level : float, default=0.5
        Standard deviation of the Gaussian noise in standard deviations of each feature,
        else the share of the features in [0, 1]. Ignored if ``noise`` is None or a
        part.
    likelihood : {"gaussian", "bernoulli"} or likelihood part, default="gaussian"
        How reconstructions are judged: squared error, or cross-entropy for targets in
        [0, 1].

    Attributes
    ----------
    pca_ratio_ : float
        Held-out loss of the model kept over that of the start as PCA; 1 where PCA is
        kept. Only when the model started as PCA and rows were held out.
    pca_t_ : float
        t of the held-out rows' gain over PCA, which decided. Likewise.
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

    n_components: int = parameter(8, at_least(1), positional=True)
    sample_shape: Any = parameter(None, None, tuple, list, np.ndarray)
    cell: str = parameter("lstm", choice(*CELLS))
    hidden_size: int = parameter(64, at_least(1))
    n_layers: int = parameter(1, at_least(1))
    frame_size: Any = parameter("auto", AUTO, at_least(1))
    init: str = parameter("pca", choice("pca", "random"))

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
        return Parts(
            architecture=architecture,
            n_components=int(self.n_components),
            defaults=defaults_for_sequences,
            init=self.init,
            columns_apart=self.init == "random",
            likelihood=part_of(self.likelihood, Likelihood, LIKELIHOODS),
            corruption=noise_of(self.noise, self.noise_level),
        )

    def _after(self, fitting):
        self.sample_shape_ = self._resolved_shape()

    def _fit_of(self, X, y, sample_weight, **options):
        fitting = super()._fit_of(X, y, sample_weight, **options)
        shape = fitting.parts.architecture.sample_shape
        lengths = check_padding(fitting.X, shape)
        if fitting.clean is not None:
            found = check_padding(fitting.clean, shape, name="y")
            for row in np.flatnonzero(found != lengths)[:1]:
                raise ValueError(
                    "y, the clean sequences, must be as long as those of X; y["
                    f"{row}] has {found[row]} steps and X[{row}] {lengths[row]}."
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
        asked = self.sample_shape
        if asked is not None and len(asked) and isinstance(asked[0], Integral):
            n_steps = max(n_steps, int(asked[0]))
        one_axis = all(np.ndim(x) == 1 for x in X)
        self.__dict__.pop("sample_shape_", None)
        self._given_shape = (n_steps,) if one_axis else (n_steps, width)
        return _padded(sequences, n_steps)

    def _restored(self, rows, X):
        if X is None or not _is_list_of_sequences(X):
            return super()._restored(rows, X)
        shape = self.net_.sample_shape
        steps = rows.reshape(len(rows), *shape)
        return [
            found[: len(x)].reshape(np.shape(x))
            for found, x in zip(steps, X, strict=True)
        ]


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
    sequences = []
    for number, x in enumerate(X):
        x = np.asarray(x)
        x = x[:, None] if x.ndim == 1 else x
        if x.ndim != 2 or 0 in x.shape:
            raise ValueError(
                "A sequence is an array of shape (n_steps,) or (n_steps, "
                f"n_step_features) with at least one step; number {number} of the list "
                f"has the shape {np.shape(X[number])}."
            )
        if sequences and x.shape[1] != sequences[0].shape[1]:
            raise ValueError(
                "All sequences must have the same features; number 0 of the list has "
                f"{sequences[0].shape[1]} and number {number} {x.shape[1]}."
            )
        sequences.append(x)
    single = all(x.dtype == np.float32 for x in sequences)
    dtype = np.float32 if single else np.float64
    return [x.astype(dtype, copy=False) for x in sequences]


def _padded(sequences, n_steps) -> np.ndarray:
    """Flat rows of n_steps steps, NaN after the end of each sequence."""
    shape = len(sequences), n_steps, sequences[0].shape[1]
    rows = np.full(shape, np.nan, dtype=sequences[0].dtype)
    for row, x in zip(rows, sequences, strict=True):
        row[: len(x)] = x
    return rows.reshape(len(rows), -1)
