"""Callbacks of skae: a file to go on from, and pictures of samples in training.

They go into ``callbacks=`` of the estimators, beside those of skorch.
"""

import os
import re

import numpy as np
from sklearn.base import BaseEstimator

from skae.checks.integers import check_integer
from skae.training.callbacks import Showing
from skae.training.checkpoint import Checkpoint

__all__ = ["Checkpoint", "SampleGrid"]

# Pickles and files name the public place.
Checkpoint.__module__ = __name__

_PLACEHOLDER = "{epoch}"


class SampleGrid(Showing, BaseEstimator):
    """A picture of samples of a `GAN` in training, for the same noise each time.

    Where the model is fitted with classes, each sample has its class above it.

    Parameters
    ----------
    path : str or path-like
        Of the picture, in a folder that exists; its ending says the format. Every
        picture replaces the one before, unless ``"{epoch}"`` is in it, for which the
        number of epochs so far is put.
    every : int, default=1
        Evaluations, entries of ``epochs_``, from one picture to the next; the last one
        is drawn too.
    n_samples : int, default=25
    sample_shape : tuple of int, default=None
        (height, width) or (n_channels, height, width), for models that take images as
        flat rows.

    Attributes
    ----------
    epochs_ : list of float
        Of the pictures of the model, those of earlier calls included where it is
        continued.
    samples_ : list of ndarray of shape (n_samples, *sample_shape)
        What they show; see `skae.inspection.GrowthDisplay`.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn.datasets import load_digits
    >>> from skae import GAN
    >>> from skae.callbacks import SampleGrid
    >>> images = load_digits().images[:200] / 16
    >>> path = os.path.join(tempfile.mkdtemp(), "digits-{epoch}.png")
    >>> grid = SampleGrid(path, every=2)
    >>> gan = GAN(architecture="conv", max_iter=2, callbacks=[grid]).fit(images)
    >>> os.path.exists(path.format(epoch=2))
    True
    """

    def __init__(self, path, every=1, n_samples=25, sample_shape=None):
        self.path = path
        self.every = every
        self.n_samples = n_samples
        self.sample_shape = sample_shape

    def on_train_begin(self, net, **kwargs):
        self._check()
        if "pictures" not in vars(net):
            raise ValueError(
                "SampleGrid draws in the training of a GAN only; samples of other "
                "estimators are drawn after the fit, by skae.inspection.SampleDisplay."
            )
        from skae.inspection.drawing import in_shape

        in_shape(None, np.zeros((1, *net.pictures.shape)), self.sample_shape, "auto")
        is_new = not (len(net.history) or net.pictures.epochs_before)
        if is_new or not hasattr(self, "samples_"):
            self.epochs_, self.samples_ = [], []

    def on_epoch_end(self, net, **kwargs):
        n_rounds = len(net.history)
        if n_rounds % self.every and n_rounds != net.max_epochs:
            return
        from skae.inspection.drawing import in_shape
        from skae.inspection.generated import SampleDisplay

        samples = net.pictures.draw(self.n_samples)
        samples, kind = in_shape(None, samples, self.sample_shape, "auto")
        epoch = net.schedule.epochs(net.history[-1, "step"])
        epoch += net.pictures.epochs_before
        self.epochs_.append(epoch)
        self.samples_.append(samples)
        path = os.fspath(self.path).replace(_PLACEHOLDER, f"{round(epoch, 2):g}")
        y = net.pictures.y(self.n_samples)
        SampleDisplay(samples=samples, kind=kind, y=y).plot().figure_.savefig(path)

    def _check(self):
        if not isinstance(self.path, str | os.PathLike) or not os.fspath(self.path):
            raise ValueError(f"SampleGrid's path must be a path; got {self.path!r}.")
        self._check_path(os.fspath(self.path))
        for name in ("every", "n_samples"):
            check_integer(f"SampleGrid's {name}", getattr(self, name))
        if self.sample_shape is not None and np.ndim(self.sample_shape) != 1:
            raise ValueError(
                "SampleGrid's sample_shape must be a tuple of int; got "
                f"{self.sample_shape!r}."
            )

    def _check_path(self, path):
        from skae.inspection.drawing import new_axes

        name = f"SampleGrid's path={path!r}"
        others = re.findall(r"\{[^{}]*\}", path.replace(_PLACEHOLDER, ""))
        if others:
            raise ValueError(
                f"{name} has {others[0]}; the only placeholder is {_PLACEHOLDER}, "
                "which takes no format, as epochs may be fractions."
            )
        if os.path.isdir(path):
            raise ValueError(f"{name} is a folder; it must be a file in one.")
        if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            raise ValueError(
                f"{name} is in a folder that does not exist; make it first."
            )
        ending = os.path.splitext(path)[1].lstrip(".").lower()
        formats = sorted(new_axes().figure.canvas.get_supported_filetypes())
        if ending and ending not in formats:
            raise ValueError(
                f"{name} ends in .{ending}, in which matplotlib writes no pictures; "
                f"it writes {', '.join(formats)}."
            )
