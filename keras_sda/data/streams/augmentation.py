"""How training images are changed, as data."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training images and labels are changed; nothing by default.

    A `keras_sda.training.Recipe` is one, with an optimizer and a schedule beside it.

    Args:
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

    Example:

    >>> from keras_sda.data import Augmentation
    >>> Augmentation(crop="pad", flip=True).pad
    4
    """

    label_smoothing: float = 0.0
    crop: str = "none"
    pad: int = 4
    flip: bool = False
    rand_augment: float = 0.0
    rand_augment_ops: int = 2
    mixup: float = 0.0
    cutmix: float = 0.0
    erasing: float = 0.0
