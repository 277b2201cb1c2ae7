"""The training recipes, as data."""

from keras_sda.training.recipes.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    "digits": Recipe(
        description=(
            "Small grey images of signs that must not be mirrored (digits, MNIST, "
            "SVHN). `keras-sda train --dataset digits`: at least 97 % test accuracy "
            "in about a minute on two CPU cores."
        ),
        epochs=12,
        batch_size=64,
        learning_rate=0.05,
        warmup_epochs=1,
        nesterov=True,
        weight_decay=5e-4,
        crop="pad",
        pad=3,
    ),
    "cifar": Recipe(
        description=(
            "Small colour photographs, a short run for a CPU. `keras-sda train "
            "--dataset cifar10 --model SDAResNet20`: above 80 % test accuracy, "
            "normally 88 % or more, after 15 epochs."
        ),
        epochs=15,
        batch_size=128,
        learning_rate=0.1,
        warmup_epochs=1,
        nesterov=True,
        weight_decay=5e-4,
        crop="pad",
        pad=4,
        flip=True,
    ),
    "sda_imagenet": Recipe(
        description=(
            "The published ImageNet recipe of the selective-depth-attention networks: "
            "120 epochs, rate 0.1 divided by ten after 31, 61 and 91 epochs, weight "
            "decay on all parameters, label smoothing, no warm-up. The authors reset "
            "the momentum at every epoch and keep the batch statistics of each of "
            "four GPUs apart; this recipe does neither. `keras-sda train --dataset "
            "imagenet2012 --model SDAResNet86 --strategy mirrored`: the authors "
            "report 78.76 % top-1."
        ),
        epochs=120,
        batch_size=256,
        learning_rate=0.1,
        schedule="step",
        step_epochs=(31, 61, 91),
        weight_decay=1e-4,
        label_smoothing=0.1,
        crop="resized",
        flip=True,
    ),
    "modern": Recipe(
        description=(
            "Strong regularisation for long runs on photographs: RandAugment, MixUp "
            "and CutMix, random erasing, averaged weights, cosine schedule. "
            "`keras-sda train --dataset FOLDER --recipe modern`: meant for 100 epochs "
            "and more; on short runs the plainer recipes are better."
        ),
        epochs=100,
        batch_size=128,
        learning_rate=0.1,
        warmup_epochs=5,
        nesterov=True,
        weight_decay=5e-5,
        decay_exclude=(r"bias$", r"gamma$", r"beta$"),
        label_smoothing=0.1,
        crop="auto",
        flip=True,
        rand_augment=0.3,
        mixup=0.2,
        cutmix=1.0,
        erasing=0.25,
        ema=True,
    ),
}
"""Recipes by name. Each `description` states the command and the expected result."""

_BY_DATASET = {
    "digits": "digits",
    "mnist": "digits",
    "svhn_cropped": "digits",
    "cifar10": "cifar",
    "cifar100": "cifar",
    "imagenet2012": "sda_imagenet",
}


def default_recipe(dataset: str, image_size: int) -> str:
    """Name of the recipe that suits a dataset.

    Args:
        dataset: Dataset name; a version or configuration after it is ignored.
        image_size: Image height and width in pixels, for unknown datasets: from 128
            up `"modern"`, below `"cifar"`.

    Returns:
        A key of `RECIPES`.

    Example:

    >>> default_recipe("cifar10:3.0.2", 32)
    'cifar'
    """
    name = dataset.split(":")[0].split("/")[0]
    fallback = "modern" if image_size >= 128 else "cifar"
    return _BY_DATASET.get(name, fallback)
