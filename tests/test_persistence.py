"""Files of estimators: the same bits in a fresh process, and what is refused."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skae
from skae.state import container
from skae.state.container import ModelFileError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
try:
    import saved_estimators as saved
finally:
    sys.path.remove(str(BENCHMARKS))

CASES = list(saved.CASES)
each_case = pytest.mark.parametrize("name", CASES)


@pytest.fixture(scope="module")
def estimators():
    return {name: saved.fitted(name) for name in CASES}


@pytest.fixture(scope="module")
def folder(estimators, tmp_path_factory):
    """Files of all cases, and what a fresh process makes of them."""
    folder = tmp_path_factory.mktemp("files")
    for name, estimator in estimators.items():
        skae.save(estimator, folder / f"{name}.safetensors")
    # The classes that are trusted belong to the module, not to the script.
    call = f"import saved_estimators; saved_estimators.main({str(folder)!r})"
    package = Path(skae.__file__).parents[1]
    paths = os.pathsep.join([str(BENCHMARKS), str(package)])
    environment = {**os.environ, "PYTHONPATH": paths}
    subprocess.run([sys.executable, "-c", call], check=True, env=environment)
    return folder


def assert_same(before, after):
    assert set(before) == set(after)
    for key, value in before.items():
        np.testing.assert_array_equal(value, after[key], err_msg=key, strict=True)


@each_case
def test_a_fresh_process_gives_the_same_bits_and_goes_on_likewise(
    name, estimators, folder
):
    estimator = pickle.loads(pickle.dumps(estimators[name]))
    with np.load(folder / f"{name}.npz") as loaded:
        assert_same(saved.answers(estimator, name), loaded)
    saved.go_on(estimator, name)
    with np.load(folder / f"{name}.more.npz") as loaded:
        assert_same(saved.answers(estimator, name), loaded)


def test_every_public_estimator_is_among_the_cases(estimators):
    public = {
        each
        for each in vars(skae).values()
        if isinstance(each, type) and issubclass(each, BaseEstimator)
    }
    assert {type(estimator) for estimator in estimators.values()} == public


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_unfitted_estimators_keep_their_parameters(path):
    skae.save(skae.VariationalAE(3, beta=0.5), path)
    loaded = skae.load(path)
    assert loaded.get_params() == skae.VariationalAE(3, beta=0.5).get_params()
    assert not skae.describe(path)["fitted"]


def test_describe_tells_what_is_in_a_file(folder):
    told = skae.describe(folder / "words.safetensors")
    assert told["class"] == "skae.ConditionalVAE"
    assert told["classes_"] == ["cat", "doggy"]
    assert told["n_features_in_"] == saved.N_COLUMNS
    assert told["parameters"]["max_iter"] == 2
    assert told["versions"]["skae"] == skae.__version__
    assert skae.describe(folder / "names.safetensors")["feature_names_in_"][0] == (
        "column 0"
    )


def test_classes_of_users_are_loaded_only_when_they_are_passed(folder):
    path = folder / "user.safetensors"
    names = ["saved_estimators.Halves", "saved_estimators.Pull"]
    assert skae.describe(path)["trusted"] == names
    with pytest.raises(ModelFileError, match=r"Halves, .*\.Pull.*trusted=\[Halves, P"):
        skae.load(path)
    loaded = skae.load(path, trusted={names[0]: saved.Halves, names[1]: saved.Pull})
    assert isinstance(loaded.penalty, saved.Pull)


def test_what_a_file_cannot_hold_is_named_and_the_earlier_file_stays(path):
    estimator = skae.AutoencoderTransformer(2)
    skae.save(estimator, path)
    before = path.read_bytes()
    with open(path, "rb") as file:
        with pytest.raises(TypeError, match="Transformer cannot be saved: penalty is"):
            skae.save(estimator.set_params(penalty=file), path)
    estimator.set_params(penalty=lambda state: 0)
    with pytest.raises(TypeError, match="penalty is .*<lambda>"):
        skae.save(estimator, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_pipelines_go_through_skops_with_one_name_for_skae(path):
    skops_io = pytest.importorskip("skops.io")
    X = saved.CASES["dense"][1]()
    pipeline = make_pipeline(
        StandardScaler(), skae.AutoencoderTransformer(2, **saved.SHORT)
    ).fit(X)
    names = skops_io.get_untrusted_types(data=skops_io.dumps(pipeline))
    assert names == ["skae.estimators.autoencoder.AutoencoderTransformer"]
    skae.save(pipeline, path)
    np.testing.assert_array_equal(
        skae.load(path).transform(X), pipeline.transform(X), strict=True
    )


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
    with pytest.raises(ModelFileError):
        skae.load(path)


def test_a_padding_that_no_machine_could_compute_is_refused(path):
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

    pair = skae.ConvAE(2, max_iter=1, random_state=0).fit(saved.CASES["images"][1]())
    skae.save(pair, path)
    changed(path, path, change)
    with pytest.raises(ModelFileError):
        skae.load(path)


def test_damaged_files_are_refused(folder, path):
    data = (folder / "dense.safetensors").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        place = int(rng.integers(len(data)))
        damaged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        for each in (damaged, data[:place]):
            path.write_bytes(each)
            with pytest.raises(ModelFileError):
                skae.load(path)


def test_text_that_would_fill_the_memory_is_refused(path):
    metadata = json.dumps({"format": 1, "tree": "[" + "[]," * 10**6 + "[]]"})
    header = json.dumps({"__metadata__": {"skae": metadata}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ModelFileError, match="in memory"):
        skae.load(path)


def test_newer_formats_and_older_pickles_are_refused(monkeypatch, path):
    estimator = skae.AutoencoderTransformer(2)
    state = estimator.__getstate__()
    with pytest.raises(ModelFileError, match="Update skae"):
        estimator.__setstate__({**state, "format": container.FORMAT + 1})
    with pytest.raises(ModelFileError, match="fit it anew"):
        estimator.__setstate__({"n_components": 2})
    with pytest.warns(UserWarning, match="newer than the installed"):
        estimator.__setstate__({**state, "skae_version": "999.0"})


def test_a_missing_file_is_not_found(path):
    with pytest.raises(FileNotFoundError):
        skae.load(path)
    with pytest.raises(FileNotFoundError):
        skae.describe(path)
