"""`StackedAEClassifier`: learns the data layer by layer, then the labels on top.

This file declares and documents the parameters, checks X and y, and predicts; the
training is `StackedFit`'s.
"""

from functools import reduce
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import _check_sample_weight, check_consistent_length

from skae.checks.labels import (
    check_classes,
    class_numbers,
    classes_of,
    labels_of,
    weights_of_classes,
)
from skae.checks.rows import training_rows, unchanged_on_error
from skae.estimators.autoencoder import AutoencoderTransformer
from skae.estimators.exported_classifier import ExportedClassifier
from skae.estimators.parameters import (
    AUTO,
    WIDTHS,
    DecayParameters,
    at_least,
    choice,
    estimator,
    parameter,
)
from skae.estimators.trained import TrainedEstimator
from skae.fitting.callbacks import with_callbacks
from skae.fitting.classifier_fit import StackedFit
from skae.fitting.pretraining import layers_of
from skae.parts.corruption import CORRUPTIONS
from skae.rows.isolation import isolated
from skae.rows.readers import as_rows
from skae.training.recording import recording_of

__all__ = ["StackedAEClassifier"]


@estimator
class StackedAEClassifier(
    ClassNamePrefixFeaturesOutMixin,
    ExportedClassifier,
    TransformerMixin,
    TrainedEstimator,
    DecayParameters,
):
    """Classifier that learns from rows without labels too.

    First every layer of the encoder is trained as an autoencoder of the codes of the
    layer below it, on all rows (Bengio et al. 2006). Then a head is trained on the
    frozen encoder with the labelled rows, layers are released from the top, and at last
    the whole network learns from labels and, where there are any, from rows without:
    they are to be reconstructed from noise at every level (the ladder network, Rasmus
    et al. 2015, arXiv 1507.02672), to be predicted the same with and without noise, and
    to take over labels that spread along their nearest neighbours (Zhou et al. 2004),
    unless held-out labels show that neighbours mislead.

    Features should be on comparable scales, as for `MLPClassifier`; use StandardScaler
    unless they share a unit, as pixels do.

    Parameters
    ----------
    hidden_layer_sizes : int or tuple of int, default=(500, 250, 100)
        Widths of the encoder's layers; the last is the code.
    head_layer_sizes : int or tuple of int, default=()
        Widths between the code and the output.
    encoder : fitted estimator, default=None
        A fitted autoencoder of skae or another StackedAEClassifier, on which the layers
        of ``hidden_layer_sizes``, which may then be (), are put. It is copied. Wrap it
        in `sklearn.frozen.FrozenEstimator` for searches, which clone.
    pretrain : bool, default=True
        Whether layers are pretrained. Without, all of them start from random weights
        and are trained at once.
    noise : {"gaussian", "masking", "salt_and_pepper"}, corruption part or None, \
default="gaussian"
        What is done to rows in all training; as in `DenoisingAE`.
    noise_level : "auto" or float, default="auto"
        Standard deviation of the Gaussian noise: in standard deviations of each feature
        in pretraining, of their root mean square afterwards. For others the share of
        the features in [0, 1]. "auto" is 1.0, and 0.25 as a share. Ignored if ``noise``
        is None or a part.
    hidden_noise_level : float, default=0.3
        Standard deviation of Gaussian noise on the units of each layer, in their own
        standard deviations.
    tied_weights : bool, default=True
        Whether decoders of the pretraining use the transposes of the encoders' weights.
    unfreeze_layers : "all" or int, default="all"
        Encoder layers, nearest the code first, that are released one after the other
        after the training of the head, each with half the learning rate of the one
        above; with the same rate where rows without labels take part. 0 leaves the
        encoder as it was pretrained.
    semi_supervised : bool, default=True
        Whether rows without labels take part in the last stage too, not in pretraining
        alone.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the loss of labelled rows, as in scikit-learn.
    alpha : "auto" or float, default="auto"
        Decoupled weight decay of the weights after pretraining, per unit of learning
        rate; "auto" is none. Raise it against overfitting.
    batch_size : "auto" or int, default="auto"
        Rows a training step, of labelled rows and of all rows each, at least 2: layers
        are normalised by the batch. "auto" is 64 labelled and 128 of all, or 128
        labelled where there are 5,000 and more.
    learning_rate_init : "auto" or float, default="auto"
        Peak learning rate of AdamW after pretraining; it rises over the first 5% of the
        steps and falls as a cosine in the second half.
    pretrain_max_iter : int, default=None
        Epochs of each layer's pretraining. None takes one, and at least 200 steps.
    max_iter : int, default=None
        Epochs of the last stage, passes over all rows if those without labels take
        part; earlier stages take no more. None takes a number of steps that suits the
        numbers of rows.
    early_stopping : bool, default=False
        Hold out labelled rows to choose the weights of the best epoch of the last stage
        and to stop.
    validation_fraction : float, default=0.1
        Share of the labelled rows held out, class by class.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the classes, in order.
    n_components_ : int
        Width of the code.
    autoencoders_ : list of AutoencoderTransformer
        The layers as they were pretrained, nearest the rows first.
    pretraining_curves_ : list of list of float
        Training loss of each layer after each epoch of its pretraining.
    encoder_ : Module
        The stack after all stages; it sees centred rows divided by one scalar.
    net_ : Module
        The same with the head; its output are logits.
    stages_ : list of (str, int)
        Names of the stages and how many entries of ``pretraining_curves_`` or
        ``loss_curve_`` are theirs.
    loss_curve_ : list of float
        Training loss of the stages after pretraining, at each of their evaluations.
    validation_scores_ : list of float or None
        Minus the held-out log-loss at each evaluation of the last stage; None without
        held-out rows.
    n_iter_ : int
        Epochs of the last stage.
    epochs_ : ndarray of shape (n_evaluations,)
        When these losses were noted, in epochs of the stages one after the other.
    graph_used_ : bool
        Whether labels spread along neighbours.
    transduction_ : ndarray of shape (n_samples,)
        The label of each row of ``fit``: its own, or what is predicted where y has
        none. Not after ``partial_fit``.

    See Also
    --------
    sklearn.semi_supervised.SelfTrainingClassifier : Learns from its own predictions.
    DenoisingAE : One layer of the encoder, on its own.

    Notes
    -----
    y holds -1 for rows without a label, as in scikit-learn, or None or NaN. Where y
    holds no other labels than -1 and 1, they are two classes: one could not be learned.
    Beside others -1 is no class; a warning comes where it looks like one: where it is
    in at most twice as many rows as the largest class, or beside other labels below
    zero. A class of a single labelled row is never held out. Every layer's pretraining
    and every stage is a training of its own to callbacks. Nothing of y is used in
    pretraining.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skae import StackedAEClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> y_seen = np.where(np.arange(len(y)) < 100, y, -1)
    >>> model = StackedAEClassifier((100, 50), random_state=0).fit(X, y_seen)
    >>> bool(model.score(X[100:], y[100:]) > 0.9)
    True
    """

    hidden_layer_sizes: tuple = parameter((500, 250, 100), *WIDTHS, positional=True)
    head_layer_sizes: tuple = parameter((), *WIDTHS)
    encoder: Any = parameter(None, None, HasMethods(["transform"]))
    pretrain: bool = parameter(True, "boolean")
    noise: str = parameter("gaussian", None, choice(*CORRUPTIONS), callable)
    noise_level: Any = parameter("auto", AUTO, at_least(0, Real))
    hidden_noise_level: float = parameter(0.3, at_least(0, Real))
    tied_weights: bool = parameter(True, "boolean")
    unfreeze_layers: str = parameter("all", choice("all"), at_least(0))
    semi_supervised: bool = parameter(True, "boolean")
    class_weight: Any = parameter(None, dict, choice("balanced"), None)
    batch_size: Any = parameter("auto", AUTO, at_least(2))
    pretrain_max_iter: Any = parameter(None, None, at_least(1))
    early_stopping: bool = parameter(False)
    validation_fraction: float = parameter(0.1)

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=False)
    @isolated
    def fit(self, X, y, sample_weight=None):
        """Learn from all rows, then from the labelled ones.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Labels; -1, None or NaN for rows without one.
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
        resuming = self.warm_start and hasattr(self, "net_")
        recording = recording_of(self, continues=resuming)
        with unchanged_on_error(self), recording as own:
            y, missing = labels_of(y)
            options = {"reset": not resuming, "recording": own}
            fitting = self._fit_of(X, y, missing, sample_weight, **options)
            if resuming and not np.array_equal(fitting.classes, self.classes_):
                raise ValueError(
                    f"y has the classes {fitting.classes.tolist()}, but the fitted "
                    f"model that is to be continued has {self.classes_.tolist()}. Set "
                    "warm_start=False."
                )
            if resuming:
                fitted = fitting.resume(self, self._widths, self._first)
            else:
                fitted = fitting.run()
            vars(self).update(fitted)
            self.transduction_ = self._transduced(X, y, missing)
            fitting.end(fitted)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    @isolated
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for one epoch on these rows, at a constant learning rate.

        The first call also pretrains each layer, for one epoch unless
        ``pretrain_max_iter`` says otherwise, and sets centre, scale and the statistics
        of the layers. Later calls learn from labelled rows only.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            As in ``fit``; a class may be missing.
        classes : array-like of shape (n_classes,), default=None
            All labels that will ever come; required in the first call.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            When a label is not among the classes, or X or a parameter does not fit.
        """
        first = not hasattr(self, "net_")
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight='balanced' is not for partial_fit; give it a dict."
            )
        with unchanged_on_error(self):
            classes = check_classes(classes, None if first else self.classes_)
            # Of the rows of a whole fit.
            vars(self).pop("transduction_", None)
            y, missing = labels_of(y, classes)
            fitting = self._fit_of(X, y, missing, sample_weight, classes, reset=first)
            if first:
                fitted = fitting.first_epoch()
            else:
                fitted = fitting.continue_epoch(self, self._widths, self._first)
            vars(self).update(fitted)
        return self

    def _fit_of(
        self, X, y, missing, sample_weight, classes=None, *, reset, recording=None
    ) -> StackedFit:
        """A fit of validated rows and labels; without classes, of those in y."""
        X = as_rows(X)
        rows, weight = training_rows(
            self, X, sample_weight, reset=reset, min_rows=2 if reset else 1
        )
        check_consistent_length(X, y)
        if sample_weight is not None:
            used = _check_sample_weight(sample_weight, y) > 0
            y, missing = y[used], missing[used]
        if classes is None:
            classes = classes_of(y[~missing], len(y))
        if self.encoder is not None:
            self._check_encoder()
        labels = class_numbers(y, missing, classes)
        balance = weights_of_classes(self.class_weight, classes, y[~missing])
        learned = labels, classes, weight, balance, AutoencoderTransformer
        fitting = StackedFit(self, rows, *learned, recording=recording)
        self._check_released(fitting)
        return fitting

    def _check_released(self, fitting):
        """Raise where more layers are to be released than there are."""
        n_layers = len(fitting.widths)
        if fitting.first is not None:
            n_layers += len(layers_of(fitting.first))
        released = self.unfreeze_layers
        if not isinstance(released, str) and released > n_layers:
            raise ValueError(
                f"unfreeze_layers={released} must not exceed the number of layers of "
                f"the encoder, {n_layers}; 'all' releases all of them."
            )

    def _check_encoder(self):
        if not (hasattr(self.encoder, "net_") and hasattr(self.encoder, "units_")):
            raise ValueError(
                "encoder must be a fitted autoencoder or StackedAEClassifier of skae; "
                f"got {self.encoder!r}. Searches and clones drop what was fitted: wrap "
                "it in sklearn.frozen.FrozenEstimator."
            )
        if self.encoder.n_features_in_ != self.n_features_in_:
            raise ValueError(
                f"X has {self.n_features_in_} features, but encoder was fitted to "
                f"{self.encoder.n_features_in_}."
            )

    def transform(self, X, out=None):
        """The code of each row, after all stages.

        Parameters
        ----------
        out : array of shape (n_samples, n_components_), optional
            Where the codes are written, as in `AutoencoderTransformer.transform`.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components_)
            In X's dtype. With ``out``, that.
        """

        def encoded(rows):
            return self._map_rows(rows, self.encoder_, self.n_components_)

        return self._into(out, self._rows(X), encoded)

    def reconstruct(self, X, out=None):
        """Rows through the pretrained layers up to the code and back.

        Labels changed the encoder afterwards; what they changed is not used here.

        Parameters
        ----------
        out : array of shape (n_samples, n_features), optional
            Where rows are written, as in ``transform``.

        Returns
        -------
        X_hat : ndarray of shape (n_samples, n_features)
            In X's units. With ``out``, that.

        Raises
        ------
        ValueError
            When no layer was pretrained.
        """
        path = self._pretrained_path()
        if not path:
            raise ValueError(
                "reconstruct needs pretrained layers with a decoder; this model has "
                "pretrain=False, or the encoder of a classifier, which has none."
            )

        def reconstructed(rows):
            maps = [each.transform for each in path]
            maps += [each.inverse_transform for each in reversed(path)]
            return reduce(lambda values, each: each(values), maps, rows)

        return self._into(out, self._rows(X), reconstructed, self.n_features_in_)

    @property
    def _n_features_out(self):
        return self.n_components_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
