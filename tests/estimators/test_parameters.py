"""Parameters declared once: signatures, constraints and completed docstrings."""

import inspect
import re

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval

import skae
from skae.estimators.parameters import at_least, estimator, parameter

ESTIMATORS = [
    value
    for value in (getattr(skae, name) for name in skae.__all__)
    if inspect.isclass(value) and issubclass(value, BaseEstimator)
]


@estimator
class Base:
    """A base class.

    Parameters
    ----------
    width : int, default=1
        How wide.
    depth : int, default=2
        How deep.

    Attributes
    ----------
    area_ : int
    """

    width: int = parameter(1, at_least(1))
    depth: int = parameter(2, at_least(1))

    def fit(self, X, y=None):
        """Learn.

        Parameters
        ----------
        X : array
            The rows.
        y : Ignored

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            When X does not fit.
        """

    def score(self, X):
        """How good."""


@estimator
class Derived(Base):
    """A derived class.

    Parameters
    ----------
    height : int, default=3
        How high.
    """

    height: int = parameter(3, at_least(1), positional=True)
    width: int = parameter(5)

    def fit(self, X, y):
        """Learn from labels.

        Parameters
        ----------
        y : array
            The labels.
        """

    def score(self, X):
        return 1.0


def test_own_parameters_come_first():
    assert list(inspect.signature(Derived).parameters) == ["height", "width", "depth"]
    made = Derived(7, depth=4)
    assert (made.height, made.width, made.depth) == (7, 5, 4)
    with pytest.raises(TypeError):
        Derived(7, 8)


def test_constraints_are_inherited_with_another_default():
    assert set(Derived._parameter_constraints) == {"height", "width", "depth"}
    assert Derived._parameter_constraints["width"]


def test_entries_are_inherited_with_the_default_of_the_class():
    assert inspect.cleandoc(Derived.__doc__) == inspect.cleandoc(
        """A derived class.

        Parameters
        ----------
        height : int, default=3
            How high.
        width : int, default=5
            How wide.
        depth : int, default=2
            How deep.

        Attributes
        ----------
        area_ : int
        """
    )


def test_methods_inherit_what_they_do_not_state():
    assert Derived.score.__doc__ == inspect.cleandoc(
        """How good.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        """
    )
    assert Derived.fit.__doc__ == inspect.cleandoc(
        """Learn from labels.

        Parameters
        ----------
        X : array
            The rows.
        y : array
            The labels.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            When X does not fit.
        """
    )


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_public_methods_document_their_parameters(estimator):
    for name, method in inspect.getmembers(estimator, inspect.isfunction):
        if name.startswith("_") or not method.__module__.startswith("skae"):
            continue
        _, *names = inspect.signature(method).parameters
        summary, _, entries = method.__doc__.partition("Parameters\n")
        assert summary.strip(), name
        heads = re.findall(r"(?m)^ *\**([\w, *]+?)(?: :.*)?$", entries)
        documented = {one.strip(" *") for head in heads for one in head.split(",")}
        assert documented.issuperset(names), name


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("value", [True, np.False_])
def test_booleans_are_no_numbers(estimator, value):
    for name, constraints in estimator._parameter_constraints.items():
        if not any(isinstance(each, Interval) for each in constraints):
            continue
        model = estimator(**{name: value})
        with pytest.raises(ValueError, match=f"'{name}' parameter of .* Got .*{value}"):
            model._validate_params()


@pytest.mark.parametrize("widths", [True, (8, True)])
def test_booleans_are_no_widths(widths):
    X = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(ValueError, match="hidden_layer_sizes must be positive int"):
        skae.AutoencoderTransformer(2, hidden_layer_sizes=widths).fit(X)
