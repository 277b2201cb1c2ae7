"""The recipes of the published groupings, as data."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class GroupingStage:
    """How one training of a grouping experiment runs.

    Args:
        epochs: Passes over the training images.
        learning_rate: Rate at the start.
        schedule: `"constant"`, `"step"` or `"cosine"` (down to zero). Defaults to
            `"step"`.
        step_epochs: With `"step"`: finished epochs after which the rate is divided by
            ten. Defaults to none.
        weight_decay: Coupled weight decay. Defaults to `0`.
    """

    epochs: int
    learning_rate: float
    schedule: str = "step"
    step_epochs: tuple[int, ...] = ()
    weight_decay: float = 0.0


@dataclasses.dataclass(frozen=True)
class GroupingRecipe:
    """A network, its training, and how it is grouped and trained on.

    Use it to read or extend `GROUPING_RECIPES`; a recipe is data alone.

    Args:
        description: What it is for, and what of it was published.
        network: Name of the network, as in `keras-sda list`.
        dataset: Name of the images.
        image_size: Height and width in pixels.
        batch_size: Images per step.
        train: The training of the whole network.
        local: That after every small step.
        fine_tune: That of the final groups.
        rates: Pairs of the rates of convolutions and of dense layers.
        scheme: Scheme of `group_and_fine_tune`. Defaults to `"global"`.
        num_groups: Groups per layer. Defaults to `16`.
        nesterov: Whether the momentum of 0.9 is Nesterov's. Defaults to `False`.

    Example:

    >>> from keras_sda.grouping import GROUPING_RECIPES
    >>> GROUPING_RECIPES["resnet50_imagenet"].fine_tune.step_epochs
    (31, 61)
    """

    description: str
    network: str
    dataset: str
    image_size: int
    batch_size: int
    train: GroupingStage
    local: GroupingStage
    fine_tune: GroupingStage
    rates: tuple[tuple[float, float], ...]
    scheme: str = "global"
    num_groups: int = 16
    nesterov: bool = False


def _imagenet(network, rates):
    """As the authors' scripts: 90 + 7 x 20 + 90 epochs, rates of 20 at 0.01."""
    return GroupingRecipe(
        description=(
            f"{network} on ImageNet, as published: dense layers stop at 60 %. Start "
            "from trained weights, or train them with `train`."
        ),
        network=network,
        dataset="imagenet2012",
        image_size=224,
        batch_size=128,
        train=GroupingStage(90, 0.1, step_epochs=(30, 60), weight_decay=1e-4),
        local=GroupingStage(20, 0.01, "constant", weight_decay=1e-4),
        fine_tune=GroupingStage(90, 0.01, step_epochs=(31, 61), weight_decay=1e-4),
        rates=rates,
        scheme="local_global",
    )


def _densenet_cifar(dataset, rates):
    """Ours but for the batch size: no hyper-parameters were published."""
    return GroupingRecipe(
        description=(
            f"DenseNet121 in its CIFAR form on {dataset}, rates of the published "
            "table. Epochs and rates are ours: the authors publish none for CIFAR."
        ),
        network="CIFARDenseNet121",
        dataset=dataset,
        image_size=32,
        batch_size=64,
        train=GroupingStage(200, 0.1, step_epochs=(100, 150), weight_decay=1e-4),
        local=GroupingStage(20, 0.01, "constant", weight_decay=1e-4),
        fine_tune=GroupingStage(90, 0.01, step_epochs=(30, 60), weight_decay=1e-4),
        rates=rates,
    )


def _both(*rates):
    return tuple((rate, rate) for rate in rates)


GROUPING_RECIPES: dict[str, GroupingRecipe] = {
    "lenet_mnist": GroupingRecipe(
        description=(
            "LeNet 20-50-500-10 on MNIST, rates of the published table. Epochs and "
            "rates are ours: the authors publish none for MNIST."
        ),
        network="LeNet",
        dataset="mnist",
        image_size=28,
        batch_size=128,
        train=GroupingStage(15, 0.05, "cosine", weight_decay=1e-4),
        local=GroupingStage(2, 0.01, "constant", weight_decay=1e-4),
        fine_tune=GroupingStage(12, 0.05, "cosine", weight_decay=1e-4),
        rates=_both(0.95, 0.96, 0.97, 0.98, 0.99),
        nesterov=True,
    ),
    "densenet121_cifar10": _densenet_cifar(
        "cifar10", _both(0.75, 0.8, 0.85, 0.9, 0.95)
    ),
    "densenet121_cifar100": _densenet_cifar(
        "cifar100", _both(0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    ),
    "resnet50_imagenet": _imagenet("ResNet50", ((0.6, 0.6), (0.7, 0.6), (0.8, 0.6))),
    "densenet201_imagenet": _imagenet("DenseNet201", ((0.7, 0.6), (0.8, 0.6))),
}
"""Recipes by name."""
