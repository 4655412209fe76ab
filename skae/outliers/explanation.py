"""Explanations of scores in the user's terms: frames, groups of columns, tables.

`AEOutlierDetector.explain` calls this with contributions that a scorer computed;
nothing here knows what judges rows.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np

from skae.checks.samples import entries_of

__all__ = [
    "Grouping",
    "as_table",
    "contributions_like",
    "label_array",
    "most_unusual",
]


class Grouping(NamedTuple):
    """Columns that are explained as one.

    Attributes
    ----------
    labels : list
        Of the groups and of the columns that are in none, in the order of their first
        columns.
    members : list of int ndarray
        The columns of each.
    """

    labels: list
    members: list[np.ndarray]

    @classmethod
    def of(cls, groups, columns, names) -> "Grouping":
        """What the parameter ``groups`` of `AEOutlierDetector.explain` stands for.

        Parameters
        ----------
        groups : mapping, sequence or None
        columns : sequence of length n_features
            Labels of the columns in the explanation.
        names : sequence of length n_features
            What columns are called in ``groups`` besides.
        """
        columns = list(columns)
        if groups is None:
            labels = [None] * len(columns)
        elif isinstance(groups, Mapping):
            labels = _labels_by_column(groups, columns, list(names))
        else:
            labels = _one_label_each(groups, len(columns))
        members: dict[Any, list[int]] = {}
        for number, label in enumerate(labels):
            # A group and a column of the same name are told apart below.
            key = (False, number) if label is None else (True, label)
            members.setdefault(key, []).append(number)
        named = [key if is_group else columns[key] for is_group, key in members]
        groups_and_columns = {label for label in labels if label is not None}
        for label, column in zip(labels, columns, strict=True):
            if label is None and column in groups_and_columns:
                raise ValueError(
                    f"groups has a group {column!r}, and X a column of that name which "
                    "is not in it. Add the column or choose another name."
                )
        return cls(named, [np.array(part) for part in members.values()])

    def sums(self, contributions) -> np.ndarray:
        """Contributions of the groups, shape ``(n_samples, len(labels))``."""
        if len(self.members) == contributions.shape[1]:
            return contributions
        parts = [contributions[:, part].sum(axis=1) for part in self.members]
        return np.stack(parts, axis=1)


def _labels_by_column(groups, columns, names) -> list:
    """The group of each column, None of those in none."""
    labels: list = [None] * len(columns)
    for label, wanted in groups.items():
        many = isinstance(wanted, list | tuple | np.ndarray)
        for column in wanted if many else [wanted]:
            for number in _places(column, columns, names, label):
                if labels[number] not in (None, label):
                    raise ValueError(
                        f"groups has the column {columns[number]!r} in two groups, "
                        f"{labels[number]!r} and {label!r}."
                    )
                labels[number] = label
    return labels


def _places(column, columns, names, label) -> list[int]:
    """Numbers of the columns that an entry of ``groups`` stands for."""
    places = [
        number
        for number, same in enumerate(zip(columns, names, strict=True))
        if column in same
    ]
    if not places and isinstance(column, str) and "*" in column:
        places = [
            number
            for number, name in enumerate(names)
            if isinstance(name, str) and fnmatchcase(name, column)
        ]
    if not places:
        known = ", ".join(map(repr, names[:8])) + ", ..." * (len(names) > 8)
        raise ValueError(
            f"groups[{label!r}] has {column!r}, which is no column of X and no pattern "
            f"of names such as 'city_*' that fits one; the columns are {known}."
        )
    return places


def _one_label_each(groups, n_features) -> list:
    if isinstance(groups, str) or not hasattr(groups, "__len__"):
        raise ValueError(
            "groups must be a mapping such as {'city': ['city_a', 'city_b']} or "
            f"{{'city': 'city_*'}}, or one label for each column; got {groups!r}."
        )
    labels = list(groups)
    if len(labels) != n_features:
        raise ValueError(
            f"groups has {len(labels)} labels; X has {n_features} features. Give one "
            "label for each column, None for those that stay themselves, or a mapping."
        )
    return labels


def contributions_like(X, contributions, grouping=None):
    """Contributions, summed by group, as a frame where X is one.

    Parameters
    ----------
    X : frame or array
    contributions : ndarray of shape (n_samples, n_features)
    grouping : Grouping, optional
    """
    if grouping is not None:
        contributions = grouping.sums(contributions)
    if not hasattr(X, "columns"):
        return contributions
    labels = X.columns if grouping is None else grouping.labels
    if hasattr(X, "iloc"):
        return type(X)(contributions, index=X.index, columns=labels)
    return type(X)(dict(zip(map(str, labels), contributions.T, strict=True)))


def as_table(X, columns: Mapping[str, np.ndarray]):
    """The table as a frame of X's class, else as a record array.

    Row numbers become labels where X has them.
    """
    if hasattr(X, "iloc"):
        if "row" in columns:
            columns = {**columns, "row": np.asarray(X.index)[columns["row"]]}
        return type(X)(columns)
    if hasattr(X, "columns"):
        return type(X)({name: _plain(column) for name, column in columns.items()})
    return np.rec.fromarrays(list(columns.values()), names=list(columns))


def _plain(column) -> list:
    """Values of one type: frames of such columns take no numbers beside texts."""
    values = column.tolist()
    if column.dtype == object and len({type(v) for v in values if v is not None}) > 1:
        return [None if value is None else str(value) for value in values]
    return values


def most_unusual(X, contributions, expected, top, columns=None, grouping=None) -> dict:
    """The columns of the table of `AEOutlierDetector.explain`.

    Parameters
    ----------
    X : array, CSR matrix or list of arrays
    contributions, expected : ndarray or list of arrays
        In the form of X.
    top : int
    columns : sequence of length n_features, optional
        Labels of the columns of a table. Samples in a shape of their own have none;
        their features are named by their places.
    grouping : Grouping, optional
        Of the columns.
    """
    entries, observed = entries_of(contributions), entries_of(X, like=contributions)
    values, filled = observed.rows, entries_of(expected).rows
    sums, missing = entries.rows, np.isnan(values)
    first = np.arange(sums.shape[1])
    if grouping is not None:
        sums = grouping.sums(sums)
        missing = np.stack([missing[:, m].all(axis=1) for m in grouping.members], 1)
        first = np.array([members[0] for members in grouping.members])
    row, place = _lowest(sums, missing, top)
    if columns is None:
        feature = label_array(entries.index(entry) for entry in place)
    else:
        labels = columns if grouping is None else grouping.labels
        feature = label_array(labels)[place]
    table = {
        "row": row,
        "feature": feature,
        "contribution": sums[row, place],
        "observed": values[row, first[place]],
        "expected": filled[row, first[place]],
    }
    if grouping is not None and len(first) < values.shape[1]:
        table["observed"], table["expected"] = (
            table[name].astype(object) for name in ("observed", "expected")
        )
        for n, (i, members) in enumerate(
            zip(row, map(grouping.members.__getitem__, place), strict=True)
        ):
            if len(members) > 1:
                names = [columns[j] for j in members]
                table["observed"][n], table["expected"][n] = _of_group(
                    values[i, members], filled[i, members], names
                )
    return table


def _lowest(sums, missing, top) -> tuple[np.ndarray, np.ndarray]:
    """Rows and places of the lowest sums of each row; of what is missing, last."""
    # Where a value is missing nothing speaks for it, so zero is not its rank.
    order = np.lexsort((sums, missing & ~(sums < 0)), axis=1)[:, :top]
    row = np.repeat(np.arange(len(order)), order.shape[1])
    place = order.ravel()
    # What fills up samples that are shorter than others is no entry of theirs.
    own = ~np.isnan(sums[row, place])
    return row[own], place[own]


def _of_group(observed, expected, names) -> tuple:
    """The levels of a one-hot row, or all values of other columns."""
    is_one_hot = np.isin(observed, (0, 1)).all() and observed.sum() <= 1
    if not is_one_hot:
        return tuple(observed.tolist()), tuple(expected.tolist())
    return tuple(
        names[int(values.argmax())] if values.max() > values.min() else None
        for values in (observed, expected)
    )


def label_array(labels) -> np.ndarray:
    """Labels as an array, of texts where all are."""
    labels = list(labels)
    texts = all(isinstance(label, str) for label in labels)
    return np.array(labels) if texts else _objects(labels)


def _objects(values) -> np.ndarray:
    """An array of ints, or of objects such as tuples."""
    if all(isinstance(value, int) for value in values):
        return np.array(values, dtype=int)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
