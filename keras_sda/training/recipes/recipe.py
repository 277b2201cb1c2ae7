"""One training recipe as data."""

import dataclasses

from keras_sda.data.streams.augmentation import Augmentation


@dataclasses.dataclass(frozen=True)
class Recipe(Augmentation):
    """How a network is trained: optimiser, schedule and augmentation.

    Use it to read or extend `keras_sda.training.RECIPES`; a recipe is data alone. How
    images are augmented is in the fields of `keras_sda.data.Augmentation`.

    Args:
        description: What it is for, the command and the expected result.
        epochs: Passes over the training images.
        batch_size: Images per step over all devices.
        learning_rate: Highest learning rate, for exactly this batch size.
        schedule: `"cosine"` (down to zero) or `"step"`.
        warmup_epochs: Epochs of linear rise from zero before a cosine.
        step_epochs: With `"step"`: finished epochs after which the rate falls.
        step_factor: With `"step"`: what the rate is multiplied with each time.
        momentum: Momentum of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Coupled weight decay (added to the gradient).
        decay_exclude: Regular expressions of variable paths without weight decay;
            empty means that all parameters decay, as in the papers.
        ema: Whether to average the weights over the steps.
        ema_momentum: Momentum of that average.

    Example:

    >>> from keras_sda.training import RECIPES
    >>> RECIPES["sda_imagenet"].step_epochs
    (31, 61, 91)
    """

    description: str
    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    step_epochs: tuple[int, ...] = ()
    step_factor: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    decay_exclude: tuple[str, ...] = ()
    ema: bool = False
    ema_momentum: float = 0.999
