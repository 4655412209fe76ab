"""Displays and explanations of fitted estimators."""

__all__: list[str] = []
