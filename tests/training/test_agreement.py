"""What fits must have in common is the same in every process, and differs by value."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from skae import DenoisingAE
from skae.parts.penalties import L1Sparsity
from skae.training.agreement import (
    differences,
    digest,
    facts_of_data,
    facts_of_parameters,
)


def noisy(level):
    return lambda x, generator: x + level


class Own:
    def __init__(self, value):
        self.value, self.itself = value, self


PAIRS = {
    "numbers": (1, 2),
    "types of numbers": (1, True),
    "texts": ("a", "b"),
    "arrays": (np.arange(3), np.arange(3) + 1),
    "dtypes": (np.arange(3), np.arange(3.0)),
    "shapes": (np.zeros((2, 3)), np.zeros((3, 2))),
    "objects": (np.array(["a", None], object), np.array(["b", None], object)),
    "tensors": (torch.zeros(2), torch.ones(2)),
    "closures": (noisy(0.1), noisy(0.2)),
    "constants": (lambda x: x in {"a", "b"}, lambda x: x in {"a", "c"}),
    "partials": (partial(max, 1), partial(max, 2)),
    "classes": (nn.Linear, nn.Bilinear),
    "parts": (L1Sparsity(0.1), L1Sparsity(0.2)),
    "objects with themselves": (Own(1), Own(2)),
    "generators": (np.random.default_rng(0), np.random.default_rng(1)),
    "torch's": (torch.Generator(), torch.Generator().manual_seed(1)),
    "orders": ([1, 2], [2, 1]),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_digest_is_of_what_a_value_holds(name):
    one, other = PAIRS[name]
    assert digest(one) == digest(one)
    assert digest(one) != digest(other)


def test_equal_values_have_equal_digests():
    assert digest(noisy(0.1)) == digest(noisy(0.1))
    assert digest(Own([1])) == digest(Own([1]))
    torch_seed = torch.Generator().manual_seed(0)
    module = nn.Linear(2, 2)
    nn.init.normal_(module.weight, generator=torch_seed)
    assert digest(module) != digest(nn.Linear(2, 2))


def test_digests_are_those_of_other_processes():
    letters = set("abcdefghijklmnop")
    script = (
        "from skae.training.agreement import digest\n"
        f"def inside(x, names=frozenset({letters})): return x in {letters}\n"
        f"found = digest([inside, {{'b': {letters}, 'a': object()}}])"
    )
    here = {}
    exec(script, here)
    # The order of a set depends on the seed of its hashes.
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\nprint(found)"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.strip() == str(here["found"])


def test_parameters_without_effect_do_not_count():
    one = DenoisingAE(3, verbose=1, random_state=0)
    other = DenoisingAE(3, callbacks=[], random_state=np.int64(0))
    assert facts_of_parameters(one) == facts_of_parameters(other)
    other.set_params(noise_level=0.7, n_components=4)
    assert differences(facts_of_parameters(one), facts_of_parameters(other)) == [
        "n_components was 3 and is 4",
        "noise_level was 0.5 and is 0.7",
    ]


@pytest.mark.parametrize("of", [np.asarray, sparse.csr_array])
def test_one_changed_entry_of_a_table_is_noticed(of):
    X = np.ones((200, 5))
    changed = X.copy()
    changed[77, 3] = 2
    words = differences(facts_of_data(X=of(X)), facts_of_data(X=of(changed)))
    assert len(words) == 1
    assert words[0].endswith("has other values")


def test_of_a_large_table_some_rows_are_read():
    class Counting(np.ndarray):
        n_read = 0

        def __getitem__(self, rows):
            Counting.n_read += len(rows)
            return np.asarray(self)[rows]

    X = np.zeros((50_000, 100)).view(Counting)
    facts_of_data(X=X)
    assert 5_000 < Counting.n_read < 20_000
