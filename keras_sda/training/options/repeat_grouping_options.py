"""Everything that can be chosen about repeating a published grouping."""

import dataclasses

from keras_sda.grouping import GROUPING_RECIPES, GroupingRecipe
from keras_sda.grouping.check_rates import check_rates
from keras_sda.grouping.grouping_steps import SCHEMES
from keras_sda.training.options.checked_options import option
from keras_sda.training.options.repeat_options import RepeatOptions
from keras_sda.utils import InvalidInputError


@dataclasses.dataclass(frozen=True)
class RepeatGroupingOptions(RepeatOptions):
    """The options of `repeat_grouping`, checked when they are made.

    Use it in Python; `applications/self_group.py` has the same as flags. None means:
    taken from the recipe.

    Args:
        recipe: A name in `keras_sda.grouping.GROUPING_RECIPES`.
        start: Trained network, a `.keras` file, instead of training one.
        rates: Shares to cut with commas, such as `"0.75"` for all layers, `"0.7/0.6"`
            for convolutions and dense layers.
        scheme: `"global"`, `"local_global"` or `"local"`, see `group_and_fine_tune`.
        num_groups: Groups per layer.
        balance: `"disjoint"` or `"equal"`, see `self_group`; None as published.
        regroup: `"once"` or `"every_step"`, see `self_group`.
        form: See `pack`.
        train_epochs: Epochs of the whole network.
        local_epochs: Epochs after each small step.
        fine_tune_epochs: Epochs of the final groups.
        model: Network, instead of that of the recipe.
        dataset: Images, instead of those of the recipe.
        data_dir: Folder of the prepared TensorFlow Datasets.
        arrays: Files of `save_image_arrays` instead of a dataset, with commas.
        batch_size: Images per step, instead of those of the recipe.
        max_train_examples: Use the first N training images.
        seed: Seed of weights, order and augmentation.
        output: Folder of the results.

    Raises:
        InvalidInputError: A value is not usable, with the nearest valid name.

    Example:

    >>> RepeatGroupingOptions(rates="0.75, 0.7/0.6").pairs
    [(0.75, 0.75), (0.7, 0.6)]
    """

    recipe: str = option(
        "densenet121_cifar10", "Published grouping.", tuple(GROUPING_RECIPES)
    )
    output: str = option("runs/self_group", "Folder of the results.")
    start: str | None = option(
        None, "Trained network, MODEL.keras, instead of training."
    )
    rates: str = option(
        "",
        "Shares to cut, instead of those of the recipe: 0.75 for all layers, 0.7/0.6 "
        "for convolutions and dense layers.",
    )
    scheme: str | None = option(None, "Instead of the recipe's.", SCHEMES)
    num_groups: int | None = option(None, "Likewise.", positive=True)
    balance: str | None = option(
        None, "Groups of one size, see self_group.", ("disjoint", "equal")
    )
    regroup: str = option("once", "See self_group.", ("once", "every_step"))
    form: str = option("lists", "See pack.", ("auto", "lists", "grouped", "dense"))
    train_epochs: int | None = option(None, "Instead of the recipe's.", least=0)
    local_epochs: int | None = option(None, "Likewise.", least=0)
    fine_tune_epochs: int | None = option(None, "Likewise.", least=0)

    def __post_init__(self):
        super().__post_init__()
        for pair in self.pairs:
            check_rates(*pair)
        if self.balance and (self.scheme or self.settings.scheme) != "global":
            raise InvalidInputError(
                "--balance chooses the number of groups by the rate: use "
                "--scheme=global."
            )

    @property
    def settings(self) -> GroupingRecipe:
        """The recipe itself."""
        return GROUPING_RECIPES[self.recipe]

    @property
    def published_dataset(self) -> str:
        return self.settings.dataset

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """Rates of convolutions and of dense layers."""
        pairs = []
        for text in self.listed("rates"):
            try:
                parts = [float(part) for part in text.split("/")]
            except ValueError:
                parts = []
            if len(parts) not in (1, 2):
                raise InvalidInputError(
                    "--rates must be shares such as 0.75, or pairs such as 0.7/0.6, "
                    f"with commas. Received: {text!r}."
                )
            pairs.append((parts[0], parts[-1]))
        return pairs or list(self.settings.rates)
