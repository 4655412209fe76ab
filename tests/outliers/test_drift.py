"""The two-sample test against SciPy's and against chance."""

import numpy as np
import pytest
from scipy import stats

from skae.outliers.drift import Reference, two_sample_test


def random(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("sizes", [(300, 200), (1000, 50), (400, 400)])
@pytest.mark.parametrize("shift", [0.0, 0.2, 1.0])
def test_without_equal_values_it_is_scipys(sizes, shift):
    before, now = (
        random().normal(size=sizes[0]),
        shift + random(1).normal(size=sizes[1]),
    )
    expected = stats.ks_2samp(before, now, method="asymp")
    found = two_sample_test(before, now)
    np.testing.assert_allclose(found, (expected.statistic, expected.pvalue), rtol=1e-9)


@pytest.mark.parametrize("levels", [2, 4, 30])
def test_permutations_make_it_exact_with_equal_values(levels):
    p = [
        two_sample_test(
            random(seed).integers(levels, size=200).astype(float),
            random(1000 + seed).integers(levels, size=150).astype(float),
            n_permutations=199,
        )[1]
        for seed in range(300)
    ]
    # Of 300 batches, at the 0.1% and 99.9% quantiles of chance.
    for u in (0.05, 0.2):
        low, high = stats.binom.ppf([0.001, 0.999], 300, u) / 300
        assert low - 0.05 * (levels == 2) <= np.mean(np.array(p) <= u) <= high


def test_equal_samples_have_no_difference():
    assert two_sample_test(np.ones(50), np.ones(20), n_permutations=99) == (0.0, 1.0)
    nan = np.full(30, np.nan)
    assert two_sample_test(nan, nan)[0] == 0
    assert two_sample_test(np.zeros(30), nan)[0] == 1


def test_weights_stand_for_repeated_values():
    before, now = random().normal(size=100), random(1).normal(size=80)
    weight = np.tile([1.0, 3.0], 50)
    repeated = np.repeat(before, weight.astype(int))
    assert two_sample_test(before, now, weight)[0] == pytest.approx(
        two_sample_test(repeated, now)[0]
    )


def test_values_in_another_precision_are_the_same():
    levels = np.arange(5) / 3
    before, now = random().choice(levels, 200), random(1).choice(levels, 200)
    expected = two_sample_test(before, now)
    for same in (now.astype(np.float32), np.round(now, 6)):
        assert two_sample_test(before, same) == expected


def test_a_reference_knows_its_rows():
    X = random().normal(size=(5000, 40))
    reference = Reference.of(X, np.arange(0, 5000, 2), np.zeros(2500))
    assert reference.rows.shape == (1024, 40)
    assert set(reference.numbers) <= set(range(0, 5000, 2))
    assert reference.is_of(X.copy())
    assert not reference.is_of(X[::-1])
    assert not reference.is_of(X[:1000])
    wide = Reference.of(np.zeros((300, 8192)), np.arange(300), np.zeros(300))
    assert wide.rows.shape == (64, 8192)
