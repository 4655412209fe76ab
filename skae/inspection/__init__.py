"""Displays of fitted estimators."""

from skae.inspection.codes import LatentDisplay
from skae.inspection.generated import InterpolationDisplay, SampleDisplay
from skae.inspection.history import HistoryDisplay
from skae.inspection.manifold import ManifoldDisplay
from skae.inspection.outlier_scores import OutlierScoreDisplay
from skae.inspection.reconstructions import ReconstructionDisplay
from skae.inspection.styles import (
    GrowthDisplay,
    StyleMixingDisplay,
    TruncationDisplay,
)

__all__ = [
    "GrowthDisplay",
    "HistoryDisplay",
    "InterpolationDisplay",
    "LatentDisplay",
    "ManifoldDisplay",
    "OutlierScoreDisplay",
    "ReconstructionDisplay",
    "SampleDisplay",
    "StyleMixingDisplay",
    "TruncationDisplay",
]
