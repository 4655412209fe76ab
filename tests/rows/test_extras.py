import pytest

from skae.rows.extras import importing


def test_a_missing_package_is_named_with_what_installs_it():
    message = r'Drawing needs .* pip install "skae\[plot\]" \(No module named .nowhere'
    with pytest.raises(ImportError, match=message), importing("plot", "Drawing"):
        import nowhere  # noqa: F401


def test_other_errors_pass():
    with pytest.raises(ValueError, match="^of its own$"), importing("plot", "Drawing"):
        raise ValueError("of its own")
