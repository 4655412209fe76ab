"""The untrained autoencoder: moments of X, model units, bound parts and the codec.

`InitialModelFit` is the first half of `skae.fitting.autoencoder_fit.Fit`: it resolves
what an estimator's parameters leave open, checks them against X before any work and
builds the model, beside PCA's path where that is asked for.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from skae.checks.rows import check_padding, feature_ranges
from skae.checks.weights import check_balance
from skae.fitting.defaults import Defaults
from skae.fitting.fit import BaseFit, rows_at
from skae.fitting.image_start import ImageStart
from skae.fitting.pca_start import (
    NEGLIGIBLE,
    Units,
    anchor_of,
    member_anchors,
    network_scales,
    units_of,
)
from skae.fitting.resolve import Parts
from skae.models.autoencoder import Autoencoder
from skae.parts.anchored import AnchoredCodec
from skae.parts.base import Batch, Codec, Features, built
from skae.parts.corruption import KeepMissing
from skae.parts.likelihoods import Masked
from skae.rows.chunks import Rows
from skae.rows.devices import place_of_doubles
from skae.rows.tensors import SINGLE, as_double
from skae.statistics.column_units import column_units
from skae.statistics.pca import Moments, PCAResult, moments, pooled_moments, principal
from skae.training.held_out import Folds
from skae.training.spread import generator_of

__all__ = ["FEWEST_ROWS", "InitialModel", "InitialModelFit"]

# Of fewer rows nothing is learned beyond PCA.
FEWEST_ROWS = 8
# Rows on which an untrained model is tried.
_TRIED = slice(0, 4)
# Share of the variance that PCA's residual counts as where rows are corrupted.
_CORRUPTED_FLOOR = 0.01


class InitialModel(NamedTuple):
    """A model that is ready to train.

    Attributes
    ----------
    model : Autoencoder
    units : Units
    mean : ndarray of shape (n_features,), in X's units
    rows : Rows
        The targets.
    noisy : Rows or None
        The inputs, where they are not the targets.
    folds : Folds or None
        Where the members of the model are cross-validated.
    """

    model: Autoencoder
    units: Units
    mean: np.ndarray
    rows: Rows
    noisy: Rows | None
    folds: Folds | None = None


class InitialModelFit(BaseFit):
    """A fit of an autoencoder up to the untrained model.

    Its ``n_components`` is what the user requests, also a share of the variance, until
    the axes or the model say how many these are.

    Parameters
    ----------
    estimator : BaseAutoencoder
        Only its parameters are read.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,) or None
        Positive, of mean one.
    parts : Parts
        What the parameters say of the model.
    clean : ndarray or CSR matrix of X's shape, optional
        The targets, where X is not its own.
    context : ndarray of shape (n_samples, n_context), optional
        The condition of each row.
    recording : Recording, optional
    """

    def __init__(
        self,
        estimator,
        X,
        weight,
        parts: Parts,
        clean=None,
        context=None,
        recording=None,
    ):
        work = parts.work(estimator.batch_size, *X.shape)
        super().__init__(
            estimator, X, weight, context, recording=recording, work=work, targets=clean
        )
        self.clean = clean
        self.targets = X if clean is None else clean
        self.conditions = None
        if context is not None:
            self.conditions = Rows(context, 0.0, 1.0, self.device)
        self.parts = parts
        self.architecture = parts.architecture
        self.likelihood = parts.likelihood
        self.corruption = parts.corruption
        self.penalties = parts.penalties
        self.groups = self.architecture.unit_groups(self.n_features)
        self.network = {**self.architecture.network(), **parts.likelihood.network()}
        self.is_plain = self._is_plain()
        self.is_linear = self.architecture.is_linear and self.is_plain
        self.n_components = parts.n_components
        if self.architecture.decides_width:
            self.n_components = self._codec().n_components
        self.is_anchored = parts.init == "pca" and self.n_components is not None
        self.image_start: ImageStart | None = None
        # From moments, which a heavy row cannot spoil.
        is_exact = self.is_anchored or self.architecture.is_shallow
        if not (self.is_linear and is_exact):
            check_balance(weight)
        self._check_parts()

    def _is_plain(self) -> bool:
        return (
            self.likelihood.is_least_squares
            and self.corruption.is_identity
            and self.parts.prior.keeps_units
            and not self.penalties
            and self.clean is None
        )

    def _check_parts(self) -> None:
        if self.architecture.allows_missing:
            check_padding(self.X, self.architecture.sample_shape)
        self.likelihood.check(lambda: feature_ranges(self.targets))
        self.likelihood.check_rows(self.targets)
        if not self.is_anchored:
            return
        name = type(self.likelihood).__name__
        if not self.likelihood.starts_as_pca:
            raise ValueError(
                f"init='pca' cannot be combined with likelihood={name}, whose mean is "
                "no function of a linear reconstruction; use init='random'."
            )
        if self.architecture.is_tied and not self.likelihood.is_centred:
            raise ValueError(
                f"init='pca' cannot be combined with tied_weights=True and likelihood="
                f"{name}: PCA's start has other weights in the decoder. Use "
                "init='random'."
            )

    @property
    def defaults(self) -> Defaults:
        """What "auto" means for X and this width."""
        n_components = self.n_components or 1
        return self.parts.defaults(self.n_samples, self.n_features, n_components)

    def _moments(self, *, axes: bool = True) -> Moments:
        """Moments of X; with axes, PCA where the start or the width depends on it."""
        n_components = self.n_components
        is_share = n_components is not None and n_components < 1
        if axes and (self.is_anchored or is_share):
            result = principal(self.X, n_components, self.weight, self.random_state)
            self.n_components = result.axes.shape[1]
            return result
        if self.architecture.shares_center:
            return pooled_moments(self.X, self.weight, self.groups)
        return moments(self.X, self.weight, covariance=False)

    def _model_units(self, moments: Moments) -> Units:
        residual = columns = None
        if self.is_anchored:
            # With a floor, where the model is trained although PCA is exact.
            floor = NEGLIGIBLE if self.is_plain else _CORRUPTED_FLOOR
            start = self.image_start
            residual = moments.residual if start is None else start.residual
            residual = max(residual, floor * moments.variance.mean())
        elif self.parts.columns_apart and self.likelihood.is_centred:
            variance = moments.variance * moments.unit**2
            columns = column_units(variance, *feature_ranges(self.targets), self.groups)
        return units_of(
            moments, residual, centred=self.likelihood.is_centred, columns=columns
        )

    def _initial_model(
        self, moments: Moments, *, cross_validate: bool = False
    ) -> InitialModel:
        units = self._model_units(moments)
        self._bind_parts(units, lambda: moments)
        rows, noisy = self._targets_and_inputs(units)
        n_folds, folds = self.defaults.n_folds, None
        if (
            cross_validate
            and n_folds
            and self.is_anchored
            and self.architecture.batches_members
            and self.n_samples >= FEWEST_ROWS
        ):
            folds = Folds(rows[:], n_folds, self.generator, self._tensor(self.weight))
        if self.is_anchored:
            start = self.image_start
            pca = moments if start is None else start.pca
            codec = self._anchored_codec(pca, units, folds)
        else:
            codec = self._random_codec(moments, units)
        self.n_components = codec.n_components
        model = self._module(codec).to(self.device)
        of_rows = rows, None, noisy, self.conditions
        model.eval().check(Batch(*(rows_at(values, _TRIED) for values in of_rows)))
        return InitialModel(model, units, moments.mean, rows, noisy, folds)

    def _restart(self, fitted, model: Autoencoder) -> InitialModel:
        """The codec of a fitted model with the rows and the parts of this fit."""
        units = fitted.units_.released(*feature_ranges(self.targets), self.groups)
        self._bind_parts(units, lambda: self._moments(axes=False))
        self.likelihood = model.likelihood
        self.n_components = model.codec.n_components
        model = self._on_device(self._module(model.codec))
        own = next(model.parameters())
        if own.device != self.device:
            self.device = own.device
            self.noise = generator_of(self.group, self.seed, self.device)
        rows, noisy = self._targets_and_inputs(units, own.dtype)
        if units is not fitted.units_:
            self._release(model.codec, fitted.units_, units)
        return InitialModel(model, units, fitted.mean_, rows, noisy)

    def _release(self, codec, earlier: Units, units: Units) -> None:
        """Let a codec correct columns that vary in these rows only."""
        if not codec.is_anchored:
            return
        is_free = ~np.isnan(earlier.constant)
        if units.constant is not None:
            is_free &= np.isnan(units.constant)
        low, high = feature_ranges(self.targets)
        ends = units.to_model(np.stack([low, high])).to(codec.output_scale)
        codec.release(torch.from_numpy(is_free), ends)

    def _targets_and_inputs(self, units: Units, dtype=torch.float32):
        """Rows to reconstruct, and rows for the encoder where they are others."""
        columns = units.center, units.scale, self.device, dtype
        noisy = None if self.clean is None else Rows(self.X, *columns)
        return Rows(self.targets, *columns), noisy

    def _bind_parts(self, units: Units, moments: Callable[[], Moments]) -> None:
        """Bind the parts to the columns of X in model units."""
        parts, architecture = self.parts, self.architecture
        features = Features(
            as_double(units.center),
            units.columns,
            tuple(architecture.sample_shape or (self.n_features,)),
            lambda: moments().std,
            self._ranges,
        )
        self.likelihood = parts.likelihood.bind(features)
        self.penalties = [penalty.bind(features) for penalty in parts.penalties]
        self.corruption = parts.corruption.bind(features)
        if architecture.allows_missing:
            self.likelihood = Masked(self.likelihood)
            if not parts.corruption.is_identity:
                self.corruption = KeepMissing(self.corruption)

    def _ranges(self):
        """Smallest and largest value of each column, or of those that are pooled."""
        low, high = feature_ranges(self.X)
        if not self.architecture.shares_center:
            return low, high
        pooled = np.full((2, self.groups.max() + 1), np.nan)
        np.fmin.at(pooled[0], self.groups, low)
        np.fmax.at(pooled[1], self.groups, high)
        return tuple(pooled[:, self.groups])

    def _codec(self, members=None, input_scale=None) -> Codec:
        """The architecture's codec, of the widths that the other parts require."""
        prior, likelihood = self.parts.prior, self.parts.likelihood
        architecture = self.architecture.resolved(self.defaults)
        n_components = self.n_components
        requested: dict[str, Any] = {}
        n_raw = likelihood.n_outputs(self.n_features)
        if n_raw != self.n_features:
            requested["n_raw"] = n_raw, f"likelihood={type(likelihood).__name__}"
        if architecture.decides_width:
            requested["location"] = prior.location, f"prior={type(prior).__name__}"
        elif n_components and prior.n_outputs(n_components) != n_components:
            n_outputs = prior.n_outputs(n_components)
            requested["n_outputs"] = n_outputs, f"prior={type(prior).__name__}"
        if self.context is not None:
            requested["n_context"] = self.context.shape[1], "a condition y"
        if members is not None:
            requested["members"] = members, "cross-validation"
        if input_scale is not None and architecture.scales_inputs:
            requested["input_scale"] = input_scale, "rows of several units"
        shape = self.n_features, n_components
        return built(architecture, *shape, generator=self.generator, **requested)

    def _random_codec(self, moments: Moments, units: Units) -> Codec:
        """A codec with random weights, which starts at the mean of the rows."""
        input_scale, _ = network_scales(moments, units)
        codec = self._codec(input_scale=input_scale)
        likelihood = self.parts.likelihood
        n_outputs = likelihood.n_outputs(self.n_features)
        raw_mean = torch.zeros(n_outputs, **SINGLE)
        if likelihood.starts_as_pca:
            mean = (moments.center - units.center) / units.scale
            raw_mean = likelihood.link(as_double(mean).float())
        codec.start_at_mean(raw_mean)
        return codec

    def _anchored_codec(self, pca: PCAResult, units: Units, folds) -> AnchoredCodec:
        """A codec beside PCA's path."""
        architecture, likelihood = self.architecture, self.likelihood
        prior = self.parts.prior
        codec = self._codec(None if folds is None else folds.n_folds + 1)
        shrunk = prior.shrinks()
        anchor = anchor_of(pca, units, likelihood, shrunk=shrunk)
        if folds is not None:
            anchor = member_anchors(
                anchor, folds, likelihood, self.random_state, shrunk=shrunk
            )
        input_scale, output_scale = network_scales(pca, units, self.groups)
        if not (likelihood.is_centred or architecture.scales_inputs):
            # Rows that are not centred are left as they are.
            input_scale = torch.ones_like(input_scale)
        if architecture.is_tied or not likelihood.is_centred:
            output_scale = (output_scale > 0).float()
        return AnchoredCodec(
            codec,
            anchor,
            input_scale,
            output_scale,
            start=prior.start(anchor.shrinkage),
            tied=architecture.is_tied,
            bound=self.defaults.bound,
            whitened=not prior.keeps_units,
            frozen=not architecture.trains_path,
            generator=self.generator,
        )

    def _module(self, codec, likelihood=None) -> Autoencoder:
        return Autoencoder(
            codec,
            self.likelihood if likelihood is None else likelihood,
            self.corruption,
            self.parts.prior,
            self.penalties,
            sample_shape=self.architecture.sample_shape,
            kl_warmup=self.parts.kl_warmup,
            hidden_context=self.parts.hidden_context,
        )

    def _on_device(self, model: Autoencoder) -> Autoencoder:
        """The model on the device, on the CPU where that has no float64 for it."""
        double = next(model.parameters()).dtype == torch.float64
        return model.to(place_of_doubles(self.device) if double else self.device)
