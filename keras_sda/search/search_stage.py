"""One stage of a search as data."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class SearchStage:
    """How long a stage of a search trains, and at which learning rates.

    Use it to read or extend `SEARCH_RECIPES`.

    Args:
        epochs: Passes over the training images.
        learning_rate: Rate at the start of the schedule.
        schedule: `"constant"`, `"step"` or `"cosine"`. Defaults to `"constant"`.
        step_epochs: With `"step"`: finished epochs after which the rate is divided by
            ten. Defaults to none.
        cosine_start: With `"cosine"`: epochs of the curve that lie before this stage,
            as where a fine-tuning goes on. Defaults to `0`.
        cosine_epochs: With `"cosine"`: epochs from the top of the curve to zero.
            Defaults to `0`, the end of this stage.
        weight_decay: Coupled weight decay (added to the gradient). Defaults to `0`.

    Example:

    >>> from keras_sda.search.search_stage import SearchStage
    >>> stage = SearchStage(70, 0.1, "step", step_epochs=(11, 41))
    >>> stage.rate(10), round(stage.rate(11), 3)
    (0.1, 0.01)
    """

    epochs: int
    learning_rate: float
    schedule: str = "constant"
    step_epochs: tuple[int, ...] = ()
    cosine_start: float = 0.0
    cosine_epochs: float = 0.0
    weight_decay: float = 0.0

    def rate(self, epoch: float) -> float:
        """The learning rate, for a whole epoch or a position between two.

        Args:
            epoch: Finished epochs of this stage, such as `3.5`.

        Returns:
            The rate.
        """
        if self.schedule == "step":
            passed = sum(epoch >= step for step in self.step_epochs)
            return self.learning_rate * 0.1**passed
        if self.schedule == "cosine":
            total = self.cosine_epochs or self.cosine_start + self.epochs
            angle = math.pi * (epoch + self.cosine_start) / total
            return self.learning_rate * 0.5 * (1 + math.cos(angle))
        return self.learning_rate
