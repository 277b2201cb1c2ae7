"""One recipe of a search as data."""

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
