"""One grouping experiment as data."""

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
