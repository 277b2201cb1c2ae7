"""The recipes of the published groupings, as data."""

from keras_sda.grouping.grouping_recipe import GroupingRecipe, GroupingStage


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
