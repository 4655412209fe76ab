"""Principal axes of images whose statistics are much the same at every pixel.

Of few images the covariance of their pixels is poorly known, and axes that are fitted
to it do not hold for other images. The autocorrelation, an average over all pairs of
pixels at one displacement, is known far better. `StationaryAxes` shrinks the one
towards the other by a given share; `skae.fitting.image_start` chooses the share by
images that are held out. The matrices are never formed: the one is multiplied by way
of the images, the other by Fourier transforms.
"""

from functools import reduce

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

__all__ = ["StationaryAxes"]

# Subspace iteration: vectors beside those wanted, and products.
_EXTRA = 16
_N_PRODUCTS = 6
# Images, or vectors, that are transformed at a time.
_AT_ONCE = 64


class StationaryAxes:
    """Axes of ``(1 - share) covariance + share autocorrelation``.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)
        Flat images.
    shape : tuple (n_channels, height, width)
    weight : Tensor of shape (n_samples,), optional
        Of each image.
    """

    def __init__(self, x: Tensor, shape: tuple[int, ...], weight: Tensor | None = None):
        n_channels, *sizes = self.shape = tuple(shape)
        if weight is None:
            weight = x.new_ones(len(x))
        self.share_of_rows = (weight / weight.sum()).to(x)
        self.mean = self.share_of_rows @ x
        of_channels = self.mean.view(n_channels, -1).mean(1)
        self.channel_mean = of_channels.repeat_interleave(x.shape[1] // n_channels)
        self.x = x - self.mean
        # Twice the size, so that no pixel meets one of the other end.
        self.padded = [2 * size for size in sizes]
        self.spectrum = self._spectrum()

    def center(self, share: float) -> Tensor:
        """What images are centred at, shape ``(n_features,)``."""
        return torch.lerp(self.mean, self.channel_mean, share)

    def axes(self, n_components: int, share: float, generator: Generator) -> Tensor:
        """Orthonormal columns, shape ``(n_features, n_components)``, largest first.

        Columns beyond ``n_features`` are zero.
        """
        n_features = self.x.shape[1]
        width = min(n_components + _EXTRA, n_features)
        basis = torch.randn(
            n_features, width, generator=generator, dtype=self.x.dtype, device="cpu"
        )
        for _ in range(_N_PRODUCTS):
            basis = torch.linalg.qr(self._product(basis, share))[0]
        projected = basis.mT @ self._product(basis, share)
        turn = torch.linalg.eigh((projected + projected.mT) / 2)[1].flip(1)
        axes = basis @ turn[:, :n_components]
        return F.pad(axes, (0, n_components - axes.shape[1]))

    def _product(self, right: Tensor, share: float) -> Tensor:
        left = (self.x @ right) * self.share_of_rows[:, None]
        product = (1 - share) * (self.x.mT @ left)
        for start in range(0, right.shape[1], _AT_ONCE):
            columns = slice(start, start + _AT_ONCE)
            product[:, columns] += share * self._correlated(right[:, columns])
        return product

    def _correlated(self, right: Tensor) -> Tensor:
        """The autocorrelation times columns, each an image."""
        high, wide = self.shape[1:]
        images = right.mT.reshape(-1, *self.shape)
        spectra = torch.fft.rfft2(images, s=self.padded)
        spectra = torch.einsum("abhw,nbhw->nahw", self.spectrum, spectra)
        product = torch.fft.irfft2(spectra, s=self.padded)[..., :high, :wide]
        return product.flatten(1).mT

    def _spectrum(self) -> Tensor:
        """Of the mean product of two values of pixels, by their displacement."""
        shift = self.mean - self.channel_mean
        parts = []
        for start in range(0, len(self.x), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            images = (self.x[rows] + shift).view(-1, *self.shape)
            spectra = torch.fft.rfft2(images, s=self.padded)
            weighted = spectra * self.share_of_rows[rows, None, None, None]
            parts.append(torch.einsum("nahw,nbhw->abhw", weighted, spectra.conj()))
        total = reduce(torch.add, parts)
        products = torch.fft.irfft2(total, s=self.padded)
        n_pairs = [self._n_pairs(size) for size in self.shape[1:]]
        products = products / (n_pairs[0][:, None] * n_pairs[1])
        # No two pixels are so far apart.
        high, wide = self.shape[1:]
        products[..., high, :] = 0
        products[..., wide] = 0
        return torch.fft.rfft2(products)

    def _n_pairs(self, size: int) -> Tensor:
        """Pairs of pixels at each displacement along an axis, those wrapped last."""
        step = torch.arange(2 * size, dtype=self.x.dtype, device="cpu")
        return (size - torch.minimum(step, 2 * size - step)).clamp_min(1)
