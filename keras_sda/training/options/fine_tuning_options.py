"""What can be chosen about training on a network that was made smaller."""

import dataclasses

from keras_sda.training.options.checked_options import CheckedOptions, option
from keras_sda.training.recipes.fine_tuning_optimizer import OPTIMIZERS
from keras_sda.utils import InvalidInputError


@dataclasses.dataclass(frozen=True)
class FineTuningOptions(CheckedOptions):
    """Optimizer and teacher of fine-tuning, for the commands that make models smaller.

    Use it beside `RunOptions`, as a further base of the options of such a command.

    Args:
        optimizer: `"sgd"`, that of the recipe, or `"adamw"`.
        distill: Share of the loss that the whole network gives, up to 1; 0 for none.
        distill_temperature: How much both answers are softened; 4 if None.

    Raises:
        InvalidInputError: A value is not usable.

    Example:

    >>> FineTuningOptions(distill=0.5).optimizer
    'sgd'
    """

    optimizer: str = option(
        "sgd",
        "Optimizer of fine-tuning. sgd: that of the recipe. adamw: AdamW, at a rate of "
        "1e-3 if none is given.",
        OPTIMIZERS,
    )
    distill: float = option(
        0.0,
        "Share of the loss of fine-tuning that compares with the whole network, such "
        "as 0.5; the labels give the rest. 0: the labels alone.",
    )
    distill_temperature: float | None = option(
        None,
        "With --distill: how much both answers are softened before they are compared. "
        "4 if not given.",
        positive=True,
    )

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.distill <= 1:
            raise InvalidInputError(
                "`distill` must be a share of the loss, from 0 (off) to 1. Received: "
                f"distill={self.distill!r}."
            )
        if self.distill_temperature is not None and not self.distill:
            raise InvalidInputError(
                "`distill_temperature` has no effect without `distill` (--distill), "
                "such as 0.5."
            )

    def check_fine_tuning(self, epochs: int | None) -> None:
        """Raises where options of fine-tuning are given and nothing is fine-tuned.

        Args:
            epochs: Those of fine-tuning, 0 for none.

        Raises:
            InvalidInputError: They are without effect.
        """
        if epochs:
            return
        for name in ("distill", "optimizer"):
            value = getattr(self, name)
            if value not in (0, "sgd"):
                raise InvalidInputError(
                    f"`{name}`={value!r} has no effect without fine-tuning. Give "
                    "`fine_tune_epochs` (--fine_tune_epochs) and a `dataset`, or leave "
                    f"`{name}` out."
                )
