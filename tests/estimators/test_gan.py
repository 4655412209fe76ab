"""GAN: samples like the rows, on condition, from one fit to the next."""

import io
import pickle
import warnings

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from skae import GAN
from skae.fitting.gan_fit import GANFit, copy_without_replay
from skae.models.gan import Replay
from skae.statistics.energy import energy_distance

SMALL = {"hidden_layer_sizes": (64, 64), "learning_rate_init": 5e-3, "random_state": 0}
FAST = {"hidden_layer_sizes": 16, "max_iter": 3, "random_state": 0}


@pytest.fixture(scope="module")
def X():
    return load_iris().data


@pytest.fixture(scope="module")
def y():
    return load_iris().target


@pytest.fixture(scope="module")
def rings():
    """Four blobs of which each is a class."""
    rng = np.random.default_rng(0)
    y = np.arange(1200) % 4
    centers = 3 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    return centers[y] + 0.3 * rng.normal(size=(1200, 2)), np.array(list("abcd"))[y]


@pytest.fixture(scope="module")
def images():
    return load_digits().images / 16


@pytest.fixture(scope="module")
def conditional(rings):
    return GAN(max_iter=80, **SMALL).fit(*rings)


class TestSamples:
    @pytest.mark.parametrize("loss", ["non_saturating", "hinge", "wasserstein_gp"])
    def test_they_are_spread_like_the_rows(self, rings, loss):
        X, _ = rings
        gan = GAN(loss=loss, max_iter=120, n_modes=4, **SMALL).fit(X)
        made = gan.sample(1200)
        assert gan.mode_coverage_ == gan.mode_coverage_curve_[-1] == 1
        assert len(gan.mode_coverage_curve_) == len(gan.epochs_)
        start = np.random.default_rng(1).normal(size=(1200, 2)) * X.std()
        assert energy_distance(X, made) < 0.5 * energy_distance(X, start)

    def test_each_class_is_where_it_belongs(self, rings, conditional):
        X, y = rings
        for label in "abcd":
            made = conditional.sample(200, y=label)
            center = X[y == label].mean(axis=0)
            near = np.linalg.norm(made - center, axis=1) < 2
            assert near.mean() > 0.8
        assert list(conditional.classes_) == list("abcd")

    def test_conditions_left_out_are_drawn_as_in_training(self, conditional):
        made = conditional.sample(2000, random_state=1)
        assert np.unique(np.sign(made), axis=0).shape == (4, 2)
        quarter = (made > 0).all(axis=1).mean()
        assert 0.15 < quarter < 0.35

    def test_numbers_can_be_the_condition(self):
        rng = np.random.default_rng(0)
        y = rng.uniform(-1, 1, 1500)
        X = np.column_stack([3 * y, rng.normal(size=1500)])
        gan = GAN(max_iter=60, **SMALL).fit(X, y)
        high, low = (gan.sample(300, y=value)[:, 0].mean() for value in (0.8, -0.8))
        assert high - low > 3

    def test_several_numbers_hold_for_all_samples(self, X):
        gan = GAN(**FAST).fit(X, X[:, :2] / 3)
        for n in (2, 5):
            each = gan.sample(n, y=np.tile([0.5, 1.0], (n, 1)))
            np.testing.assert_array_equal(gan.sample(n, y=[0.5, 1.0]), each)
        with pytest.raises(
            ValueError, match="one entry for each of 2 samples; got a single value"
        ):
            gan.sample(2, y=0.5)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_they_are_of_the_rows_dtype_and_finite(self, X, dtype):
        made = GAN(**FAST).fit(X.astype(dtype)).sample(7)
        assert made.dtype == dtype
        assert np.isfinite(made).all()

    def test_rows_within_the_unit_interval_give_samples_within_it(self, X):
        scaled = (X - X.min(0)) / np.ptp(X, axis=0)
        made = GAN(**FAST).fit(scaled).sample(500)
        assert made.min() >= 0
        assert made.max() <= 1

    def test_the_same_seed_gives_the_same_samples(self, X):
        gan = GAN(**FAST).fit(X)
        np.testing.assert_array_equal(gan.sample(5), gan.sample(5))
        np.testing.assert_array_equal(gan.sample(5), GAN(**FAST).fit(X).sample(5))
        other = gan.sample(5, random_state=1)
        assert not np.array_equal(gan.sample(5), other)
        np.testing.assert_array_equal(gan.sample(5, random_state=1), other)

    def test_more_samples_begin_with_the_same_ones(self, X):
        gan = GAN(**FAST).fit(X)
        np.testing.assert_array_equal(gan.sample(300)[:20], gan.sample(20))

    def test_classes_are_augmented(self, rings, conditional):
        X, y = rings
        more, labels = conditional.augment(X[:40], y[:40], 10)
        assert more.shape == (80, 2)
        np.testing.assert_array_equal(labels[40:], np.repeat(list("abcd"), 10))


class TestImages:
    def small(self, **parameters):
        options = {"architecture": "conv", "channels": (4, 8), "max_iter": 1}
        return GAN(**{**options, "random_state": 0, **parameters})

    @pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (3, 7, 10)])
    def test_samples_have_the_shape_of_the_images(self, shape):
        X = np.random.default_rng(0).random((30, *shape))
        gan = self.small().fit(X)
        assert gan.sample(3).shape == (3, *shape)
        assert gan.discriminate(X).shape == (30,)

    def test_flat_rows_are_images_of_the_shape_that_is_given(self, images):
        rows = images[:100].reshape(100, 64)
        flat = self.small(sample_shape=(1, 8, 8)).fit(rows)
        whole = self.small().fit(images[:100])
        assert flat.sample(2).shape == (2, 64)
        np.testing.assert_array_equal(flat.sample(2).ravel(), whole.sample(2).ravel())

    def test_dense_networks_take_images_too(self, images):
        assert GAN(**FAST).fit(images[:60]).sample(2).shape == (2, 8, 8)

    def test_layers_that_do_not_fit_are_named(self, images):
        with pytest.raises(ValueError, match=r"kernel_size=9.*needs at least"):
            self.small(kernel_size=9, stride=9).fit(images[:30])
        with pytest.raises(ValueError, match="stride=5 must not exceed kernel_size=4"):
            self.small(stride=5).fit(images[:30])


class TestDiscriminator:
    def test_rows_look_more_real_than_what_lies_between_them(self, rings, conditional):
        X, y = rings
        real, between = (conditional.discriminate(each, y) for each in (X, 0 * X))
        assert real.mean() > between.mean()

    def test_it_is_a_probability_of_the_non_saturating_loss(self, X):
        gan = GAN(loss="non_saturating", **FAST).fit(X)
        found = gan.discriminate(X)
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-gan.score_samples(X))))

    def test_rows_are_compared_with_some_of_every_class(self, rings):
        X, y = rings
        order = np.argsort(y)
        gan = GAN(minibatch_discrimination=True, **FAST)
        fit = GANFit(gan, X[order], None, None, gan._parts())
        fit.run()
        labels, counts = np.unique(y[order][fit.checked[:64]], return_counts=True)
        assert len(labels) == 4
        assert counts.min() > 6

    @pytest.mark.parametrize("minibatch", [False, True])
    def test_no_row_depends_on_the_others(self, X, y, minibatch):
        gan = GAN(minibatch_discrimination=minibatch, **FAST).fit(X, y)
        together = gan.discriminate(X, y)
        np.testing.assert_array_equal(
            gan.discriminate(X[::-1], y[::-1])[::-1], together
        )
        alone = [gan.discriminate(X[[i]], y[[i]])[0] for i in range(0, 150, 30)]
        np.testing.assert_array_equal(alone, together[::30])

    def test_rows_are_judged_under_their_condition(self, rings, conditional):
        X, y = rings
        wrong = np.roll(np.unique(y), 2)[np.searchsorted(np.unique(y), y)]
        right = conditional.discriminate(X, y)
        assert right.mean() > conditional.discriminate(X, wrong).mean()
        assert np.isfinite(conditional.discriminate(X)).all()

    def test_sparse_rows_are_judged_like_dense_ones(self, X, y):
        gan = GAN(**FAST).fit(sparse.csr_array(X), y)
        np.testing.assert_array_equal(
            gan.discriminate(sparse.csr_array(X), y), gan.discriminate(X, y)
        )
        assert isinstance(gan.sample(3), np.ndarray)
        assert np.isfinite(gan.score(sparse.csr_array(X), y))


class TestTraining:
    def test_the_history_has_both_losses_and_held_out_scores(self, X):
        gan = GAN(**FAST).fit(X)
        curves = gan.loss_curve_, gan.critic_loss_curve_, gan.validation_scores_
        assert [len(curve) for curve in curves] == [gan.n_iter_] * 3 == [3] * 3
        assert np.isfinite(curves).all()
        assert max(gan.validation_scores_) <= 0

    def test_without_held_out_rows_the_last_weights_are_kept(self, X):
        gan = GAN(early_stopping=False, **FAST).fit(X)
        assert gan.validation_scores_ is None
        assert gan.kept_round_ == gan.n_iter_ == 3

    def test_patience_ends_the_training(self, X):
        patient = {**FAST, "max_iter": 200, "n_iter_no_change": 2, "tol": 0.5}
        assert GAN(**patient).fit(X).n_iter_ < 200

    def test_samples_are_those_of_the_averaged_generator(self, X):
        settings = {**FAST, "early_stopping": False, "max_iter": 6}
        averaged, last = (GAN(ema=e, **settings).fit(X) for e in (0.5, 0.0))
        snapshots = []

        class Snap(Callback):
            def on_batch_end(self, net, **kwargs):
                weights = net.module_.generator.parameters()
                snapshots.append(torch.cat([p.detach().flatten() for p in weights]))

        GAN(ema=0.5, callbacks=[Snap()], **settings).fit(X)
        mean = None
        for step, weights in enumerate(snapshots, start=1):
            decay = min(0.5, step / (step + 9))
            before = weights if mean is None else mean
            mean = decay * before + (1 - decay) * weights
        found = flat(averaged)
        np.testing.assert_allclose(found, mean.numpy(), atol=2e-3)
        assert np.abs(found - mean.numpy()).mean() < np.abs(flat(last) - found).mean()

    def test_rows_of_weight_zero_are_left_out(self, X, y):
        weight = np.ones(len(X))
        weight[::3] = 0
        weighted = GAN(**FAST).fit(X, y, sample_weight=weight)
        alone = GAN(**FAST).fit(X[weight > 0], y[weight > 0])
        np.testing.assert_array_equal(weighted.mean_, alone.mean_)
        np.testing.assert_array_equal(
            weighted.sample(6, y=[0, 1, 2] * 2), alone.sample(6, y=[0, 1, 2] * 2)
        )

    @pytest.mark.parametrize("parameters", [{"replay": 0.5}, {"n_critic_steps": 2}])
    def test_other_settings_train_too(self, X, y, parameters):
        gan = GAN(**parameters, **FAST).fit(X, y)
        assert np.isfinite(gan.sample(10)).all()

    def test_snapshots_leave_out_the_replayed_rows(self):
        module = torch.nn.Linear(1, 1)
        module.replay = Replay(0.5)
        module.replay.past = [torch.zeros(3)]
        copied = copy_without_replay(module)
        assert copied.replay is None
        assert copied.weight is not module.weight
        assert len(module.replay.past) == 1

    def test_warm_start_goes_on(self, X, y):
        gan = GAN(warm_start=True, **FAST).fit(X, y)
        before = flat(gan)
        gan.fit(X, y)
        assert 0 < np.abs(flat(gan) - before).max() < 0.5
        with pytest.raises(ValueError, match="continued with y"):
            gan.fit(X)
        with pytest.raises(ValueError, match="hidden_layer_sizes=8 differs"):
            gan.set_params(hidden_layer_sizes=8).fit(X, y)

    def test_rows_beyond_the_bounds_of_the_samples_do_not_go_on(self, X):
        scaled = (X - X.min(0)) / np.ptp(X, axis=0)
        gan = GAN(warm_start=True, **FAST).fit(scaled)
        gan.fit(0.5 * scaled)
        with pytest.raises(ValueError, match=r"X must lie in \[0, 1\].* from -1 to 1"):
            gan.fit(2 * scaled - 1)

    def test_grid_search_takes_the_score(self, X):
        search = GridSearchCV(GAN(**FAST), {"ema": [0.0, 0.9]}, cv=2).fit(X)
        assert search.best_score_ < 0


class TestAccidents:
    def test_an_interrupted_fit_keeps_the_best_weights(self, X):
        gan = GAN(**{**FAST, "max_iter": 90, "callbacks": [AtBatch(30)]})
        with pytest.warns(ConvergenceWarning, match="interrupted"):
            gan.fit(X)
        assert gan.n_iter_ < 90
        assert np.isfinite(gan.sample(20)).all()

    def test_a_failed_fit_leaves_the_earlier_state(self, X, y):
        gan = GAN(**FAST).fit(X, y)
        before = gan.sample(5)
        with pytest.raises(ValueError, match="NaN"):
            gan.fit(X * np.nan)
        with pytest.raises(ValueError, match="must contain at least one"):
            gan.fit(X, sample_weight=np.zeros(len(X)))
        np.testing.assert_array_equal(gan.sample(5), before)

    def test_divergence_is_an_error_and_no_nan(self, X):
        gan = GAN(**{**FAST, "learning_rate_init": 1e30})
        with pytest.raises(FloatingPointError, match="learning_rate_init"):
            gan.fit(X)
        with pytest.raises(NotFittedError):
            gan.sample()

    def test_lost_modes_are_reported(self, rings):
        X, _ = rings
        collapsed = GAN(n_modes=20, **{**FAST, "learning_rate_init": 1e-9})
        with pytest.warns(ConvergenceWarning, match="minibatch_discrimination=True"):
            collapsed.fit(X)
        assert collapsed.mode_coverage_ < 1

    @pytest.mark.filterwarnings("ignore:No weights were better on held-out rows")
    @pytest.mark.parametrize("n_rows", [2, 3])
    def test_two_rows_suffice(self, n_rows):
        gan = GAN(**FAST).fit(np.eye(n_rows, 3) + [[5], [1], [0]][:n_rows])
        assert np.isfinite(gan.sample(4)).all()

    @pytest.mark.filterwarnings("ignore:No weights were better on held-out rows")
    def test_equal_rows_give_finite_samples(self):
        made = GAN(**FAST).fit(np.full((20, 3), 7.0)).sample(4)
        assert np.isfinite(made).all()


class TestBadInput:
    def test_nothing_is_drawn_before_fit(self, X):
        for call in (GAN().sample, lambda: GAN().discriminate(X)):
            with pytest.raises(NotFittedError):
                call()

    @pytest.mark.parametrize("n_samples", [0, -1, 1.5, "many"])
    def test_numbers_of_samples_are_positive(self, conditional, n_samples):
        with pytest.raises(ValueError, match="n_samples must be a positive integer"):
            conditional.sample(n_samples)

    def test_unseen_values_are_named(self, rings, conditional, X):
        with pytest.raises(ValueError, match=r"classes of the fit.*'z'"):
            conditional.sample(2, y="z")
        with pytest.raises(ValueError, match="one entry for each of 3 samples"):
            conditional.sample(3, y=["a", "b"])
        with pytest.raises(ValueError, match="was fitted without y"):
            GAN(**FAST).fit(X).sample(2, y=[0, 1])

    @pytest.mark.parametrize(
        "parameters",
        [
            {"n_components": 0},
            {"loss": "saturating"},
            {"replay": 1.0},
            {"ema": 1.0},
            {"gradient_penalty": -1},
            {"architecture": "recurrent"},
            {"n_modes": 0},
        ],
    )
    def test_parameters_are_checked(self, X, parameters):
        with pytest.raises(ValueError, match=next(iter(parameters))):
            GAN(**parameters).fit(X)

    def test_there_are_no_more_modes_than_rows(self, X):
        with pytest.raises(ValueError, match="n_modes=151 must not exceed"):
            GAN(n_modes=151).fit(X)

    def test_y_has_a_value_for_each_row(self, X, y):
        for wrong in (y[:-1], [0], 0):
            with pytest.raises(ValueError, match="y must have one entry for each"):
                GAN(**FAST).fit(X, wrong)

    @pytest.mark.parametrize("method", ["score", "score_samples", "discriminate"])
    def test_a_single_value_of_y_is_none_for_all_rows(self, rings, conditional, method):
        for wrong in ("a", ["a"]):
            with pytest.raises(ValueError, match="one entry for each of 1200 .*; got"):
                getattr(conditional, method)(rings[0], wrong)


@pytest.mark.parametrize("architecture", ["dense", "conv"])
def test_a_pickled_model_draws_the_same_samples(X, y, architecture):
    options = {**FAST, "minibatch_discrimination": True, "replay": 0.2}
    if architecture == "conv":
        del options["hidden_layer_sizes"]
    gan = GAN(architecture=architecture, **options).fit(X, y)
    again = pickle.loads(pickle.dumps(gan))
    np.testing.assert_array_equal(again.sample(5, y=1), gan.sample(5, y=1))
    np.testing.assert_array_equal(again.discriminate(X, y), gan.discriminate(X, y))
    n_weights = sum(p.numel() for p in gan.net_.parameters())
    assert len(pickle.dumps(gan)) < 4 * n_weights + 40_000


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_model_trained_on_a_gpu_loads_on_a_cpu(X):
    gan = GAN(device="cuda", **FAST).fit(X)
    again = pickle.load(io.BytesIO(pickle.dumps(gan)))
    assert next(again.net_.parameters()).device.type == "cpu"
    np.testing.assert_allclose(again.sample(5), gan.sample(5), rtol=1e-4, atol=1e-4)


def test_verbose_shows_progress(X, capsys):
    GAN(verbose=1, **FAST).fit(X)
    assert "training" in capsys.readouterr().err


def test_scikit_learn_callbacks_score_every_round(X, y):
    callback = pytest.importorskip("sklearn.callback")
    seen = []

    def scoring(model, X, y=None):
        seen.append(model.score(X))
        return {"distance": seen[-1]}

    gan = GAN(**FAST)
    gan.set_callbacks(callback.ScoringMonitor(scoring=scoring)).fit(X, y)
    assert len(seen) >= gan.n_iter_
    assert np.isfinite(seen).all()


def test_watching_changes_nothing(X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        watched = GAN(callbacks=[AtBatch(-1)], **FAST).fit(X)
    np.testing.assert_array_equal(watched.sample(5), GAN(**FAST).fit(X).sample(5))


class AtBatch(Callback):
    """Ctrl-C before one training step."""

    def __init__(self, step):
        self.step = step

    def on_train_begin(self, net, **kwargs):
        self.steps = 0

    def on_batch_begin(self, net, training=None, **kwargs):
        self.steps += 1
        if self.steps == self.step:
            raise KeyboardInterrupt


def flat(gan):
    """Weights of the generator."""
    weights = gan.net_.generator.parameters()
    return torch.cat([p.detach().flatten() for p in weights]).numpy()


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e3])
def test_samples_have_the_scale_of_narrow_rows(scale):
    X = scale * np.random.default_rng(0).normal(0.5, 0.001, (300, 2))
    gan = GAN(hidden_layer_sizes=(32,), max_iter=60, random_state=0).fit(X)
    ratio = gan.sample(300).std(axis=0) / X.std(axis=0)
    assert (ratio < 2.5).all()


def test_classes_of_rows_of_weight_zero_are_unknown(X, y):
    gan = GAN(**FAST).fit(X, y, sample_weight=y < 2)
    np.testing.assert_array_equal(gan.classes_, [0, 1])
    with pytest.raises(ValueError, match="y must be of the classes"):
        gan.sample(2, y=2)


def test_objects_are_the_classes_that_they_hold(X, y):
    gan, same = GAN(**FAST).fit(X, y.astype(object)), GAN(**FAST).fit(X, y)
    assert gan.classes_.dtype == y.dtype
    np.testing.assert_array_equal(
        gan.sample(4, y=[1, 0, 2, 1]), same.sample(4, y=[1, 0, 2, 1])
    )
    more, labels = gan.augment(X, y.astype(object), 2)
    assert labels.dtype == y.dtype
    assert len(more) == len(X) + 6


@pytest.mark.parametrize(
    ("mark", "message"),
    [(None, "NaN or None"), (np.nan, "NaN or None"), (3, "Mix of"), ("-1", "'-1'")],
)
def test_rows_without_a_class_are_refused(X, y, mark, message):
    names = np.array(["ant", "bee", "cat"], dtype=object)[y]
    names[7] = mark
    for form in (list, np.asarray):
        with pytest.raises(ValueError, match=message):
            GAN(**FAST).fit(X, form(names))


def test_samples_do_not_depend_on_the_default_dtype(X):
    gan = GAN(**FAST).fit(X)
    expected, score = gan.sample(5), gan.score(X)
    torch.set_default_dtype(torch.float64)
    try:
        np.testing.assert_array_equal(gan.sample(5), expected)
        assert gan.score(X) == score
    finally:
        torch.set_default_dtype(torch.float32)
