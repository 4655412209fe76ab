"""A fit that is killed at any moment and run again is the fit that was not killed."""

import copy
import itertools
import os
import pickle
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils import check_random_state
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochTimer,
    Initializer,
    PrintLog,
    ProgressBar,
)
from torch import nn

import skae
from skae.callbacks import Checkpoint
from skae.state import container
from skae.state.container import ModelFileError
from skae.training.recording import Recording

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

_random = np.random.default_rng(0)
X = _random.normal(size=(120, 4)) @ _random.normal(size=(4, 8))
X[:, 0] = X[:, 1] ** 2
Y = (X[:, 0] > 1).astype(int)
PARTLY = np.where(np.arange(len(X)) % 3 > 0, Y, np.nan)
WIDE = _random.normal(size=(70, 3)) @ _random.normal(size=(3, 30))


def modules():
    with torch.random.fork_rng():
        torch.random.set_rng_state(torch.Generator().manual_seed(0).get_state())
        encoder = nn.Sequential(
            nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2)
        )
        encoder.append(nn.Linear(16, 3))
        return encoder, nn.Linear(3, 8)


BRIEF = {"max_iter": 3, "batch_size": 32, "random_state": 0}
# What is fitted, and to what.
FAMILIES = {
    "anchored": (skae.AutoencoderTransformer(2, **BRIEF), (X,)),
    "folds": (skae.AutoencoderTransformer(2, **BRIEF), (WIDE,)),
    "random": (skae.AutoencoderTransformer(2, init="random", **BRIEF), (X,)),
    "modules": (
        skae.AutoencoderTransformer(architecture=modules(), init="random", **BRIEF),
        (X,),
    ),
    "denoising": (skae.DenoisingAE(4, **BRIEF), (X, None, 1 + Y)),
    "pairs": (skae.DenoisingAE(4, **BRIEF), (X + 0.1, X)),
    "sparse": (skae.SparseAE(4, **BRIEF), (X,)),
    "contractive": (skae.ContractiveAE(3, **BRIEF), (X,)),
    "convolutional": (
        skae.ConvAE(sample_shape=(1, 2, 4), kernel_size=2, stride=1, **BRIEF),
        (X,),
    ),
    "recurrent": (skae.RecurrentAE(sample_shape=(4, 2), **BRIEF), (X,)),
    "variational": (skae.VariationalAE(2, kl_warmup=0.5, **BRIEF), (X,)),
    "conditional": (skae.ConditionalVAE(2, **BRIEF), (X, Y)),
    "adversarial": (skae.AdversarialAE(2, **BRIEF), (X,)),
    "gan": (skae.GAN(2, replay=0.5, n_modes=2, **BRIEF), (X,)),
    "gan given y": (
        skae.GAN(2, loss="wasserstein_gp", early_stopping=False, **BRIEF),
        (X, Y),
    ),
    "images": (
        skae.GAN(
            2, architecture="conv", sample_shape=(1, 4, 2), kernel_size=2, **BRIEF
        ),
        (X,),
    ),
    "classifier": (
        skae.StackedAEClassifier((8, 4), pretrain_max_iter=5, **BRIEF),
        (X, PARTLY),
    ),
    "labels only": (
        skae.StackedAEClassifier(
            (6,), pretrain_max_iter=5, unfreeze_layers=1, early_stopping=True, **BRIEF
        ),
        (X, Y),
    ),
    "detector": (
        skae.AEOutlierDetector(
            estimator=skae.AutoencoderTransformer(2, max_iter=3), random_state=0
        ),
        (X,),
    ),
}


def with_checkpoint(estimator, path, every=0.0, others=(), **options):
    """A clone that writes to this path, and has these callbacks too."""
    own = clone(estimator)
    fitted = own.estimator if isinstance(own, skae.AEOutlierDetector) else own
    fitted.set_params(callbacks=[*others, Checkpoint(path, every, **options)])
    return own


class Killed(BaseException):
    """Nothing of skae catches it."""


@pytest.fixture
def writes(monkeypatch, tmp_path):
    """Fit with a checkpoint after every step; copies of some of its files."""
    original = Recording.write

    def record(estimator, arguments, n_copies=4, others=()):
        path, count, copies = tmp_path / "fit.ckpt", itertools.count(1), []

        def write(self, state):
            original(self, state)
            copies.append(shutil.copy(path, tmp_path / f"{next(count)}.copy"))

        monkeypatch.setattr(Recording, "write", write)
        fitted = with_checkpoint(estimator, path, others=others).fit(*arguments)
        monkeypatch.setattr(Recording, "write", original)
        places = np.linspace(0, len(copies) - 1, min(n_copies, len(copies)))
        return fitted, path, [copies[int(place)] for place in places]

    return record


@pytest.fixture
def kill(monkeypatch):
    """Fit until so many files are written."""
    original = Recording.write

    def run(estimator, *arguments, after=3, **keywords):
        left = itertools.count(1)

        def write(self, state):
            original(self, state)
            if next(left) == after:
                raise Killed

        monkeypatch.setattr(Recording, "write", write)
        with pytest.raises(Killed):
            estimator.fit(*arguments, **keywords)
        monkeypatch.setattr(Recording, "write", original)

    return run


def assert_equal(a, b, name="estimator"):
    """The same bits, in arrays, tensors, modules and objects with attributes."""
    assert type(a) is type(b), name
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), name
    elif isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b, err_msg=name)
    elif isinstance(a, nn.Module):
        assert_equal(dict(a.state_dict()), dict(b.state_dict()), name)
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), name
        for key in a:
            assert_equal(a[key], b[key], f"{name}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), name
        for number, (one, other) in enumerate(zip(a, b, strict=True)):
            assert_equal(one, other, f"{name}[{number}]")
    elif isinstance(a, float):
        assert a == b or (np.isnan(a) and np.isnan(b)), name
    elif hasattr(a, "get_params"):
        own = [{k: v for k, v in vars(e).items() if _counts(k)} for e in (a, b)]
        assert_equal(*own, name)
    elif isinstance(a, int | str | None):
        assert a == b, name


def _counts(name):
    return name not in {"callbacks", "estimator", "encoder", "architecture"}


def outputs(estimator, X):
    names = "transform", "score_samples", "predict_proba", "sample"
    given = [name for name in names if hasattr(estimator, name)]
    return [
        estimator.sample(3, random_state=0)
        if name == "sample"
        else getattr(estimator, name)(X)
        for name in given
    ]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_fit_that_goes_on_from_any_of_its_files_is_the_whole_fit(name, writes):
    estimator, arguments = FAMILIES[name]
    whole = clone(estimator).fit(*arguments)
    watched, path, copies = writes(estimator, arguments)
    assert copies
    assert not path.exists()
    assert_equal(whole, watched)
    for each in copies:
        shutil.move(each, path)
        resumed = with_checkpoint(estimator, path, np.inf).fit(*arguments)
        assert_equal(whole, resumed)
        assert_equal(outputs(whole, arguments[0]), outputs(resumed, arguments[0]))
        assert not path.exists()


@pytest.mark.parametrize("kind", ["frame", "path", "lazy frame"])
def test_checkpoints_take_columns_and_methods_named_group(kind, tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X[:, :3], columns=["group", "row_source", "c"])
    rows = frame
    if kind == "path":
        rows = tmp_path / "rows.parquet"
        frame.to_parquet(rows)
    if kind == "lazy frame":
        dd = pytest.importorskip("dask.dataframe")
        rows = dd.from_pandas(frame, npartitions=2)
    estimator = skae.AutoencoderTransformer(2, **BRIEF)
    watched = with_checkpoint(estimator, tmp_path / "fit.ckpt").fit(rows)
    assert_equal(clone(estimator).fit(rows).transform(frame), watched.transform(frame))


@pytest.mark.parametrize("name", ["folds", "gan", "classifier"])
def test_a_fit_may_be_killed_again_and_again(name, kill, tmp_path):
    estimator, arguments = FAMILIES[name]
    whole, path = clone(estimator).fit(*arguments), tmp_path / "fit.ckpt"
    for after in (2, 3, 1):
        kill(with_checkpoint(estimator, path), *arguments, after=after)
    assert_equal(whole, with_checkpoint(estimator, path).fit(*arguments))


class Kill(Callback):
    """Kills its process after some batches; the number is no parameter."""

    after = 0

    def on_train_begin(self, net, **kwargs):
        self.n_batches = 0

    def on_batch_end(self, net, **kwargs):
        self.n_batches += 1
        if self.n_batches == Kill.after:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_sigkill(tmp_path):
    """Of a process of its own, which leaves a lock and may leave a draft."""
    path, estimator = tmp_path / "fit.ckpt", FAMILIES["denoising"][0]
    killed = with_checkpoint(estimator, path, others=[Kill()])
    child = os.fork()
    if child == 0:
        try:
            Kill.after = 5
            killed.fit(X)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert sorted(os.listdir(tmp_path)) == [".fit.ckpt.lock", "fit.ckpt"]
    (tmp_path / ".fit.ckpt.0123abcd.part").touch()
    resumed = with_checkpoint(estimator, path, others=[Kill()]).fit(X)
    assert resumed.callbacks[0].n_batches > 5
    assert_equal(clone(estimator).fit(X), resumed)
    assert os.listdir(tmp_path) == []


def autoencoder(path, every=0.0, **parameters):
    own = {**BRIEF, **parameters}
    return skae.DenoisingAE(4, callbacks=[Checkpoint(path, every)], **own)


class TestAgreement:
    @pytest.mark.parametrize(
        ("parameters", "words"),
        [
            ({"max_iter": 4}, "max_iter was 3 and is 4"),
            ({"noise_level": 0.7}, "noise_level was .* and is 0.7"),
            ({"random_state": 1}, "random_state was 0 and is 1"),
            ({"random_state": None}, "random_state was 0 and is drawn"),
        ],
    )
    def test_parameters(self, parameters, words, kill, tmp_path):
        path = tmp_path / "fit.ckpt"
        kill(autoencoder(path), X)
        before = path.read_bytes()
        with pytest.raises(ValueError, match=f"another fit: {words}.*Delete the file"):
            autoencoder(path, **parameters).fit(X)
        assert path.read_bytes() == before

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((X[:-1],), r"X was float64 of shape \(120, 8\) and is float64 of .*119"),
            ((X.astype(np.float32),), "X was float64 .* and is float32"),
            ((X + np.eye(120, 8),), r"X \(float64 .*\) has other values"),
            ((X, None, 1 + Y), "sample_weight was None and is float64"),
            ((X, X), "targets was None and is float64"),
        ],
    )
    def test_data(self, arguments, words, kill, tmp_path):
        path = tmp_path / "fit.ckpt"
        kill(autoencoder(path), X)
        with pytest.raises(ValueError, match=words):
            autoencoder(path).fit(*arguments)

    def test_labels(self, kill, tmp_path):
        estimator, path = FAMILIES["classifier"][0], tmp_path / "fit.ckpt"
        kill(with_checkpoint(estimator, path), X, PARTLY)
        with pytest.raises(ValueError, match="y .* has other values"):
            with_checkpoint(estimator, path).fit(X, 1 - PARTLY)

    def test_a_class(self, kill, tmp_path):
        path = tmp_path / "fit.ckpt"
        kill(autoencoder(path), X)
        with pytest.raises(ValueError, match="class was DenoisingAE and is SparseAE"):
            skae.SparseAE(4, callbacks=[Checkpoint(path)]).fit(X)

    def test_weights_of_modules(self, kill, tmp_path):
        estimator, path = FAMILIES["modules"][0], tmp_path / "fit.ckpt"
        kill(with_checkpoint(estimator, path), X)
        encoder, decoder = modules()
        nn.init.zeros_(decoder.bias)
        other = clone(estimator).set_params(architecture=(encoder, decoder))
        with pytest.raises(ValueError, match="architecture .* has other values"):
            with_checkpoint(other, path).fit(X)

    def test_other_callbacks(self, kill, tmp_path):
        path = tmp_path / "fit.ckpt"
        own = [Checkpoint(path, 0), ("early", EarlyStopping(patience=3))]
        kill(autoencoder(path).set_params(callbacks=own), X)
        own = [Checkpoint(path, 0), ("early", EarlyStopping(patience=4))]
        with pytest.raises(ValueError, match=r"callbacks .*'early'.* other values"):
            autoencoder(path).set_params(callbacks=own).fit(X)

    def test_what_only_shows_does_not_count(self, kill, tmp_path, capsys):
        path = tmp_path / "fit.ckpt"
        kill(autoencoder(path), X)
        shown = [PrintLog(), EpochTimer(), ProgressBar(), Checkpoint(path, 30)]
        resumed = autoencoder(path, verbose=1).set_params(callbacks=shown).fit(X)
        assert_equal(skae.DenoisingAE(4, **BRIEF).fit(X).net_, resumed.net_)
        assert f"DenoisingAE: resumed from {path}" in capsys.readouterr().err

    def test_other_versions(self, kill, tmp_path):
        path = tmp_path / "fit.ckpt"
        kill(autoencoder(path), X)
        tree, header = container.read(path)
        header["versions"]["torch"] = "1.0"
        container.write(path, tree, header)
        with pytest.warns(UserWarning, match="written with torch 1.0"):
            autoencoder(path, max_iter=3).fit(X)
        kill(autoencoder(path), X)
        header["versions"]["skae"] = "0.0"
        container.write(path, tree, header)
        with pytest.raises(ValueError, match="written by skae 0.0; this is"):
            autoencoder(path).fit(X)


class TestTheFile:
    @pytest.mark.parametrize("damage", ["cut", "flip", "text", "model"])
    def test_what_is_no_checkpoint_is_refused(self, damage, kill, tmp_path):
        path = tmp_path / "fit.ckpt"
        kill(autoencoder(path), X)
        content = bytearray(path.read_bytes())
        if damage == "cut":
            path.write_bytes(content[:-100])
        elif damage == "flip":
            content[-50] ^= 1
            path.write_bytes(content)
        elif damage == "text":
            path.write_text("notes")
        else:
            container.write(path, {}, {"class": "DenoisingAE"})
        before = path.read_bytes()
        way_out = "Choose another" if damage == "model" else "Delete the file to start"
        with pytest.raises(ModelFileError, match=way_out):
            autoencoder(path).fit(X)
        assert path.read_bytes() == before

    def test_keep_is_a_result_without_a_training(self, tmp_path, monkeypatch):
        path = tmp_path / "fit.ckpt"
        estimator, arguments = FAMILIES["classifier"]
        whole = with_checkpoint(estimator, path, 60, keep=True).fit(*arguments)
        monkeypatch.setattr(skae.training.trainer.Trainer, "_run_steps", None)
        again = with_checkpoint(estimator, path, 60, keep=True).fit(*arguments)
        assert_equal(whole, again)
        assert os.listdir(tmp_path) == ["fit.ckpt"]

    def test_a_place_that_cannot_be_written_ends_the_fit_at_once(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="Checkpoint.* cannot be written"):
            autoencoder(tmp_path / "nowhere" / "fit.ckpt").fit(X)
        with pytest.raises(IsADirectoryError, match="name a file"):
            autoencoder(tmp_path).fit(X)

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs rights")
    def test_a_folder_without_rights(self, tmp_path):
        tmp_path.chmod(0o500)
        with pytest.raises(PermissionError, match="cannot be written"):
            autoencoder(tmp_path / "fit.ckpt").fit(X)
        tmp_path.chmod(0o700)

    def test_a_full_disk_ends_no_training(self, tmp_path, monkeypatch):
        path, calls = tmp_path / "fit.ckpt", itertools.count()
        original = container.write

        def write(*arguments):
            if next(calls) > 2:
                raise OSError(28, "No space left on device")
            original(*arguments)

        monkeypatch.setattr(container, "write", write)
        with pytest.warns(UserWarning, match="No space left") as caught:
            fitted = autoencoder(path).fit(X)
        assert len([w for w in caught if "No space" in str(w.message)]) == 1
        assert_equal(skae.DenoisingAE(4, **BRIEF).fit(X).net_, fitted.net_)

    def test_a_file_that_cannot_be_deleted_ends_no_fit(self, tmp_path, monkeypatch):
        path, original = tmp_path / "fit.ckpt", Path.unlink

        def unlink(self, missing_ok=False):
            if self.name == "fit.ckpt":
                raise PermissionError(13, "Permission denied")
            original(self, missing_ok)

        monkeypatch.setattr(Path, "unlink", unlink)
        with pytest.warns(UserWarning, match="could not be deleted"):
            assert autoencoder(path).fit(X).net_ is not None

    def test_a_full_disk_at_the_beginning(self, tmp_path, monkeypatch):
        def write(*arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(container, "write", write)
        with pytest.raises(OSError, match="No space left"):
            autoencoder(tmp_path / "fit.ckpt").fit(X)

    def test_two_fits_at_a_time_have_no_common_file(self, tmp_path):
        path = tmp_path / "fit.ckpt"

        class Inside(Callback):
            def on_train_begin(self, net, **kwargs):
                with pytest.raises(ValueError, match="another fit that is running"):
                    autoencoder(path).fit(X)

        own = [Checkpoint(path), Inside()]
        autoencoder(path).set_params(callbacks=own).fit(X)
        assert os.listdir(tmp_path) == []

    def test_a_search_has_a_file_for_each_fit(self, tmp_path, kill):
        path = tmp_path / "{fit}.ckpt"
        grid = {"noise_level": [0.1, 0.3]}
        estimator = autoencoder(path, 60)
        estimator.callbacks[0].keep = True
        search = GridSearchCV(estimator, grid, cv=2).fit(X)
        assert len(os.listdir(tmp_path)) == 5
        again = GridSearchCV(estimator, grid, cv=2).fit(X)
        assert_equal(search.best_estimator_.net_, again.best_estimator_.net_)


def copy_of_the_global_state():
    """What ``random_state=None`` draws from."""
    return copy.deepcopy(check_random_state(None))


class TestSeeds:
    @pytest.mark.parametrize("name", ["adversarial", "classifier", "detector"])
    def test_a_seed_that_was_drawn_is_used_again(self, name, kill, tmp_path):
        estimator, arguments = FAMILIES[name]
        path = tmp_path / "fit.ckpt"
        estimator = clone(estimator).set_params(random_state=None)
        own = copy_of_the_global_state()
        whole = clone(estimator).set_params(random_state=own).fit(*arguments)
        kill(with_checkpoint(estimator, path), *arguments)
        resumed = with_checkpoint(estimator, path).fit(*arguments)
        assert_equal(outputs(whole, X), outputs(resumed, X))

    def test_an_instance_is_left_as_by_the_whole_fit(self, kill, tmp_path):
        path, states = tmp_path / "fit.ckpt", [np.random.RandomState(3)]
        whole = skae.AdversarialAE(2, **{**BRIEF, "random_state": states[0]}).fit(X)
        for seed in (3, 4):
            states.append(np.random.RandomState(seed))
            own = {**BRIEF, "random_state": states[-1]}
            estimator = skae.AdversarialAE(2, **own)
            estimator.callbacks = [Checkpoint(path, 0)]
            if seed == 3:
                kill(estimator, X)
        assert_equal(whole.net_, estimator.fit(X).net_)
        assert states[0].randint(10**9) == states[-1].randint(10**9)

    def test_a_detector_with_a_file_for_each_fit_needs_a_seed(self, tmp_path):
        inner = autoencoder(tmp_path / "{fit}.ckpt")
        with pytest.raises(ValueError, match="needs random_state to be an int"):
            skae.AEOutlierDetector(estimator=inner).fit(X)
        skae.AEOutlierDetector(estimator=inner, random_state=0).fit(X)


class TestContinuedFits:
    @pytest.mark.parametrize("name", ["denoising", "gan", "labels only"])
    def test_warm_start(self, name, kill, tmp_path):
        estimator, arguments = FAMILIES[name]
        path = tmp_path / "fit.ckpt"
        base = clone(estimator).set_params(warm_start=True).fit(*arguments)
        whole = pickle.loads(pickle.dumps(base)).fit(*arguments)
        copies = [pickle.loads(pickle.dumps(base)) for _ in range(2)]
        for each in copies:
            each.callbacks = [Checkpoint(path, 0)]
        kill(copies[0], *arguments)
        assert_equal(base.net_, copies[0].net_)
        other = with_checkpoint(base, path)
        with pytest.raises(ValueError, match="the fitted model that is continued"):
            other.fit(*arguments)
        assert_equal(whole, copies[1].fit(*arguments))

    @pytest.mark.parametrize("name", ["denoising", "labels only"])
    def test_partial_fit_takes_no_notice(self, name, tmp_path):
        path = tmp_path / "fit.ckpt"
        path.write_text("mine")
        stream = with_checkpoint(FAMILIES[name][0], path)
        options = {"classes": [0, 1]} if name == "labels only" else {}
        for _ in range(2):
            stream.partial_fit(X, Y if options else None, **options)
        assert os.listdir(tmp_path) == ["fit.ckpt"]
        assert path.read_text() == "mine"

    def test_what_was_not_trained_leaves_no_file(self, tmp_path):
        callbacks = [Checkpoint(tmp_path / "fit.ckpt", 0)]
        linear = skae.AutoencoderTransformer(2, hidden_layer_sizes=())
        linear.set_params(activation="identity", callbacks=callbacks).fit(X)
        assert os.listdir(tmp_path) == []


def test_parameters_may_be_numbers_of_numpy(kill, tmp_path):
    path, own = tmp_path / "fit.ckpt", {"tol": np.float32(1e-4)}
    own |= {"learning_rate_init": np.float64(1e-3), "batch_size": np.int64(32)}
    for estimator in (skae.DenoisingAE(3), skae.AdversarialAE(2), skae.GAN(2)):
        estimator.set_params(max_iter=np.int64(3), random_state=np.int64(0), **own)
        kill(with_checkpoint(estimator, path, np.float64(0)), X)
        resumed = with_checkpoint(estimator, path).fit(X)
        assert_equal(clone(estimator).fit(X), resumed)


def test_scikit_learns_callbacks_are_warned_of(kill, tmp_path):
    callback = pytest.importorskip("sklearn.callback")
    path, monitor = tmp_path / "fit.ckpt", callback.ScoringMonitor(scoring=_loss)
    kill(autoencoder(path).set_callbacks(monitor), X)
    with pytest.warns(UserWarning, match="notified of the rounds after the one"):
        autoencoder(path).set_callbacks(monitor).fit(X)


def test_after_ctrl_c_a_resumed_fit_takes_nothing_more_from_the_file(
    kill, tmp_path, monkeypatch
):
    """Ctrl-C comes between two trainings that the file holds."""
    estimator, arguments = FAMILIES["classifier"]
    path = tmp_path / "fit.ckpt"
    kill(with_checkpoint(estimator, path), *arguments, after=40)
    assert len(container.read(path)[0]["finished"]) > 2
    before, original = path.read_bytes(), Recording.finish

    def interrupt(self, state):
        original(self, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(Recording, "finish", interrupt)
    stopped = with_checkpoint(estimator, path).fit(*arguments)
    assert stopped.interrupted_
    assert path.read_bytes() == before
    monkeypatch.setattr(Recording, "finish", original)
    resumed = with_checkpoint(estimator, path).fit(*arguments)
    assert_equal(clone(estimator).fit(*arguments), resumed)


class Raising(Callback):
    """Raises after some batches; the number is no parameter."""

    def __init__(self, error):
        self.error = error

    after = 0

    def on_train_begin(self, net, **kwargs):
        self.n_batches = 0

    def on_batch_end(self, net, **kwargs):
        self.n_batches += 1
        if self.n_batches == Raising.after:
            raise self.error


class TestEndings:
    @pytest.mark.parametrize("name", ["denoising", "classifier"])
    def test_after_ctrl_c_the_file_stays(self, name, tmp_path, monkeypatch):
        estimator, arguments = FAMILIES[name]
        path = tmp_path / "fit.ckpt"

        own = {"others": [("stop", Raising(KeyboardInterrupt))]}
        monkeypatch.setattr(Raising, "after", 5)
        stopped = with_checkpoint(estimator, path, **own).fit(*arguments)
        assert stopped.interrupted_
        assert path.exists()
        monkeypatch.setattr(Raising, "after", 0)
        resumed = with_checkpoint(estimator, path, **own).fit(*arguments)
        assert_equal(clone(estimator).fit(*arguments), resumed)
        assert not path.exists()

    def test_after_another_error_the_file_stays(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Raising, "after", 4)
        own = [Checkpoint(tmp_path / "fit.ckpt", 0), Raising(RuntimeError)]
        with pytest.raises(RuntimeError):
            autoencoder(tmp_path).set_params(callbacks=own).fit(X)
        assert os.listdir(tmp_path) == ["fit.ckpt"]

    def test_after_a_divergence_it_goes(self, tmp_path):
        estimator = autoencoder(tmp_path / "fit.ckpt", learning_rate_init=1e30)
        with pytest.raises(FloatingPointError):
            estimator.fit(X)
        assert os.listdir(tmp_path) == []

    def test_after_a_back_off(self, writes):
        estimator = skae.DenoisingAE(
            4, learning_rate_init=1e12, max_iter=6, random_state=0, alpha=0.0
        )
        whole = clone(estimator).fit(X)
        _, path, copies = writes(estimator, (X,), n_copies=6)
        for each in copies:
            shutil.move(each, path)
            assert_equal(whole, with_checkpoint(estimator, path).fit(X))


class Counter(Callback):
    """Stops after so many batches, which it counts in a list and by a generator."""

    def on_train_begin(self, net, **kwargs):
        self.losses, self.generator = [], np.random.default_rng(0)
        self.drawn = {}

    def on_batch_end(self, net, loss=None, **kwargs):
        self.losses.append(float(loss))
        self.drawn[str(len(self.losses))] = self.generator.random()
        net.history.record_batch("own", float(loss))
        if len(self.losses) % 2:
            net.history.record_batch("odd", len(self.losses))
        self.recorded = [dict(row) for row in net.history[-1, "batches"]]
        if len(self.losses) == 9:
            net.stop_training = True


class TestOtherCallbacks:
    def test_they_go_on_where_they_were(self, writes):
        estimator = skae.DenoisingAE(4, max_iter=5, batch_size=32, random_state=0)
        others = [Counter(), EarlyStopping(patience=9), ProgressBar()]
        watched, path, copies = writes(estimator, (X,), others=others)
        counter = watched.callbacks[0]
        assert len(counter.losses) == 9
        for each in copies:
            shutil.move(each, path)
            resumed = with_checkpoint(estimator, path, others=others).fit(X)
            assert_equal(watched.net_, resumed.net_)
            for name in ("losses", "drawn", "recorded"):
                own = getattr(resumed.callbacks[0], name)
                assert own == getattr(counter, name)

    def test_what_is_no_plain_value_is_named(self, tmp_path):
        class Keeps(Callback):
            def on_train_begin(self, net, **kwargs):
                self.record, self.show = object(), print

        own = [Checkpoint(tmp_path / "fit.ckpt", 0), ("keeps", Keeps())]
        with pytest.warns(UserWarning, match="keeps.record is not in the checkpoint"):
            autoencoder(tmp_path).set_params(callbacks=own).fit(X)


class TestTheCallback:
    def test_parameters(self):
        checkpoint = Checkpoint("a.ckpt", every=5)
        assert clone(checkpoint).get_params() == {
            "path": "a.ckpt",
            "every": 5,
            "keep": False,
        }
        assert repr(checkpoint) == "Checkpoint(every=5, path='a.ckpt')"
        estimator = skae.GAN(callbacks=[checkpoint])
        assert clone(estimator).callbacks[0].every == 5
        estimator.set_params(callbacks__Checkpoint__every=7)
        assert estimator.get_params()["callbacks__Checkpoint__every"] == 7
        again = pickle.loads(pickle.dumps(estimator))
        assert again.get_params()["callbacks__Checkpoint__path"] == "a.ckpt"
        assert Checkpoint.__module__ == "skae.callbacks"

    @pytest.mark.parametrize(
        ("callbacks", "message"),
        [
            ([Checkpoint("a", every=-1)], "every must be seconds, at least 0; got -1"),
            ([Checkpoint("a", every=np.nan)], "every must be seconds"),
            ([Checkpoint("a", every="1")], "every must be seconds"),
            ([Checkpoint("a", keep=None)], "keep must be a bool; got None"),
            ([Checkpoint(None)], "path must be a file's path; got None"),
            ([Checkpoint("")], "path must be a file's path"),
            ([Checkpoint], "got the class Checkpoint"),
            ([Checkpoint("a"), ("two", Checkpoint("b"))], "one Checkpoint; got 2"),
        ],
    )
    def test_what_is_refused(self, callbacks, message, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for estimator in (skae.DenoisingAE(), skae.GAN(), skae.StackedAEClassifier()):
            with pytest.raises(ValueError, match=message):
                estimator.set_params(callbacks=callbacks).fit(X, Y)
        assert os.listdir(tmp_path) == []

    def test_the_fitted_estimator_goes_through_a_pickle(self, tmp_path):
        estimator, arguments = FAMILIES["classifier"]
        fitted = with_checkpoint(estimator, tmp_path / "fit.ckpt").fit(*arguments)
        again = pickle.loads(pickle.dumps(fitted))
        assert_equal(outputs(fitted, X), outputs(again, X))
        assert isinstance(again.autoencoders_[0].callbacks[0], Checkpoint)

    def test_callbacks_that_change_weights_at_the_beginning(self, kill, tmp_path):
        own = {"others": [Initializer("*", fn=_halve)]}
        estimator, path = FAMILIES["denoising"][0], tmp_path / "fit.ckpt"
        whole = clone(estimator).set_params(callbacks=own["others"]).fit(X)
        kill(with_checkpoint(estimator, path, **own), X)
        assert_equal(whole.net_, with_checkpoint(estimator, path, **own).fit(X).net_)

    def test_a_file_that_does_not_fit_the_training(self, kill, tmp_path):
        path = tmp_path / "fit.ckpt"
        kill(autoencoder(path), X)
        tree, header = container.read(path)
        tree["current"]["weights"] = tree["current"]["weights"][:-1]
        container.write(path, tree, header)
        with pytest.raises(ModelFileError, match="does not fit this training"):
            autoencoder(path).fit(X)


class Memory:
    def __init__(self):
        self.n_calls = 0


class Remembering(nn.Linear):
    def __init__(self, changes):
        super().__init__(8, 3)
        self.memory, self.settings = Memory(), Memory()
        self.changes = changes

    def forward(self, x):
        self.memory.n_calls += self.changes
        return super().forward(x)


@pytest.mark.parametrize("changes", [0, 1])
def test_state_of_a_module_that_is_not_stored_is_named(changes, tmp_path):
    estimator = skae.AutoencoderTransformer(
        architecture=(Remembering(changes), nn.Linear(3, 8)), init="random", **BRIEF
    )
    own = with_checkpoint(estimator, tmp_path / "fit.ckpt")
    if not changes:
        own.fit(X)
        return
    with pytest.warns(UserWarning, match=r"Remembering\.memory of your module") as seen:
        own.fit(X)
    assert not [w for w in seen if "settings" in str(w.message)]


def _loss(estimator, X, y=None):
    return {"loss": float(np.square(estimator.reconstruct(X) - X).mean())}


def _halve(weight):
    with torch.no_grad():
        weight.mul_(0.5)
