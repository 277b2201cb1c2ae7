"""One training recipe as data."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is trained: optimiser, schedule and augmentation.

    Use it to read or extend `keras_sda.training.RECIPES`; a recipe is data alone.

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
        label_smoothing: Share of the label spread evenly over the classes.
        crop: `"pad"` (pad, then crop at random), `"resized"` (random area and aspect
            ratio), `"auto"` (`"resized"` from 128 pixels up) or `"none"`.
        pad: Pixels that `"pad"` adds on each side.
        flip: Whether to mirror left and right.
        rand_augment: Strength of RandAugment from 0 (off) to 1; RGB images only.
        rand_augment_ops: Operations per image.
        mixup: Beta parameter of MixUp, 0 for off.
        cutmix: Beta parameter of CutMix, 0 for off. With both, each batch gets one.
        erasing: Probability that a rectangle of an image is erased.
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
    label_smoothing: float = 0.0
    crop: str = "none"
    pad: int = 4
    flip: bool = False
    rand_augment: float = 0.0
    rand_augment_ops: int = 2
    mixup: float = 0.0
    cutmix: float = 0.0
    erasing: float = 0.0
    ema: bool = False
    ema_momentum: float = 0.999
