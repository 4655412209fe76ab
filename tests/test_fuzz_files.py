"""Damaged and forged files: refused with one error, or of use; never anything else.

The changes are those of `benchmarks/fuzz_files.py`, which tries ten times as many; the
attacks below them are made by hand.
"""

import contextlib
import importlib
import json
import pickle
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import skae

BENCHMARKS = str(Path(__file__).parents[1] / "benchmarks")
sys.path.insert(0, BENCHMARKS)
try:
    import fuzz_files
    import mutations
finally:
    sys.path.remove(BENCHMARKS)

pytest.importorskip("skops")

N_FILES = 2000


@pytest.fixture(scope="module")
def originals():
    return fuzz_files.originals()


@pytest.fixture(scope="module")
def pair():
    return fuzz_files.originals(("pair",))["pair"][0]


@pytest.fixture(scope="module")
def watch():
    return fuzz_files.Watch()


@pytest.mark.filterwarnings("ignore")
def test_changed_files_are_refused_or_of_use(originals, watch, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for sort, number, outcome in fuzz_files.outcomes(
            N_FILES, originals, tmp_path, watch, seed=1, traced=0.02
        ):
            assert outcome.fault is None, (sort, number, outcome)
    finally:
        torch.set_num_threads(threads)


def test_valid_files_open_and_import_nothing_else(originals, watch, tmp_path):
    for data, rows in originals.values():
        path = tmp_path / "model.safetensors"
        path.write_bytes(data)
        outcome = fuzz_files.outcome_of(path, rows, watch)
        assert (outcome.what, outcome.fault) == ("loaded", None)


def test_the_watch_sees_what_runs(watch, tmp_path):
    with watch.looking() as seen:
        (tmp_path / "x").write_bytes(b"")
        exec("1")
        pickle.loads(pickle.dumps(np.float64))
    for event in ("open", "exec", "pickle.find_class"):
        assert any(each.startswith(event) for each in seen)


def test_the_watch_sees_threads_that_are_started_and_leaves_out_others(watch, tmp_path):
    """Other threads may begin at any time, as in a pool."""
    begin, end = threading.Event(), threading.Event()

    def run(function, *arguments):
        thread = threading.Thread(target=function, args=arguments)
        thread.start()
        thread.join()

    def use(name):
        path = tmp_path / f"{name}.py"
        path.write_bytes(b"")
        importlib.import_module(name)

    def others():
        begin.wait()
        use("elsewhere")
        run(use, "elsewhere_later")
        end.set()

    other = threading.Thread(target=others)
    other.start()
    sys.path.insert(0, str(tmp_path))
    try:
        with watch.looking() as seen:
            run(use, "here")
            run(run, use, "here_later")
            begin.set()
            end.wait()
    finally:
        sys.path.remove(str(tmp_path))
        begin.set()
        other.join()
    for name in ("here", "here_later"):
        assert any(f"/{name}.py" in each for each in seen)
        assert f"import {name}" in seen
    assert not any("elsewhere" in each for each in seen)


@pytest.mark.parametrize("what", ["open", "import", "both in a thread"])
def test_a_file_whose_loading_does_more_is_a_fault(
    what, originals, watch, tmp_path, monkeypatch
):
    data, rows = originals["dense"]
    path, other = tmp_path / "model.safetensors", tmp_path / "other"
    path.write_bytes(data)
    other.write_bytes(b"")
    load = skae.load

    def more():
        if what != "import":
            other.read_bytes()
        if what != "open":
            importlib.import_module("this_module_is_nowhere")

    def loaded(path):
        with contextlib.suppress(ImportError):
            if "thread" in what:
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(more).result()
            else:
                more()
        return load(path)

    monkeypatch.setattr(skae, "load", loaded)
    outcome = fuzz_files.outcome_of(path, rows, watch)
    assert outcome.what == "loaded"
    assert (str(other) in outcome.fault) == (what != "import")
    assert ("import this_module" in outcome.fault) == (what != "open")


# An attacker's files, with checksums that are right


def module(kind, number, **state):
    return {
        "$": "object",
        "class": f"torch.nn.{kind}",
        "number": number,
        "state": state,
    }


def same(number):
    return {"$": "same", "number": number}


def items(kind, *values):
    return {"$": kind, "items": list(values)}


def nodes(tree):
    yield tree
    for each in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(each, dict | list):
            yield from nodes(each)


def of_class(document, name, inside="AutoencoderTransformer"):
    if inside != document.tree["class"]:
        found = nodes(of_class(document, inside))
    else:
        found = nodes(document.tree)
    return next(
        n for n in found if isinstance(n, dict) and n.get("class") == name
    )["state"]  # fmt: skip


def refusal(document, tmp_path, match=None):
    path = tmp_path / "model.safetensors"
    path.write_bytes(document.joined())
    start = time.thread_time()
    with pytest.raises(skae.ModelFileError, match=match) as error:
        skae.load(path)
    assert time.thread_time() - start < 2
    assert len(str(error.value)) <= 2000
    assert str(error.value).isprintable()


IMAGE = module("Unflatten", 900, dim=1, unflattened_size=items("tuple", 1, 1, 6))
BIG = items("tuple", 300_000, 300_000)


@pytest.mark.parametrize(
    "layer",
    [
        module("LocalResponseNorm", 901, size=10**12, alpha=1.0, beta=1.0, k=1.0),
        module(
            "Unfold", 901, kernel_size=3, dilation=1, padding=10**4, stride=1
        ),  # fmt: skip
        module("ZeroPad2d", 901, padding=items("tuple", *4 * [10**6]), value=0.0),
        module("CircularPad2d", 901, padding=items("tuple", *4 * [10**6])),
        module("AdaptiveAvgPool2d", 901, output_size=BIG),
        module("Upsample", 901, size=BIG, scale_factor=None, mode="nearest",
               align_corners=None, recompute_scale_factor=None),
        module("Upsample", 901, size=None, scale_factor=1e6, mode="nearest",
               align_corners=None, recompute_scale_factor=None),
    ],
    ids=lambda layer: layer["class"],
)  # fmt: skip
def test_layers_that_ask_for_any_memory_are_refused(pair, layer, tmp_path):
    document = mutations.Document.of(pair)
    layers = of_class(document, "torch.nn.Sequential", "PairCodec")
    layers["_modules"] = {"a": IMAGE, "b": layer, **layers["_modules"]}
    refusal(document, tmp_path, "would give .* bytes")


def test_shared_modules_do_not_multiply(pair, tmp_path):
    document = mutations.Document.of(pair)
    chain = [module("Identity", 1000)]
    for i in range(1000, 1040):
        chain.append(
            module("Sequential", i + 1, _modules={"0": same(i), "1": same(i)})
        )  # fmt: skip
    document.tree["state"] = {"a": chain, **document.tree["state"]}
    layers = of_class(document, "torch.nn.Sequential", "PairCodec")
    layers["_modules"] = {"a": same(1040), **layers["_modules"]}
    refusal(document, tmp_path, "share others too often")


def test_shared_estimators_do_not_multiply(originals, tmp_path):
    document = mutations.Document.of(originals["dense"][0])
    chain = []
    for i in range(2000, 2040):
        names = ("penalty", "callbacks", "prior") if chain else ()
        state = {name: same(i - 1) for name in names}
        chain.append(
            {"$": "object", "class": "GAN", "number": i, "state": state}
        )  # fmt: skip
    document.tree["state"] |= {"a": chain, "penalty": same(2039)}
    # Read in this order.
    del document.tree["state"]["penalty"]
    document.tree["state"]["penalty"] = same(2039)
    refusal(document, tmp_path, "share others too often")


def test_an_estimator_is_not_inside_itself(originals, tmp_path):
    document = mutations.Document.of(originals["dense"][0])
    document.tree["state"]["penalty"] = same(0)
    refusal(document, tmp_path)


@pytest.mark.parametrize("number", [2**61 - 1, -1, True, 1.5, "1", [1], None])
def test_numbers_of_objects_are_small(originals, number, tmp_path):
    document = mutations.Document.of(originals["dense"][0])
    document.tree["state"]["penalty"] = module("Identity", number)
    refusal(document, tmp_path)


@pytest.mark.parametrize("kind", ["dict", "set"])
def test_keys_of_one_hash_are_refused(originals, kind, tmp_path):
    document = mutations.Document.of(originals["dense"][0])
    keys = [i * (2**61 - 1) for i in range(20_000)]
    values = [[key, 0] for key in keys] if kind == "dict" else keys
    document.tree["state"]["penalty"] = items(kind, *values)
    refusal(document, tmp_path, "slow to look up")


@pytest.mark.parametrize("shape", [[10**9, 0], [0, 10**9], [2**40, 0, 6]])
def test_axes_of_no_length_hide_no_others(originals, shape, tmp_path):
    document = mutations.Document.of(originals["dense"][0])
    name = next(name for name in document.arrays if "encoder_weights" in name)
    document.arrays[name] = b""
    document.entries[name]["shape"] = shape
    refusal(document, tmp_path, "shape")


def test_units_do_not_broadcast(originals, tmp_path):
    document = mutations.Document.of(originals["dense"][0])
    n = 3000
    state = of_class(document, "Units")
    for name in ("center", "scale"):
        shape = [n, 1] if name == "scale" else [n]
        document.entries[name] = {"dtype": "F64", "shape": shape}
        document.arrays[name] = np.ones(n).tobytes()
        state[name] = {"$": "array", "name": name, "dtype": "<f8"}
    del document.arrays["units_.center"], document.entries["units_.center"]
    document.entries["mean_"]["shape"] = [n]
    document.arrays["mean_"] = np.ones(n).tobytes()
    document.tree["state"]["n_features_in_"] = n
    refusal(document, tmp_path, "shape")


@pytest.mark.parametrize("name", ["transform", "__sklearn_tags__", "get_params"])
def test_attributes_do_not_take_the_place_of_methods(originals, name, tmp_path):
    for case in ("dense", "detector"):
        document = mutations.Document.of(originals[case][0])
        document.tree["state"][name] = {"$": "name", "name": "masked"}
        refusal(document, tmp_path)


@pytest.mark.parametrize(
    "name", ["forward", "_forward_hooks", "_compiled_call_impl", "_modules", "__call__"]
)
def test_modules_keep_their_methods(pair, name, tmp_path):
    document = mutations.Document.of(pair)
    of_class(document, "torch.nn.Linear", "PairCodec")[name] = {
        "$": "name",
        "name": "masked",
    }
    refusal(document, tmp_path)


def test_methods_are_not_replaced_in_pickles(originals, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(originals["dense"][0])
    stored = skae.load(path).__getstate__()
    stored["state"]["transform"] = len
    with pytest.raises(skae.ModelFileError, match="'transform' is no attribute"):
        skae.AutoencoderTransformer().__setstate__(stored)


@pytest.mark.parametrize(
    "version", ["9." * 10**6, "1" * 10**6, [[[[]]]], {"a": 1}, None, 1e308, "\x1b[2J\n"]
)
def test_versions_of_any_sort_are_read(originals, version, tmp_path):
    document = mutations.Document.of(originals["dense"][0])
    document.content["header"]["versions"] = {"skae": version}
    path = tmp_path / "model.safetensors"
    path.write_bytes(document.joined())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        skae.load(path)
    assert all(len(str(each.message)) < 500 for each in caught)


def test_names_in_errors_are_short_and_printable(originals, tmp_path):
    document = mutations.Document.of(originals["dense"][0])
    name = "os.system\n\x1b[2J" * 10_000
    document.tree["state"]["callbacks"] = {"$": "name", "name": name}
    refusal(document, tmp_path)


@pytest.mark.parametrize("place", ["metadata", "string", "array", "skops"])
def test_a_pickle_inside_runs_nothing(originals, place, watch, tmp_path):
    data = pickle.dumps(mutations.Owned())
    document = mutations.Document.of(originals["dense"][0])
    name = next(iter(document.arrays))
    text = data.decode("latin1")
    if place == "metadata":
        document.content["header"]["versions"] = text
        document.content["pickle"] = text
    elif place == "string":
        document.tree["state"]["callbacks"] = text
    else:
        document.arrays[name] = data
        document.entries[name] = {"dtype": "U8", "shape": [len(data)]}
        for node in nodes(document.tree):
            if isinstance(node, dict) and node.get("name") == name:
                node["dtype"] = "|u1"
    if place == "skops":
        array = {"$": "array", "name": name, "dtype": "|u1"}
        document = mutations.Document(
            document.content,
            {"skops": array},
            {name: document.entries[name]},
            {name: data},
        )
    path = tmp_path / "model.safetensors"
    path.write_bytes(document.joined())
    outcome = fuzz_files.outcome_of(path, originals["dense"][1], watch)
    assert outcome.fault is None
    assert "antigravity" not in sys.modules


def test_checksums_of_the_changes_are_right(originals, tmp_path):
    # Else all of them would be refused for that.
    path = tmp_path / "model.safetensors"
    for data, _ in originals.values():
        document = mutations.Document.of(data)
        path.write_bytes(document.joined())
        skae.load(path)
        assert json.loads(json.dumps(document.content)) == document.content
