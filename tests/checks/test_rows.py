"""What X may be is decided before any work, and said by name."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skae import (
    GAN,
    AdversarialAE,
    AEOutlierDetector,
    AutoencoderTransformer,
    ContractiveAE,
    ConvAE,
    DenoisingAE,
    RecurrentAE,
    SparseAE,
    VariationalAE,
)
from skae.checks.rows import check_magnitude

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUICK = {"max_iter": 2, "random_state": 0}
AUTOENCODERS = [
    AutoencoderTransformer(2, **QUICK),
    AutoencoderTransformer(2, init="random", **QUICK),
    DenoisingAE(2, **QUICK),
    SparseAE(2, **QUICK),
    ContractiveAE(2, **QUICK),
    VariationalAE(2, **QUICK),
    AdversarialAE(2, **QUICK),
    ConvAE(channels=2, **QUICK),
    RecurrentAE(**QUICK),
]
ESTIMATORS = [*AUTOENCODERS, GAN(2, **QUICK), AEOutlierDetector(**QUICK)]

each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)


def rows(n_samples=40, n_features=6, seed=0):
    return np.random.default_rng(seed).standard_normal((n_samples, n_features))


def spiked(spike, dtype=np.float64):
    X = rows().astype(dtype)
    X[3, 2] = spike
    return X


def methods(estimator):
    names = ("transform", "reconstruct", "score_samples", "score", "predict")
    return [getattr(estimator, name) for name in names if hasattr(estimator, name)]


@each_estimator
@pytest.mark.parametrize("spike", [1e155, -1e200, 1.7e308])
def test_values_whose_squares_overflow_are_refused(estimator, spike):
    X = spiked(spike)
    estimator = type(estimator)(**estimator.get_params())
    message = f"exceed 1e.150 in magnitude; the largest is {abs(spike):g}"
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        estimator.fit(X)
    assert not hasattr(estimator, "n_features_in_")
    estimator.fit(rows())
    for method in methods(estimator):
        if isinstance(estimator, AEOutlierDetector):
            # It judges rows at any distance.
            assert np.isfinite(method(X)).all()
            continue
        with pytest.raises(ValueError, match="in magnitude; the largest is"):
            method(X)


def test_the_largest_values_of_both_signs_are_refused_without_a_warning():
    X = np.where(rows() > 0, 1.7e308, -1.7e308)
    with pytest.raises(ValueError, match=r"largest is 1.7e\+308"):
        DenoisingAE(2, **QUICK).fit(X)
    with pytest.raises(ValueError, match=r"entries of y, .* largest is 1.7e\+308"):
        DenoisingAE(2, **QUICK).fit(rows(), X)


@each_estimator
@pytest.mark.parametrize(
    ("dtype", "largest"), [(np.float64, 9e149), (np.float32, 9e34)]
)
def test_the_largest_values_that_are_accepted_give_finite_results(
    estimator, dtype, largest
):
    for X in (
        spiked(largest, dtype),
        (rows() / 5).clip(-1, 1).astype(dtype) * dtype(largest),
    ):
        estimator.fit(X)
        for method in methods(estimator):
            assert np.isfinite(method(X)).all()


@each_estimator
@pytest.mark.parametrize("spike", [1e8, 1e14])
def test_rows_far_from_the_training_rows_are_judged(estimator, spike):
    estimator.fit(rows())
    for method in methods(estimator):
        assert np.isfinite(method(spiked(spike))).all()


@pytest.mark.parametrize("estimator", [*AUTOENCODERS[1:], GAN(2, **QUICK)], ids=repr)
@pytest.mark.parametrize("spike", [1e37, -1e40])
def test_rows_that_a_model_in_float32_can_not_square_are_refused(estimator, spike):
    estimator.fit(rows())
    for method in methods(estimator):
        with pytest.raises(
            ValueError, match="lie within 1e.35 units of the training rows"
        ):
            method(spiked(spike))


LINEAR = AutoencoderTransformer(2, hidden_layer_sizes=(), activation="identity")


@pytest.mark.parametrize("estimator", [LINEAR, AEOutlierDetector(**QUICK)], ids=repr)
def test_rows_at_any_distance_are_judged_in_float64_and_in_logarithms(estimator):
    estimator.fit(rows())
    for method in methods(estimator):
        assert np.isfinite(method(spiked(1e100))).all()


def test_magnitudes_are_those_of_entries_that_are_there():
    check_magnitude(np.array([[np.nan, 1.0]]))
    check_magnitude(np.full((2, 2), np.nan))
    check_magnitude(sparse.csr_array((3, 4)))
    check_magnitude(np.empty((0, 4)))
    with pytest.raises(ValueError, match="the largest is 2e"):
        check_magnitude(np.array([[np.nan, -2e160]]))
    with pytest.raises(ValueError, match="of dtype float32, must not exceed 1e"):
        check_magnitude(sparse.csr_array(np.array([[0, 2e36]], dtype=np.float32)))


@pytest.mark.parametrize("estimator", AUTOENCODERS, ids=repr)
def test_a_later_chunk_may_be_a_single_row(estimator):
    X = rows(21)
    estimator = type(estimator)(**estimator.get_params())
    for start in range(0, 21, 10):
        estimator.partial_fit(X[start : start + 10])
    before = estimator.score_samples(X[20:])
    for _ in range(5):
        estimator.partial_fit(X[:3], sample_weight=[0, 2, 0])
        estimator.partial_fit(X[20:])
    assert estimator.score_samples(X[20:]) > before


@pytest.mark.parametrize("estimator", AUTOENCODERS, ids=repr)
def test_the_first_chunk_has_two_rows(estimator):
    estimator = type(estimator)(**estimator.get_params())
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        estimator.partial_fit(rows(1))
    with pytest.raises(ValueError, match="positive for 2 of the rows at least"):
        estimator.partial_fit(rows(3), sample_weight=[0, 1, 0])
    estimator.partial_fit(rows(2))


def test_a_fit_that_is_continued_has_two_rows():
    warm = DenoisingAE(2, warm_start=True, **QUICK).fit(rows())
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        warm.fit(rows(1))


@each_estimator
def test_the_memory_layout_of_rows_does_not_matter(estimator):
    X = rows()
    read_only = X.copy()
    read_only.flags.writeable = False
    reversed_twice = X[::-1, ::-1].copy()[::-1, ::-1]
    estimator.fit(X)
    for method in methods(estimator):
        expected = method(X)
        for same in (read_only, reversed_twice, np.asfortranarray(X)):
            np.testing.assert_array_equal(method(same), expected)


def test_clean_targets_may_be_read_only_or_reversed():
    X = rows()
    estimator = DenoisingAE(2, **QUICK).fit(X)
    expected = estimator.score(X + 0.1, X)
    read_only = X.copy()
    read_only.flags.writeable = False
    assert estimator.score(X + 0.1, read_only) == expected
    assert estimator.score(X + 0.1, X[::-1].copy()[::-1]) == expected


class TestArraysThatNeedNoValidation:
    """What is taken without scikit-learn's validation is what that would give back."""

    BAD = {
        "NaN": [[1.0, np.nan, 2.0]],
        "infinite": [[1.0, -np.inf, 2.0]],
        "too large": [[1.0, 1e200, 2.0]],
        "narrow": [[1.0, 2.0]],
        "one row": [1.0, 2.0, 3.0],
        "no rows": np.empty((0, 3)),
        "no columns": np.empty((1, 0)),
        "three axes": np.ones((1, 3, 1)),
        "words": [["a", "b", "c"]],
        "complex": [[1j, 2.0, 3.0]],
    }

    @pytest.fixture
    def fitted(self):
        X = np.random.default_rng(0).normal(size=(50, 3))
        return AutoencoderTransformer(2, activation="identity").fit(X)

    @pytest.mark.parametrize("name", BAD)
    def test_errors_are_scikit_learns(self, fitted, name):
        class Validated(np.ndarray):
            """Not taken at one look."""

        bad = np.asarray(self.BAD[name])
        with pytest.raises(ValueError, match=".") as expected:
            fitted.transform(bad.view(Validated))
        with pytest.raises(ValueError, match=".") as found:
            fitted.transform(bad)
        assert str(found.value) == str(expected.value)

    @pytest.mark.parametrize(
        "change",
        [
            np.asfortranarray,
            lambda X: X.astype(">f8"),
            lambda X: np.hstack([X, X])[:, ::2][:, [0, 2, 1]],
            lambda X: np.repeat(X, 2, axis=0)[::2],
            lambda X: X.tolist(),
            lambda X: np.ma.masked_array(X),
            lambda X: X.view(np.ndarray),
        ],
    )
    def test_the_form_changes_no_bit(self, fitted, change):
        X = np.random.default_rng(1).normal(size=(5, 3))
        given = change(X)
        plain = np.array(np.asarray(given, np.float64).tolist())
        assert np.array_equal(fitted.transform(given), fitted.transform(plain))

    @pytest.mark.parametrize("dtype", [np.int64, bool, np.float16, object])
    def test_other_dtypes_come_back_as_double(self, fitted, dtype):
        X = np.array([[0, 1, 1], [1, 0, 1]], dtype)
        codes = fitted.transform(X)
        assert codes.dtype == np.float64
        assert np.array_equal(codes, fitted.transform(X.astype(np.float64)))

    def test_rows_that_may_lack_values(self):
        X = np.random.default_rng(0).normal(size=(60, 3))
        detector = AEOutlierDetector(2, random_state=0).fit(X)
        for row in ([1.0, np.nan, 2.0], [np.nan] * 3):
            assert np.isfinite(detector.score_samples(np.array([row]))).all()
        for infinite in (np.inf, -np.inf):
            with pytest.raises(ValueError, match="infinity"):
                detector.score_samples(np.array([[1.0, np.nan, infinite]]))

    def test_names_are_compared(self):
        pandas = pytest.importorskip("pandas")
        X = np.random.default_rng(0).normal(size=(50, 3))
        named = pandas.DataFrame(X, columns=["a", "b", "c"])
        model = AutoencoderTransformer(2, activation="identity").fit(named)
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            model.transform(X[:1])
        with pytest.raises(ValueError, match="feature names should match"):
            model.transform(named.rename(columns={"a": "z"}))
        nameless = clone(model).fit(X)
        with pytest.warns(UserWarning, match="X has feature names, but"):
            nameless.transform(named[:1])
        assert list(model.set_output(transform="pandas").transform(named[:1])) == [
            "autoencodertransformer0",
            "autoencodertransformer1",
        ]

    def test_codes(self, fitted):
        Z = np.ones((1, 2))
        expected = fitted.inverse_transform(Z.tolist())
        assert np.array_equal(fitted.inverse_transform(Z), expected)
        assert fitted.inverse_transform(Z.astype(np.float32)).dtype == np.float32
        for bad, message in (
            (np.ones((1, 3)), "Z has 3 columns"),
            (np.array([[1.0, np.nan]]), "Input Z contains NaN"),
            (np.ones(2), "Expected 2D array"),
            (np.empty((0, 2)), "0 sample"),
        ):
            with pytest.raises(ValueError, match=message):
                fitted.inverse_transform(bad)

    def test_before_the_fit(self):
        for method in ("transform", "inverse_transform", "reconstruct"):
            with pytest.raises(NotFittedError):
                getattr(AutoencoderTransformer(), method)(np.ones((1, 3)))


class TestMaskedArrays:
    """Masked entries are missing, whatever stands under the mask."""

    def masked(self, dtype=float):
        X = np.ma.array(np.random.default_rng(0).normal(size=(60, 4)) * 9, dtype=dtype)
        X[5, 2] = np.ma.masked
        return X

    @pytest.mark.parametrize("dtype", [float, np.float32, int])
    def test_are_refused_where_nan_is(self, dtype):
        with pytest.raises(ValueError, match=r"X contains NaN[^X]*X\[5, 2\] is nan"):
            AutoencoderTransformer(2).fit(self.masked(dtype))
        images = self.masked(dtype).reshape(60, 2, 2)
        with pytest.raises(ValueError, match="X contains NaN"):
            ConvAE(2).fit(images)

    def test_are_missing_for_detectors_in_memory_and_in_blocks(self):
        X = self.masked()
        detector = AEOutlierDetector(2, random_state=0).fit(X.data)
        expected = detector.score_samples(X.filled(np.nan))
        for rows in (X, lambda: iter([X[:30], X[30:]])):
            np.testing.assert_array_equal(detector.score_samples(rows), expected)

    def test_without_a_masked_entry_are_arrays(self):
        X, ae = self.masked()[6:], AutoencoderTransformer(2, activation="identity")
        np.testing.assert_array_equal(
            ae.fit_transform(X), ae.fit_transform(np.asarray(X))
        )
