"""torch reads the sources of all its ONNX functions in every export; here once."""

import functools

import pytest


@functools.cache
def _read_once():
    """torch's table of ONNX functions, and what makes it, once per operator set."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    read = functools.cache(ONNXRegistry.from_torchlib)
    return ONNXRegistry, staticmethod(read)


@pytest.fixture(scope="module", autouse=True)
def _functions_are_read_once():
    with pytest.MonkeyPatch.context() as patch:
        try:
            registry, read = _read_once()
        except (ImportError, AttributeError):
            pass  # This torch has its table elsewhere, and reads it every time.
        else:
            patch.setattr(registry, "from_torchlib", read)
        yield
