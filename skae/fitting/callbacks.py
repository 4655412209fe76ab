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
    """Notifies scikit-learn's callbacks of the fit and of each of its rounds.

    Parameters
    ----------
    estimator : estimator
    X : array of shape (n_samples, n_features)
    y : array of shape (n_samples,), optional
        X is its own target where left out: scoring callbacks skip fits without one.

    Attributes
    ----------
    context : callback context or None
        None where the estimator has no callbacks.
    """

    def __init__(self, estimator, X, y=None):
        self._data = {"estimator": estimator, "X": X, "y": X if y is None else y}
        self.context = None
        if getattr(estimator, "_skl_callbacks", None):
            self.context = estimator._init_callback_context(max_subtasks=None)
            self.context.call_on_fit_task_begin(**self._data)

    def round(self, attributes: Callable[[], dict]) -> bool:
        """Report the end of a round; True where a callback asks to stop.

        ``attributes()`` would be the fitted state.
        """
        if self.context is None:
            return False
        task = self.context.subcontext(task_name="round")
        task.call_on_fit_task_begin(**self._data)
        return task.call_on_fit_task_end(
            **self._data, reconstruction_attributes=attributes
        )

    def end(self, attributes: Callable[[], dict]) -> None:
        """Report the end of the fit."""
        if self.context is not None:
            self.context.call_on_fit_task_end(
                **self._data, reconstruction_attributes=attributes
            )
