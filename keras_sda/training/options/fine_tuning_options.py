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
            None: 0.5, if its loss on training images is under half of what it costs
            to name how frequent the classes are; else 0.
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
    distill: float | None = option(
        None,
        "Share of the loss of fine-tuning that compares with the whole network; the "
        "labels give the rest. 0: the labels alone, in shorter steps. 0.5 if not given "
        "and the whole network is good at the training images.",
    )
    distill_temperature: float | None = option(
        None,
        "How much the answers of both networks are softened before they are compared. "
        "4 if not given.",
        positive=True,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.distill is not None and not 0 <= self.distill <= 1:
            raise InvalidInputError(
                "`distill` must be a share of the loss, from 0 (off) to 1. Received: "
                f"distill={self.distill!r}."
            )
        if self.distill_temperature is not None and self.distill == 0:
            raise InvalidInputError(
                "`distill_temperature` has no effect with `distill=0` (--distill 0): "
                "give a share of the loss, such as 0.5, or leave one of them out."
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
        for name in ("distill", "distill_temperature", "optimizer"):
            value = getattr(self, name)
            if value not in (None, 0, "sgd"):
                raise InvalidInputError(
                    f"`{name}`={value!r} has no effect without fine-tuning. Give "
                    "`fine_tune_epochs` (--fine_tune_epochs) and a `dataset`, or leave "
                    f"`{name}` out."
                )
