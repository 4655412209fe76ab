"""Displays of fitted estimators."""

from skae.inspection.outlier_scores import OutlierScoreDisplay

__all__ = ["OutlierScoreDisplay"]
