"""Rows that members trained on are left to the others."""

import numpy as np
import torch

from skae.outliers.out_of_bag import InBagRows, out_of_bag, shares_of

D = 5


def table(n=20, seed=0):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


class TestInBagRows:
    @staticmethod
    def record(x, *in_bag):
        """Members that trained on the rows with these numbers."""
        by_row = np.zeros((len(x), len(in_bag)), dtype=bool)
        for index, mine in enumerate(in_bag):
            by_row[mine, index] = True
        return InBagRows.of(x, by_row)

    def test_only_members_that_did_not_train_on_a_row_count(self):
        x = table(4)
        share = self.record(x, [0, 1], [2, 3], [0, 2]).shares(x)
        expected = [[0, 0, 1, 1 / 2], [1, 1 / 2, 0, 0], [0, 1 / 2, 0, 1 / 2]]
        torch.testing.assert_close(share, torch.tensor(expected))
        torch.testing.assert_close(share.sum(0), torch.ones(4))

    def test_of_unknown_rows_all_members_count_equally(self):
        share = self.record(table(4), [0, 1], [2, 3]).shares(table(3, seed=1))
        assert (share == 1 / 2).all()

    def test_a_changed_row_is_unknown(self):
        x = table(4)
        changed = x.clone()
        changed[:, -1] = torch.nextafter(x[:, -1], torch.tensor(torch.inf))
        assert (self.record(x, [0, 1], [2, 3]).shares(changed) == 1 / 2).all()

    def test_rows_with_swapped_features_are_unknown(self):
        x = torch.arange(20.0).reshape(4, 5)
        record = self.record(x, [0, 1], [2, 3])
        assert (record.shares(x.flip(1).contiguous()) == 1 / 2).all()

    def test_of_a_row_in_every_bag_all_judge(self):
        x = table(4)
        share = self.record(x, [0, 1], [0, 2], [0, 3]).shares(x)
        torch.testing.assert_close(share[:, 0], torch.full((3,), 1 / 3))
        assert share[0, 1] == 0

    def test_rows_that_occur_twice_are_not_recorded(self):
        x = table(5)
        x[4] = x[0]
        record = self.record(x, [0, 1], [2, 3, 4])
        assert len(record.keys) == 3
        share = record.shares(x)
        assert (share[:, [0, 4]] == 1 / 2).all()
        assert (share[:, 1:4] != 1 / 2).all()

    def test_a_record_of_copies_alone_is_empty(self):
        x = torch.zeros(4, D)
        record = self.record(x, [0, 1], [2, 3])
        assert len(record.keys) == 0
        assert (record.shares(table()) == 1 / 2).all()

    def test_shares_do_not_depend_on_the_batch(self):
        x = table(80)
        record = self.record(x, range(40), range(40, 80), range(0, 80, 2))
        whole = record.shares(x)
        parts = torch.cat([record.shares(part) for part in x.split(7)], dim=1)
        assert torch.equal(whole, parts)

    def test_records_follow_one_another(self):
        x = table(6)
        first = self.record(x[:4], [0, 1], [2, 3])
        second = self.record(x[2:], [0, 1], [2, 3])
        both = first.followed_by(second)
        assert np.array_equal(both.keys, np.sort(both.keys))
        share = both.shares(x)
        counted = [
            [0, 0, 1, 1, 1, 1],
            [1, 1, 0, 0, 1, 1],
            [1, 1, 0, 0, 1, 1],
            [1, 1, 1, 1, 0, 0],
        ]
        expected = torch.tensor(counted, dtype=torch.float32)
        torch.testing.assert_close(share, expected / expected.sum(0))
        assert (both.shares(table(3, seed=1)) == 1 / 4).all()

    def test_following_leaves_both_records_as_they_were(self):
        x = table(6)
        first = self.record(x[:4], [0, 1], [2, 3])
        before = first.shares(x)
        first.followed_by(self.record(x[2:], [0, 1], [2, 3]))
        assert torch.equal(first.shares(x), before)


class TestOutOfBag:
    IN_BAG = np.array([[1, 0, 1], [0, 1, 1], [0, 1, 0], [1, 0, 0]], dtype=bool)

    def test_rows_that_occur_once_are_judged_by_the_others(self):
        np.testing.assert_array_equal(out_of_bag(table(4), self.IN_BAG), ~self.IN_BAG)

    def test_of_two_copies_neither_may_be_in_bag(self):
        x = table(4)
        x[3] = x[0]
        expected = ~self.IN_BAG
        expected[[0, 3]] = [False, True, False]
        np.testing.assert_array_equal(out_of_bag(x, self.IN_BAG), expected)

    def test_where_every_member_has_a_copy_the_row_itself_counts(self):
        x = table(4)
        x[2] = x[0]
        np.testing.assert_array_equal(out_of_bag(x, self.IN_BAG), ~self.IN_BAG)

    def test_of_three_copies_each_is_left_out_on_its_own(self):
        x = table(4)
        x[1:3] = x[0].clone()
        np.testing.assert_array_equal(out_of_bag(x, self.IN_BAG), ~self.IN_BAG)


def test_shares_are_equal_and_never_empty():
    share = shares_of(np.array([[True, False, True], [False, False, False]]))
    expected = torch.tensor([[1 / 2, 1 / 3], [0, 1 / 3], [1 / 2, 1 / 3]])
    torch.testing.assert_close(share, expected)
