"""A linear path beside any codec, against PCA and against its own members."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from skae.parts.activations import ACTIVATIONS
from skae.parts.anchored import Anchor, AnchoredCodec
from skae.parts.base import Codec
from skae.parts.conv import Conv
from skae.parts.dense import Dense
from skae.parts.guard import widest_guard
from skae.parts.modules import ModulePair
from skae.parts.recurrent import Recurrent

D, K, N = 6, 3, 40
CONV = {"channels": (4,), "kernel_size": 2, "stride": 2, "n_residual_layers": 1}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(seed=0):
    mixing = torch.randn(D, D, generator=generator(seed))
    return torch.randn(N, D, generator=generator(seed + 1)) @ mixing + 2


def pca_anchor(x, shrinkage=None):
    pca = PCA(K).fit(x.double().numpy())
    center = torch.tensor(pca.mean_, dtype=torch.float)
    anchor = Anchor(
        axes=torch.tensor(pca.components_.T, dtype=torch.float),
        scale=torch.tensor(np.sqrt(pca.explained_variance_), dtype=torch.float),
        center=center,
        raw_center=center,
        raw_slope=torch.ones(D),
        shrinkage=torch.ones(K) if shrinkage is None else shrinkage,
    )
    return pca, anchor


def anchored(anchor, hidden=(8,), activation="relu", tied=False, members=None, **path):
    codec = Dense(hidden, activation, tied).build(
        D,
        K,
        generator=generator(),
        members=members,
        same_start=path.pop("same_start", True),
    )
    path = {"input_scale": torch.ones(D), "output_scale": torch.ones(D), **path}
    return AnchoredCodec(codec, anchor, **path, tied=tied, generator=generator(1))


def disturbed(codec, seed=5):
    """The codec with every weight moved, so that nothing is zero."""
    with torch.no_grad():
        for parameter in codec.parameters():
            noise = torch.randn(parameter.shape, generator=generator(seed))
            parameter += 0.3 * noise
    return codec


def stack(anchors):
    return Anchor(*(torch.stack(parts) for parts in zip(*anchors, strict=True)))


def pair():
    encoder = nn.Sequential(nn.Linear(D, 8), nn.Tanh(), nn.Linear(8, K))
    return ModulePair(
        encoder, nn.Sequential(nn.Linear(K, 8), nn.Tanh(), nn.Linear(8, D))
    )


ARCHITECTURES = {
    "dense": lambda: Dense((8,)),
    "conv": lambda: Conv((1, 2, 3), **CONV),
    "conv_with_output": lambda: Conv((1, 2, 3), output_kernel_size=3, **CONV),
    "recurrent": lambda: Recurrent((3, 2), hidden_size=8),
    "recurrent_in_frames": lambda: Recurrent((3, 2), "gru", 8, 2, 2),
    "pair": pair,
}
each_architecture = pytest.mark.parametrize("name", ARCHITECTURES)


def built(name, **options):
    return ARCHITECTURES[name]().build(D, K, generator=generator(), **options)


def assert_close(actual, expected):
    np.testing.assert_allclose(actual.detach(), expected, atol=2e-5)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(), (8,), (8, 5)])
def test_an_anchored_codec_starts_as_pca(tied, activation, hidden):
    x = rows()
    pca, anchor = pca_anchor(x)
    codec = anchored(
        anchor, hidden, activation, tied, input_scale=1 / x.std(0), bound=3.0
    )
    code = codec.encode(x)
    expected = pca.transform(x.double().numpy())
    assert_close(code, expected)
    assert_close(codec.decode(code), pca.inverse_transform(expected))


@each_architecture
@pytest.mark.parametrize("output_scale", [1.0, 0.2])
def test_every_architecture_starts_as_pca(name, output_scale):
    x = rows()
    pca, anchor = pca_anchor(x)
    scale = torch.full((D,), output_scale)
    codec = AnchoredCodec(
        built(name), anchor, 1 / x.std(0), scale, bound=3.0, generator=generator()
    )
    code = codec.encode(x)
    expected = pca.transform(x.double().numpy())
    assert_close(code, expected)
    assert_close(codec.decode(code), pca.inverse_transform(expected))


@each_architecture
def test_every_architecture_starts_as_probabilistic_pca(name):
    x = rows()
    noise = PCA(K).fit(x.double().numpy()).noise_variance_
    variance = PCA(K).fit(x.double().numpy()).explained_variance_
    shrinkage = torch.tensor(1 - noise / variance, dtype=torch.float)
    pca, anchor = pca_anchor(x, shrinkage)
    ones = torch.ones(D)
    codec = AnchoredCodec(built(name), anchor, ones, ones, whitened=True)
    # Tipping and Bishop 1999: W = U (L - s^2)^(1/2), M = W'W + s^2.
    loadings = pca.components_.T * np.sqrt(variance - noise)
    precision = loadings.T @ loadings + noise * np.eye(K)
    centred = x.double().numpy() - pca.mean_
    posterior_mean = centred @ loadings @ np.linalg.inv(precision)
    code = codec.encode(x)
    assert_close(code, posterior_mean)
    assert_close(codec.decode(code), posterior_mean @ loadings.T + pca.mean_)


@each_architecture
def test_zero_last_parameters_make_a_codec_return_zero(name):
    codec = disturbed(built(name))
    with torch.no_grad():
        for parameter in codec.last_parameters():
            parameter.zero_()
    x = rows()
    assert torch.equal(codec.encode(x), torch.zeros(N, K))
    assert torch.equal(codec.decode(x[:, :K]), torch.zeros(N, D))


@each_architecture
def test_multiplied_last_parameters_multiply_what_a_codec_returns(name):
    codec = disturbed(built(name))
    x = rows()
    codec.last_parameters()
    before = codec.encode(x).detach(), codec.decode(x[:, :K]).detach()
    with torch.no_grad():
        for parameter in codec.last_parameters():
            parameter *= 3
    torch.testing.assert_close(codec.encode(x), 3 * before[0])
    torch.testing.assert_close(codec.decode(x[:, :K]), 3 * before[1])


@each_architecture
def test_every_last_parameter_can_leave_its_start(name):
    x = rows()
    ones = torch.ones(D)
    codec = AnchoredCodec(built(name), pca_anchor(x)[1], ones, ones)
    (codec.decode(codec.encode(x)) - x).square().sum().backward()
    last = codec.codec.last_parameters()
    assert all(parameter.grad.any() for parameter in last[len(last) // 2 :])
    for parameter in last[len(last) // 2 :]:
        parameter.data += 0.1
    codec.zero_grad()
    (codec.decode(codec.encode(x)) - x).square().sum().backward()
    assert all(parameter.grad.any() for parameter in last)


def test_codecs_without_last_parameters_can_not_be_anchored():
    class Own(Codec):
        n_components = K

    ones = torch.ones(D)
    with pytest.raises(ValueError, match="init='pca' cannot be combined with Own"):
        AnchoredCodec(Own(), pca_anchor(rows())[1], ones, ones)


def test_an_anchor_on_the_raw_scale_is_carried_by_its_slope():
    x = rows()
    _, anchor = pca_anchor(x)
    slope = torch.linspace(1, 2, D)
    anchor = anchor._replace(raw_center=torch.full((D,), 7.0), raw_slope=slope)
    codec = anchored(anchor)
    expected = 7 + (codec.encode(x) @ anchor.axes.T) * slope
    torch.testing.assert_close(codec.decode(codec.encode(x)), expected)


def test_columns_of_no_output_scale_keep_their_centre():
    x = rows()
    _, anchor = pca_anchor(x)
    scale = torch.ones(D)
    scale[2] = 0
    codec = disturbed(anchored(anchor, output_scale=scale))
    raw = codec.decode(codec.encode(x)).detach()
    assert torch.equal(raw[:, 2], anchor.raw_center[2].expand(N))


def test_what_lies_beyond_the_location_starts_at_the_start():
    x = rows()
    _, anchor = pca_anchor(x)
    ones = torch.ones(D)
    start = torch.linspace(-3, -1, K)
    path = {"start": start, "whitened": True}
    codec = AnchoredCodec(built("dense", n_outputs=2 * K), anchor, ones, ones, **path)
    location, rest = codec.encode(x).chunk(2, -1)
    plain = AnchoredCodec(built("dense"), anchor, ones, ones, whitened=True)
    assert torch.equal(rest, start.expand(N, K))
    torch.testing.assert_close(location, plain.encode(x))


def test_missing_entries_count_as_their_mean():
    x = rows()
    _, anchor = pca_anchor(x)
    ones = torch.ones(D)
    codec = AnchoredCodec(built("recurrent"), anchor, ones, ones)
    shorter = x.clone()
    shorter[:, 4:] = torch.nan
    filled = torch.where(shorter.isnan(), anchor.center, shorter)
    torch.testing.assert_close(codec.encode(shorter), codec.encode(filled))


def test_tied_weights_and_paths_share_one_gradient():
    x = rows()
    _, anchor = pca_anchor(x)
    tied = disturbed(anchored(anchor, tied=True))
    untied = anchored(anchor)
    state = tied.state_dict()
    n_weights = len(tied.codec.encoder_weights)
    for index in range(n_weights):
        mirrored = state[f"codec.encoder_weights.{n_weights - 1 - index}"]
        state[f"codec.decoder_weights.{index}"] = mirrored.mT
    state["decoder_path"] = state["encoder_path"].mT
    untied.load_state_dict(state)
    for codec in (tied, untied):
        (codec.decode(codec.encode(x)) - x).square().sum().backward()
    for index, weight in enumerate(tied.codec.encoder_weights):
        apart = untied.codec.encoder_weights[index].grad
        apart = apart + untied.codec.decoder_weights[n_weights - 1 - index].grad.mT
        torch.testing.assert_close(weight.grad, apart, rtol=1e-4, atol=1e-2)
    apart = untied.encoder_path.grad + untied.decoder_path.grad.mT
    torch.testing.assert_close(tied.encoder_path.grad, apart, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("guarded", [False, True])
def test_a_member_computes_its_slice_of_the_whole(tied, guarded):
    x = rows()
    anchor = stack([pca_anchor(rows(seed))[1] for seed in range(3)])
    codec = anchored(anchor, tied=tied, members=3, bound=2.0)
    if guarded:
        codec.guard = widest_guard(
            codec, x, torch.rand(3, N, generator=generator()) < 0.5
        )
    codec = disturbed(codec).eval()
    far = torch.cat([x, 4 * x])
    together = codec.decode(codec.encode(far))
    assert together.shape == (3, 2 * N, D)
    for index in range(3):
        alone = codec.member(index).eval()
        torch.testing.assert_close(
            alone.decode(alone.encode(far)), together[index], rtol=1e-4, atol=1e-3
        )


@pytest.mark.parametrize("same_start", [True, False])
@pytest.mark.parametrize("tied", [False, True])
def test_anchored_members_start_from_the_same_or_their_own_weights(same_start, tied):
    anchor = stack([pca_anchor(rows())[1]] * 3)
    codec = anchored(anchor, tied=tied, members=3, same_start=same_start).codec
    # Last layers start at zero with an anchor, whatever the draw.
    weights = codec.encoder_weights[:1]
    if not tied:
        weights = [*weights, *codec.decoder_weights[:1]]
    for weight in weights:
        for first, second in ((0, 1), (1, 2), (0, 2)):
            assert torch.equal(weight[first], weight[second]) == same_start


def test_the_guard_returns_to_the_anchor_far_away():
    x = rows()
    _, anchor = pca_anchor(x)
    start = anchored(anchor)
    codec = disturbed(anchored(anchor)).eval()
    codec.guard = widest_guard(codec, x)
    far = 1000 * x
    for actual, expected in (
        (codec.encode(far), start.encode(far)),
        (codec.decode(codec.encode(far)), start.decode(start.encode(far))),
    ):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-2)


def test_the_guard_leaves_training_rows_alone():
    x = rows()
    codec = disturbed(anchored(pca_anchor(x)[1])).eval()
    code = codec.encode(x)
    raw = codec.decode(code)
    codec.guard = widest_guard(codec, x)
    torch.testing.assert_close(codec.encode(x), code)
    torch.testing.assert_close(codec.decode(code), raw)


def test_beyond_the_bound_the_correction_does_not_change():
    _, anchor = pca_anchor(rows())
    anchor = anchor._replace(center=torch.zeros(D))
    codec = anchored(anchor, bound=3.0)
    with torch.no_grad():
        codec.encoder_path.zero_()
        for parameter in codec.codec.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator(5))
    x = torch.full((1, D), 3.0)
    assert codec.encode(x).any()
    assert torch.equal(codec.encode(x), codec.encode(50 * x))


def test_an_anchored_code_has_no_activation():
    _, anchor = pca_anchor(rows())
    codec = Dense((8,), code_activation="tanh").build(D, K, generator=generator())
    ones = torch.ones(D)
    with pytest.raises(ValueError, match="code_activation='tanh' needs init='random'"):
        AnchoredCodec(codec, anchor, ones, ones)
