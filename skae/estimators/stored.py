"""The state of estimators as arrays and plain values.

`StoredState` pickles an estimator as a tree of them, from which skops can read it too,
and the list below is the whole of the classes and functions that such a tree, or a
file, may name. The tree itself is made in `skae.state.plain`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sklearn.frozen import FrozenEstimator
from sklearn.utils.metadata_routing import MetadataRequest

from skae.checks.conditions import Classes, Numbers
from skae.estimators import HOMES
from skae.fitting.pca_start import Units
from skae.fitting.pretraining import FrozenEncoder
from skae.models.adversarial import AdversarialAutoencoder
from skae.models.autoencoder import Autoencoder
from skae.models.gan import GANModule
from skae.models.stack import NormalisedLayer, Product, Stack
from skae.outliers.calibration import Calibration
from skae.outliers.drift import Reference
from skae.outliers.ensemble import Member
from skae.outliers.missing_values import MissingPenalty
from skae.outliers.neighbours import Neighbours
from skae.outliers.reconstruction_scorer import ReconstructionScorer
from skae.outliers.robust_units import RobustUnits
from skae.outliers.scorers import EnsembleScorer
from skae.parts import (
    anchored,
    categorical,
    conv,
    corruption,
    critics,
    dense,
    equalized,
    generators,
    growing,
    growing_generators,
    guard,
    image_correction,
    layers,
    likelihoods,
    modules,
    penalties,
    priors,
    recurrent,
    student_t,
    targets,
)
from skae.parts.base import COMPLETED
from skae.rows.user_line import warn_user
from skae.state.container import FORMAT, ModelFileError, check_format
from skae.state.plain import deep_copy, from_plain, to_plain
from skae.state.reading import check_attributes
from skae.state.registry import register, register_homes
from skae.state.version import __version__
from skae.statistics.code_density import CodeDensity, FittedMixture

__all__ = ["StoredState", "made_on", "refused", "warn_of_newer"]

_PARTS = (
    anchored.AnchoredCodec,
    categorical.Categorical,
    conv.Conv,
    conv.ConvCodec,
    corruption.BoundCorruption,
    corruption.GaussianNoise,
    corruption.KeepMissing,
    corruption.MaskingNoise,
    corruption.NoCorruption,
    corruption.SaltAndPepperNoise,
    corruption.masked,
    corruption.noisy,
    corruption.peppered,
    critics.ConvCritic,
    critics.Critic,
    critics.DenseCritic,
    critics.MinibatchDiscrimination,
    dense.Dense,
    dense.DenseCodec,
    dense.Parameters,
    equalized.EqualAffine,
    equalized.EqualConv,
    equalized.MinibatchDeviation,
    equalized.ModulatedConv,
    generators.ConvGenerator,
    generators.DenseGenerator,
    generators.GeneratorNet,
    growing.GrowingCriticNet,
    growing_generators.ImageLayer,
    growing_generators.ProgressiveGeneratorNet,
    growing_generators.StyleGeneratorNet,
    growing_generators.StyleLayer,
    guard.Guard,
    image_correction.ImageCorrection,
    layers.Affine,
    layers.Down,
    layers.Same,
    layers.ShiftedUp,
    layers.Up,
    layers.Window,
    likelihoods.Bernoulli,
    likelihoods.BoundGaussian,
    likelihoods.Gaussian,
    likelihoods.LearnedGaussian,
    likelihoods.Masked,
    modules.ModulePair,
    modules.PairCodec,
    penalties.Contraction,
    penalties.KLSparsity,
    penalties.L1Sparsity,
    priors.Deterministic,
    priors.NoPrior,
    priors.StandardNormal,
    recurrent.Recurrent,
    recurrent.RecurrentCodec,
    student_t.BoundStudentT,
    student_t.StudentT,
    targets.Custom,
    targets.Mixture,
    targets.Normal,
    targets.SwissRoll,
)
register(
    AdversarialAutoencoder,
    Autoencoder,
    Calibration,
    Classes,
    CodeDensity,
    EnsembleScorer,
    FittedMixture,
    FrozenEncoder,
    FrozenEstimator,
    GANModule,
    Member,
    # What set_fit_request leaves, with a request for each method.
    MetadataRequest,
    type(MetadataRequest(owner=None).fit),
    MissingPenalty,
    Neighbours,
    NormalisedLayer,
    Numbers,
    Product,
    ReconstructionScorer,
    Reference,
    RobustUnits,
    Stack,
    Units,
    *COMPLETED.values(),
    *_PARTS,
)

_DEVICE: ContextVar[Any] = ContextVar("device", default="cpu")
_MADE: ContextVar[list | None] = ContextVar("made", default=None)

register_homes(HOMES)


class StoredState:
    """Pickled as plain values and arrays, and copied on the device where it is.

    It comes before scikit-learn's ``BaseEstimator`` among the base classes.
    """

    def _own_state(self) -> dict:
        """What is kept of the attributes."""
        return super().__getstate__()

    def __plain__(self) -> dict:
        return self._own_state()

    def __from_plain__(self, state: dict) -> None:
        vars(self).update(state)

    def __getstate__(self):
        return {
            "format": FORMAT,
            "skae_version": __version__,
            "state": to_plain(self._own_state()),
        }

    def __setstate__(self, stored):
        name = f"This {type(self).__name__}"
        if "format" not in stored:
            raise ModelFileError(
                f"{name} was pickled before skae had a format that later versions "
                "read; fit it anew."
            )
        check_format(stored["format"], name)
        warn_of_newer(stored.get("skae_version"), name)
        with refused(name):
            state = from_plain(stored["state"], _DEVICE.get())
            check_attributes(type(self), state)
            vars(self).update(state)
        made = _MADE.get()
        if made is not None:
            made.append(self)

    def __copy__(self):
        duplicate = type(self).__new__(type(self))
        vars(duplicate).update(vars(self))
        return duplicate

    def __deepcopy__(self, memo):
        return deep_copy(self, memo)


@contextmanager
def made_on(device) -> Iterator[list]:
    """Where estimators that are unpickled here go, and those that were."""
    made: list = []
    before = _DEVICE.set(device), _MADE.set(made)
    try:
        yield made
    finally:
        _DEVICE.reset(before[0])
        _MADE.reset(before[1])


@contextmanager
def refused(what: object) -> Iterator[None]:
    """Whatever goes wrong while an object is made is a `ModelFileError`."""
    try:
        yield
    except ModelFileError:
        raise
    except Exception as error:
        raise ModelFileError(
            f"{what} does not hold together: {type(error).__name__}: {error}"
        ) from error


def warn_of_newer(version: object, what: object) -> None:
    """Warn where a later version of skae wrote what is read."""
    if _numbers(version) > _numbers(__version__):
        warn_user(
            f"{what} comes from skae {str(version)[:30]}, which is newer than the "
            f"installed {__version__}. Results may differ; update skae."
        )


def _numbers(version: object) -> list[int]:
    text = version[:100] if isinstance(version, str) else ""
    return [int(number) for number in re.findall(r"\d{1,9}", text)[:3]]
