"""Explanations in the user's terms: frames, groups of columns, tables."""

import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder

from skae import AEOutlierDetector, ConvAE
from skae.outliers.explanation import Grouping

RNG = np.random.default_rng(0)
CITY = RNG.integers(3, size=300)
FRAME = pd.DataFrame(
    {
        "age": 40 + RNG.normal(size=300),
        "city_a": CITY == 0,
        "city_b": CITY == 1,
        "city_c": CITY == 2,
        # Follows the city.
        "pay": 5.0 * CITY + 0.1 * RNG.normal(size=300),
    }
).astype(float)
CITIES = {"city": ["city_a", "city_b", "city_c"]}


@pytest.fixture(scope="module")
def detector():
    return AEOutlierDetector(random_state=0).fit(FRAME)


class TestGrouping:
    COLUMNS = ("age", "city_a", "city_b", "pay")

    @pytest.mark.parametrize(
        "groups",
        [
            {"city": ["city_a", "city_b"]},
            {"city": ("city_b", "city_a")},
            {"city": np.array(["city_a", "city_b"])},
            {"city": "city_*"},
            {"city": ["*_a", "city_b"]},
            [None, "city", "city", None],
            np.array([None, "city", "city", None], dtype=object),
            pd.Series(["age", "city", "city", "pay"]),
        ],
    )
    def test_forms_of_groups(self, groups):
        grouping = Grouping.of(groups, self.COLUMNS, self.COLUMNS)
        assert grouping.labels == ["age", "city", "pay"]
        assert [part.tolist() for part in grouping.members] == [[0], [1, 2], [3]]
        sums = grouping.sums(np.array([[1.0, 2.0, 3.0, 4.0]]))
        np.testing.assert_array_equal(sums, [[1, 5, 4]])

    def test_columns_of_arrays_are_numbers_or_names_of_the_fit(self):
        for columns in ([1, 3], ["city_a", "pay"], ["city_a", 3]):
            grouping = Grouping.of({"both": columns}, range(4), self.COLUMNS)
            assert grouping.labels == [0, "both", 2]

    @pytest.mark.parametrize(
        ("groups", "message"),
        [
            ({"city": ["city_a", "town"]}, "'town', which is no column of X"),
            ({"city": "town_*"}, "no pattern of names"),
            ({"city": "city_"}, "no column of X"),
            ({"a": "city_*", "b": ["city_b"]}, "'city_b' in two groups, 'a' and 'b'"),
            ({"pay": "city_*"}, "a group 'pay', and X a column of that name"),
            (["city", "city"], "2 labels; X has 4 features"),
            ("city", "must be a mapping"),
            (3, "must be a mapping"),
        ],
    )
    def test_mistakes_are_named(self, groups, message):
        with pytest.raises(ValueError, match=message):
            Grouping.of(groups, self.COLUMNS, self.COLUMNS)


class TestGroupsOfADetector:
    def test_contributions_are_sums(self, detector):
        plain = detector.explain(FRAME[:9])
        grouped = detector.explain(FRAME[:9], groups=CITIES)
        assert list(grouped.columns) == ["age", "city", "pay"]
        assert list(grouped.index) == list(range(9))
        np.testing.assert_allclose(grouped["city"], plain[CITIES["city"]].sum(axis=1))
        np.testing.assert_allclose(
            grouped.sum(axis=1), detector.score_samples(FRAME[:9]), rtol=1e-5
        )
        pd.testing.assert_series_equal(grouped["pay"], plain["pay"])

    def test_levels_are_observed_and_expected(self, detector):
        row = FRAME[CITY == 0].iloc[[0]].copy()
        row[["city_a", "city_c"]] = [0, 1]
        table = detector.explain(row, top=3, groups=CITIES).set_index("feature")
        assert table.loc["city", "observed"] == "city_c"
        assert table.loc["city", "expected"] in CITIES["city"]
        assert table.loc["age", "observed"] == row["age"].item()
        row[["city_a", "city_b", "city_c"]] = 0
        table = detector.explain(row, top=3, groups=CITIES).set_index("feature")
        assert table.loc["city", "observed"] is None

    def test_other_columns_are_tuples_of_values(self, detector):
        table = detector.explain(FRAME[:1], top=4, groups={"both": ["age", "pay"]})
        both = table[table["feature"] == "both"].iloc[0]
        assert both["observed"] == tuple(FRAME.loc[0, ["age", "pay"]])
        assert len(both["expected"]) == 2

    def test_arrays_take_groups_too(self, detector):
        X = FRAME.to_numpy()
        fitted = AEOutlierDetector(random_state=0).fit(X)
        grouped = fitted.explain(X, groups={"city": [1, 2, 3]})
        assert grouped.shape == (300, 3)
        np.testing.assert_allclose(grouped, detector.explain(FRAME, groups=CITIES))
        table = fitted.explain(X[:2], top=3, groups={"city": [1, 2, 3]})
        assert set(table.feature[:3]) == {0, "city", 4}
        observed = table[table.feature == "city"].observed
        assert observed.tolist() == [int(1 + city) for city in CITY[:2]]

    def test_names_of_encoders_fit_patterns(self):
        raw = pd.DataFrame({"town": np.array(list("abc"))[CITY], "pay": FRAME["pay"]})
        encoder = make_column_transformer(
            (OneHotEncoder(sparse_output=False), ["town"]), remainder="passthrough"
        ).set_output(transform="pandas")
        X = encoder.fit_transform(raw)
        fitted = AEOutlierDetector(random_state=0).fit(X)
        grouped = fitted.explain(X, groups={"town": "onehotencoder__town_*"})
        assert list(grouped.columns) == ["town", "remainder__pay"]

    def test_samples_in_a_shape_of_their_own_have_no_groups(self):
        images = RNG.random((40, 4, 4))
        judge = AEOutlierDetector(estimator=ConvAE(2, max_iter=1), false_alarm_rate=0.2)
        with pytest.raises(ValueError, match="columns of a table"):
            judge.fit(images).explain(images, groups={"a": [0, 1]})


class TestFrames:
    def test_labels_of_frames_are_kept(self):
        columns = pd.MultiIndex.from_product([["x", "y"], [1, 2]], names=["a", "b"])
        frame = pd.DataFrame(RNG.normal(size=(60, 4)), columns=columns)
        fitted = AEOutlierDetector(random_state=0).fit(frame.to_numpy())
        found = fitted.explain(frame)
        assert found.columns.equals(columns)
        assert found.columns.names == ["a", "b"]
        assert fitted.explain(frame[:1], top=1)["feature"].item() in columns

    def test_frames_without_an_index_are_frames_with_names(self, monkeypatch):
        frames = ModuleType("frames")

        class DataFrame:
            """The part of polars' DataFrame that is used."""

            def __init__(self, data):
                assert all(isinstance(name, str) for name in data)
                for column in data.values():
                    types = {type(v) for v in list(column) if v is not None}
                    assert len(types) <= 1
                self.data = {name: list(column) for name, column in data.items()}
                self.columns = list(data)
                self.shape = len(next(iter(self.data.values()))), len(data)

            def __len__(self):
                return self.shape[0]

            def __array__(self, dtype=None, copy=None):
                return np.array(list(self.data.values()), dtype=dtype).T

        frames.DataFrame = DataFrame
        monkeypatch.setitem(sys.modules, "frames", frames)
        X = DataFrame({name: FRAME[name].tolist() for name in FRAME})
        fitted = AEOutlierDetector(random_state=0).fit(X)
        found = fitted.explain(X)
        assert isinstance(found, DataFrame)
        assert found.columns == list(FRAME)
        table = fitted.explain(X, top=2)
        assert isinstance(table, DataFrame)
        assert set(table.data["feature"]) <= set(FRAME)
        assert table.data["row"][:4] == [0, 0, 1, 1]
        grouped = fitted.explain(X, top=3, groups=CITIES)
        assert set(grouped.data["feature"]) == {"age", "city", "pay"}
        assert fitted.drift(X).features.columns[0] == "feature"

    def test_polars_frames(self):
        polars = pytest.importorskip("polars")
        X = polars.DataFrame({name: FRAME[name].to_numpy() for name in FRAME})
        fitted = AEOutlierDetector(random_state=0).fit(X)
        found = fitted.explain(X[:2])
        assert isinstance(found, polars.DataFrame)
        assert found.columns == list(FRAME)
        table = fitted.explain(X[:2], top=3, groups=CITIES)
        assert isinstance(table, polars.DataFrame)
        assert set(table["feature"]) == {"age", "city", "pay"}
