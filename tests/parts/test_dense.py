"""Dense codecs against their own members and against autograd."""

import pytest
import torch
from sklearn.base import clone

from skae.parts.activations import ACTIVATIONS
from skae.parts.dense import Dense

D, K, N = 6, 3, 40


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(seed=0):
    mixing = torch.randn(D, D, generator=generator(seed))
    return torch.randn(N, D, generator=generator(seed + 1)) @ mixing + 2


def disturbed(codec, seed=5):
    """The codec with every weight moved, so that nothing is zero."""
    with torch.no_grad():
        for parameter in codec.parameters():
            noise = torch.randn(parameter.shape, generator=generator(seed))
            parameter += 0.3 * noise
    return codec


def test_tied_codecs_have_no_decoder_weights():
    codec = Dense((8,), tied_weights=True).build(D, K, generator=generator())
    names = {name for name, _ in codec.named_parameters()}
    assert not any(name.startswith("decoder_weights") for name in names)
    assert len(codec.decoder_layers()) == 2


@pytest.mark.parametrize("tied", [False, True])
def test_a_member_computes_its_slice_of_the_whole(tied):
    x = rows()
    codec = Dense((8,), tied_weights=tied).build(
        D, K, generator=generator(), members=3, same_start=False
    )
    codec = disturbed(codec)
    together = codec.decode(codec.encode(x))
    assert together.shape == (3, N, D)
    for index in range(3):
        alone = codec.member(index)
        torch.testing.assert_close(
            alone.decode(alone.encode(x)), together[index], rtol=1e-4, atol=1e-3
        )


def test_members_start_from_the_same_weights():
    codec = Dense((8,)).build(D, K, generator=generator(), members=3)
    alone = Dense((8,)).build(D, K, generator=generator())
    for many, one in zip(codec.parameters(), alone.parameters(), strict=True):
        assert torch.equal(many, one.expand_as(many))


def test_the_generator_alone_decides_the_weights():
    before = torch.random.get_rng_state()
    first, again, other = (
        Dense((8,)).build(D, K, generator=generator(seed)) for seed in (1, 1, 2)
    )
    for a, b, c in zip(
        first.encoder_weights, again.encoder_weights, other.encoder_weights, strict=True
    ):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_results_do_not_depend_on_the_batch():
    x = rows()
    codec = Dense((8,)).build(D, K, generator=generator()).double()
    whole = codec.encode(x.double())
    parts = torch.cat([codec.encode(part) for part in x.double().split(7)])
    torch.testing.assert_close(parts, whole)


def test_the_design_is_clonable():
    dense = Dense((8, 4), "tanh", True)
    assert clone(dense).get_params() == dense.get_params()


def codes_of(code_activation, **build):
    dense = Dense((8,), "tanh", code_activation=code_activation)
    return disturbed(dense.build(D, K, generator=generator(), **build))


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_encode_applies_the_code_activation(name, members):
    linear = codes_of("identity", members=members)
    codec = codes_of(name, members=members)
    codec.load_state_dict(linear.state_dict())
    x = rows()
    expected = ACTIVATIONS[name].forward(linear.encode(x))
    assert torch.equal(codec.encode(x), expected)
    # The decoder takes codes as they are.
    assert torch.equal(codec.decode(expected), linear.decode(expected))


@pytest.mark.parametrize("same_start", [True, False])
@pytest.mark.parametrize("tied", [False, True])
def test_members_start_from_the_same_or_from_their_own_weights(same_start, tied):
    codec = Dense((8,), tied_weights=tied).build(
        D, K, generator=generator(), members=3, same_start=same_start
    )
    for weight in [*codec.encoder_weights, *codec.decoder_weights]:
        for first, second in ((0, 1), (1, 2), (0, 2)):
            assert torch.equal(weight[first], weight[second]) == same_start


def test_members_of_their_own_start_as_large_as_shared_ones():
    sizes = {}
    for same_start in (True, False):
        codec = Dense((400,)).build(
            300, 200, generator=generator(), members=2, same_start=same_start
        )
        sizes[same_start] = [weight.std(dim=(1, 2)) for weight in codec.encoder_weights]
    for own, shared in zip(sizes[False], sizes[True], strict=True):
        torch.testing.assert_close(own, shared, rtol=0.02, atol=0)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["plain", "code_activation"])
def test_stacking_members_is_the_inverse_of_taking_them_apart(tied, kind):
    x = rows()
    dense = Dense(
        (8,),
        "silu",
        tied,
        code_activation="tanh" if kind == "code_activation" else "identity",
    )
    codec = dense.build(
        D,
        K,
        generator=generator(),
        input_scale=torch.linspace(0.5, 1.5, D),
        members=3,
        same_start=False,
    )
    codec = disturbed(codec)
    apart = [codec.member(index) for index in range(3)]
    again = type(codec).stacked(apart)
    assert again.members == 3
    for name, tensor in codec.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    together = again.decode(again.encode(x))
    assert torch.equal(together, codec.decode(codec.encode(x)))
    for one, output in zip(apart, together, strict=True):
        expected = one.decode(one.encode(x))
        torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)


def test_stacked_codecs_are_copies_without_gradients():
    one = Dense((8,)).build(D, K, generator=generator()).double()
    stacked = type(one).stacked([one, one])
    assert stacked.input_scale.dtype == torch.float64
    assert not any(parameter.requires_grad for parameter in stacked.parameters())
    before = one.encode(rows().double())
    with torch.no_grad():
        stacked.encoder_weights[0].zero_()
    assert torch.equal(one.encode(rows().double()), before)
