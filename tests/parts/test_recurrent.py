"""Recurrent codecs: what is missing has no part, weights come from one generator."""

import copy
import pickle

import pytest
import torch
from torch import nn

from skae.parts.likelihoods import Gaussian, Masked
from skae.parts.recurrent import CELLS, Recurrent

each_cell = pytest.mark.parametrize("cell", sorted(CELLS))
each_depth = pytest.mark.parametrize("n_layers", [1, 2])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def built(cell="gru", shape=(6, 2), n_components=3, n_layers=1, frame=1, seed=0):
    recurrent = Recurrent(shape, cell, 5, n_layers, frame)
    n_features = shape[0] * shape[1]
    return recurrent.build(n_features, n_components, generator=generator(seed))


def sequences(lengths=(6, 4, 1), shape=(6, 2)):
    """Rows and the same rows with NaN after each length."""
    x = torch.randn(len(lengths), *shape, generator=generator(1))
    padded = x.clone()
    for row, length in zip(padded, lengths, strict=True):
        row[length:] = torch.nan
    return x.flatten(1), padded.flatten(1)


@each_cell
@each_depth
def test_the_code_is_that_of_the_valid_steps_alone(cell, n_layers):
    codec = built(cell, n_layers=n_layers)
    x, padded = sequences()
    codes = codec.encode(padded)
    for row, length, code in zip(x, (6, 4, 1), codes, strict=True):
        steps = row.view(6, 2)[:length]
        seen = torch.cat([steps, codec.time[:length]], dim=1)
        states, _ = codec.encoder(seen)
        torch.testing.assert_close(code, codec.to_code(states[-1]))


@each_cell
def test_the_decoder_unrolls_one_step_at_a_time(cell):
    codec = built(cell, n_layers=2)
    z = torch.randn(4, 3, generator=generator(2))
    raw = codec.decode(z).view(4, 6, 2)
    state = codec._first_state(z)
    for step in range(6):
        seen = torch.cat([z, codec.time[step].expand(4, -1)], dim=1)
        out, state = codec.decoder(seen[None], state)
        torch.testing.assert_close(raw[:, step], codec.to_steps(out[0]))


@each_cell
@pytest.mark.parametrize("frame", [1, 2, 3, 5, 9])
def test_frames_hold_successive_steps(cell, frame):
    codec = built(cell, frame=frame)
    x, padded = sequences((6, 4, 1))
    n_frames = -(-6 // frame)
    assert codec.n_frames == n_frames
    codes = codec.encode(padded)
    for row, length, code in zip(x, (6, 4, 1), codes, strict=True):
        n_seen = -(-length // frame)
        steps = torch.zeros(n_seen * frame, 2)
        steps[:length] = row.view(6, 2)[:length]
        seen = torch.cat([steps.view(n_seen, -1), codec.time[:n_seen]], dim=1)
        states, _ = codec.encoder(seen)
        torch.testing.assert_close(code, codec.to_code(states[-1]))
    assert codec.decode(codes).shape == x.shape


@each_cell
@pytest.mark.parametrize(("n_layers", "frame"), [(1, 1), (2, 1), (1, 3), (2, 4)])
def test_what_follows_the_last_step_changes_neither_loss_nor_gradient(
    cell, n_layers, frame
):
    _, padded = sequences()
    short = padded.view(3, 6, 2)[:, :4].flatten(1)
    short[0] = torch.nan
    short[0].view(4, 2)[:3] = 1.0
    longer = torch.full((3, 6, 2), torch.nan)
    longer[:, :4] = short.view(3, 4, 2)
    likelihood = Masked(Gaussian())
    found = []
    for x, n_steps in ((short, 4), (longer.flatten(1), 6)):
        codec = built(cell, (n_steps, 2), n_layers=n_layers, frame=frame)
        loss = likelihood.nll(codec.decode(codec.encode(x)), x)
        loss.sum().backward()
        found.append([loss.detach(), *(p.grad for p in codec.parameters())])
    for of_short, of_longer in zip(*found, strict=True):
        torch.testing.assert_close(of_longer, of_short)


def test_the_masked_gradient_is_that_of_the_valid_entries():
    codec = built()
    x, padded = sequences()
    seen = ~padded.isnan()
    raw = codec.decode(codec.encode(padded))
    by_hand = 0.5 * ((raw - x) ** 2 * seen).sum()
    expected = torch.autograd.grad(by_hand, list(codec.parameters()))
    loss = Masked(Gaussian()).nll(codec.decode(codec.encode(padded)), padded).sum()
    found = torch.autograd.grad(loss, list(codec.parameters()))
    torch.testing.assert_close(found, expected)


@each_cell
def test_weights_come_from_the_generator_alone(cell):
    torch_state = torch.get_rng_state()
    first, second, other = built(cell), built(cell), built(cell, seed=1)
    assert torch.equal(torch.get_rng_state(), torch_state)
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.encoder.weight_ih_l0, other.encoder.weight_ih_l0)
    assert all(parameter.isfinite().all() for parameter in first.parameters())


@each_cell
@each_depth
def test_states_start_with_orthogonal_maps_and_open_forget_gates(cell, n_layers):
    codec = built(cell, n_layers=n_layers)
    for name, parameter in codec.encoder.named_parameters():
        if name.startswith("weight_hh"):
            for gate in parameter.split(5):
                torch.testing.assert_close(gate @ gate.T, torch.eye(5))
        elif name.startswith("bias_ih") and cell == "lstm":
            expected = torch.zeros(4, 5)
            expected[1] = 1
            assert torch.equal(parameter, expected.flatten())
        elif name.startswith("bias"):
            assert (parameter == 0).all()


@each_cell
def test_codecs_copy_and_pickle(cell):
    codec = built(cell)
    x, _ = sequences()
    for copied in (copy.deepcopy(codec), pickle.loads(pickle.dumps(codec))):
        assert torch.equal(copied.encode(x), codec.encode(x))


def test_biases_are_not_decayed():
    codec = built()
    decayed = {id(parameter) for parameter in codec.decayed_parameters()}
    for name, parameter in codec.named_parameters():
        assert (id(parameter) in decayed) == ("weight" in name)


def test_codes_are_not_in_units_of_the_rows():
    assert not built().keeps_units
    assert isinstance(built("lstm").decoder, nn.LSTM)


def test_shapes_that_do_not_multiply_are_named():
    with pytest.raises(ValueError, match=r"\(6, 2\) means 12 features, not 13"):
        Recurrent((6, 2)).build(13, 2, generator=generator())
