"""Does depth attention help a trained network that it joins? A fine-tuning experiment.

    python benchmarks/depth_attention_fine_tuning.py --data_dir ../shared/data

From one trained plain trunk per data set, three networks are fine-tuned alike (AdamW,
cosine schedule, same images in the same order): the trunk itself, the trunk with
`keras_sda.depth.attach(start="last")`, and with `start="uniform"`. Three seeds each.

* cifar10: ResNet20, trained by `keras-sda train --recipe cifar --no-depth_attention` on
  all 50,000 images; fine-tuned for 3 epochs on the first 10,000, tested on all 10,000.
* imagenette_mini: a ResNet18 of half width at 128 pixels, trained from scratch on its
  1,300 images (30 epochs); fine-tuned for 8 epochs on the same, tested on its 400
  validation images.

Writes a row per run to benchmarks/results/depth_attention_fine_tuning.csv, and
..._summary.csv with mean and spread. Interrupted, it goes on where it was.
"""

import argparse
import dataclasses
import pathlib
import time

import keras
import numpy as np

from keras_sda.analysis import depth_attention
from keras_sda.analysis.latency.inference_step import device_name, versions
from keras_sda.applications import SDAResNet
from keras_sda.data.streams.training_stream import steps_per_epoch
from keras_sda.depth import attach
from keras_sda.training import (
    RECIPES,
    CoupledSGD,
    TrainOptions,
    evaluation_stream,
    load_image_dataset,
    train_classifier,
    training_stream,
)
from keras_sda.training.recipes.make_schedule import make_schedule
from keras_sda.training.strategies.make_deterministic import make_deterministic
from keras_sda.utils import atomic_write
from keras_sda.utils.files.csv_rows import read_rows, write_rows

RESULT = pathlib.Path(__file__).parent / "results" / "depth_attention_fine_tuning.csv"
BATCH_SIZE = 64
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2


@dataclasses.dataclass(frozen=True)
class Experiment:
    dataset: str
    image_size: int
    recipe: str
    start_epochs: int
    epochs: int
    max_train_examples: int | None = None


EXPERIMENTS = {
    "cifar10": Experiment("cifar10", 32, "cifar", 15, 3, 10_000),
    "imagenette_mini": Experiment("imagenette_mini", 128, "cifar", 30, 8),
}


def cifar_start(options, folder):
    """The plain trunk of benchmarks/cifar10_resnet20.py."""
    path = folder / "model.keras"
    if path.exists():
        return path
    train_classifier(
        TrainOptions(
            model="SDAResNet20",
            dataset="cifar10",
            data_dir=options.data_dir,
            recipe="cifar",
            depth_attention=False,
            resume=(folder / "run.json").exists(),
            output=str(folder),
        ),
        log=print,
    )
    return path


def imagenette_start(options, folder):
    path = folder / "model.keras"
    if path.exists():
        return path
    experiment = EXPERIMENTS["imagenette_mini"]
    keras.utils.set_random_seed(0)
    images = keras.Input((experiment.image_size, experiment.image_size, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="pixel_scaling")(images)
    trunk = SDAResNet(
        [2, 2, 2, 2],
        base_width=32,
        stem_width=32,
        block_type="basic",
        depth_attention=False,
        input_tensor=x,
        classes=10,
    )
    model = keras.Model(images, trunk.output, name="resnet18_half")
    data = load_image_dataset(experiment.dataset, options.data_dir)
    recipe = dataclasses.replace(RECIPES["cifar"], crop="resized")
    steps = steps_per_epoch(data, BATCH_SIZE)
    schedule = make_schedule(recipe, 0.05, steps, experiment.start_epochs)
    model.compile(
        CoupledSGD(schedule, momentum=0.9, nesterov=True, weight_decay=5e-4),
        "categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(
        training_stream(
            data, recipe, experiment.image_size, BATCH_SIZE, experiment.start_epochs
        ),
        steps_per_epoch=steps,
        epochs=experiment.start_epochs,
        validation_data=evaluation_stream(data, experiment.image_size, BATCH_SIZE),
        verbose=2,
    )
    with atomic_write(path) as temporary:
        model.save(temporary)
    return path


STARTS = {"cifar10": cifar_start, "imagenette_mini": imagenette_start}


def logits_of(model, images):
    """Outputs before the softmax of the last layer."""
    last = model.layers[-1]
    features = keras.Model(model.inputs, last.input).predict(images, verbose=0)
    return features @ np.array(last.kernel) + np.array(last.bias)


def weight_of_last_blocks(model, images):
    """Weight of the last block, over all stages, channels and images."""
    stages = depth_attention(model, images)
    weights = [np.array(stage)[:, -1].mean() for stage in stages.values()]
    return float(np.mean(weights))


def fine_tune(experiment, variant, seed, start, data_dir):
    keras.utils.set_random_seed(seed)
    trunk = keras.saving.load_model(start, compile=False)
    model = trunk if variant == "plain" else attach(trunk, start=variant)
    data = load_image_dataset(
        experiment.dataset,
        data_dir,
        max_train_examples=experiment.max_train_examples,
    )
    size = experiment.image_size
    test = evaluation_stream(data, size, 200)
    images = np.concatenate([np.array(x) for x, _ in test.take(2)])
    before, now = logits_of(trunk, images), logits_of(model, images)
    recipe = RECIPES[experiment.recipe]
    if size > 64:
        recipe = dataclasses.replace(recipe, crop="resized")
    steps = steps_per_epoch(data, BATCH_SIZE)
    model.compile(
        keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(
                LEARNING_RATE, steps * experiment.epochs
            ),
            weight_decay=WEIGHT_DECAY,
        ),
        "categorical_crossentropy",
        metrics=["accuracy"],
    )
    start_accuracy = model.evaluate(test, verbose=0, return_dict=True)["accuracy"]
    began = time.time()
    stream = training_stream(
        data, recipe, size, BATCH_SIZE, experiment.epochs, seed=seed
    )
    model.fit(stream, steps_per_epoch=steps, epochs=experiment.epochs, verbose=2)
    results = model.evaluate(test, verbose=0, return_dict=True)
    weight = (
        float("nan") if variant == "plain" else weight_of_last_blocks(model, images)
    )
    return {
        "dataset": experiment.dataset,
        "variant": variant,
        "seed": seed,
        "epochs": experiment.epochs,
        "train_images": data.num_train,
        "image_size": size,
        "batch_size": BATCH_SIZE,
        "optimizer": f"AdamW {LEARNING_RATE} wd {WEIGHT_DECAY} cosine",
        "start_accuracy": round(start_accuracy, 4),
        "start_agreement": float((before.argmax(-1) == now.argmax(-1)).mean()),
        "start_max_logit_difference": f"{np.abs(before - now).max():.2e}",
        "test_accuracy": round(results["accuracy"], 4),
        "test_loss": round(results["loss"], 4),
        "mean_weight_of_last_block": round(weight, 4),
        "params": model.count_params(),
        "seconds": round(time.time() - began),
        "dtype": "float32",
        "device": device_name(),
        "versions": " ".join(f"{k} {v}" for k, v in versions().items()),
    }


def summarise(rows):
    groups = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["variant"]), []).append(row)
    summary = []
    for (dataset, variant), group in groups.items():
        accuracy = np.array([float(row["test_accuracy"]) for row in group])
        summary.append(
            {
                "dataset": dataset,
                "variant": variant,
                "seeds": len(group),
                "start_accuracy": group[0]["start_accuracy"],
                "mean_test_accuracy": round(accuracy.mean(), 4),
                "std_test_accuracy": round(
                    accuracy.std(ddof=min(1, len(group) - 1)), 4
                ),
                "lowest": accuracy.min(),
                "highest": accuracy.max(),
            }
        )
    return summary


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="../shared/data")
    parser.add_argument("--datasets", nargs="+", default=list(EXPERIMENTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", default="runs/depth_attention_fine_tuning")
    options = parser.parse_args()
    make_deterministic(TrainOptions(), print)
    rows = read_rows(RESULT)
    for name in options.datasets:
        folder = pathlib.Path(options.output) / name
        start = STARTS[name](options, folder)
        for seed in options.seeds:
            for variant in ("plain", "last", "uniform"):
                key = (name, variant, str(seed))
                if key in {(r["dataset"], r["variant"], str(r["seed"])) for r in rows}:
                    continue
                row = fine_tune(
                    EXPERIMENTS[name], variant, seed, start, options.data_dir
                )
                print(row, flush=True)
                rows.append(row)
                summary = RESULT.with_stem(RESULT.stem + "_summary")
                write_rows(rows, RESULT)
                write_rows(summarise(rows), summary)


if __name__ == "__main__":
    main()
