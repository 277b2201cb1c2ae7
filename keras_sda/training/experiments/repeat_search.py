"""The published searches for widths, beside what they reach here."""

import shutil
import time
from collections.abc import Callable
from typing import Any

import keras
from absl import logging

from keras_sda.runs.best_weights import copy_without_optimizer
from keras_sda.search import (
    PUBLISHED_SEARCHES,
    SEARCH_RECIPES,
    ChannelSearch,
    add_channel_gates,
)
from keras_sda.training.experiments.repeated_runs import RepeatedRuns
from keras_sda.training.options.repeat_search_options import RepeatSearchOptions
from keras_sda.training.recipes.stage_optimizer import resized_stage, stage_optimizer
from keras_sda.utils import save_model
from keras_sda.utils.draw_in_run import draw_in_run

_STAGES = ("weights", "architecture", "fine_tune")
_CIFAR_STEPS = 7820  # of the gates: batches of 64, ten epochs


def repeat_search(
    options: RepeatSearchOptions, log: Callable[[str], Any] = logging.info
) -> list[dict[str, str]]:
    """Repeats the searches of a published table, or some of them.

    Use it through `applications/search_channels.py` or directly. The weights are
    trained once; every price (or budget) then trains the gates, derives the small
    network and fine-tunes it. Called again with the same options, an interrupted one
    goes on. Images in memory need no TensorFlow.

    The folder `options.output` then holds results.csv and, for every search, a folder
    with model.keras (the derived network), the report of its layers, search.csv and
    search.png.

    Args:
        options: Recipe, prices, images and folder.
        log: Called with short messages on the course of the runs.

    Returns:
        The rows of results.csv: accuracies, parameters, multiply-accumulates and
        seconds, beside those that were published.

    Raises:
        InvalidInputError: An option or the images cannot be used; or some searches
            have failed, such as one that closes its network altogether. The others are
            done.

    Example:

    ```python
    rows = repeat_search(RepeatSearchOptions(recipe="resnet56_cifar"), print)
    ```

    Source: arXiv 2103.02126 (Pattern Recognition 126, 2022).
    """
    return _Searches(options, log).run(options.searches)


class _Searches(RepeatedRuns):
    """One network with trained weights, and its searches."""

    kind, order = "search", ("macs", "params")

    def __init__(self, options, log):
        self.recipe = recipe = SEARCH_RECIPES[options.recipe]
        super().__init__(options, options.network, recipe.batch_size, log)
        lengths = (
            options.weight_epochs,
            options.architecture_epochs,
            options.fine_tune_epochs,
        )
        self.stages = {
            name: resized_stage(getattr(recipe, name), length)
            for name, length in zip(_STAGES, lengths, strict=True)
        }
        reference = options.reference_steps
        if reference is None:
            reference = _CIFAR_STEPS if options.recipe.endswith("_cifar") else 0
        steps = self.stages["architecture"].epochs * self.images.steps
        self.factor = reference / steps or 1.0
        self.seconds = {}

    def title(self, case):
        price, target = case
        return f"lambda_{price:g}" if target is None else f"target_{target:g}"

    def train(self, name, stage, **more):
        """One stage of a search."""
        plan, number = self.stages[name], _STAGES.index(name)
        if not plan.epochs:
            return
        data, settings = self.images.stage(plan.epochs, self.options.seed + number)
        began = time.perf_counter()
        stage(
            data,
            plan.epochs,
            optimizer=stage_optimizer(plan, self.images.steps, self.recipe.momentum),
            verbose=self.verbose,
            **settings,
            **more,
        )
        self.seconds[name] = round(time.perf_counter() - began, 1)

    def train_whole(self):
        options, model = self.options, self.build()
        joint = "joint" if options.residual == "joint" else "exact"
        gated = add_channel_gates(model, residual=joint)
        search = ChannelSearch(gated, self.output, seed=options.seed)
        self.train("weights", search.train_weights)
        return gated

    def carry_out(self, case):
        """Gates, derived network, fine-tuning."""
        (price, target), options = case, self.options
        folder = self.output / self.title(case)
        gated = keras.models.clone_model(self.whole)
        gated.set_weights(self.whole.get_weights())
        search = ChannelSearch(gated, folder, seed=options.seed)
        self.train(
            "architecture",
            search.learn_architecture,
            lambda_arch=None if price is None else price * self.factor,
            target_macs=target,
            regularizer=options.regularizer,
            final_beta=self.recipe.final_beta,
        )
        official = "official" if options.residual == "official" else "exact"
        result = search.derive(self.recipe.threshold, official, options.max_half_open)
        derived = self.images.accuracy(result.model)
        self.train("fine_tune", search.fine_tune)
        accuracy = self.images.accuracy(result.model)
        result.report.save(folder)
        draw_in_run(search.plot, folder / "search.png")
        shutil.copyfile(folder / "architecture/architecture.csv", folder / "search.csv")
        save_model(copy_without_optimizer(result.model), folder / "model.keras")
        report = result.report
        return {
            **self.identity(case),
            "price": "" if price is None else price * self.factor,
            "accuracy_whole": round(self.accuracy_whole, 4),
            "accuracy_derived": round(derived, 4),
            "accuracy": round(accuracy, 4),
            "params_before": report.params_before,
            "params": report.params_after,
            "macs_before": report.macs_before,
            "macs": report.macs_after,
            **self.published(price),
            "channels_before": sum(gate.channels for gate in search.gates),
            "channels": sum(map(len, result.kept.values())),
            "constants": len(result.constants),
            "batch_size": self.images.batch_size,
            "test_images": self.dataset.num_test,
            **{f"seconds_{name}": self.seconds.pop(name, "") for name in _STAGES},
            **self.place(),
        }

    def identity(self, case):
        price, target = case
        return {
            "recipe": self.options.recipe,
            "model": self.network,
            "dataset": self.dataset.name,
            "lambda_arch": "" if price is None else price,
            "target_macs": "" if target is None else target,
            "residual": self.options.residual,
            "regularizer": self.options.regularizer,
            **{f"{name}_epochs": self.stages[name].epochs for name in _STAGES},
            "train_images": self.dataset.num_train,
            "seed": self.options.seed,
        }

    def published(self, price):
        """The row of the table, for its own network and price."""
        table = PUBLISHED_SEARCHES[self.options.recipe]
        own = self.network == table["network"]
        found = [row for row in table["rows"] if own and row[0] == price]
        macs, params, top1 = found[0][1:] if found else ("", "", "")
        whole = table["rows"][0][3]
        return {
            "published_accuracy_whole": round(whole / 100, 4) if found else "",
            "published_accuracy": top1 and round(top1 / 100, 4),
            "published_params_millions": params,
            "published_macs_millions": macs or "",
        }

    def tidy(self, case):
        """Removes the weights of the stages: model.keras has what they lead to."""
        for name in ("architecture", "fine_tune"):
            for path in (self.output / self.title(case) / name).glob("*.weights.h5"):
                path.unlink()

    def words(self, row):
        return (
            f"{row['lambda_arch'] or row['target_macs']}: accuracy "
            f"{float(row['accuracy']):.2%}, MACs {int(row['macs']):,} of "
            f"{int(row['macs_before']):,}, parameters {int(row['params']):,}"
        )
