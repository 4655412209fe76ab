"""Methods of fitted estimators as torch modules and as ONNX models."""

__all__: list[str] = []
