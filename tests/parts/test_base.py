"""Objects of other classes, completed with the defaults of an axis."""

import copy
import pickle

import pytest
import torch
from sklearn.base import clone

from skae.parts.base import (
    Architecture,
    Corruption,
    EntryLikelihood,
    Likelihood,
    Penalty,
    Prior,
    as_part,
)


class Absolute:
    """A likelihood with a parameter and no base class."""

    is_centred = False

    def __init__(self, width):
        self.width = width

    def nll(self, raw, x):
        return ((raw - x).abs() / self.width).sum(-1)

    def mean(self, raw):
        return raw


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, clone, lambda part: pickle.loads(pickle.dumps(part))]
)
def test_what_an_object_lacks_is_the_default(copied):
    raw = torch.tensor([[1.0, 3.0]])
    part = copied(as_part(Absolute(2.0), Likelihood))
    assert isinstance(part, Likelihood)
    assert not part.is_centred
    assert part.n_outputs(3) == 3
    assert part.nll(raw, 0 * raw).tolist() == [2.0]
    assert part.entry_nll(raw, 0 * raw).tolist() == [[0.5, 1.5]]
    part.part.width = 4.0
    assert part.nll(raw, 0 * raw).tolist() == [1.0]


def test_parts_of_the_base_class_stay_as_they_are():
    part = Corruption()
    assert as_part(part, Corruption) is part


def test_functions_are_corruptions_and_penalties():
    corruption = as_part(lambda x, generator: x + 1, Corruption)
    assert corruption(1, None) == 2
    assert not corruption.is_identity
    assert corruption.bind(None) is corruption
    assert as_part(lambda state: 3, Penalty)(None) == 3


@pytest.mark.parametrize(
    ("base", "missing"),
    [
        (Architecture, "An? architecture part needs build"),
        (Likelihood, "A likelihood part needs nll and mean"),
        (Prior, "A prior part needs draw and divergence"),
        (Corruption, "A corruption part needs __call__"),
        (Penalty, "A penalty part needs __call__"),
    ],
)
def test_what_an_axis_needs_is_named(base, missing):
    with pytest.raises(ValueError, match=f"{missing}; got 3. Subclass skae.parts.base"):
        as_part(3, base)


def test_independent_entries_need_no_nll():
    class Squared(EntryLikelihood):
        def entry_nll(self, raw, x):
            return (raw - x) ** 2

    assert Squared().nll(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2)).item() == 5
