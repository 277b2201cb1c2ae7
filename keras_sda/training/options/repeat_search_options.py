"""Everything that can be chosen about repeating a published search."""

import dataclasses

from keras_sda.search import PUBLISHED_SEARCHES, SEARCH_RECIPES
from keras_sda.training.options.checked_options import option
from keras_sda.training.options.repeat_options import RepeatOptions
from keras_sda.utils import InvalidInputError


@dataclasses.dataclass(frozen=True)
class RepeatSearchOptions(RepeatOptions):
    """The options of `repeat_search`, checked when they are made.

    Use it in Python; `applications/search_channels.py` has the same as flags. None
    means: taken from the recipe.

    Args:
        recipe: A name in `keras_sda.search.SEARCH_RECIPES`.
        lambda_arch: Prices with commas, such as `"1e-5,1e-4"`.
        target_macs: Budgets with commas instead, as shares of the multiply-accumulates.
        reference_steps: Steps of the gates that the prices are for, which keep price
            times steps; 0 takes them as they are. None: 7820 for CIFAR-10, else 0.
        regularizer: `"plain"`, `"scaled"` or `"macs"`, see `gate_regularizer`.
        residual: `"exact"`, `"joint"` or `"official"`, as in `SearchOptions`.
        weight_epochs: Epochs of the weights.
        architecture_epochs: Epochs of the gates.
        fine_tune_epochs: Epochs of the derived networks.
        max_half_open: Share of gates that may end half open.
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

    >>> RepeatSearchOptions(lambda_arch="1e-5, 1e-4").searches
    [(1e-05, None), (0.0001, None)]
    """

    recipe: str = option("resnet56_cifar", "Published search.", tuple(SEARCH_RECIPES))
    output: str = option("runs/search_channels", "Folder of the results.")
    lambda_arch: str = option("", "Prices with commas, instead of the recipe's.")
    target_macs: str = option("", "Budgets (shares of the MACs) instead of prices.")
    reference_steps: int | None = option(
        None,
        "Steps of the gates that the prices are for; 0 takes them as they are. If not "
        "given, 7820 for CIFAR-10 and 0 for ImageNet.",
        least=0,
    )
    regularizer: str = option(
        "plain", "What an open gate costs.", ("plain", "scaled", "macs")
    )
    residual: str = option(
        "exact", "See keras-sda search --help.", ("exact", "joint", "official")
    )
    weight_epochs: int | None = option(None, "Instead of the recipe's.", least=0)
    architecture_epochs: int | None = option(None, "Likewise.", positive=True)
    fine_tune_epochs: int | None = option(None, "Likewise.", least=0)
    max_half_open: float = option(1.0, "Share of gates that may end half open.")

    def __post_init__(self):
        super().__post_init__()
        if self.network is None:
            raise InvalidInputError(
                f"--recipe={self.recipe} needs --model: this package has no network of "
                "that form."
            )
        if self.lambda_arch and self.target_macs:
            raise InvalidInputError("Give --lambda_arch or --target_macs, not both.")
        self._numbers("lambda_arch")
        self._numbers("target_macs")

    @property
    def published_dataset(self) -> str:
        return PUBLISHED_SEARCHES[self.recipe]["dataset"]

    @property
    def network(self) -> str | None:
        """Name of the network; None where there is none of that form."""
        return self.model or PUBLISHED_SEARCHES[self.recipe]["network"]

    @property
    def searches(self) -> list[tuple[float | None, float | None]]:
        """A price or a budget of every search, the other one None."""
        targets = self._numbers("target_macs")
        prices = self._numbers("lambda_arch") or SEARCH_RECIPES[self.recipe].lambda_arch
        if targets:
            return [(None, target) for target in targets]
        return [(price, None) for price in prices]

    def _numbers(self, name):
        try:
            return [float(text) for text in self.listed(name)]
        except ValueError as error:
            raise InvalidInputError(
                f"--{name} must be numbers with commas. Received: "
                f"{getattr(self, name)!r}."
            ) from error
