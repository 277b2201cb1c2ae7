"""The recipes of the published searches, as data."""

import dataclasses

from keras_sda.search.search_stage import SearchStage


@dataclasses.dataclass(frozen=True)
class SearchRecipe:
    """The three stages of a search for widths, and what they share.

    Use it to read or extend `SEARCH_RECIPES`; a recipe is data alone.

    Args:
        description: What it is for and where it comes from.
        batch_size: Images per step over all devices.
        weights: First stage: the weights learn, the gates are bypassed.
        architecture: Second stage: the gates learn while they harden.
        fine_tune: Third stage: what is left learns on.
        lambda_arch: Price of an open gate, of the published tables; the first is that
            of the authors' script.
        threshold: Channels with a gate above it stay. Defaults to `0.9`.
        final_beta: Scale of the gates at the end. Defaults to `1e4`.
        momentum: Momentum of SGD in all stages. Defaults to `0.9`.

    Example:

    >>> from keras_sda.search.search_recipes import SEARCH_RECIPES
    >>> recipe = SEARCH_RECIPES["resnet50_imagenet"]
    >>> recipe.weights.epochs, recipe.architecture.epochs, recipe.fine_tune.epochs
    (30, 10, 70)
    """

    description: str
    batch_size: int
    weights: SearchStage
    architecture: SearchStage
    fine_tune: SearchStage
    lambda_arch: tuple[float, ...]
    threshold: float = 0.9
    final_beta: float = 1e4
    momentum: float = 0.9


_ARCHITECTURE = SearchStage(10, 0.01)
_CIFAR_LAMBDAS = (1e-5, 5e-5, 1e-4, 2e-4, 3e-4, 4e-4, 5e-4)


def _cifar(network, learning_rate, weight_decay):
    """Ours: no hyper-parameters were published but the prices of the table."""
    return SearchRecipe(
        description=(
            f"{network} on CIFAR-10, for the seven rows of the published table. "
            "Stages and rates are ours: the authors publish only the prices, not for "
            "how many steps they hold. Keep price times steps of the architecture "
            "stage where you change its length or the batch size."
        ),
        batch_size=128,
        weights=SearchStage(100, learning_rate, weight_decay=weight_decay),
        architecture=_ARCHITECTURE,
        fine_tune=SearchStage(
            160,
            0.1,
            "step",
            step_epochs=(80, 120),
            weight_decay=weight_decay,
        ),
        lambda_arch=_CIFAR_LAMBDAS,
    )


def _steps(learning_rate):
    """Seventy epochs; the first 11 and the next 30 at one rate each."""
    return SearchStage(
        70, learning_rate, "step", step_epochs=(11, 41), weight_decay=1e-4
    )


SEARCH_RECIPES: dict[str, SearchRecipe] = {
    "vgg16_imagenet": SearchRecipe(
        description="VGG16 with batch normalisation on ImageNet, as published.",
        batch_size=128,
        weights=SearchStage(30, 0.01, weight_decay=1e-4),
        architecture=_ARCHITECTURE,
        fine_tune=_steps(0.01),
        lambda_arch=(1e-4,),
    ),
    "resnet50_imagenet": SearchRecipe(
        description="ResNet50 on ImageNet, as published.",
        batch_size=256,
        weights=SearchStage(30, 0.1, weight_decay=1e-4),
        architecture=_ARCHITECTURE,
        fine_tune=_steps(0.1),
        lambda_arch=(5e-5, 6e-5, 7e-5, 1e-4),
    ),
    "mobilenet_v2_imagenet": SearchRecipe(
        description=(
            "MobileNetV2 on ImageNet. The cosine of the fine-tuning is the published "
            "one; that of the weights reaches zero after 160 epochs, since the length "
            "in the authors' script cannot be computed. The script has a price of "
            "1.2e-4, the table those here."
        ),
        batch_size=256,
        weights=SearchStage(80, 0.1, "cosine", cosine_epochs=160, weight_decay=4e-5),
        architecture=_ARCHITECTURE,
        fine_tune=SearchStage(
            90,
            0.1,
            "cosine",
            cosine_start=30,
            cosine_epochs=120,
            weight_decay=4e-5,
        ),
        lambda_arch=(6e-5, 7e-5),
    ),
    "proxyless_imagenet": SearchRecipe(
        description="The ProxylessNAS supernet on ImageNet, as published.",
        batch_size=96,
        weights=SearchStage(100, 0.05, "cosine", cosine_epochs=150, weight_decay=4e-5),
        architecture=_ARCHITECTURE,
        fine_tune=SearchStage(
            110,
            0.05,
            "cosine",
            cosine_start=40,
            cosine_epochs=150,
            weight_decay=4e-5,
        ),
        lambda_arch=(6e-5,),
    ),
    "vgg16_cifar": _cifar("VGG16", 0.05, 5e-4),
    "resnet56_cifar": _cifar("ResNet56", 0.1, 1e-4),
    "mobilenet_v2_cifar": _cifar("MobileNetV2", 0.1, 4e-5),
}
"""Recipes by name, for the CIFAR forms of `keras_sda.applications` and ImageNet."""
