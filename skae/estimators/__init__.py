"""What users import: estimators with scikit-learn's contract, one family a file."""

__all__: list[str] = []
