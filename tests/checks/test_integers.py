import numpy as np
import pytest

from skae import AEOutlierDetector
from skae.checks.integers import check_integer


@pytest.mark.parametrize("value", [2, 3, np.int64(2)])
def test_integers_in_the_range_pass(value):
    check_integer("n", value, 2, 3)


@pytest.mark.parametrize("value", [True, np.True_, 2.0, "2", None, 0])
def test_what_is_no_positive_integer_is_named(value):
    with pytest.raises(ValueError, match="^n must be a positive integer; got "):
        check_integer("n", value)


@pytest.mark.parametrize(
    ("limits", "required"),
    [((0,), "of at least 0"), ((2,), "of at least 2"), ((0, 3), "from 0 to 3")],
)
def test_the_range_is_named(limits, required):
    with pytest.raises(ValueError, match=f"^n must be an integer {required}; got -1"):
        check_integer("n", -1, *limits)


def test_a_bool_is_no_number_of_jobs():
    with pytest.raises(ValueError, match="'n_jobs' parameter"):
        AEOutlierDetector(n_jobs=True).fit(np.eye(4))
