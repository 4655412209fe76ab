"""What "auto" means: network size, batch, rate and length from the shape of the data.

One rule for each kind of model, with figures that benchmarks/ measured: pca_ratio.py
for models that start as PCA, representations.py for dense ones from random weights,
denoise_images.py for images, sequences.py for sequences, few_labels.py for classifiers,
generative_codes.py for codes that are matched to a prior.
Estimators pass explicit values through unchanged.
"""

from dataclasses import dataclass, replace

__all__ = [
    "DEFAULTS",
    "Defaults",
    "GANDefaults",
    "Length",
    "Training",
    "defaults_for",
    "defaults_for_anchored_images",
    "defaults_for_gan",
    "defaults_for_images",
    "defaults_for_matching",
    "defaults_for_sequences",
    "defaults_for_variational",
    "defaults_for_variational_images",
    "defaults_from_random",
    "length_of",
    "training_before_unlabelled",
    "training_of_labels",
    "training_with_unlabelled",
]

_SMALL = 600
# Beyond so many rows models that start as PCA train longer, up to so many times.
_MANY, _MOST_GROWTH = 40_000, 4.0
# Values of an image beyond which the rate falls.
_IMAGE = 1024
_FEWEST_OF_IMAGES, _MOST_OF_IMAGES = 150, 2000
# Evaluations of a short training, unless it has fewer epochs.
_FEWEST_ROUNDS = 10


@dataclass(frozen=True)
class Length:
    """How long a training is.

    Attributes
    ----------
    n_epochs : int
        Passes over the training rows.
    steps_per_epoch : int
    n_rounds : int
        Evaluations, equally spaced.
    """

    n_epochs: int
    steps_per_epoch: int
    n_rounds: int

    @property
    def n_steps(self) -> int:
        """Training steps in all."""
        return self.n_epochs * self.steps_per_epoch


def length_of(
    n_train: int, batch_size: int, n_steps: int, n_rounds: int, max_iter: int | None
) -> Length:
    """Whole epochs: ``max_iter``, or as many as come nearest to the default steps.

    Evaluations keep the default spacing of ``n_steps / n_rounds`` steps.
    """
    per_epoch = max(1, n_train // batch_size)
    n_epochs = max_iter or max(1, round(n_steps / per_epoch))
    total = n_epochs * per_epoch
    rounds = max(round(total * n_rounds / n_steps), min(n_epochs, _FEWEST_ROUNDS))
    return Length(n_epochs, per_epoch, min(rounds, total))


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """Values for the parameters left at "auto" or None.

    Attributes
    ----------
    hidden_layer_sizes : tuple of int
    batch_size : int
    lr : float
        Peak learning rate.
    weight_decay, ema_decay : float
    n_steps, n_rounds : int
        Training steps and evaluations.
    n_folds : int or None
        Cross-validation for small data; None holds rows out.
    bound : float or None
        Clip of the perceptrons' inputs.
    is_long : bool
        Whether the training is so long that typical codes grow beyond those at its
        start.
    """

    batch_size: int
    lr: float
    n_steps: int
    n_rounds: int = 30
    hidden_layer_sizes: tuple[int, ...] = ()
    weight_decay: float = 0.0
    ema_decay: float = 0.98
    n_folds: int | None = None
    bound: float | None = None
    is_long: bool = False


# Each rule takes the shape of X and the width of the code.


def defaults_for(n_samples, n_features, n_components) -> Defaults:
    """Of models that start as PCA, for a table."""
    width = 128
    flops_per_row = 6 * width * 2 * (n_features + n_components)
    if n_samples <= _SMALL:
        # Five members, four of them folds, learn at once.
        n_steps = int(min(300, max(40, 1.5e11 / (5 * 64 * flops_per_row))))
        return Defaults(
            hidden_layer_sizes=(width,),
            batch_size=64,
            lr=1e-2,
            weight_decay=1.0,
            ema_decay=0.95,
            n_steps=n_steps,
            n_folds=4,
            bound=3.0,
        )
    budget = 9e10 if n_features <= 500 else 4e11
    n_steps = min(1500, max(100, budget / (256 * flops_per_row)))
    return Defaults(
        hidden_layer_sizes=(width,),
        batch_size=256,
        lr=_rate(2e-2, 128, n_features),
        weight_decay=0.1,
        n_steps=int(n_steps * _growth(n_samples)),
        n_rounds=25,
        is_long=_growth(n_samples) > 1,
    )


def defaults_from_random(n_samples, n_features, n_components) -> Defaults:
    """Of dense autoencoders that start from random weights."""
    rate = _rate(1e-2, 100, n_features)
    return Defaults(batch_size=64, lr=rate, n_steps=_n_steps(n_samples, 64))


def defaults_for_matching(n_samples, n_features, n_components) -> Defaults:
    """Of dense autoencoders whose codes are matched to a prior.

    A critic needs many codes a step. Few rows are overfitted, and the codes of others
    then miss the prior: training on them is short, with weight decay.
    """
    return Defaults(
        hidden_layer_sizes=(500, 250) if n_features > 200 else (128, 64),
        batch_size=256,
        lr=_rate(1e-2, 30, n_features),
        weight_decay=0.4 if n_samples <= 10_000 else 0.0,
        ema_decay=0.995,
        n_steps=min(2000, max(400, 3 * n_samples // 5)),
    )


def defaults_for_images(n_samples, n_features, n_components) -> Defaults:
    """Of convolutional autoencoders that start from random weights."""
    return Defaults(
        batch_size=32,
        lr=_rate(8e-3, _IMAGE, n_features),
        n_steps=_n_steps(n_samples, 32, 12_000),
    )


def defaults_for_anchored_images(n_samples, n_features, n_components) -> Defaults:
    """Of convolutional autoencoders beside PCA's path, which overfit.

    Large images have many places, from which the weights that they share learn at once,
    and soon no more than what holds for these images alone: on them training is short,
    with weight decay.
    """
    defaults = defaults_for_images(n_samples, n_features, n_components)
    fewest = min(_FEWEST_OF_IMAGES, defaults.n_steps)
    n_steps = round(defaults.n_steps * min(1.0, _IMAGE / n_features))
    return replace(
        defaults,
        weight_decay=0.5 * max(1.0, n_features / _IMAGE),
        n_steps=max(fewest, n_steps),
    )


def defaults_for_sequences(n_samples, n_features, n_components) -> Defaults:
    """Of recurrent autoencoders, which learn from many steps."""
    return Defaults(
        batch_size=32 if n_samples <= 2000 else 64,
        lr=1e-2,
        weight_decay=0.2,
        n_steps=min(4000, max(600, 6 * n_samples)),
        n_rounds=20,
    )


def defaults_for_variational(n_samples, n_features, n_components) -> Defaults:
    """Of models whose code is drawn, where noise takes long averages."""
    n_steps, rate = _n_steps(n_samples, 128, 12_000), _rate(1e-2, 100, n_features)
    return Defaults(batch_size=128, lr=rate, ema_decay=0.998, n_steps=n_steps)


def defaults_for_variational_images(n_samples, n_features, n_components) -> Defaults:
    """Of convolutional ones, whose steps are few and take long."""
    defaults = defaults_for_variational(n_samples, n_features, n_components)
    return replace(defaults, n_steps=min(_MOST_OF_IMAGES, defaults.n_steps))


# Of models that start as PCA, by what their architecture is made for.
DEFAULTS = {
    "tables": defaults_for,
    "images": defaults_for_anchored_images,
    "sequences": defaults_for_sequences,
}


def _n_steps(n_samples: int, batch: int, most: int = 6000) -> int:
    """Steps from random weights: 2,000, fewer for few rows and more for many."""
    least = min(2000, max(400, 20 * n_samples))
    return min(most, max(least, 8 * n_samples // batch))


def _growth(n_samples: int) -> float:
    """How much longer a training is of more rows than a short one sees often.

    Four times as many steps have most of what eight gain on held-out rows.
    """
    return min(_MOST_GROWTH, max(1.0, n_samples / _MANY))


def _rate(peak: float, width: int, n_features: int) -> float:
    """A learning rate that is lower for rows of more than so many features."""
    return peak * min(1.0, (width / n_features) ** 0.5)


@dataclass(frozen=True)
class Training:
    """How a stage of a classifier is trained.

    Attributes
    ----------
    batch_sizes : (int, int)
        Labelled rows and all rows of a step.
    n_steps : int
    rate : float
        Peak learning rate.
    ema_decay : float
    """

    batch_sizes: tuple[int, int]
    n_steps: int
    rate: float
    ema_decay: float = 0.998


def training_of_labels(n_labelled: int, *, is_whole: bool) -> Training:
    """For labelled rows alone: the whole training, or a stage before it."""
    batch = 128 if n_labelled >= 5000 else 64
    epochs, most = (20, 9000) if is_whole else (10, 1000)
    n_steps = max(min(1000, max(100, 5 * n_labelled)), epochs * n_labelled // batch)
    rate = 4e-3 if n_labelled >= 5000 else 2e-3
    return Training((batch, 0), min(most, n_steps), rate, 0.998 if is_whole else 0.98)


def training_with_unlabelled(n_labelled: int, n_samples: int) -> Training:
    """For labelled rows beside all rows.

    Few rows are learned soon, and then the errors of labels from a graph too. Fewer
    steps are larger, and weights are averaged over a sixth of them.
    """
    n_steps = min(3000, 10 * n_samples, 300 + n_samples // 5)
    enough = training_of_labels(n_labelled, is_whole=True).n_steps
    n_steps = max(n_steps, enough)
    rate = 2e-3 * min(3, max(1, 3000 / n_steps) ** 0.5)
    return Training((64, 128), n_steps, rate, min(0.998, 1 - 6 / n_steps))


def training_before_unlabelled(n_labelled: int) -> Training:
    """For labelled rows, in a stage before all layers learn from all rows."""
    training = training_of_labels(n_labelled, is_whole=False)
    return replace(training, n_steps=min(100, training.n_steps))


@dataclass(frozen=True)
class GANDefaults:
    """How a generator and its critic are trained, both at one peak learning rate."""

    batch_size: int
    n_steps: int
    n_rounds: int
    lr: float


def defaults_for_gan(n_samples: int, *, is_conv: bool) -> GANDefaults:
    """For rows of any width, or images; steps grow with the rows.

    With fewer steps, generators of few images draw them all near their mean.
    """
    if is_conv:
        return GANDefaults(64, min(6000, max(1000, n_samples // 2)), 15, 2e-3)
    return GANDefaults(256, min(8000, max(100, n_samples)), 20, 3e-3)
