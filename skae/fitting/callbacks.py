"""scikit-learn's callbacks (``set_callbacks``), where the installed version has them.

Estimators inherit `CallbackSupport` and decorate ``fit`` with `with_callbacks`; on
older versions both do nothing.
"""

from collections.abc import Callable

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupport
    from sklearn.callback import with_callbacks
except ImportError:  # scikit-learn < 1.9

    class CallbackSupport:  # type: ignore[no-redef]
        """Stand-in without ``set_callbacks``."""

    def with_callbacks(method):  # type: ignore[no-redef]
        """The method as it is."""
        return method


__all__ = ["CallbackSupport", "FitProgress", "with_callbacks"]


class FitProgress:
    """Tells scikit-learn's callbacks of the fit and of each of its rounds.

    Parameters
    ----------
    estimator : estimator
    X : array of shape (n_samples, n_features)
    y : array of shape (n_samples,), optional
        X is its own target where left out: scoring callbacks skip fits without one.
    """

    def __init__(self, estimator, X, y=None):
        self.estimator = estimator
        self.X = X
        self.y = X if y is None else y
        self.context = None
        if getattr(estimator, "_skl_callbacks", None):
            self.context = estimator._init_callback_context(max_subtasks=None)
            self.context.call_on_fit_task_begin(estimator=estimator, X=X, y=self.y)

    def round(self, attributes: Callable[[], dict]) -> bool:
        """One round has ended; ``attributes()`` would be the fitted state.

        Returns
        -------
        bool
            Whether a callback asked to stop.
        """
        if self.context is None:
            return False
        task = self.context.subcontext(task_name="round")
        task.call_on_fit_task_begin(estimator=self.estimator, X=self.X, y=self.y)
        return task.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            y=self.y,
            reconstruction_attributes=attributes,
        )

    def end(self, attributes: Callable[[], dict]) -> None:
        """The fit has ended."""
        if self.context is not None:
            self.context.call_on_fit_task_end(
                estimator=self.estimator,
                X=self.X,
                y=self.y,
                reconstruction_attributes=attributes,
            )
