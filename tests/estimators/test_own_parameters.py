"""Parameters that an architecture does not have are refused by name."""

import numpy as np
import pytest
from torch import nn

from skae import ConditionalVAE, ConvAE, VariationalAE
from skae.parts.dense import Dense

IMAGES = np.random.default_rng(0).random((20, 8, 8))
Y = np.arange(20) % 2
PAIR = nn.Linear(64, 4), nn.Linear(2, 64)


@pytest.mark.parametrize("Estimator", [VariationalAE, ConditionalVAE])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"architecture": "conv", "hidden_layer_sizes": (8,)},
            r"hidden_layer_sizes=\(8,\) is for architecture='dense'; .*='conv'",
        ),
        ({"architecture": "dense", "channels": 8}, "channels=8 is for .*'conv'"),
        (
            {"architecture": Dense((8,)), "hidden_layer_sizes": (4,)},
            r"hidden_layer_sizes=.* has architecture=Dense\(",
        ),
        ({"architecture": Dense((8,)), "activation": "tanh"}, "'dense' or 'conv'"),
        ({"architecture": PAIR, "channels": 8}, "channels=8"),
    ],
)
def test_variational_autoencoders_refuse_those_of_others(
    Estimator, parameters, message
):
    with pytest.raises(ValueError, match=message):
        Estimator(2, **parameters).fit(IMAGES, Y)


def test_feature_maps_do_not_start_as_pca():
    with pytest.raises(ValueError, match="init='pca' needs n_components"):
        ConvAE(init="pca").fit(IMAGES)
    with pytest.raises(ValueError, match="init='pca' needs n_components"):
        ConvAE(init="pca", noise="gaussian").fit(IMAGES)
