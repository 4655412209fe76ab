"""Behind the detector: ensemble, units, out-of-bag scores, calibration, thresholds."""

__all__: list[str] = []
