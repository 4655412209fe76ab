"""Limits of a guard: how far out rows may be depends on how such rows do."""

import pytest
import torch

from skae.parts.anchored import Anchor, AnchoredCodec
from skae.parts.dense import Dense
from skae.parts.guard import REACH, earned_limits, extents, guard_from

N, D, K = 100, 4, 2
FAR = 50.0
# Of the rows below, number 7 is far out.
HELD_OUT = torch.arange(N) < 10


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def anchored_codec():
    axes, zero, one = torch.eye(D)[:, :K], torch.zeros(D), torch.ones(D)
    anchor = Anchor(axes, torch.ones(K), zero, zero, one, torch.ones(K))
    generator = torch.Generator().manual_seed(0)
    codec = Dense((8,)).build(D, K, generator=generator)
    return AnchoredCodec(codec, anchor, one, one, generator=generator).eval()


def rows_with_a_far_one(column):
    x = normal(N, D)
    x[7, column] = FAR
    return x


def test_extents_are_the_largest_and_the_fifth_largest():
    sizes = torch.stack([torch.arange(9.0), 10 * torch.arange(9.0)], dim=1)
    largest, common = extents(sizes[torch.randperm(9)])
    assert largest.tolist() == [8, 80]
    assert common.tolist() == [4, 40]


def test_extents_of_fewer_rows_are_the_largest_and_the_smallest():
    largest, common = extents(torch.tensor([[3.0], [2.0]]))
    assert (largest.item(), common.item()) == (3, 2)


@pytest.mark.parametrize(
    ("gains", "expected"),
    [([2.0, -1.0, 0.0], 60.0), ([1.0, -2.0, 0.0], 1.0), ([3.0, -1.0, -9.0], 60.0)],
)
def test_rows_that_the_larger_limit_lets_in_decide_by_their_sum(gains, expected):
    sizes = torch.ones(N, 2)
    sizes[:2, 0] = torch.tensor([60.0, 40.0])
    sizes[2, 1] = 30.0
    largest, common = extents(sizes)
    is_held_out = torch.arange(N) == 0
    limits = earned_limits(
        sizes, largest, common, is_held_out, lambda rows: torch.tensor(gains)
    )
    assert limits[0] == expected
    assert limits[1] == (30.0 if gains[2] >= 0 else 1.0)


@pytest.mark.parametrize(
    ("held_out", "gains", "expected"),
    [([], [1.0, 1.0], 1.0), ([1], [9.0, -1.0], 1.0), ([0, 1], [9.0, -1.0], 60.0)],
)
def test_held_out_far_rows_have_to_gain(held_out, gains, expected):
    sizes = torch.ones(N, 1)
    sizes[:2, 0] = torch.tensor([60.0, 40.0])
    is_held_out = torch.zeros(N, dtype=torch.bool)
    is_held_out[held_out] = True
    limits = earned_limits(
        sizes, *extents(sizes), is_held_out, lambda rows: torch.tensor(gains)
    )
    assert limits.item() == expected


def test_without_far_rows_nothing_is_evaluated():
    sizes = normal(N, D).abs()
    largest, common = extents(sizes)

    def gain(rows):
        raise AssertionError

    limits = earned_limits(sizes, largest, REACH * common, HELD_OUT, gain)
    assert torch.equal(limits, largest)


@pytest.mark.parametrize("size", [1.0, -1.0])
def test_a_far_row_is_left_to_the_model_only_where_it_gains(size):
    codec = anchored_codec()
    x = rows_with_a_far_one(column=D - 1)
    guard = guard_from(codec, x, HELD_OUT, lambda rows: torch.full(rows.shape, size))
    largest, common = extents(x.abs())
    assert torch.equal(guard.input_limit[:-1], largest[:-1])
    assert guard.input_limit[-1] == (largest if size > 0 else common)[-1]
    assert codec.guard is None


@pytest.mark.parametrize("harmful_without", [False, True])
def test_limits_that_harm_far_rows_are_given_up_for_ones_that_do_not(harmful_without):
    codec = anchored_codec()
    x = rows_with_a_far_one(column=D - 1)
    largest, common = extents(x.abs())

    def does_harm(rows):
        assert rows.tolist() == [7]
        is_free = codec.guard.input_limit[-1] == largest[-1]
        return harmful_without if is_free else True

    guard = guard_from(
        codec, x, HELD_OUT, lambda rows: -torch.ones(rows.shape), does_harm
    )
    expected = common if harmful_without else largest
    assert guard.input_limit[-1] == expected[-1]


def test_codes_of_rows_beyond_the_limits_do_not_widen_them():
    codec = anchored_codec()
    with torch.no_grad():
        codec.encoder_path[D - 1, 0] = 20.0
    x = rows_with_a_far_one(column=D - 1)
    guard = guard_from(codec, x, HELD_OUT, lambda rows: -torch.ones(rows.shape))
    with torch.no_grad():
        code = codec.encode(x)[:, 0].abs()
    assert code[7] > 10 * guard.code_limit[0]


def test_a_row_that_must_not_stay_gets_the_anchors_code():
    codec = anchored_codec()
    with torch.no_grad():
        codec.encoder_path[D - 1, 0] = 20.0
        x = rows_with_a_far_one(column=D - 1)
        codec.guard = guard_from(
            codec, x, HELD_OUT, lambda rows: -torch.ones(rows.shape)
        )
        torch.testing.assert_close(codec.encode(x)[7], x[7, :K])
