"""Displays of fitted estimators."""

from skae.inspection.codes import LatentDisplay
from skae.inspection.history import HistoryDisplay
from skae.inspection.outlier_scores import OutlierScoreDisplay
from skae.inspection.reconstructions import ReconstructionDisplay

__all__ = [
    "HistoryDisplay",
    "LatentDisplay",
    "OutlierScoreDisplay",
    "ReconstructionDisplay",
]
