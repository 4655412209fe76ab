"""`RecurrentAE`: sequences of any length to codes and back.

Sequences come as arrays padded with NaN, or as lists of arrays; this file turns both
into flat rows. What is missing stays NaN down to the codec and the likelihood, which
leave it out.
"""

import math
from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from skae.estimators.base import BaseAutoencoder
from skae.estimators.denoising import Denoising
from skae.estimators.naming import Parts, noise_of, part_of
from skae.estimators.shaped import Shaped
from skae.estimators.validation import check_padding
from skae.parts.base import Likelihood
from skae.parts.likelihoods import LIKELIHOODS
from skae.parts.recurrent import CELLS, Recurrent
from skae.training.defaults import defaults_for_sequences

__all__ = ["RecurrentAE"]

_FRAMES = 16


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
    alpha : "auto" or float, default="auto"
        Decoupled weight decay of the weights, per unit of learning rate. Raise it
        against overfitting.
    batch_size : "auto" or int, default="auto"
        Samples a training step.
    learning_rate_init : "auto" or float, default="auto"
        Peak learning rate of AdamW; it rises over the first 5% of the steps and falls
        as a cosine.
    max_iter : int, default=None
        Epochs, passes over the training samples. None takes a number of steps that
        suits the shape of X.
    early_stopping : bool, default=True
        Hold out samples to choose the weights of the best epoch and to stop. False
        trains on all samples and keeps the epoch of the lowest training loss.
    validation_fraction : float, default=0.15
        Share of the samples held out, 1,000 at most.
    n_iter_no_change : int, default=10
        Evaluations without improvement by ``tol`` after which training stops.
    tol : float, default=1e-4
        Relative improvement of the held-out loss that counts.
    warm_start : bool, default=False
        Continue from the previous fit's weights.
    device : str, default="auto"
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    callbacks : list of skorch callbacks, default=None
        Notified by the training loop. The learning rate follows the estimator's own
        schedule, and there is no dataset: LRScheduler and EpochScoring are refused.
    verbose : int, default=0
        One shows a progress bar.
    random_state : int, RandomState or None, default=None
        Decides everything random.

    Attributes
    ----------
    n_components_ : int
        Width of the code.
    net_ : Module
        The trained torch module; it sees centred and scaled rows.
    mean_ : ndarray of shape (n_features,)
        Mean of the training samples.
    n_iter_ : int
        Rounds of training, the length of ``loss_curve_``. A round is an epoch if
        max_iter is given, else a fixed number of steps.
    loss_curve_ : list of float
        Training loss after each round, nats per sample of the scaled rows.
    validation_scores_ : list of float or None
        Minus the held-out loss after each round; None without held-out samples.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only when X has string column names.
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

    _parameter_constraints: dict = {
        **BaseAutoencoder._parameter_constraints,
        **Denoising._noise_constraints,
        "sample_shape": [None, tuple, list, np.ndarray],
        "cell": [StrOptions(set(CELLS))],
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "n_layers": [Interval(Integral, 1, None, closed="left")],
        "frame_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "init": [StrOptions({"pca", "random"})],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "likelihood": [StrOptions(set(LIKELIHOODS)), HasMethods(["nll", "mean"])],
    }

    _allows_nan = True
    _n_axes = 2
    _shape_in_words = "(n_steps, n_step_features)"

    def __init__(
        self,
        sample_shape=None,
        *,
        cell="lstm",
        hidden_size=64,
        n_layers=1,
        frame_size="auto",
        n_components=8,
        init="pca",
        noise=None,
        noise_level=0.5,
        likelihood="gaussian",
        alpha="auto",
        batch_size="auto",
        learning_rate_init="auto",
        max_iter=None,
        early_stopping=True,
        validation_fraction=0.15,
        n_iter_no_change=10,
        tol=1e-4,
        warm_start=False,
        device="auto",
        callbacks=None,
        verbose=0,
        random_state=None,
    ):
        self.sample_shape = sample_shape
        self.cell = cell
        self.hidden_size = hidden_size
        self.n_layers = n_layers
        self.frame_size = frame_size
        self.n_components = n_components
        self.init = init
        self.noise = noise
        self.noise_level = noise_level
        self.likelihood = likelihood
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.device = device
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

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

    def _fit_of(self, X, y, sample_weight, *, reset):
        fitting = super()._fit_of(X, y, sample_weight, reset=reset)
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
