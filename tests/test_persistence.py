"""Estimators of every sort in files, pickles and skops: the same bits, or a refusal."""

import copy
import importlib.util
import io
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import Tree
from skops import io as skops_io
from skorch.callbacks import Callback, GradientNormClipping
from torch import nn

import skae
from skae import persistence
from skae.callbacks import Checkpoint
from skae.estimators import HOMES
from skae.state import container
from skae.state.plain import to_plain
from skae.state.registry import registered_name, strange_names

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "saved_estimators.py"


def _script():
    """The small estimators, under the name that stands in files and pickles."""
    if SCRIPT.stem not in sys.modules:
        spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
        sys.modules[SCRIPT.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[SCRIPT.stem])
    return sys.modules[SCRIPT.stem]


small = _script()
TRUSTED_NAMES = {f"{SCRIPT.stem}.{thing.__qualname__}" for thing in small.TRUSTED}
WITH_USERS = "user", "circle"
each_case = pytest.mark.parametrize("name", small.CASES)
# Those without classes of users.
OWN = {name: case for name, case in small.CASES.items() if name not in WITH_USERS}
each_own_case = pytest.mark.parametrize("name", OWN)
# Those with parts or estimators of other classes, and the last case of each class.
WITH_OTHERS = "part", "judge", "started"
ONE_EACH = sorted(
    {
        *{type(make()): name for name, (make, *_) in OWN.items()}.values(),
        *WITH_OTHERS,
    }
)
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device"
)


@cache
def fitted(name):
    """Shared by the tests, which train copies of it only."""
    return small.fitted(name)


@cache
def before(name):
    return small.answers(fitted(name), name)


@cache
def after(name):
    """What the estimator says after some more training."""
    return small.answers(small.go_on(copy.deepcopy(fitted(name)), name), name)


def assert_same(found, expected):
    assert set(found) == set(expected)
    for key, value in expected.items():
        other = found[key]
        assert other.dtype == value.dtype, key
        is_number = value.dtype.kind in "fc"
        assert np.array_equal(other, value, equal_nan=is_number), key


def public_name(estimator):
    return f"{type(estimator).__module__}.{type(estimator).__qualname__}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of all cases, and what a process that fitted nothing says of them."""
    folder = tmp_path_factory.mktemp("files")
    for name in small.CASES:
        skae.save(fitted(name), folder / f"{name}.safetensors")
    in_fresh_process([SCRIPT, folder])
    return folder


def in_fresh_process(arguments):
    home = str(Path(skae.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": home},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


# The same bits


def test_every_estimator_has_a_case():
    cases = {type(make()).__name__ for make, *_ in small.CASES.values()}
    public = {
        name
        for name in skae.__all__
        if isinstance(getattr(skae, name), type)
        and issubclass(getattr(skae, name), BaseEstimator)
    }
    assert cases == public == set(HOMES)


@each_case
def test_a_fresh_process_says_the_same(folder, name):
    with np.load(folder / f"{name}.npz") as found:
        assert_same(dict(found), before(name))


@each_case
def test_training_goes_on_in_a_fresh_process_as_here(folder, name):
    with np.load(folder / f"{name}.more.npz") as found:
        assert_same(dict(found), after(name))


@each_case
def test_a_file_of_what_was_loaded_is_the_same(folder, path, name):
    first = folder / f"{name}.safetensors"
    skae.save(skae.load(first, trusted=small.TRUSTED), path)
    assert path.read_bytes() == first.read_bytes()


@each_case
def test_pickles_come_back_and_train_on(name):
    again = pickle.loads(pickle.dumps(fitted(name)))
    assert_same(small.answers(again, name), before(name))
    assert_same(small.answers(small.go_on(again, name), name), after(name))


@each_case
def test_copies_are_independent(name):
    original = pickle.loads(pickle.dumps(fitted(name)))
    deep, shallow = copy.deepcopy(original), copy.copy(original)
    for duplicate in (deep, shallow):
        assert type(duplicate) is type(original)
        assert_same(small.answers(duplicate, name), before(name))
    small.go_on(deep, name)
    assert_same(small.answers(original, name), before(name))


class Recorder(pickle.Unpickler):
    """Notes what a pickle imports."""

    def __init__(self, data):
        super().__init__(io.BytesIO(data))
        self.names = set()

    def find_class(self, module, name):
        self.names.add(f"{module}.{name}")
        return super().find_class(module, name)


@each_case
def test_a_pickle_names_the_public_class_and_numpy_only(name):
    reader = Recorder(pickle.dumps(fitted(name)))
    reader.load()
    own = {each for each in reader.names if not each.startswith("numpy.")}
    assert public_name(fitted(name)) in own
    assert own - {public_name(fitted(name))} <= TRUSTED_NAMES


@each_case
def test_fitted_state_is_plain_values_and_arrays(name):
    tree = to_plain(
        fitted(name), lambda thing: f"{thing.__module__}.{thing.__qualname__}"
    )
    assert strange_names(tree) <= TRUSTED_NAMES
    waiting = [tree]
    while waiting:
        each = waiting.pop()
        if type(each) is dict:
            assert all(type(key) is str for key in each)
            waiting.extend(each.values())
        elif type(each) is list:
            waiting.extend(each)
        elif type(each) is np.ndarray:
            assert each.dtype != object or all(type(entry) is str for entry in each)
        else:
            assert each is None or type(each) in (bool, int, float, str)


@pytest.mark.parametrize("name", ["dense", "names", "gan", "classifier", "detector"])
@pytest.mark.parametrize("how", ["plain", "compressed", "mapped"])
def test_joblib_files(tmp_path, name, how):
    file = tmp_path / "model.joblib"
    joblib.dump(fitted(name), file, compress=3 if how == "compressed" else 0)
    again = joblib.load(file, mmap_mode="r" if how == "mapped" else None)
    assert_same(small.answers(again, name), before(name))
    assert_same(small.answers(small.go_on(again, name), name), after(name))


@each_own_case
def test_a_clone_of_a_loaded_one_fits_anew(folder, name):
    loaded = skae.load(folder / f"{name}.safetensors")
    copied = clone(loaded)
    parameters = fitted(name).get_params(deep=False)
    for key, value in copied.get_params(deep=False).items():
        assert type(value) is type(parameters[key])
        if type(value) in (int, float, str):
            assert value == parameters[key]
    assert not persistence.is_fitted(copied)


@each_case
def test_unfitted_ones_are_saved_too(path, name):
    make, *_ = small.CASES[name]
    skae.save(make(), path)
    assert skae.describe(path)["fitted"] is False
    loaded = skae.load(path, trusted=small.TRUSTED)
    assert type(loaded) is type(make())
    assert not persistence.is_fitted(loaded)
    skae.save(loaded, path)


@pytest.mark.parametrize("name", ["dense", "gan", "classifier", "detector", "words"])
def test_one_loaded_unfitted_fits_to_the_same_bits(path, name):
    make, samples, *y = small.CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        skae.save(make(), path)
        here = make().fit(samples(), *y)
        there = skae.load(path).fit(samples(), *y)
    assert_same(small.answers(there, name), small.answers(here, name))


@pytest.fixture(scope="module")
def opened(folder, tmp_path_factory):
    """Classes of pickles and files, each opened in a process that imported nothing.

    The processes are forked: what one imports is no help to the next.
    """
    pickles = tmp_path_factory.mktemp("pickles")
    for name in ONE_EACH:
        (pickles / name).write_bytes(pickle.dumps(fitted(name)))
    code = f"""
import os, pickle, sys, skops.io, skorch, torch
sys.path.insert(0, {str(SCRIPT.parent)!r})
for name in sorted(os.listdir({str(pickles)!r})):
    for way in ("pickle", "file") if name in {WITH_OTHERS} else ("file",):
        if os.fork():
            os.wait()
            continue
        assert not any(each.startswith("skae") for each in sys.modules)
        if way == "pickle":
            made = pickle.load(open(os.path.join({str(pickles)!r}, name), "rb"))
        else:
            from skae import load
            made = load(os.path.join({str(folder)!r}, name + ".safetensors"))
        print(name, way, type(made).__name__, flush=True)
        os._exit(0)
"""
    return in_fresh_process(["-c", code]).splitlines()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", ONE_EACH)
def test_it_opens_where_nothing_of_skae_was_imported(opened, name):
    kind = type(fitted(name)).__name__
    assert f"{name} file {kind}" in opened
    assert name not in WITH_OTHERS or f"{name} pickle {kind}" in opened


# Parameters of users


def test_classes_of_users_are_named_until_they_are_trusted(folder):
    file = folder / "user.safetensors"
    with pytest.raises(skae.ModelFileError, match=r"trusted=\[Halves, Pull\]"):
        skae.load(file)
    with pytest.raises(skae.ModelFileError, match=r"saved_estimators\.Pull"):
        skae.load(file, trusted=[small.Halves])
    by_name = {f"saved_estimators.{c.__name__}": c for c in small.TRUSTED}
    for trusted in (small.TRUSTED, set(small.TRUSTED), by_name):
        again = skae.load(file, trusted=trusted)
        assert_same(small.answers(again, "user"), before("user"))
    assert skae.describe(file)["trusted"] == [
        "saved_estimators.Halves",
        "saved_estimators.Pull",
    ]


@pytest.mark.parametrize(
    "trusted",
    ["Halves", 3, ["saved_estimators.Halves"], [None], {"saved_estimators.Halves": 3}],
)
def test_trusted_holds_classes(folder, trusted):
    with pytest.raises(TypeError, match="trusted must"):
        skae.load(folder / "user.safetensors", trusted=trusted)


class Own(skae.AutoencoderTransformer):
    """A user's subclass."""


def test_a_subclass_needs_trust_and_comes_back(path):
    X = small.CASES["dense"][1]()
    own = Own(2, max_iter=2, random_state=0).fit(X)
    skae.save(own, path)
    with pytest.raises(skae.ModelFileError, match=r"trusted=\[Own\]"):
        skae.load(path)
    again = skae.load(path, trusted=[Own])
    assert type(again) is Own
    np.testing.assert_array_equal(again.transform(X), own.transform(X))


class Holds(nn.Module):
    """A user's module that holds what a file cannot."""

    def __init__(self, what):
        super().__init__()
        self.layer = nn.Linear(small.N_COLUMNS, 2)
        self.what = what

    def forward(self, x):
        return self.layer(x)


def unsavable():
    decoder = nn.Linear(2, small.N_COLUMNS)
    return {
        "prior": skae.AdversarialAE(prior=lambda n, random_state: np.zeros((n, 2))),
        "random_state": skae.DenoisingAE(random_state=np.random.default_rng(0)),
        "what": skae.AutoencoderTransformer(
            architecture=(Holds(np.random.default_rng(0)), decoder)
        ),
        "callbacks[0]": skae.DenoisingAE(callbacks=[lambda: None]),
        "device": skae.DenoisingAE(device=b"cpu"),
    }


@pytest.mark.parametrize("place", unsavable())
def test_what_a_file_cannot_hold_is_refused_by_its_place(folder, path, place):
    skae.save(fitted("linear"), path)
    earlier = path.read_bytes()
    with pytest.raises(TypeError) as caught:
        skae.save(unsavable()[place], path)
    assert place in str(caught.value)
    assert path.read_bytes() == earlier
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("what", [None, 3, [1], skae.AutoencoderTransformer, nn.ReLU()])
def test_only_estimators_are_saved(path, what):
    with pytest.raises(TypeError, match=r"skae\.save takes estimators"):
        skae.save(what, path)
    assert not path.exists()


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_checkpoint_among_the_callbacks_is_kept(tmp_path, path, as_path):
    """In a file it needs trust, as it names a path to write to."""
    X = small.CASES["dense"][1]()
    callbacks = [Checkpoint(as_path(tmp_path / "fit.checkpoint"), every=30)]
    model = skae.AutoencoderTransformer(
        2, callbacks=callbacks, max_iter=2, random_state=0
    ).fit(X)
    skae.save(model, path)
    with pytest.raises(skae.ModelFileError, match=r"trusted=\[Checkpoint\]") as info:
        skae.load(path)
    assert "holds callbacks, which write to paths that it names" in str(info.value)
    loaded = skae.load(path, trusted=[Checkpoint])
    for again in (loaded, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        (kept,) = again.callbacks
        assert kept.get_params() == callbacks[0].get_params()
        np.testing.assert_array_equal(again.fit(X).transform(X), model.transform(X))


class Counts(Callback):
    """A user's callback."""

    def __init__(self, n_epochs=0):
        self.n_epochs = n_epochs

    def on_epoch_end(self, net, **kwargs):
        self.n_epochs += 1


def test_callbacks_of_skorch_and_users_are_kept(path):
    X = small.CASES["dense"][1]()
    model = skae.AutoencoderTransformer(
        2,
        callbacks=[Counts(), ("clip", GradientNormClipping(0.5))],
        max_iter=2,
        random_state=0,
    ).fit(X)
    skae.save(model, path)
    with pytest.raises(skae.ModelFileError, match="GradientNormClipping"):
        skae.load(path)
    loaded = skae.load(path, trusted=[Counts, GradientNormClipping])
    for again in (loaded, pickle.loads(pickle.dumps(model))):
        assert again.callbacks[0].n_epochs == model.callbacks[0].n_epochs
        np.testing.assert_array_equal(again.transform(X), model.transform(X))
        np.testing.assert_array_equal(again.fit(X).transform(X), model.transform(X))


def test_what_was_set_for_outputs_and_routing_is_kept(path):
    X = small.CASES["names"][1]()
    with sklearn.config_context(enable_metadata_routing=True):
        model = skae.AutoencoderTransformer(2, max_iter=2, random_state=0)
        model.set_fit_request(sample_weight=True).set_output(transform="pandas").fit(X)
        skae.save(model, path)
        for again in (skae.load(path), pickle.loads(pickle.dumps(model))):
            assert again.transform(X).equals(model.transform(X))
            asked = again.get_metadata_routing().fit.requests
            assert asked == {"sample_weight": True}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 5e-324, 1 / 3])
def test_floats_keep_their_bits(path, value):
    model = copy.deepcopy(fitted("linear"))
    model.noise_variance_ = value
    skae.save(model, path)
    kept = skae.load(path).noise_variance_
    assert np.float64(kept).tobytes() == np.float64(value).tobytes()


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["a", "bb"]),
        np.array(["ä", "\U0001f600 b"], dtype=object),
        np.array([3, 70], dtype=">i4"),
        np.array([1.0, 2.0], dtype=">f8"),
        np.array([False, True]),
        np.array([1, 2], dtype=np.uint8),
    ],
    ids=lambda each: str(each.dtype),
)
def test_classes_of_every_dtype_come_back(path, labels):
    make, samples, _ = small.CASES["classifier"]
    y = labels[np.arange(small.N_ROWS) % 2]
    model = make().fit(samples(), y)
    skae.save(model, path)
    again = skae.load(path)
    np.testing.assert_array_equal(again.classes_, model.classes_)
    assert again.classes_.dtype.kind == model.classes_.dtype.kind
    np.testing.assert_array_equal(again.predict(samples()), model.predict(samples()))
    assert set(again.predict(samples())) <= set(labels)


def test_tied_weights_stay_tied(folder):
    model = fitted("tied")
    shared = [id(each) for each in model.net_.parameters()]
    for again in (
        skae.load(folder / "tied.safetensors"),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
    ):
        parameters = list(again.net_.parameters())
        assert len({each.data_ptr() for each in parameters}) == len(shared)


# Files


def test_describe_tells_what_is_in_a_file(folder):
    file = folder / "names.safetensors"
    told = skae.describe(file)
    assert told["class"] == "skae.AutoencoderTransformer"
    assert told["fitted"] is True
    assert told["parameters"]["n_components"] == 2
    assert told["parameters"]["max_iter"] == 2
    assert told["n_features_in_"] == small.N_COLUMNS
    assert told["feature_names_in_"] == [f"column {i}" for i in range(6)]
    assert told["versions"]["skae"] == skae.__version__
    assert set(told["versions"]) == {"skae", "torch", "scikit-learn", "numpy", "python"}
    assert told["trusted"] == []
    assert told["n_bytes"] == os.path.getsize(file)
    assert (small.N_COLUMNS,) in told["arrays"].values()
    classes = skae.describe(folder / "classifier.safetensors")["classes_"]
    assert classes == ["cat", "doggy"]


def test_a_write_that_fails_leaves_the_earlier_file(path, monkeypatch):
    skae.save(fitted("linear"), path)
    earlier = path.read_bytes()

    def full(*args):
        raise OSError("No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(container.os, name, full)
            with pytest.raises(OSError, match="No space"):
                skae.save(fitted("dense"), path)
        assert path.read_bytes() == earlier
        assert os.listdir(path.parent) == [path.name]
    skae.save(fitted("dense"), path)
    assert_same(small.answers(skae.load(path), "dense"), before("dense"))


def test_no_such_file_and_no_such_folder(tmp_path, path):
    for read in (skae.load, skae.describe):
        with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
            read(path)
        with pytest.raises(skae.ModelFileError, match="is not a file"):
            read(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        skae.save(fitted("linear"), tmp_path / "nowhere" / "model")


def test_a_newer_format_says_update(path, monkeypatch):
    monkeypatch.setattr(container, "FORMAT", 2)
    skae.save(fitted("linear"), path)
    monkeypatch.undo()
    for read in (skae.load, skae.describe):
        with pytest.raises(skae.ModelFileError, match="format 2.*Update skae"):
            read(path)


def test_a_newer_version_is_warned_of(path, monkeypatch):
    monkeypatch.setattr(persistence, "__version__", "99.1")
    skae.save(fitted("linear"), path)
    with pytest.warns(UserWarning, match=r"skae 99\.1, which is newer"):
        loaded = skae.load(path)
    assert_same(small.answers(loaded, "linear"), before("linear"))


@pytest.mark.parametrize("part", [0, 1e-9, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(folder, path, part):
    data = (folder / "dense.safetensors").read_bytes()
    path.write_bytes(data[: int(np.ceil(len(data) * part))])
    with pytest.raises(skae.ModelFileError, match=r"model\.safetensors"):
        skae.load(path)


@pytest.mark.parametrize("place", np.linspace(0, 0.9999, 25))
def test_a_flipped_bit_is_refused(folder, path, place):
    data = bytearray((folder / "dense.safetensors").read_bytes())
    data[int(place * len(data))] ^= 4
    path.write_bytes(data)
    with pytest.raises(skae.ModelFileError):
        skae.load(path)


def test_flipped_bits_of_weights_have_another_checksum(folder, path):
    data = bytearray((folder / "dense.safetensors").read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(skae.ModelFileError, match="checksum"):
        skae.load(path)


def test_other_files_are_refused(path, tmp_path):
    from safetensors.numpy import save_file

    path.write_bytes(pickle.dumps(fitted("linear")))
    with pytest.raises(skae.ModelFileError, match="safetensors"):
        skae.load(path)
    save_file({"weight": np.zeros(3)}, path)
    with pytest.raises(skae.ModelFileError, match="not written by skae"):
        skae.load(path)


def test_older_and_newer_pickles():
    model = skae.DenoisingAE()
    state = model.__getstate__()
    with pytest.raises(skae.ModelFileError, match="fit it anew"):
        model.__setstate__({"n_components": 2})
    with pytest.raises(skae.ModelFileError, match="Update skae"):
        model.__setstate__({**state, "format": container.FORMAT + 1})
    with pytest.warns(UserWarning, match="newer than the installed"):
        model.__setstate__({**state, "skae_version": "999.0"})


def test_a_device_that_is_none(folder):
    with pytest.raises(ValueError, match="nonsense"):
        skae.load(folder / "linear.safetensors", device="nonsense")


# skops


@each_case
def test_skops_needs_the_public_class_only(name):
    data = skops_io.dumps(fitted(name))
    names = skops_io.get_untrusted_types(data=data)
    assert set(names) - TRUSTED_NAMES == {public_name(fitted(name))}
    again = skops_io.loads(data, trusted=names)
    assert_same(small.answers(again, name), before(name))
    assert_same(small.answers(small.go_on(again, name), name), after(name))


@cache
def around():
    """Objects of scikit-learn around the estimators, fitted, and their samples."""
    X, y = small.CASES["dense"][1](), small.WORDS
    reduce = skae.AutoencoderTransformer(2, max_iter=2, random_state=0)
    pipeline = make_pipeline(StandardScaler(), reduce, LogisticRegression())
    selection = make_pipeline(SelectKBest(k=3), clone(reduce), LogisticRegression())
    votes = VotingClassifier(
        [("pipeline", pipeline), ("net", small.CASES["classifier"][0]())],
        voting="soft",
    )
    search = GridSearchCV(
        pipeline,
        {"autoencodertransformer__n_components": [1, 2]},
        cv=KFold(2),
        scoring=["accuracy", "roc_auc"],
        refit="roc_auc",
    )
    columns = ColumnTransformer([("reduce", reduce, [0, 1, 2])], remainder="drop")
    models = {
        "pipeline": pipeline,
        "selection": selection,
        "search": search,
        "votes": votes,
        "calibrated": CalibratedClassifierCV(clone(votes.estimators[1][1]), cv=2),
        "columns": columns,
    }
    for each in models.values():
        each.fit(X, y)
    return models, X


@pytest.mark.parametrize(
    "name", ["pipeline", "selection", "search", "votes", "calibrated", "columns"]
)
def test_skops_and_files_hold_what_is_around(path, name):
    models, X = around()
    model = models[name]
    call = "transform" if name == "columns" else "predict_proba"
    names = skops_io.get_untrusted_types(data=skops_io.dumps(model))
    # Of scikit-learn's, skops does not trust all that a search holds.
    own = {each for each in names if not each.startswith("sklearn.")}
    assert own <= {f"{home}.{name}" for name, home in HOMES.items()}
    if name in ("pipeline", "columns"):
        assert names == ["skae.estimators.autoencoder.AutoencoderTransformer"]
    skae.save(model, path)
    for again in (
        skops_io.loads(skops_io.dumps(model), trusted=names),
        skae.load(path),
        pickle.loads(pickle.dumps(model)),
    ):
        assert type(again) is type(model)
        np.testing.assert_array_equal(getattr(again, call)(X), getattr(model, call)(X))
    told = skae.describe(path)
    assert told["fitted"] is True
    assert told["trusted"] == []
    assert told["class"].endswith(type(model).__name__)


def test_trees_of_scikit_learn_need_trust(path):
    models, X = around()
    model = make_pipeline(models["pipeline"][1], DecisionTreeClassifier(max_depth=2))
    model.fit(X, small.WORDS)
    skae.save(model, path)
    with pytest.raises(skae.ModelFileError, match=r"trusted=\[Tree\]"):
        skae.load(path)
    again = skae.load(path, trusted=[Tree])
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


class Twice(TransformerMixin, BaseEstimator):
    """A user's step of pipelines."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return 2 * X


def test_steps_of_users_need_trust(path):
    X = small.CASES["dense"][1]()
    reduce = skae.AutoencoderTransformer(2, max_iter=2, random_state=0)
    model = make_pipeline(Twice(), reduce).fit(X)
    skae.save(model, path)
    with pytest.raises(skae.ModelFileError, match=r"trusted=\[Twice\]"):
        skae.load(path)
    again = skae.load(path, trusted=[Twice])
    np.testing.assert_array_equal(again.transform(X), model.transform(X))


def test_a_bomb_in_a_pipeline_is_refused(path):
    models, _ = around()
    buffer = io.BytesIO(skops_io.dumps(models["pipeline"]))
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(buffer) as old,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
        new.writestr("large.npy", bytes(10**7))
    tree = {"skops": np.frombuffer(packed.getvalue(), np.uint8)}
    container.write(path, tree)
    with pytest.raises(skae.ModelFileError, match="more memory than it has bytes"):
        skae.load(path)


@pytest.mark.parametrize(
    "tree", [{"skops": np.zeros(50, np.uint8)}, {"skops": "text"}, {"a": 1}, 3, None]
)
def test_other_trees_are_refused(path, tree):
    container.write(path, tree)
    with pytest.raises(skae.ModelFileError):
        skae.load(path)


# Forged files


def changed(source, target, change):
    """A file whose tree has been changed, with the right checksums."""
    tree, header = container.read(source)
    change(tree["state"])
    container.write(target, tree, header)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n_features_in_", 10**9),
        ("n_features_in_", "6"),
        ("n_components_", 10**9),
        ("mean_", np.zeros(5)),
        ("mean_", {"$": "name", "name": "os.system"}),
        ("loss_curve_", {}),
        ("transform", 1),
        ("units_", None),
        ("net_", [[]] * 5),
    ],
)
def test_forged_attributes_are_refused(key, value, folder, path):
    def change(state):
        state[key] = value

    changed(folder / "dense.safetensors", path, change)
    with pytest.raises(skae.ModelFileError):
        skae.load(path)


def test_a_padding_that_no_machine_could_compute_is_refused(folder, path):
    def change(state):
        layers = [state["net_"]]
        while layers:
            each = layers.pop()
            if isinstance(each, list):
                layers.extend(each)
            elif isinstance(each, dict):
                if "padding" in each:
                    each["padding"] = {"$": "tuple", "items": [10**6, 10**6]}
                layers.extend(each.values())

    changed(folder / "images.safetensors", path, change)
    with pytest.raises(skae.ModelFileError):
        skae.load(path)


# Devices


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", ["dense", "gan", "classifier", "detector", "lstm"])
def test_from_device_to_device(path, name):
    make, samples, *y = small.CASES[name]
    model = make().set_params(device="cuda").fit(samples(), *y)
    expected = small.answers(model, name)
    skae.save(model, path)
    here = skae.load(path)
    for method, value in small.answers(here, name).items():
        if value.dtype.kind == "f" and method != "sample":
            np.testing.assert_allclose(value, expected[method], rtol=1e-3, atol=1e-3)
    skae.save(here, path)
    there = skae.load(path, device="cuda")
    assert_same(small.answers(there, name), expected)


def test_all_classes_in_the_states_are_registered():
    for name in small.CASES:
        for each in vars(fitted(name)).values():
            if isinstance(each, nn.Module):
                for module in each.modules():
                    is_users = type(module).__module__ == SCRIPT.stem
                    assert is_users or registered_name(type(module)), module
