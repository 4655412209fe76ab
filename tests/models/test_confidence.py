"""The factor on logits that brings the confidence that is asked for."""

import pytest
import torch

from skae.models.confidence import sharpness


def logits():
    return torch.randn(300, 4, generator=torch.Generator().manual_seed(0))


def confidence(values):
    return float(values.softmax(1).amax(1).mean())


@pytest.mark.parametrize("wanted", [0.6, 0.7, 0.8])
def test_the_mean_confidence_is_reached(wanted):
    factor = sharpness(logits(), wanted)
    assert factor > 1
    assert confidence(factor * logits()) == pytest.approx(wanted, abs=1e-4)


def test_rows_that_are_sure_enough_stay_as_they_are():
    assert sharpness(logits(), 0.9 * confidence(logits())) == 1


def test_the_factor_is_bounded():
    assert sharpness(torch.zeros(5, 3), 0.9) == 4
