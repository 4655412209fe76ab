"""Methods on Dask collections: lazy, and equal bit for bit to those on arrays."""

import pickle
import warnings
from functools import cache

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.pipeline import make_pipeline

import skae
from skae.estimators import estimator_classes

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
pytest.importorskip("dask.bag")
pd = pytest.importorskip("pandas")

random = np.random.default_rng(0)
X = random.uniform(size=(90, 16))
Y = np.arange(90) % 3
LABELS = np.array(["a", "b", "c"])[Y]
# One-row, empty and uneven blocks, which cut rows too.
ROWS = (40, 1, 0, 37, 12)
LAZY = da.from_array(X, chunks=(ROWS, (10, 6)))
FRAME = pd.DataFrame(X, columns=[f"x{i}" for i in range(16)]).set_index(
    np.arange(90) * 2 + 5
)
FRAMES = dd.from_pandas(FRAME, npartitions=4)

BRIEF = {"max_iter": 1, "random_state": 0}
ESTIMATORS = {
    "table": (skae.AutoencoderTransformer(3, **BRIEF), X, None),
    "sparse": (skae.SparseAE(3, **BRIEF), X, None),
    "contractive": (skae.ContractiveAE(3, **BRIEF), X, None),
    "denoising": (skae.DenoisingAE(3, **BRIEF), X, None),
    "bernoulli": (skae.VariationalAE(2, likelihood="bernoulli", **BRIEF), X, None),
    "adversarial": (skae.AdversarialAE(2, **BRIEF), X, None),
    "conditional": (skae.ConditionalVAE(2, **BRIEF), X, LABELS),
    "numbers": (skae.ConditionalVAE(2, **BRIEF), X, X[:, :2]),
    "gan": (skae.GAN(2, **BRIEF), X, LABELS),
    "classifier": (
        skae.StackedAEClassifier((8, 4), pretrain_max_iter=1, **BRIEF),
        X,
        LABELS,
    ),
    "detector": (skae.AEOutlierDetector(2, **BRIEF), X, None),
    "judge": (
        skae.AEOutlierDetector(
            estimator=skae.AutoencoderTransformer(3, **BRIEF), random_state=0
        ),
        X,
        None,
    ),
    "images": (skae.ConvAE(**BRIEF), X.reshape(90, 4, 4), None),
    "sequences": (skae.RecurrentAE(2, **BRIEF), X.reshape(90, 8, 2), None),
}
METHODS = (
    "transform",
    "reconstruct",
    "denoise",
    "score_samples",
    "decision_function",
    "predict",
    "predict_proba",
    "predict_log_proba",
    "p_values",
    "explain",
    "discriminate",
)
NEED_Y = {("numbers", "reconstruct"), ("numbers", "score_samples")}
quiet = pytest.mark.filterwarnings(
    "ignore:.*(few|loss|still|converge|untrained|worse|labels)",
    "ignore::sklearn.exceptions.ConvergenceWarning",
)
pytestmark = [quiet]


@pytest.fixture(autouse=True)
def in_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@cache
def fitted(name):
    estimator, rows, y = ESTIMATORS[name]
    with warnings.catch_warnings(action="ignore"):
        return estimator.fit(rows, y)


def lazy_rows(name):
    rows = ESTIMATORS[name][1]
    return da.from_array(rows, chunks=(ROWS, *(max(1, n - 3) for n in rows.shape[1:])))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_methods_give_the_bits_of_arrays(name):
    estimator, rows = fitted(name), ESTIMATORS[name][1]
    for method in METHODS:
        if not hasattr(estimator, method) or (name, method) in NEED_Y:
            continue
        for dtype in (np.float64, np.float32):
            expected = getattr(estimator, method)(rows.astype(dtype))
            lazy = getattr(estimator, method)(lazy_rows(name).astype(dtype))
            assert isinstance(lazy, da.Array), method
            assert (lazy.shape, lazy.dtype) == (expected.shape, expected.dtype)
            assert lazy.chunks[0] == ROWS
            np.testing.assert_array_equal(lazy.compute(), expected, strict=True)


@pytest.mark.parametrize(
    "name", [name for name in ESTIMATORS if hasattr(fitted(name), "inverse_transform")]
)
def test_codes_are_decoded_lazily(name):
    estimator = fitted(name)
    Z = estimator.transform(ESTIMATORS[name][1])
    options = {"y": ESTIMATORS[name][2]} if ESTIMATORS[name][2] is not None else {}
    lazy = estimator.inverse_transform(da.from_array(Z, chunks=(ROWS, -1)), **options)
    expected = estimator.inverse_transform(Z, **options)
    assert lazy.shape == expected.shape
    np.testing.assert_array_equal(lazy.compute(), expected, strict=True)


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("conditional", ["transform", "reconstruct", "score_samples"]),
        ("numbers", ["transform", "reconstruct", "score_samples"]),
        ("gan", ["score_samples", "discriminate"]),
    ],
)
def test_conditions_go_with_their_rows(name, methods):
    estimator, y = fitted(name), ESTIMATORS[name][2]
    for method in methods:
        expected = getattr(estimator, method)(X, y)
        for form in (y, da.from_array(y, chunks=30)):
            lazy = getattr(estimator, method)(LAZY, form)
            np.testing.assert_array_equal(lazy.compute(), expected)
    frame = dd.from_pandas(pd.DataFrame(y, index=FRAME.index), npartitions=4)
    with warnings.catch_warnings(action="ignore"):
        series = getattr(estimator, method)(FRAMES, frame if y.ndim > 1 else frame[0])
        np.testing.assert_array_equal(series.compute(), expected)


def test_one_condition_may_hold_for_all_rows():
    estimator = fitted("conditional")
    expected = estimator.inverse_transform(X[:, :2], y="b")
    lazy = estimator.inverse_transform(LAZY[:, :2], y="b")
    np.testing.assert_array_equal(lazy.compute(), expected)


def test_mean_and_deviation_come_as_two_arrays():
    mean, std = fitted("bernoulli").transform(LAZY, return_std=True)
    expected = fitted("bernoulli").transform(X, return_std=True)
    np.testing.assert_array_equal(mean.compute(), expected[0])
    np.testing.assert_array_equal(std.compute(), expected[1])


def test_blocks_of_unknown_length_and_sparse_blocks_will_do():
    estimator = fitted("table")
    unknown = LAZY[da.ones(90, chunks=(ROWS,)) > 0]
    Z = estimator.transform(unknown)
    assert np.isnan(Z.shape[0])
    np.testing.assert_array_equal(Z.compute(), estimator.transform(X))
    blocks = LAZY.rechunk((30, -1)).map_blocks(sparse.csr_matrix)
    np.testing.assert_array_equal(
        estimator.transform(blocks).compute(), estimator.transform(X)
    )


@cache
def fitted_to_frame(transformer=True):
    if transformer:
        return skae.DenoisingAE(3, **BRIEF).fit(FRAME)
    return skae.StackedAEClassifier((4,), pretrain_max_iter=1, **BRIEF).fit(FRAME, Y)


def test_frames_keep_index_and_names():
    estimator = fitted_to_frame()
    for method in ("reconstruct", "denoise"):
        lazy = getattr(estimator, method)(FRAMES)
        expected = pd.DataFrame(
            estimator.reconstruct(FRAME), index=FRAME.index, columns=FRAME.columns
        )
        assert lazy.columns.tolist() == FRAME.columns.tolist()
        pd.testing.assert_frame_equal(lazy.compute(), expected)
    scores = estimator.score_samples(FRAMES)
    expected = pd.Series(estimator.score_samples(FRAME), FRAME.index)
    pd.testing.assert_series_equal(scores.compute(), expected, check_names=False)
    assert scores.name == "score_samples"
    joined = FRAMES.assign(score=scores).compute()
    assert (joined.score == expected).all()
    P = fitted_to_frame(False).predict_proba(FRAMES)
    assert P.columns.tolist() == [0, 1, 2]
    expected = fitted_to_frame(False).predict_proba(FRAME)
    np.testing.assert_array_equal(P.compute(), expected)


def test_codes_of_frames_are_what_set_output_says():
    estimator = fitted_to_frame()
    codes = estimator.transform(FRAMES)
    assert isinstance(codes, da.Array)
    assert codes.shape[1] == 3
    np.testing.assert_array_equal(codes.compute(), estimator.transform(FRAME))
    with config_context(transform_output="pandas"):
        expected = estimator.transform(FRAME)
        lazy = estimator.transform(FRAMES)
        with pytest.warns(UserWarning, match="feature names"):
            of_array = estimator.transform(LAZY)
    assert lazy.columns.tolist() == list(estimator.get_feature_names_out())
    # Where it is computed the setting does not matter.
    pd.testing.assert_frame_equal(lazy.compute(), expected)
    assert of_array.columns.tolist() == lazy.columns.tolist()
    np.testing.assert_array_equal(of_array.compute(), expected)


@pytest.mark.parametrize("rows", [FRAMES, LAZY])
def test_fit_transform_gives_what_transform_gives(rows):
    estimator = skae.DenoisingAE(3, **BRIEF)
    assert isinstance(estimator.fit_transform(rows), da.Array)
    codes = estimator.set_output(transform="pandas").fit_transform(rows)
    expected = estimator.transform(rows)
    assert isinstance(codes, dd.DataFrame)
    pd.testing.assert_frame_equal(codes.compute(), expected.compute())


def test_fit_transform_takes_conditions_and_weights():
    estimator = skae.ConditionalVAE(2, **BRIEF)
    weight = 1.0 + np.arange(90)
    codes = estimator.fit_transform(LAZY, LABELS, sample_weight=weight)
    assert isinstance(codes, da.Array)
    expected = estimator.fit(LAZY, LABELS, sample_weight=weight).transform(LAZY)
    np.testing.assert_array_equal(codes.compute(), expected.compute())


def test_empty_partitions_come_back_empty():
    few = FRAMES[FRAMES.x0 > FRAME.x0.nlargest(3).iloc[-1]]
    scores = fitted_to_frame().score_samples(few).compute()
    assert len(scores) == 2
    assert scores.dtype == np.float64
    with config_context(transform_output="pandas"):
        assert len(fitted_to_frame().transform(few).compute()) == 2


def test_the_model_is_one_task_and_stays_as_it_was():
    estimator = skae.AutoencoderTransformer(3, **BRIEF).fit(X)
    many = da.from_array(X, chunks=(1, 16))
    before, Z = estimator.transform(X), estimator.transform(many)
    graph = dict(Z.__dask_graph__())
    model = len(pickle.dumps(estimator))
    sizes = [len(pickle.dumps(task)) for task in graph.values()]
    assert sum(size > model // 2 for size in sizes) == 1
    assert len(graph) <= 90 + 90 + 2
    estimator.partial_fit(X)
    np.testing.assert_array_equal(Z.compute(), before)
    assert (estimator.transform(X) != before).any()


def test_steps_of_a_pipeline_stay_lazy():
    pipeline = make_pipeline(
        skae.AutoencoderTransformer(3, **BRIEF), skae.AEOutlierDetector(2, **BRIEF)
    ).fit(X)
    labels = pipeline.predict(LAZY)
    assert isinstance(labels, da.Array)
    np.testing.assert_array_equal(labels.compute(), pipeline.predict(X))


@pytest.mark.parametrize(
    "last",
    [
        skae.AutoencoderTransformer(2, **BRIEF),
        skae.AEOutlierDetector(2, **BRIEF),
        skae.StackedAEClassifier((4,), pretrain_max_iter=1, **BRIEF),
    ],
)
def test_pipelines_are_fitted_to_frames(last):
    pipeline = make_pipeline(skae.AutoencoderTransformer(3, **BRIEF), last)
    pipeline.fit(FRAMES, Y)
    rows = pipeline[0].transform(FRAMES)
    result = pipeline.predict if hasattr(last, "predict") else pipeline.transform
    assert len(result(FRAMES).compute()) == len(rows.compute()) == 90


@pytest.mark.parametrize("rows", [LAZY, FRAMES])
def test_rows_without_a_label_are_labelled_in_memory(rows, tmp_path):
    classifier = skae.StackedAEClassifier((4,), pretrain_max_iter=1, **BRIEF)
    y = np.where(np.arange(90) < 20, Y, -1)
    labels = classifier.fit(rows, y).transduction_
    assert isinstance(labels, np.ndarray)
    np.testing.assert_array_equal(labels[:20], Y[:20])
    np.testing.assert_array_equal(labels[20:], classifier.predict(rows).compute()[20:])
    skae.save(classifier, tmp_path / "classifier.skae")


def test_calls_touch_no_data_and_refuse_what_does_not_fit():
    def fail(block):
        raise AssertionError("computed")

    estimator = fitted_to_frame()
    meta = np.empty((0, 16))
    with pytest.warns(UserWarning, match="valid feature names"):
        estimator.transform(LAZY.map_blocks(fail, meta=meta))
    with pytest.raises(ValueError, match="X has 15 features, but DenoisingAE"):
        fitted("denoising").transform(LAZY[:, :15])
    with pytest.raises(ValueError, match="unseen at fit time:\n- other"):
        estimator.transform(FRAMES.rename(columns={"x0": "other"}))
    with pytest.raises(ValueError, match="Z has 16 columns, but the codes"):
        estimator.inverse_transform(LAZY)
    with pytest.raises(ValueError, match="must be numeric.* 'x3' "):
        estimator.transform(FRAMES.assign(x3="text"))


@pytest.mark.parametrize("estimator", estimator_classes())
def test_public_methods_of_every_class_take_collections(estimator):
    names = {*METHODS, "inverse_transform", "corrupt", "augment", "drift", "score"}
    methods = [getattr(estimator, name) for name in names if hasattr(estimator, name)]
    assert all(hasattr(method, "takes_collections") for method in methods)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_errors_name_the_row_of_the_collection(value):
    rows = X.copy()
    rows[77, 3] = value
    lazy = fitted("table").transform(da.from_array(rows, chunks=(30, 16)))
    with pytest.raises(ValueError, match="In row 77 of X: Input X contains"):
        lazy.compute()
    with pytest.raises(ValueError, match=r"(?s)In row 77.*X\[77, 3\] is"):
        lazy.compute()
    frame = dd.from_pandas(FRAME.assign(x2=rows[:, 3]), npartitions=3)
    with pytest.raises(ValueError, match="row 17 of block 2 of X, index 159: Input X"):
        fitted_to_frame().transform(frame).compute()


def test_errors_of_other_kinds_name_the_rows():
    rows = da.from_array(X, chunks=(30, 16)).map_blocks(
        lambda block: block * 1e200, dtype=float
    )
    with pytest.raises(ValueError, match=r"In rows \d+ to \d+ of X: The entries of X"):
        fitted("table").transform(rows).compute()


def test_a_collection_that_is_not_what_it_says_is_refused():
    rows = da.from_array(X, chunks=(30, 16))
    lie = rows.map_blocks(lambda block: block, dtype=np.float32)
    with pytest.raises(TypeError, match="block is not what the collection says"):
        fitted("table").transform(lie).compute()
    narrow = rows.map_blocks(lambda block: block[:, :9], dtype=float)
    with pytest.raises(ValueError, match="X has 9 features"):
        fitted("table").transform(narrow).compute()


@pytest.mark.parametrize(
    ("name", "method", "options", "message"),
    [
        ("table", "corrupt", {}, "draws random numbers"),
        ("detector", "drift", {}, "pass the batch"),
        ("detector", "tune_threshold", {"y": Y}, "in memory"),
        ("detector", "explain", {"top": 2}, "top of explain is for rows in memory"),
        ("conditional", "augment", {"y": Y, "n_per_class": 9}, "all rows of a class"),
    ],
)
def test_methods_of_all_rows_refuse_collections(name, method, options, message):
    with pytest.raises(TypeError, match=message):
        getattr(fitted(name), method)(LAZY, **options)


@pytest.mark.parametrize(
    "estimator",
    [
        skae.AutoencoderTransformer(),
        skae.ConvAE(),
        skae.RecurrentAE(),
        skae.GAN(),
        skae.StackedAEClassifier(),
        skae.AEOutlierDetector(),
        skae.AEOutlierDetector(estimator=skae.ConvAE()),
    ],
    ids=repr,
)
def test_fits_refuse_collections_that_are_no_tables(estimator):
    for rows in (dask.delayed(X), dask.bag.from_sequence(range(3))):
        with pytest.raises(TypeError, match="X must be a Dask array or a Dask DataFr"):
            estimator.fit(rows, Y)
    series = FRAMES.x0
    with pytest.raises(ValueError, match="got 1D array instead: X is a Dask Series"):
        estimator.fit(series, Y)


@pytest.mark.parametrize("name", ["table", "bernoulli", "conditional", "classifier"])
def test_scores_are_computed_at_once(name):
    estimator, y = fitted(name), ESTIMATORS[name][2]
    expected = estimator.score(X, y)
    lazy = None if y is None else da.from_array(y, chunks=30)
    assert estimator.score(LAZY, lazy) == pytest.approx(expected, rel=1e-12)


def test_labels_of_frames_are_scored():
    y = dd.from_pandas(pd.Series(Y, FRAME.index), npartitions=4)
    estimator = fitted_to_frame(False)
    assert estimator.score(FRAMES, y) == estimator.score(FRAME, Y)


def test_rows_in_memory_with_a_lazy_condition_are_refused():
    with pytest.raises(TypeError, match="X is no Dask collection"):
        fitted("conditional").transform(X, LAZY[:, 0])


def test_polars_is_refused():
    pytest.importorskip("polars")
    estimator = skae.AutoencoderTransformer(3, **BRIEF).fit(X)
    with pytest.raises(TypeError, match="Dask has no collections"):
        estimator.set_output(transform="polars").transform(LAZY)
