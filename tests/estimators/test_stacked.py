"""`StackedAEClassifier`: what each stage may touch, labels of every kind, bad input."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from skae import (
    AutoencoderTransformer,
    ConvAE,
    DenoisingAE,
    StackedAEClassifier,
)
from skae.fitting import pretraining
from skae.fitting.classifier_stage import sample
from skae.fitting.pca_start import Units
from skae.fitting.pretraining import codes_of, layers_of
from skae.rows.chunks import Rows
from skae.statistics import label_graph
from skae.statistics.neighbours import NeighbourLabels

FAST = {"pretrain_max_iter": 2, "max_iter": 2, "random_state": 0, "device": "cpu"}


def small(**parameters):
    return StackedAEClassifier((12, 6), **{**FAST, **parameters})


@pytest.fixture
def all_folds():
    """For tests of the judgement whether neighbours share their class."""


@pytest.fixture(autouse=True)
def few_folds(request, monkeypatch):
    """In other tests that judgement, which takes longest, is short."""
    if "all_folds" not in request.fixturenames:
        monkeypatch.setattr(label_graph, "_FOLDS", 2)


@pytest.fixture(scope="module")
def rows():
    X, y = make_classification(
        120, 8, n_informative=5, n_classes=3, class_sep=2, random_state=0
    )
    return StandardScaler().fit_transform(X), y


@pytest.fixture(scope="module")
def partly(rows):
    X, y = rows
    return X, np.where(np.arange(len(y)) < 40, y, -1)


def state_of(stack):
    return [
        {name: tensor.clone() for name, tensor in layer.state_dict().items()}
        for layer in stack
    ]


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def weights(estimator):
    return [p.detach().clone() for p in estimator.net_.parameters()]


def alike(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


class Stages(Callback):
    """Layers that each stage trains, before and after, its batches and its noise."""

    def __init__(self):
        self.before, self.after, self.batches, self.generators = [], [], [], []

    def on_train_begin(self, net, X=None, **kwargs):
        if hasattr(net.module_, "stack"):
            self.before.append(state_of(net.module_.stack))
            self.batches.append(X)
            self.generators.append(net.generator.get_state())

    def on_train_end(self, net, **kwargs):
        if hasattr(net.module_, "stack"):
            self.after.append(state_of(net.module_.stack))


class TestStages:
    def test_layers_are_released_from_the_top(self, partly):
        stages = Stages()
        small(callbacks=[stages]).fit(*partly)
        assert [len(layers) for layers in stages.before] == [1, 2, 3]
        for before, after in zip(stages.before, stages.after, strict=True):
            for one, other in zip(before, after, strict=True):
                assert not torch.equal(one["pre.weight"], other["pre.weight"])

    @pytest.mark.parametrize("n_released", [0, 1])
    def test_frozen_layers_are_bit_identical_to_the_pretrained_ones(
        self, partly, n_released
    ):
        model = small(unfreeze_layers=n_released).fit(*partly)
        for number, autoencoder in enumerate(model.autoencoders_):
            units = None if number == 0 else Units(np.zeros(1), 1.0)
            (layer,) = layers_of(autoencoder, units)
            is_frozen = number < 2 - n_released
            assert (
                same(layer.state_dict(), model.encoder_.layers[number].state_dict())
                == is_frozen
            )

    def test_without_release_the_encoder_stays_as_it_was_pretrained(self, partly):
        X, y = partly
        model = small(unfreeze_layers=0).fit(X, y)
        codes = X
        for autoencoder in model.autoencoders_:
            codes = autoencoder.transform(codes)
        np.testing.assert_allclose(model.transform(X), codes, rtol=1e-4, atol=1e-5)
        assert [name for name, _ in model.stages_] == ["layer 1", "layer 2", "head"]

    def test_older_layers_move_less(self, partly):
        X, y = partly
        stages = Stages()
        parameters = {"semi_supervised": False, "max_iter": 1, "hidden_noise_level": 0}
        small(**parameters, callbacks=[stages]).fit(X, y)
        before, after = stages.before[-1], stages.after[-1]
        moved = [
            (after[i]["pre.weight"] - before[i]["pre.weight"]).abs().max()
            for i in range(2)
        ]
        # The first steps of Adam are the rate's size.
        assert moved[0] < 0.7 * moved[1]

    def test_without_pretraining_all_layers_are_trained_at_once(self, partly):
        model = small(pretrain=False).fit(*partly)
        assert model.stages_ == [("fine-tuning", 2)]
        assert model.autoencoders_ == []
        assert model.pretraining_curves_ == []

    def test_curves_are_as_long_as_the_stages(self, partly):
        model = small(pretrain_max_iter=3).fit(*partly)
        assert [len(curve) for curve in model.pretraining_curves_] == [3, 3]
        after = [n for name, n in model.stages_ if not name.startswith("layer ")]
        assert sum(after) == len(model.loss_curve_) == len(model.epochs_)
        assert model.n_iter_ == 2
        assert dict(model.stages_)["fine-tuning"] == 2

    def test_the_line_at_the_end_names_them(self, partly, capsys):
        model = small(early_stopping=True, verbose=1).fit(*partly)
        names = ", ".join(name for name, _ in model.stages_)
        losses = -np.array(model.validation_scores_)
        line = capsys.readouterr().err.splitlines()[-1].split("\r")[-1].strip()
        assert line == (
            f"StackedAEClassifier: stages {names}, 2 epochs of the last, "
            f"held-out log-loss {losses[0]:.4g} -> {losses.min():.4g}"
        )


class TestPretraining:
    def test_labels_are_never_seen(self, rows):
        X, y = rows
        other = np.roll(y, 7)
        one = small().fit(X, y)
        two = small().fit(X, other)
        for a, b in zip(one.autoencoders_, two.autoencoders_, strict=True):
            assert alike(weights(a), weights(b))

    def test_a_layer_is_the_transformer_of_the_same_codes(self, partly):
        X, y = partly
        first, second = small().fit(X, y).autoencoders_
        assert type(second) is AutoencoderTransformer
        assert alike(weights(clone(first).fit(X)), weights(first))
        codes = codes_of(first, X)
        assert alike(weights(clone(second).fit(codes)), weights(second))

    def test_codes_are_computed_once_a_layer(self, partly, monkeypatch):
        calls = []
        monkeypatch.setattr(
            pretraining,
            "codes_of",
            lambda below, X: calls.append(len(X)) or codes_of(below, X),
        )
        X, y = partly
        StackedAEClassifier((12, 8, 6), **FAST).fit(X, y)
        assert calls == [len(X), len(X)]

    def test_layers_compute_what_the_autoencoders_do(self, rows):
        X, _ = rows
        deep = DenoisingAE(4, hidden_layer_sizes=(7,), max_iter=2, random_state=0)
        deep.fit(X)
        x = torch.as_tensor((X - deep.units_.center) / deep.units_.scale).float()
        for layer in layers_of(deep):
            x = layer(x)
        np.testing.assert_allclose(x.detach().numpy(), deep.transform(X), atol=1e-5)

    def test_reconstructions_go_through_the_mirrored_stack(self, partly):
        X, y = partly
        model = small().fit(X, y)
        first, second = model.autoencoders_
        codes = second.transform(first.transform(X))
        expected = first.inverse_transform(second.inverse_transform(codes))
        np.testing.assert_array_equal(model.reconstruct(X), expected)
        assert model.reconstruct(X).shape == X.shape

    def test_nothing_pretrained_nothing_reconstructed(self, partly):
        X, y = partly
        model = small(pretrain=False).fit(X, y)
        with pytest.raises(ValueError, match="needs pretrained layers"):
            model.reconstruct(X)

    def test_a_longer_pretraining_reconstructs_better(self):
        X, y = load_digits(return_X_y=True)
        X, y = X[:300], y[:300]
        errors = [
            np.mean((small(pretrain_max_iter=n).fit(X, y).reconstruct(X) - X) ** 2)
            for n in (1, 30)
        ]
        assert errors[1] < 0.7 * errors[0]
        assert errors[1] < 0.7 * X.var(axis=0).mean()


class TestGivenEncoder:
    @pytest.mark.parametrize(
        "encoder",
        [
            AutoencoderTransformer(5, max_iter=2, random_state=0),
            DenoisingAE(5, hidden_layer_sizes=(7,), max_iter=2, random_state=0),
            StackedAEClassifier((7, 5), **FAST),
        ],
        ids=["anchored", "dense", "stacked"],
    )
    def test_frozen_it_gives_its_own_codes(self, encoder, partly):
        X, y = partly
        encoder = clone(encoder).fit(X, y)
        model = StackedAEClassifier((), encoder=encoder, unfreeze_layers=0, **FAST).fit(
            X, y
        )
        codes = encoder.transform(X)
        np.testing.assert_allclose(model.transform(X), codes, rtol=1e-3, atol=1e-4)

    def test_layers_above_were_pretrained_on_its_codes(self, partly):
        X, y = partly
        for encoder in (
            AutoencoderTransformer(5, max_iter=2),
            ConvAE(n_components=5, max_iter=2),
        ):
            encoder.set_params(random_state=0).fit(7 * X + 3)
            model = StackedAEClassifier(
                (6,), encoder=encoder, unfreeze_layers=0, **FAST
            ).fit(7 * X + 3, y)
            codes = model.autoencoders_[0].transform(encoder.transform(7 * X + 3))
            np.testing.assert_allclose(
                model.transform(7 * X + 3), codes, rtol=1e-3, atol=1e-3
            )

    def test_frozen_it_is_searched_with(self, partly):
        X, y = partly
        known = y >= 0
        encoder = FrozenEstimator(DenoisingAE(5, max_iter=2, random_state=0).fit(X))
        model = StackedAEClassifier((), encoder=encoder, **FAST)
        scores = cross_val_score(model, X[known], y[known], cv=2)
        assert np.isfinite(scores).all()

    def test_without_release_it_stays_as_it_is_under_new_layers(self, partly):
        X, y = partly
        encoder = StackedAEClassifier((7, 5), **FAST).fit(X, y)
        model = StackedAEClassifier(
            (4,), encoder=encoder, pretrain=False, unfreeze_layers=0, **FAST
        ).fit(X, y)
        kept = list(model.encoder_.below(2).parameters())
        assert alike(kept, encoder.encoder_.parameters())

    def test_it_is_copied(self, partly):
        X, y = partly
        encoder = StackedAEClassifier((7, 5), **FAST).fit(X, y)
        before = weights(encoder)
        StackedAEClassifier((), encoder=encoder, **FAST).fit(X, y)
        assert alike(before, weights(encoder))

    def test_layers_are_put_on_it(self, partly):
        X, y = partly
        encoder = DenoisingAE(7, max_iter=2, random_state=0).fit(X)
        model = StackedAEClassifier((6, 4), encoder=encoder, **FAST).fit(X, y)
        assert model.encoder_.sizes == [8, 7, 6, 4]
        assert len(model.autoencoders_) == 2
        assert model.transform(X).shape == (len(X), 4)
        assert model.reconstruct(X).shape == X.shape

    def test_one_that_is_not_fitted_is_refused(self, partly):
        with pytest.raises(ValueError, match="encoder must be a fitted"):
            small(encoder=DenoisingAE()).fit(*partly)

    def test_one_of_other_features_is_refused(self, partly):
        X, y = partly
        encoder = DenoisingAE(3, max_iter=1).fit(X[:, :4])
        with pytest.raises(ValueError, match="8 features, but encoder was fitted to 4"):
            small(encoder=encoder).fit(X, y)


class TestLabels:
    @pytest.mark.parametrize("missing", [None, np.nan, -1])
    def test_strings_mark_missing_ones_too(self, partly, missing):
        X, y = partly
        names = np.array(["ant", "bee", "cat"], dtype=object)
        strings = names[y]
        strings[y == -1] = missing
        model = small().fit(X, strings)
        numbers = small().fit(X, y)
        assert model.classes_.tolist() == ["ant", "bee", "cat"]
        np.testing.assert_array_equal(
            model.predict(X), names[numbers.predict(X)].astype(object)
        )

    def test_floats_mark_missing_ones_with_nan(self, partly):
        X, y = partly
        floats = np.where(y == -1, np.nan, y)
        np.testing.assert_array_equal(
            small().fit(X, floats).predict(X), small().fit(X, y).predict(X)
        )

    def test_signs_alone_are_two_classes(self, rows):
        X, y = rows
        model = small().fit(X, np.where(y == 1, 1, -1))
        assert model.classes_.tolist() == [-1, 1]

    def test_two_classes_of_any_name(self, rows):
        X, y = rows
        model = small().fit(X, y == 1)
        assert model.predict(X).dtype == bool
        assert model.predict_proba(X).shape == (len(X), 2)

    def test_probabilities_sum_to_one(self, partly):
        X, y = partly
        model = small().fit(X, y)
        P = model.predict_proba(X)
        np.testing.assert_allclose(P.sum(axis=1), 1, atol=1e-12)
        np.testing.assert_allclose(np.log(P), model.predict_log_proba(X))
        np.testing.assert_array_equal(
            model.classes_[P.argmax(axis=1)], model.predict(X)
        )

    def test_class_weight_shifts_predictions(self, rows):
        X, y = rows
        rng = np.random.default_rng(0)
        noisy = rng.integers(0, 2, len(y))
        heavy = small(class_weight={0: 20, 1: 1}, max_iter=100).fit(X, noisy)
        assert (heavy.predict(X) == 0).mean() > 0.8

    def test_rows_of_weight_zero_are_left_out(self, partly):
        X, y = partly
        weight = np.ones(len(X))
        weight[::3] = 0
        one = small().fit(X, y, sample_weight=weight)
        two = small().fit(
            X[weight > 0], y[weight > 0], sample_weight=weight[weight > 0]
        )
        assert alike(weights(one), weights(two))


class TestTypesOfLabels:
    @pytest.mark.parametrize("of", [int, bool])
    def test_objects_are_scored_and_searched_as_numbers(self, rows, of):
        X, y = rows
        y = y.astype(of)
        objects = np.array(y.tolist(), dtype=object)
        some = [None if row % 3 == 0 else label for row, label in enumerate(objects)]
        model = small().fit(X, some)
        assert model.classes_.dtype == y.dtype
        assert model.score(X, y) == model.score(X, objects) > 0.3
        scores = cross_val_score(small(), X, objects, cv=2)
        assert np.isfinite(scores).all()
        search = GridSearchCV(small(), {"noise_level": [0.1, 1.0]}, cv=2)
        assert np.isfinite(search.fit(X, objects).best_score_)

    def test_scores_are_those_of_labelled_rows(self, partly, rows):
        X, seen = partly
        model = small().fit(X, seen)
        weight = np.arange(1.0, 121)
        for missing in (-1, None, np.nan):
            y = np.where(seen >= 0, seen.astype(object), missing)
            assert model.score(X, y) == model.score(X[:40], seen[:40])
            assert model.score(X, y, weight) == model.score(
                X[:40], seen[:40], weight[:40]
            )
        with pytest.raises(ValueError, match="score needs rows with a label"):
            model.score(X, np.full(120, -1))
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            model.score(X, seen[:-1])

    def test_three_signs_are_warned_of_at_the_users_line(self, rows):
        X, y = rows
        with pytest.warns(UserWarning, match="y is -1 in 40 rows") as caught:
            model = small().fit(X, y - 1)
        assert caught[0].filename == __file__
        assert model.classes_.tolist() == [0, 1]


class TestFewLabels:
    @pytest.mark.parametrize("early_stopping", [False, True])
    def test_a_class_of_one_label_is_learned_and_never_held_out(
        self, rows, early_stopping
    ):
        X, y = rows
        seen = np.where(np.arange(120) < 40, y, -1)
        X = np.vstack([X, X[:1] + 30])
        stages = Stages()
        model = small(
            early_stopping=early_stopping,
            max_iter=60,
            learning_rate_init=0.03,
            callbacks=[stages],
        )
        model.fit(X, np.append(seen, 9))
        assert model.classes_.tolist() == [0, 1, 2, 9]
        assert model.predict(X[-1:]) == [9]
        assert 3 in stages.batches[-1].labels

    def test_one_label_a_class_is_enough(self, rows):
        X, y = rows
        seen = np.full(120, -1)
        for number in range(3):
            seen[np.flatnonzero(y == number)[0]] = number
        model = small(early_stopping=True).fit(X, seen)
        assert model.validation_scores_ is None
        assert np.isfinite(model.predict_proba(X)).all()

    def test_folds_may_lack_a_class(self, rows):
        X, y = rows
        y = np.where(np.arange(120) < 2, 9, y)
        assert np.isfinite(cross_val_score(small(), X, y, cv=2)).all()
        bags = BaggingClassifier(small(), n_estimators=3, random_state=0).fit(X, y)
        assert bags.classes_.tolist() == [0, 1, 2, 9]

    @pytest.mark.parametrize("label", ["only", 7, True])
    def test_a_single_class_is_predicted_everywhere(self, rows, label):
        X, _ = rows
        model = small().fit(X, np.full(120, label))
        perceptron = MLPClassifier((2,), max_iter=1, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            expected = perceptron.fit(X, np.full(120, label)).predict(X)
        np.testing.assert_array_equal(model.predict(X), expected)
        np.testing.assert_array_equal(model.predict_proba(X), 1)

    def test_a_single_class_beside_rows_without_labels_is_warned_of(self, rows):
        X, _ = rows
        seen = np.where(np.arange(120) < 20, "only", None)
        with pytest.warns(UserWarning, match=r"one class, \['only'\]") as caught:
            model = small().fit(X, seen)
        assert caught[0].filename == __file__
        assert set(model.transduction_) == {"only"}


class TestTransduction:
    @pytest.mark.parametrize("labels", [[3, 4, 5], ["a", "b", "c"], [1.0, 2.0, 3.0]])
    def test_labels_of_all_rows_given_or_predicted(self, partly, labels):
        X, seen = partly
        order = np.random.default_rng(0).permutation(120)
        y = np.array([labels[n] if n >= 0 else None for n in seen], dtype=object)
        model = small().fit(X[order], y[order])
        known = seen[order] >= 0
        assert model.transduction_.dtype == model.classes_.dtype
        np.testing.assert_array_equal(model.transduction_[known], y[order][known])
        predicted = model.predict(X[order])[~known]
        np.testing.assert_array_equal(model.transduction_[~known], predicted)

    def test_rows_of_weight_zero_have_labels_too(self, partly):
        X, seen = partly
        y = np.where(np.arange(120) == 3, 9, seen)
        weight = np.where(np.arange(120) % 4 == 3, 0.0, 1.0)
        model = small().fit(X, y, sample_weight=weight)
        known = (y >= 0) & (y != 9)
        np.testing.assert_array_equal(model.transduction_[known], y[known])
        np.testing.assert_array_equal(
            model.transduction_[~known], model.predict(X)[~known]
        )

    def test_signs_and_rows_all_labelled(self, rows):
        X, y = rows
        signs = np.where(y == 1, 1, -1)
        model = small().fit(X, signs)
        np.testing.assert_array_equal(model.transduction_, signs)

    def test_chunks_have_none(self, partly):
        X, y = partly
        model = small().fit(X, y)
        assert not hasattr(model.partial_fit(X, y), "transduction_")


class TestLearning:
    @pytest.mark.usefixtures("all_folds")
    def test_unlabelled_rows_help(self):
        X, y = load_digits(return_X_y=True)
        rng = np.random.default_rng(0)
        order = rng.permutation(len(y))
        X, y = X[order], y[order]
        seen = np.full(1200, -1)
        for c in range(10):
            seen[np.flatnonzero(y[:1200] == c)[:5]] = c
        semi = StackedAEClassifier((64, 32), random_state=0, max_iter=30)
        semi.fit(X[:1200], seen)
        alone = clone(semi).set_params(semi_supervised=False, pretrain=False)
        alone.set_params(max_iter=None).fit(X[:1200], seen)
        assert semi.graph_used_
        assert not alone.graph_used_
        gain = semi.score(X[1200:], y[1200:]) - alone.score(X[1200:], y[1200:])
        assert gain > 0.03
        losses = [log_loss(y[1200:], m.predict_proba(X[1200:])) for m in (semi, alone)]
        assert losses[0] < losses[1]

    def test_with_all_labels_it_is_no_worse_than_a_perceptron(self):
        X, y = load_digits(return_X_y=True)
        X = X / 16
        train, test = slice(0, 600), slice(600, None)
        mine = StackedAEClassifier((64, 32), pretrain_max_iter=20, max_iter=40)
        mine.set_params(random_state=0).fit(X[train], y[train])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            theirs = MLPClassifier((64, 32), random_state=0).fit(X[train], y[train])
        assert mine.score(X[test], y[test]) >= theirs.score(X[test], y[test]) - 0.01

    def test_early_stopping_holds_labelled_rows_out(self, partly):
        X, y = partly
        model = small(early_stopping=True, max_iter=30, n_iter_no_change=2).fit(X, y)
        assert len(model.validation_scores_) <= 30
        assert small().fit(X, y).validation_scores_ is None

    def test_held_out_rows_take_no_part(self, rows):
        stages = Stages()
        parameters = {"early_stopping": True, "validation_fraction": 0.25}
        small(**parameters, callbacks=[stages]).fit(*rows)
        labels = stages.batches[-1].labels
        assert len(labels) == 90
        assert (labels >= 0).all()

    def test_statistics_reach_all_rows(self):
        X = np.arange(199.0)[:, None]
        rows = Rows(X, np.zeros(1), 1.0, torch.device("cpu"))
        assert sample(rows, 100).max() == 198
        assert len(sample(rows, 100)) == 100

    def test_epochs_are_passes_whatever_the_batch(self, rows):
        steps = {}
        for size in (10, 60):
            counter = Counter()
            alone = {"pretrain": False, "semi_supervised": False}
            small(**alone, batch_size=size, callbacks=[counter]).fit(*rows)
            steps[size] = counter.steps
        assert steps == {10: 24, 60: 4}

    def test_the_order_of_the_unlabelled_rows_matters_to_the_shuffle_alone(self, rows):
        X, y = rows
        seen = np.where(np.arange(len(y)) < 60, y, -1)
        order = np.r_[:60, 60 + np.random.default_rng(0).permutation(60)]
        parameters = {"noise": None, "hidden_noise_level": 0, "pretrain": False}
        parameters |= {"batch_size": len(y), "learning_rate_init": 2e-3}
        model = small(**parameters, max_iter=20)
        one = clone(model).fit(X, seen).predict_proba(X)
        two = clone(model).fit(X[order], seen[order]).predict_proba(X)
        np.testing.assert_allclose(one, two, atol=0.02)

    @pytest.mark.usefixtures("all_folds")
    def test_labels_alone_are_learned_where_neighbours_mislead(self):
        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(400, 10)), np.arange(400) % 10 == 0
        X[:, 0] += 6 * y
        labelled = np.r_[np.flatnonzero(y)[:15], np.flatnonzero(~y)[:15]]
        seen = np.full(400, -1)
        seen[labelled] = y[labelled]
        semi = small(max_iter=None).fit(X, seen)
        alone = small(max_iter=None, semi_supervised=False).fit(X, seen)
        assert not semi.graph_used_
        assert semi.score(X, y.astype(int)) >= alone.score(X, y.astype(int))

    def test_the_same_seed_gives_the_same_bits(self, partly):
        one, two = small().fit(*partly), small().fit(*partly)
        assert alike(weights(one), weights(two))
        assert not alike(weights(one), weights(small(random_state=1).fit(*partly)))

    def test_global_generators_are_left_alone(self, partly):
        before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
        small().fit(*partly)
        assert torch.equal(before[0], torch.get_rng_state())
        for old, new in zip(before[1], np.random.get_state(), strict=True):  # noqa: NPY002
            np.testing.assert_array_equal(old, new)

    def test_sparse_rows_are_as_good_as_dense_ones(self, partly):
        X, y = partly
        X = np.where(np.abs(X) < 0.5, 0, X)
        dense = small().fit(X, y).predict_proba(X)
        of_sparse = small().fit(sparse.csr_array(X), y)
        np.testing.assert_allclose(
            of_sparse.predict_proba(sparse.csr_array(X)), dense, atol=1e-3
        )

    def test_predictions_do_not_depend_on_the_other_rows(self, partly):
        X, y = partly
        model = small().fit(X, y)
        np.testing.assert_array_equal(
            model.predict_proba(X)[3:4], model.predict_proba(X[3:4])
        )

    def test_pickles_predict_alike(self, partly):
        X, y = partly
        model = small().fit(X, y)
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
        np.testing.assert_array_equal(again.reconstruct(X), model.reconstruct(X))

    def test_searches_in_a_pipeline(self, partly):
        X, y = partly
        known = y >= 0
        pipeline = make_pipeline(StandardScaler(), small())
        grid = {
            "stackedaeclassifier__hidden_layer_sizes": [(6,), (12, 6)],
            "stackedaeclassifier__noise_level": [0.1, 1.0],
        }
        search = GridSearchCV(pipeline, grid, cv=2).fit(X[known], y[known])
        assert search.predict(X).shape == (len(X),)

    def test_codes_serve_another_classifier(self, partly):
        X, y = partly
        model = make_pipeline(small(), LogisticRegression())
        known = y >= 0
        assert model.fit(X[known], y[known]).score(X[known], y[known]) > 0.5
        names = small().fit(X, y).get_feature_names_out()
        assert names[0] == "stackedaeclassifier0"
        assert len(names) == 6


class TestContinuing:
    def test_warm_start_goes_on_from_the_weights(self, partly):
        X, y = partly
        model = small(warm_start=True).fit(X, y)
        layers = [weights(each) for each in model.autoencoders_]
        loss = model.loss_curve_[-1]
        model.set_params(max_iter=20).fit(X, y)
        assert model.loss_curve_[-1] < loss
        assert [weights(each) for each in model.autoencoders_][0][0].equal(layers[0][0])
        names = [name for name, _ in model.stages_]
        assert names == ["layer 1", "layer 2", "fine-tuning"]

    def test_warm_start_refuses_another_network(self, partly):
        model = small(warm_start=True).fit(*partly)
        with pytest.raises(ValueError, match="another network than the fitted one"):
            model.set_params(hidden_layer_sizes=(12, 5)).fit(*partly)

    def test_warm_start_refuses_other_classes(self, partly):
        X, y = partly
        model = small(warm_start=True).fit(X, y)
        with pytest.raises(ValueError, match="y has the classes"):
            model.fit(X, np.where(y == 2, 5, y))

    def test_streams_learn(self, rows):
        X, y = rows
        model = small(learning_rate_init=1e-2)
        for _ in range(60):
            model.partial_fit(X, y, classes=[0, 1, 2])
        assert model.score(X, y) > 0.7
        assert model.n_features_in_ == 8

    def test_streams_need_all_classes_first(self, rows):
        X, y = rows
        with pytest.raises(ValueError, match="needs classes"):
            small().partial_fit(X, y)
        model = small().partial_fit(X[:50], y[:50] % 2, classes=[0, 1])
        with pytest.raises(ValueError, match=r"labels \[2\]"):
            model.partial_fit(X, y)
        with pytest.raises(ValueError, match="differs from those of the first call"):
            model.partial_fit(X, y % 2, classes=[0, 1, 2])

    def test_frozen_layers_stay_frozen_in_streams(self, rows):
        X, y = rows
        model = small(unfreeze_layers=0).partial_fit(X, y, classes=[0, 1, 2])
        codes = model.transform(X)
        model.partial_fit(X, y)
        np.testing.assert_array_equal(model.transform(X), codes)

    def test_chunks_do_not_repeat_their_noise(self, rows):
        X, y = rows
        stages = Stages()
        model = small(pretrain=False, callbacks=[stages])
        model.partial_fit(X, y, classes=[0, 1, 2]).partial_fit(X, y).partial_fit(X, y)
        assert not torch.equal(*stages.generators[1:])
        assert model.n_iter_ == len(model.loss_curve_) == 3

    def test_signs_stream_as_they_are_fitted(self, rows):
        X, y = rows
        signs = np.where(y == 1, 1, -1)
        model = small().partial_fit(X, signs, classes=[-1, 1])
        model.partial_fit(X[signs < 0], signs[signs < 0])
        assert model.classes_.tolist() == [-1, 1]
        assert small().fit(X, signs).partial_fit(X, signs).score(X, signs) > 0.3
        with pytest.raises(ValueError, match="not -1"):
            small().partial_fit(X, y - 1, classes=[-1, 0, 1])

    def test_a_chunk_without_labels_changes_nothing_after_the_first(self, rows):
        X, y = rows
        model = small().partial_fit(X, y, classes=[0, 1, 2])
        before = weights(model)
        model.partial_fit(X, np.full(len(y), -1))
        assert alike(before, weights(model))


class TestBadInput:
    def test_marks_among_strings(self, partly):
        X, y = partly
        with pytest.raises(ValueError, match=r"strings \['-1'\], which would be"):
            small().fit(X, y.astype(str))
        mixed = [None if label == -1 else "abc"[label] for label in y]
        assert small().fit(X, mixed).classes_.tolist() == ["a", "b", "c"]

    def test_strings_beside_numbers(self, rows):
        X, y = rows
        mixed = np.array([int(label) if label else "zero" for label in y], dtype=object)
        with pytest.raises(ValueError, match="Mix of label input types"):
            small().fit(X, mixed)

    def test_more_layers_to_release_than_there_are(self, partly):
        X, y = partly
        with pytest.raises(ValueError, match="unfreeze_layers=3 must not exceed .* 2"):
            small(unfreeze_layers=3).fit(X, y)
        encoder = DenoisingAE(5, hidden_layer_sizes=(7,), max_iter=1).fit(X)
        small(unfreeze_layers=4, encoder=encoder).fit(X, y)
        with pytest.raises(ValueError, match="unfreeze_layers=5 must not exceed .* 4"):
            small(unfreeze_layers=5, encoder=encoder).fit(X, y)

    @pytest.mark.parametrize("weight", [{0: np.nan}, {0: -1.0}, {0: "a"}, {77: 2.0}])
    def test_weights_of_classes_that_are_none(self, rows, weight):
        with pytest.raises(ValueError, match="class_weight must be 'balanced' or"):
            small(class_weight=weight).fit(*rows)

    def test_balance_of_chunks_is_not_known(self, rows):
        with pytest.raises(ValueError, match="not for partial_fit"):
            small(class_weight="balanced").partial_fit(*rows, classes=[0, 1, 2])

    def test_a_head_of_no_width(self, rows):
        with pytest.raises(ValueError, match="head_layer_sizes must be positive"):
            small(head_layer_sizes=(0,)).fit(*rows)

    def test_a_batch_of_one_row(self, rows):
        with pytest.raises(ValueError, match="'batch_size'"):
            small(batch_size=1).fit(*rows)

    def test_no_label_at_all(self, rows):
        X, y = rows
        with pytest.raises(ValueError, match="y has no label: all 120 rows"):
            small().fit(X, np.full(len(y), -1))

    def test_y_of_another_length(self, rows):
        X, y = rows
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            small().fit(X, y[:-1])

    @pytest.mark.parametrize("sizes", [(0,), (5, 0), (2.5,)])
    def test_layers_of_no_width(self, rows, sizes):
        with pytest.raises(ValueError, match="hidden_layer_sizes must be positive"):
            StackedAEClassifier(sizes).fit(*rows)

    def test_no_layer(self, rows):
        with pytest.raises(ValueError, match="hidden_layer_sizes must name"):
            StackedAEClassifier(()).fit(*rows)

    def test_numbers_that_are_no_classes(self, rows):
        X, _ = rows
        with pytest.raises(ValueError, match="Unknown label type"):
            small().fit(X, X[:, 0])

    @pytest.mark.parametrize("noise", ["masking", "salt_and_pepper"])
    def test_a_share_beyond_one(self, rows, noise):
        with pytest.raises(ValueError, match="share of the features"):
            small(noise=noise, noise_level=1.5).fit(*rows)

    def test_a_failed_fit_leaves_the_earlier_one(self, rows):
        X, y = rows
        model = small().fit(X, y)
        before = model.predict(X)
        with pytest.raises(ValueError, match="no label"):
            model.fit(X[:, :3], np.full(len(y), -1))
        np.testing.assert_array_equal(model.predict(X), before)


class Counter(Callback):
    """Counts training steps."""

    steps = 0

    def on_batch_end(self, net, **kwargs):
        self.steps += 1


class Stop(Callback):
    """Ctrl-C in the given training of a fit."""

    def __init__(self, number):
        self.number = number
        self.started = 0

    def on_train_begin(self, net, **kwargs):
        self.started += 1

    def on_batch_end(self, net, **kwargs):
        if self.started == self.number:
            raise KeyboardInterrupt


class TestInterruption:
    @pytest.mark.parametrize(
        ("number", "reached"),
        [(1, "pretraining of layer 1"), (3, "'head'"), (5, "'fine-tuning'")],
    )
    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    def test_what_was_learned_is_kept(self, partly, number, reached):
        X, y = partly
        model = small(callbacks=[Stop(number)], pretrain_max_iter=3, max_iter=3)
        with pytest.warns(ConvergenceWarning, match=reached):
            model.fit(X, y)
        assert model.interrupted_
        assert np.isfinite(model.predict_proba(X)).all()

    def test_it_may_come_while_neighbours_are_looked_for(self, partly, monkeypatch):
        def stopped(self):
            raise KeyboardInterrupt

        monkeypatch.setattr(NeighbourLabels, "judge", stopped)
        X, y = partly
        with pytest.warns(ConvergenceWarning, match="search for neighbours"):
            model = small().fit(X, y)
        assert np.isfinite(model.predict_proba(X)).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestGPU:
    def test_it_learns_there_and_predicts_here(self, partly):
        X, y = partly
        model = small(device="cuda", max_iter=20).fit(X, y)
        assert next(model.net_.parameters()).is_cuda
        here = pickle.loads(pickle.dumps(model))
        assert not next(here.net_.parameters()).is_cuda
        np.testing.assert_allclose(
            here.predict_proba(X), model.predict_proba(X), atol=1e-4
        )
        assert alike(weights(here), weights(pickle.loads(pickle.dumps(here))))

    def test_the_same_seed_gives_the_same_bits(self, partly):
        one, two = (small(device="cuda").fit(*partly) for _ in range(2))
        assert alike(weights(one), weights(two))


def test_strings_of_pandas_may_be_missing():
    pd = pytest.importorskip("pandas")
    X = np.eye(2)[[0, 1] * 20] + np.random.default_rng(0).normal(0, 0.1, (40, 2))
    y = pd.Series(["a", "b"] * 20, dtype="string").mask(np.arange(40) % 3 == 0)
    model = StackedAEClassifier((4,), max_iter=3, random_state=0).fit(X, y)
    assert set(model.transduction_) <= {"a", "b"}
    assert 0 <= model.score(X, y) <= 1
