"""The stages of one search, with every choice made."""

import dataclasses

import keras

from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.search import SEARCH_RECIPES, SearchStage
from keras_sda.training.options.search_run_options import SearchOptions
from keras_sda.training.recipes.fine_tuning_optimizer import ADAMW_RATE, adamw
from keras_sda.training.recipes.recipe import Recipe
from keras_sda.training.recipes.recipes import RECIPES, default_recipe
from keras_sda.training.recipes.stage_optimizer import (
    StageSchedule,
    resized_stage,
    stage_optimizer,
)

_ARCHITECTURE = SearchStage(10, 0.01)


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """What the stages of a run are. Made by `make_search_plan`.

    Attributes:
        recipe_name: Name of the recipe that was chosen.
        recipe: The training recipe; its crops and augmentation hold in all stages.
        batch_size: Images per step.
        stages: The stages by name: `"weights"`, `"architecture"`, `"fine_tune"`.
        nesterov: Whether weights and fine-tuning use Nesterov's momentum.
        fine_tuning: `"sgd"` or `"adamw"`, the optimizer of the last stage.
        threshold: Gates above it stay open.
        final_beta: Beta of the last epoch of the gates.
    """

    recipe_name: str
    recipe: Recipe
    batch_size: int
    stages: dict[str, SearchStage]
    nesterov: bool
    fine_tuning: str
    threshold: float
    final_beta: float

    def optimizer(self, stage: str, steps_per_epoch: int) -> keras.optimizers.Optimizer:
        """The optimizer of a stage, by its name."""
        if stage == "architecture":
            return stage_optimizer(self.stages[stage], steps_per_epoch)
        if stage == "fine_tune" and self.fine_tuning == "adamw":
            return adamw(StageSchedule(self.stages[stage], steps_per_epoch))
        return stage_optimizer(
            self.stages[stage],
            steps_per_epoch,
            self.recipe.momentum,
            self.nesterov,
            self.recipe.decay_exclude,
        )


def make_search_plan(
    options: SearchOptions, dataset: ImageDataset, image_size: int, is_trained: bool
) -> SearchPlan:
    """Puts the options into a recipe.

    A training recipe gives the weights and the fine-tuning its epochs, rate, schedule
    (without warm-up) and weight decay; the gates learn as published. A recipe of a
    published search gives all stages; crops and augmentation are then those of the
    training recipe that suits the dataset.

    Args:
        options: What the user has chosen.
        dataset: The images.
        image_size: Height and width of the model.
        is_trained: Whether the weights are trained, so that the first stage is left out
            unless the options ask for it.

    Example:

    ```python
    plan = make_search_plan(options, load_image_dataset("digits"), 32, False)
    ```
    """
    name = options.recipe or default_recipe(options.dataset, image_size)
    threshold, final_beta = 0.9, 1e4
    if name in SEARCH_RECIPES:
        search = SEARCH_RECIPES[name]
        recipe = RECIPES[default_recipe(options.dataset, image_size)]
        stages = [search.weights, search.architecture, search.fine_tune]
        threshold, final_beta = search.threshold, search.final_beta
        batch_size, nesterov = search.batch_size, False
    else:
        recipe = RECIPES[name]
        whole = SearchStage(
            recipe.epochs,
            recipe.learning_rate,
            recipe.schedule,
            step_epochs=recipe.step_epochs,
            weight_decay=recipe.weight_decay,
        )
        stages = [whole, _ARCHITECTURE, whole]
        batch_size, nesterov = recipe.batch_size, recipe.nesterov
    weight_epochs = options.weight_epochs
    if weight_epochs is None and is_trained:
        weight_epochs = 0
    lengths = weight_epochs, options.architecture_epochs, options.fine_tune_epochs
    last = whole_rate = options.learning_rate
    if options.optimizer == "adamw":
        last, whole_rate = options.learning_rate or ADAMW_RATE, None
    rates = whole_rate, options.architecture_learning_rate, last
    resized = [resized_stage(*x) for x in zip(stages, lengths, rates, strict=True)]
    return SearchPlan(
        recipe_name=name,
        recipe=dataclasses.replace(recipe, label_smoothing=0.0),
        batch_size=options.batch_size or min(batch_size, dataset.num_train),
        stages=dict(
            zip(("weights", "architecture", "fine_tune"), resized, strict=True)
        ),
        nesterov=nesterov,
        fine_tuning=options.optimizer,
        threshold=options.threshold or threshold,
        final_beta=final_beta,
    )
