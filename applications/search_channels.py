"""The published searches for widths (DNAL), beside what they reach here.

    python applications/search_channels.py --recipe=resnet56_cifar \\
        --data_dir=../shared/data --output=runs/resnet56_cifar

Trains the weights of the network of a recipe once, then for every price of the recipe
(or for --lambda_arch or --target_macs) the gates, derives the small network and
fine-tunes it. Writes results.csv with a row per search beside the row that was
published, and for every search a folder with the derived model.keras, the report of its
layers, search.csv and search.png. An interrupted program goes on when it is started
again with the same flags (seconds are then those since). A search that closes its
network altogether is reported, and the others go on.

Recipes are those of `keras_sda.search.SEARCH_RECIPES`. The prices for CIFAR-10 are
those of the published table, taken as prices for --reference_steps steps of the gates,
7820 (batches of 64, ten epochs; the authors do not say): with other batches or epochs,
price times steps is kept. Published, as accuracy in percent / MACs in millions:

  vgg16_cifar         93.77/313.47 whole; 1e-5 93.82/211.89, 1e-4 93.75/161.97,
                      5e-4 89.27/16.65
  resnet56_cifar      94.15/125.49 whole; 1e-5 93.76/93.94, 1e-4 93.20/36.94,
                      5e-4 83.48/1.68
  mobilenet_v2_cifar  94.31/91.17 whole; 1e-5 94.17/59.47, 1e-4 94.01/36.63,
                      5e-4 87.85/4.50

and so on, see `keras_sda.search.PUBLISHED_SEARCHES`, which has those of ImageNet too. A
few minutes on a CPU, to see it work:

    python applications/search_channels.py --dataset=digits --output=runs/try \\
        --model=CIFARResNet20 --target_macs=0.5 --weight_epochs=3 \\
        --architecture_epochs=3 --fine_tune_epochs=3 --max_train_examples=512

On a machine with JAX and no TensorFlow, take the images along as arrays x_train,
y_train, x_test, y_test of one or several .npz files, which are joined:

    python applications/search_channels.py --data_dir=../shared/data \\
        --write_arrays=runs/cifar10_ --parts=4
    KERAS_BACKEND=jax python applications/search_channels.py \\
        --arrays=runs/cifar10_1.npz,runs/cifar10_2.npz,runs/cifar10_3.npz,runs/...

Images in memory are padded by four zeros, cropped and mirrored in numpy on every
backend (digits are not mirrored); larger data sets come from `training_stream`.
"""

import dataclasses
import pathlib
import shutil
import sys
import time

import keras
from absl import flags, logging

from keras_sda.analysis.latency.inference_step import device_name, versions
from keras_sda.applications import get_model
from keras_sda.cli.run_program import run_program
from keras_sda.runs.best_weights import copy_without_optimizer
from keras_sda.search import (
    PUBLISHED_SEARCHES,
    SEARCH_RECIPES,
    ChannelSearch,
    add_channel_gates,
)
from keras_sda.training import (
    StageImages,
    build_classifier,
    load_image_arrays,
    load_image_dataset,
    resized_stage,
    save_image_arrays,
    stage_optimizer,
)
from keras_sda.utils import InvalidInputError, atomic_write
from keras_sda.utils.draw_in_run import draw_in_run
from keras_sda.utils.files.csv_rows import read_rows, write_rows

flags.DEFINE_enum(
    "recipe", "resnet56_cifar", sorted(PUBLISHED_SEARCHES), "Published search."
)
flags.DEFINE_string("output", "runs/search_channels", "Folder of the results.")
flags.DEFINE_string("model", None, "Network, instead of that of the recipe.")
flags.DEFINE_string("dataset", None, "Images, instead of those of the recipe.")
flags.DEFINE_string("data_dir", None, "Folder of the prepared TensorFlow Datasets.")
flags.DEFINE_list("arrays", [], "Files of arrays instead of a dataset, see above.")
flags.DEFINE_string("write_arrays", None, "Write the images to such .npz files, end.")
flags.DEFINE_integer("parts", 1, "How many files --write_arrays makes.", lower_bound=1)
flags.DEFINE_list("lambda_arch", [], "Prices, instead of those of the recipe.")
flags.DEFINE_list("target_macs", [], "Budgets (shares of the MACs) instead of prices.")
flags.DEFINE_integer(
    "reference_steps",
    None,
    "Steps of the gates that the prices are for; 0 takes them as they are. Default: "
    "7820 for CIFAR-10, 0 for ImageNet.",
)
flags.DEFINE_enum(
    "regularizer", "plain", ["plain", "scaled", "macs"], "What an open gate costs."
)
flags.DEFINE_enum(
    "residual", "exact", ["exact", "joint", "official"], "See keras-sda search --help."
)
flags.DEFINE_integer("weight_epochs", None, "Instead of those of the recipe.")
flags.DEFINE_integer("architecture_epochs", None, "Likewise.", lower_bound=1)
flags.DEFINE_integer("fine_tune_epochs", None, "Likewise.")
flags.DEFINE_integer("batch_size", None, "Likewise.", lower_bound=1)
flags.DEFINE_integer("max_train_examples", None, "Use the first N.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of weights, order and augmentation.")
flags.DEFINE_float("max_half_open", 1.0, "Share of gates that may end half open.")

_STAGES = ("weights", "architecture", "fine_tune")


def load(options):
    """The dataset of --arrays or of a name."""
    name = options.dataset or PUBLISHED_SEARCHES[options.recipe]["dataset"]
    count = options.max_train_examples
    if options.arrays:
        return load_image_arrays(options.arrays, name, count)
    return load_image_dataset(name, data_dir=options.data_dir, max_train_examples=count)


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags, with those of the recipe put in."""

    recipe: str
    model: str
    output: pathlib.Path
    stages: dict
    batch_size: int
    searches: tuple
    regularizer: str
    residual: str
    threshold: float
    final_beta: float
    momentum: float
    max_half_open: float
    seed: int


def settings_of(options) -> Settings:
    """Checks the flags against the recipe."""
    recipe = SEARCH_RECIPES[options.recipe]
    network = options.model or PUBLISHED_SEARCHES[options.recipe]["network"]
    if network is None:
        raise InvalidInputError(
            f"--recipe={options.recipe} needs --model: this package has no network of "
            "that form."
        )
    prices = [_number(text, "lambda_arch") for text in options.lambda_arch]
    targets = [_number(text, "target_macs") for text in options.target_macs]
    if prices and targets:
        raise InvalidInputError("Give --lambda_arch or --target_macs, not both.")
    searches = [(None, target) for target in targets]
    searches = searches or [(price, None) for price in prices or recipe.lambda_arch]
    lengths = [getattr(options, f"{name[:-1] if name == 'weights' else name}_epochs")
               for name in _STAGES]  # fmt: skip
    if any(length is not None and length < 0 for length in lengths):
        raise InvalidInputError("Epochs must be 0 or more.")
    return Settings(
        recipe=options.recipe,
        model=network,
        output=pathlib.Path(options.output),
        stages={
            name: resized_stage(getattr(recipe, name), length)
            for name, length in zip(_STAGES, lengths, strict=True)
        },
        batch_size=options.batch_size or recipe.batch_size,
        searches=tuple(searches),
        regularizer=options.regularizer,
        residual=options.residual,
        threshold=recipe.threshold,
        final_beta=recipe.final_beta,
        momentum=recipe.momentum,
        max_half_open=options.max_half_open,
        seed=options.seed,
    )


def _number(text, name):
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInputError(
            f"--{name} must be numbers with commas. Received: {text!r}."
        ) from error


class Experiment:
    """One network with trained weights, and its searches."""

    def __init__(self, settings, dataset, reference_steps):
        self.settings, self.dataset = settings, dataset
        self.images = StageImages(dataset, settings.batch_size)
        epochs = settings.stages["architecture"].epochs
        self.factor = reference_steps / (epochs * self.images.steps) or 1.0
        keras.utils.set_random_seed(settings.seed)
        model = build_classifier(
            get_model(settings.model),
            self.images.size,
            dataset.channels,
            len(dataset.class_names),
        )
        joint = "joint" if settings.residual == "joint" else "exact"
        self.gated = add_channel_gates(model, residual=joint)
        self.seconds = {}

    def train(self, name, stage, **more):
        """One stage of a search."""
        plan, number = self.settings.stages[name], _STAGES.index(name)
        if not plan.epochs:
            return
        momentum = self.settings.momentum
        data, options = self.images.stage(plan.epochs, self.settings.seed + number)
        began = time.perf_counter()
        stage(
            data,
            plan.epochs,
            optimizer=stage_optimizer(plan, self.images.steps, momentum),
            verbose=1 if sys.stdout.isatty() else 2,
            **options,
            **more,
        )
        self.seconds[name] = round(time.perf_counter() - began, 1)

    def train_weights(self):
        """The first stage, once for all searches; returns the accuracy."""
        whole = ChannelSearch(self.gated, self.settings.output, seed=self.settings.seed)
        self.train("weights", whole.train_weights)
        return self.images.accuracy(self.gated)

    def search(self, price, target, whole):
        """Gates, derived network, fine-tuning; returns the row."""
        settings = self.settings
        folder = settings.output / _folder_name(price, target)
        gated = keras.models.clone_model(self.gated)
        gated.set_weights(self.gated.get_weights())
        search = ChannelSearch(gated, folder, seed=settings.seed)
        self.train(
            "architecture",
            search.learn_architecture,
            lambda_arch=None if price is None else price * self.factor,
            target_macs=target,
            regularizer=settings.regularizer,
            final_beta=settings.final_beta,
        )
        official = "official" if settings.residual == "official" else "exact"
        result = search.derive(settings.threshold, official, settings.max_half_open)
        derived = self.images.accuracy(result.model)
        self.train("fine_tune", search.fine_tune)
        accuracy = self.images.accuracy(result.model)
        result.report.save(folder)
        draw_in_run(search.plot, folder / "search.png")
        shutil.copyfile(folder / "architecture/architecture.csv", folder / "search.csv")
        with atomic_write(folder / "model.keras") as temporary:
            copy_without_optimizer(result.model).save(temporary)
        report, stages = result.report, settings.stages
        published = _published(settings.recipe, settings.model, price, target)
        row = {
            "recipe": settings.recipe,
            "model": settings.model,
            "dataset": self.dataset.name,
            "lambda_arch": price if price is not None else "",
            "price": "" if price is None else price * self.factor,
            "target_macs": target if target is not None else "",
            "accuracy_whole": round(whole, 4),
            "accuracy_derived": round(derived, 4),
            "accuracy": round(accuracy, 4),
            "params_before": report.params_before,
            "params": report.params_after,
            "macs_before": report.macs_before,
            "macs": report.macs_after,
            **published,
            "channels_before": sum(gate.channels for gate in search.gates),
            "channels": sum(map(len, result.kept.values())),
            "constants": len(result.constants),
            "residual": settings.residual,
            "regularizer": settings.regularizer,
            **{f"{name}_epochs": stages[name].epochs for name in _STAGES},
            "batch_size": self.images.batch_size,
            "train_images": self.dataset.num_train,
            "test_images": self.dataset.num_test,
            "seed": settings.seed,
            **{f"seconds_{name}": self.seconds.pop(name, "") for name in _STAGES},
            "device": device_name(),
            "versions": " ".join(f"{k} {v}" for k, v in versions().items()),
        }
        return row

    def tidy(self, price, target):
        """Removes the weights of the stages: model.keras has what they lead to."""
        folder = self.settings.output / _folder_name(price, target)
        for name in ("architecture", "fine_tune"):
            for path in (folder / name).glob("*.weights.h5"):
                path.unlink()


def _folder_name(price, target):
    return f"lambda_{price:g}" if target is None else f"target_{target:g}"


def _published(recipe, model, price, target):
    """The row of the table, for its own network and price."""
    network = PUBLISHED_SEARCHES[recipe]["network"]
    rows = PUBLISHED_SEARCHES[recipe]["rows"]
    found = [row for row in rows if row[0] == price] if model == network else []
    macs, params, top1 = found[0][1:] if found and target is None else ("", "", "")
    return {
        "published_accuracy_whole": round(rows[0][3] / 100, 4) if found else "",
        "published_accuracy": top1 and round(top1 / 100, 4),
        "published_params_millions": params,
        "published_macs_millions": macs or "",
    }


def run(options):
    """All searches; returns the rows."""
    settings = settings_of(options)
    dataset = load(options)
    reference = options.reference_steps
    if reference is None:
        reference = 7820 if options.recipe.endswith("_cifar") else 0
    experiment = Experiment(settings, dataset, reference)
    path = settings.output / "results.csv"
    rows, whole, failures = read_rows(path), None, []
    for price, target in settings.searches:
        done = [row for row in rows if _is_same(row, settings, dataset, price, target)]
        print(f"{_folder_name(price, target)}: {'done' if done else 'search'}",
              flush=True)  # fmt: skip
        if done:
            continue
        if whole is None:
            whole = experiment.train_weights()
            print(f"accuracy of the whole network {whole:.2%}", flush=True)
        try:
            row = experiment.search(price, target, whole)
        except InvalidInputError as error:  # such as a network without any channel
            failures.append(f"{_folder_name(price, target)}: {error}")
            print(failures[-1], flush=True)
            continue
        rows.append({key: str(value) for key, value in row.items()})
        write_rows(rows, path)
        experiment.tidy(price, target)
        print(line(rows[-1]), flush=True)
    if failures:
        raise InvalidInputError(" ".join(failures))
    return rows


def _is_same(row, settings, dataset, price, target):
    wanted = {
        "recipe": settings.recipe,
        "model": settings.model,
        "dataset": dataset.name,
        "lambda_arch": "" if price is None else price,
        "target_macs": "" if target is None else target,
        "residual": settings.residual,
        "regularizer": settings.regularizer,
        **{f"{name}_epochs": settings.stages[name].epochs for name in _STAGES},
        "train_images": dataset.num_train,
        "seed": settings.seed,
    }
    return all(row.get(key) == str(value) for key, value in wanted.items())


def line(row):
    """One row for the terminal."""
    text = (
        f"{row['lambda_arch'] or row['target_macs']}: accuracy "
        f"{float(row['accuracy']):.2%}, MACs {int(row['macs']):,} of "
        f"{int(row['macs_before']):,}, parameters {int(row['params']):,}"
    )
    if row["published_accuracy"]:
        text += (
            f"; published {float(row['published_accuracy']):.2%}, "
            f"{row['published_macs_millions']} M, "
            f"{row['published_params_millions']} M"
        )
    return text


def main(options):
    logging.set_verbosity(logging.WARNING)
    if options.write_arrays:
        paths = save_image_arrays(load(options), options.write_arrays, options.parts)
        print(",".join(paths))
        return
    for row in run(options):
        print(line(row))
    print(f"rows in {pathlib.Path(options.output) / 'results.csv'}")


if __name__ == "__main__":
    run_program(main, "It goes on when it is started again with the same flags.")
