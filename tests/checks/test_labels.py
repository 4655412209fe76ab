"""Labels in every form that users have them in, and the marks of rows without one."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from skae.checks.labels import check_classes, class_numbers, labels_of, typed

pd = pytest.importorskip("pandas")

STRINGS = np.dtypes.StringDType()
WITHOUT = {"None": None, "nan": np.nan, "NA": pd.NA, "-1": -1}


class Column:
    """A column of a library of frames; NumPy gets floats for integers with gaps."""

    dtype = "Int64"

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=float)

    def to_list(self):
        return self.values


@pytest.mark.parametrize("mark", WITHOUT.values(), ids=WITHOUT)
@pytest.mark.parametrize(
    ("labels", "kind"),
    [((5, 7), "i"), ((True, False), "b"), ((0.0, 2.0), "f"), (("a", "b"), "O")],
    ids=["integers", "booleans", "floats", "strings"],
)
@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        lambda y: np.array(y, dtype=object),
        lambda y: pd.Series(y, dtype=object),
    ],
    ids=["list", "tuple", "array", "series"],
)
def test_objects_become_labels_of_one_type(form, labels, kind, mark):
    y = form([labels[0], mark, labels[1], *[mark] * 4])
    found, missing = labels_of(y)
    assert missing.tolist() == [False, True, False] + [True] * 4
    assert found.dtype.kind == kind
    assert found[~missing].tolist() == list(labels)


@pytest.mark.parametrize(
    ("y", "dtype"),
    [
        (pd.Series([3, 4, 3], dtype="Int64"), np.int64),
        (pd.Series([3, 4, None], dtype="Int64"), np.int64),
        (pd.Series([True, False, None], dtype="boolean"), np.bool_),
        (Column([True, False, None]), np.bool_),
        (Column([3, 4, None]), np.int64),
        (Column([3, 4]), np.int64),
        (pd.Series([3, 4, 3], dtype="category"), np.int64),
        (pd.array([3, None], dtype="Int64"), np.int64),
        (torch.tensor([3, 4]), np.int64),
        (np.array([3, 4, 3], dtype=np.int8), np.int8),
        (np.array([3, 4, np.nan]), np.float64),
        ([np.int32(3), 4, None], np.int64),
    ],
)
def test_numbers_keep_their_type_beside_missing_ones(y, dtype):
    found, missing = labels_of(y)
    assert found.dtype == dtype
    assert missing.sum() == sum(pd.isna(each) for each in np.asarray(y, dtype=object))


@pytest.mark.parametrize("dtype", [STRINGS, "string", "category", "str", object])
def test_strings_of_every_type_are_strings(dtype):
    y = (
        np.array(["b", "a"], dtype)
        if dtype is STRINGS
        else pd.Series(["b", "a"], dtype=dtype)
    )
    found, missing = labels_of(y)
    assert found.tolist() == ["b", "a"]
    assert not missing.any()


def test_strings_of_numpy_may_be_missing():
    dtype = np.dtypes.StringDType(na_object=None)
    _, missing = labels_of(np.array(["b", None, "a"], dtype=dtype))
    assert missing.tolist() == [False, True, False]


@pytest.mark.parametrize(
    "mark", ["-1", "-1.0", "nan", "NaN", "NAN", "None", "<NA>", "NaT", ""]
)
@pytest.mark.parametrize(
    "form",
    [
        list,
        np.array,
        lambda y: np.array(y, dtype=object),
        lambda y: np.array(y, dtype=STRINGS),
        lambda y: pd.Series(y),
        lambda y: pd.Series(y, dtype=object),
        lambda y: pd.Series(y, dtype="category"),
        lambda y: pd.Series(y, dtype="string"),
    ],
    ids=[
        "list",
        "array",
        "objects",
        "StringDType",
        "str",
        "object",
        "category",
        "string",
    ],
)
def test_marks_that_became_strings_are_refused(form, mark):
    with pytest.raises(
        ValueError, match="look like marks .* with None or NaN"
    ) as error:
        labels_of(form(["ant", mark, "bee"]))
    assert repr(mark) in str(error.value)


@pytest.mark.parametrize("form", [list, np.array, lambda y: np.array(y, dtype=object)])
def test_signs_as_strings_are_two_classes(form):
    found, missing = labels_of(form(["1", "-1", "1"]))
    assert found.tolist() == ["1", "-1", "1"]
    assert not missing.any()


def test_names_that_only_contain_such_marks_are_classes():
    found, missing = labels_of(["none of them", "-12", "nancy", "na"])
    assert not missing.any()
    assert len(found) == 4


@pytest.mark.parametrize("read", [labels_of, typed])
@pytest.mark.parametrize("form", [list, lambda y: np.array(y, dtype=object), pd.Series])
@pytest.mark.parametrize("y", [["a", 1, "b"], [1.5, "a", 2], [True, "a", False]])
def test_strings_beside_numbers_are_refused(read, form, y):
    with pytest.raises(ValueError, match="Mix of label input types"):
        read(form(y))


@pytest.mark.parametrize("read", [labels_of, typed])
def test_objects_that_are_no_labels_are_refused(read):
    with pytest.raises(ValueError, match="Unknown label type"):
        read(np.array([{1}, {2}], dtype=object))


class TestTyped:
    @pytest.mark.parametrize("mark", [None, np.nan, pd.NA, pd.NaT])
    @pytest.mark.parametrize("others", [("a", "b"), (1, 2), (True, False), (0.5, 1.5)])
    def test_every_row_has_a_value(self, mark, others):
        with pytest.raises(ValueError, match="must not contain NaN or None"):
            typed([others[0], mark, others[1]])

    def test_several_columns_stay_so(self):
        found = typed(np.array([[1, 2], [3, 4]], dtype=object))
        assert found.dtype == np.int64
        assert found.shape == (2, 2)
        assert typed("b").shape == typed(torch.tensor(1.5)).shape == ()
        assert typed(torch.ones(2, 3)).shape == (2, 3)

    def test_infinity_is_no_value(self):
        with pytest.raises(ValueError, match="infinity"):
            typed([0.5, np.inf])


class TestMinusOne:
    @pytest.mark.parametrize(
        "y",
        [
            np.repeat([-1, 0, 1], 10),
            np.repeat([-1.0, 0, 1], 10),
            np.repeat([-1, 0, 1], [20, 10, 10]),
            np.repeat([-1, 0], 10),
            np.repeat([-1, 0, 1, 2], 10),
            np.array([-1, 0, 1] * 4, dtype=object),
            np.repeat([-2, -1, 0], [1, 50, 1]),
        ],
    )
    def test_a_class_of_that_name_is_warned_of(self, y):
        with pytest.warns(UserWarning, match="If -1 is a class, give it another"):
            labels, missing = labels_of(y)
        assert missing.tolist() == [label == -1 for label in y]

    @pytest.mark.parametrize(
        "y",
        [
            np.repeat([-1, 0, 1], [21, 10, 10]),
            np.repeat([-1, *range(10)], [30, *[7] * 10]),
            np.array([None, 0, 1] * 4),
            np.array([True, False, -1], dtype=object),
            np.array(["a", "b", -1], dtype=object),
        ],
    )
    def test_who_leaves_labels_out_is_not_warned(self, y):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert labels_of(y)[1].any()

    @pytest.mark.parametrize("mark", [None, np.nan])
    def test_signs_are_two_classes_also_beside_other_marks(self, mark):
        labels, missing = labels_of([1, -1, mark, 1])
        assert labels[~missing].tolist() == [1, -1, 1]

    def test_classes_decide_where_they_are_known(self):
        assert not labels_of([-1, -1], np.array([-1, 1]))[1].any()
        assert labels_of([-1, 0], np.array([0, 1]))[1].tolist() == [True, False]


class TestClasses:
    def test_those_of_partial_fit_are_what_fit_takes(self):
        assert check_classes([1, -1], None).tolist() == [-1, 1]
        objects = np.array([True, False], dtype=object)
        assert check_classes(objects, None).dtype == bool
        assert check_classes([3], None).tolist() == [3]
        for classes in ([-1, 0, 1], [-1, 0], [-1], []):
            with pytest.raises(ValueError, match="not -1"):
                check_classes(classes, None)

    def test_labels_of_other_classes_are_named(self):
        y = np.array(["a", "c", "d"], dtype=object)
        with pytest.raises(ValueError, match=r"labels \['c', 'd'\], which are not"):
            class_numbers(y, np.zeros(3, dtype=bool), np.array(["a", "b"]))


@pytest.mark.parametrize("kind", ["M8[ns]", "M8[D]", "m8[s]"])
def test_no_time_is_no_label(kind):
    y = np.array([3, 5, "NaT", 3], dtype=kind)
    labels, missing = labels_of(y)
    np.testing.assert_array_equal(missing, [False, False, True, False])
    np.testing.assert_array_equal(labels[~missing], y[[0, 1, 3]])
    with pytest.raises(ValueError, match="y must not contain NaN or None"):
        typed(y)


@pytest.mark.parametrize("mark", [None, np.nan, pd.NA, pd.NaT])
def test_strings_can_be_compared_beside_marks(mark):
    labels, missing = labels_of(pd.Series(["a", mark, "b"], dtype=object))
    np.testing.assert_array_equal(np.isin(labels, ["a", "b"]), ~missing)


@pytest.mark.parametrize("mark", [None, np.nan, pd.NA])
def test_marks_are_no_classes(mark):
    with pytest.raises(ValueError, match="classes must not contain NaN or None"):
        check_classes(["a", "b", mark], None)


class TestNoArrays:
    @pytest.mark.parametrize("y", [lambda: [1, 2], iter([1, 2]), Path("y.npy")])
    def test_what_is_no_array_of_entries_is_refused(self, y):
        with pytest.raises(ValueError, match="y must be an array with an entry for"):
            typed(y)
