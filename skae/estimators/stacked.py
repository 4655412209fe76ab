"""`StackedAEClassifier`: learns the data layer by layer, then the labels on top.

This file declares and documents the parameters, checks X and y, and predicts; what
happens in between is `StackedFit`'s.
"""

import copy
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import compute_class_weight
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    column_or_1d,
    validate_data,
)

from skae.checks.labels import (
    are_signs,
    as_labels,
    check_counts,
    check_labels,
    class_numbers,
    is_missing,
)
from skae.checks.rows import fitted_rows, unchanged_on_error
from skae.estimators.autoencoder import AutoencoderTransformer
from skae.estimators.parameters import (
    AUTO,
    WIDTHS,
    DecayParameters,
    at_least,
    choice,
    estimator,
    parameter,
)
from skae.fitting.callbacks import CallbackSupport, with_callbacks
from skae.fitting.classifier_fit import StackedFit
from skae.parts.corruption import CORRUPTIONS
from skae.rows.chunks import map_rows
from skae.rows.isolation import isolated

__all__ = ["StackedAEClassifier"]

_FLOATS = [np.float64, np.float32]


@estimator
class StackedAEClassifier(
    DecayParameters,
    CallbackSupport,
    ClassNamePrefixFeaturesOutMixin,
    ClassifierMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Classifier that learns from rows without labels too.

    First every layer of the encoder is trained as an autoencoder of the codes of the
    layer below it, on all rows (Bengio et al. 2006). Then a head is trained on the
    frozen encoder with the labelled rows, layers are released from the top, and at last
    the whole network learns from labels and, where there are any, from rows without:
    they are to be reconstructed from noise at every level (the ladder network, Rasmus
    et al. 2015, arXiv 1507.02672), to be judged alike with and without noise, and to
    take over labels that spread along their nearest neighbours (Zhou et al. 2004),
    unless held-out labels say that neighbours mislead.

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
        once the head has settled, each with half the learning rate of the one above;
        with the same rate where rows without labels take part. 0 leaves the encoder as
        it was pretrained.
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
        Epochs of each layer's pretraining. None takes one, and at least 400 steps.
    max_iter : int, default=None
        Epochs of the last stage, passes over all rows if those without labels take
        part; earlier stages take no more. None takes a number of steps that suits the
        numbers of rows.
    early_stopping : bool, default=False
        Hold out labelled rows to choose the weights of the best epoch of the last stage
        and to stop.
    validation_fraction : float, default=0.1
        Share of the labelled rows held out, class by class.
    verbose : int, default=0
        One shows a progress bar.

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
        When the losses above were noted, in epochs of the stages one after the other.
    graph_used_ : bool
        Whether labels spread along neighbours.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only when X has string column names.

    See Also
    --------
    sklearn.semi_supervised.SelfTrainingClassifier : Learns from its own predictions.
    DenoisingAE : One layer of the encoder, on its own.

    Notes
    -----
    y holds -1 for rows without a label, as in scikit-learn; in an array of strings or
    floats also None or NaN. Every layer's pretraining and every stage is a training of
    its own to callbacks. Where y holds -1 and 1 alone, they are two classes: one
    could not be learned. Nothing of y is used in pretraining.

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

    _layer_class = AutoencoderTransformer

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
    def fit(self, X, y, sample_weight=None):
        """Learn from all rows, then from the labelled ones.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels; -1, None or NaN for rows without one. Each class at least twice.
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
        with unchanged_on_error(self), isolated():
            X, y, known, weight = self._validated(X, y, sample_weight, not resuming)
            classes = np.unique(y[known])
            if resuming and not np.array_equal(classes, self.classes_):
                raise ValueError(
                    f"y has the classes {classes.tolist()}, but the fitted model that "
                    f"is to be continued has {self.classes_.tolist()}. Set "
                    "warm_start=False."
                )
            labels = class_numbers(y, known, classes)
            check_counts(labels, classes)
            fitting = self._fit_of(X, labels, classes, weight)
            fitted = fitting.resume(self) if resuming else fitting.run()
            vars(self).update(fitted)
            fitting.end(fitted)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for one epoch on these rows, at a constant learning rate.

        The first call also pretrains each layer, for one epoch unless
        ``pretrain_max_iter`` says otherwise, and sets centre, scale and the statistics
        of the layers. Later calls learn from labelled rows only.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            As in ``fit``; a class may be missing or come once.
        classes : array-like of shape (n_classes,), default=None
            All labels that will ever come; required in the first call.
        sample_weight : array-like of shape (n_samples,), optional

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
                "class_weight='balanced' is not for partial_fit, which does not know "
                "the rows to come; give a dict."
            )
        with unchanged_on_error(self), isolated():
            classes = self._all_classes(classes, first)
            X, y, known, weight = self._validated(
                X, y, sample_weight, first, any_y=True
            )
            unseen = np.setdiff1d(y[known], classes)
            if len(unseen):
                raise ValueError(
                    f"y has the labels {unseen.tolist()}, which are not among classes="
                    f"{classes.tolist()}. Name all of them in the first call."
                )
            labels = class_numbers(y, known, classes)
            fitting = self._fit_of(X, labels, classes, weight)
            fitted = fitting.continue_epoch(None if first else self)
            vars(self).update(fitted)
        return self

    def _all_classes(self, classes, first):
        if first:
            if classes is None:
                raise ValueError("The first call of partial_fit needs classes.")
            found = np.unique(classes)
            if len(found) < 2 or (found.dtype.kind in "if" and -1 in found):
                raise ValueError(
                    "classes must name at least two classes, and not -1, which marks "
                    f"rows without a label; got {found.tolist()}."
                )
            return found
        if classes is not None and not np.array_equal(
            np.unique(classes), self.classes_
        ):
            raise ValueError(
                f"classes={np.unique(classes).tolist()} differs from those of the "
                f"first call, {self.classes_.tolist()}."
            )
        return self.classes_

    def _validated(self, X, y, sample_weight, reset, any_y=False):
        """Rows and labels without rows of weight zero, and which have a label."""
        if y is None:
            raise ValueError(
                "This StackedAEClassifier estimator requires y to be passed, but the "
                "target y is None; use -1 for rows without a label."
            )
        X = validate_data(
            self,
            X,
            accept_sparse="csr",
            dtype=_FLOATS,
            ensure_min_samples=2 if reset else 1,
            reset=reset,
        )
        y = column_or_1d(as_labels(y), warn=True)
        check_consistent_length(X, y)
        if y.dtype.kind == "f" and np.isinf(y).any():
            raise ValueError(
                "Input y contains infinity or a value too large for "
                f"dtype({str(y.dtype)!r})."
            )
        known = ~is_missing(y)
        if len(np.unique(y[known])) == 1 and not any_y and are_signs(y):
            known[:] = True
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
            used = sample_weight > 0
            if not used.all():
                X, y, sample_weight = X[used], y[used], sample_weight[used]
                known = known[used]
        if not any_y:
            check_labels(y, known)
        return X, y, known, sample_weight

    def _fit_of(self, X, labels, classes, weight) -> StackedFit:
        if self.encoder is not None:
            self._check_encoder()
        known = labels >= 0
        balance = np.ones(len(classes))
        if self.class_weight is not None and known.any():
            balance = self._balance(classes, classes[labels[known]])
        return StackedFit(self, X, labels, classes, weight, balance)

    def _balance(self, classes, y):
        """The weight of each class."""
        try:
            found = compute_class_weight(self.class_weight, classes=classes, y=y)
            found = np.asarray(found, dtype=np.float64)
            is_usable = np.isfinite(found).all() and (found >= 0).all() and found.any()
        except (TypeError, ValueError):
            is_usable = False
        if not is_usable:
            raise ValueError(
                "class_weight must be 'balanced' or a dict of non-negative, finite "
                f"weights of classes in {classes.tolist()}, one of them positive; got "
                f"{self.class_weight!r}."
            )
        return found

    def _check_encoder(self):
        encoder = self.encoder
        if not (hasattr(encoder, "net_") and hasattr(encoder, "_units")):
            raise ValueError(
                "encoder must be a fitted autoencoder of skae or a fitted "
                f"StackedAEClassifier; got {encoder!r}. Searches and clones drop what "
                "was fitted: wrap it in sklearn.frozen.FrozenEstimator."
            )
        if encoder.n_features_in_ != self.n_features_in_:
            raise ValueError(
                f"X has {self.n_features_in_} features, but encoder was fitted to "
                f"{encoder.n_features_in_}."
            )

    def predict(self, X):
        """The likeliest class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        logits = self._logits(X)
        return self.classes_[logits.argmax(axis=1)]

    def predict_proba(self, X):
        """Probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes), float64
            Columns in the order of ``classes_``.
        """
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X):
        """Logarithm of the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        log_P : ndarray of shape (n_samples, n_classes), float64
        """
        logits = self._logits(X)
        logits = logits - logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def transform(self, X):
        """The code of each row, after all stages.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components_)
            In X's dtype.
        """
        X = fitted_rows(self, X)
        return self._mapped(X, self.encoder_, self.n_components_, X.dtype)

    def reconstruct(self, X):
        """Rows through the pretrained layers up to the code and back.

        Labels changed the encoder afterwards; what they changed is not used here.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        X_hat : ndarray of shape (n_samples, n_features)
            In X's units.

        Raises
        ------
        ValueError
            When no layer was pretrained.
        """
        X = fitted_rows(self, X)
        first = [] if self._first is None else [self._first]
        path = [*first, *self.autoencoders_]
        if not path or not all(hasattr(each, "inverse_transform") for each in path):
            raise ValueError(
                "reconstruct needs pretrained layers with a decoder; this "
                "StackedAEClassifier was fitted with pretrain=False, or on the encoder "
                "of a classifier, which has none."
            )
        for autoencoder in path:
            X = autoencoder.transform(X)
        for autoencoder in reversed(path):
            X = autoencoder.inverse_transform(X)
        return X

    def _logits(self, X):
        X = fitted_rows(self, X)
        return self._mapped(X, self.net_, len(self.classes_), np.float64)

    def _mapped(self, X, module, width, dtype):
        out = np.empty((X.shape[0], width), dtype=dtype)
        device = next(self.net_.parameters()).device
        return map_rows(X, self._units.to_model, module, out, device)

    @property
    def _n_features_out(self):
        return self.n_components_

    def __getstate__(self):
        state = super().__getstate__()
        net = state.get("net_")
        if net is not None and next(net.parameters()).device.type != "cpu":
            net = copy.deepcopy(net).cpu()
            encoder = net.below(len(state["encoder_"]))
            state = {**state, "net_": net, "encoder_": encoder}
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
