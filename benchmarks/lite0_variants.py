"""What the other methods leave of EfficientNet-Lite0, before and after fine-tuning.

    python benchmarks/lite0_variants.py --smoke  # a few images and steps, no row
    python benchmarks/lite0_variants.py          # hours on two cores
    python benchmarks/lite0_variants.py --times  # on an idle machine, afterwards

The network with its ImageNet weights is made into

* `whole`: nothing is done to it;
* `attached`: depth attention on its stages (`keras_sda.depth.attach`);
* `derived`: gates on its channels learn for --search_epochs to keep --macs of the
  multiply-accumulates, and what they close is cut (`keras_sda.search`);
* `grouped`: --rate of the connections of its convolutions cut by self-grouping
  (`keras_sda.grouping`), packed for the latency;
* `derived_refitted`, `grouped_refitted`: the same channels and connections, the kernels
  fitted with --images images.

Each is measured, fine-tuned alike for --epochs on the training images of
imagenette_mini (AdamW along a cosine, mirrored images, --distill of the loss from the
whole network; the statistics of batch normalization stand still, those of ten classes
are others) and measured again: its 400 validation images, among the ten classes and
among all thousand. The images are of ten classes, so training on them raises the second
figure above that of the whole network. Rows that are there are kept. Needs
../shared/data.
"""

import argparse
import gc
import pathlib
import time

import keras
import lite0
import numpy as np
import rows
from absl import logging

from keras_sda.analysis import profile
from keras_sda.depth import attach
from keras_sda.export import fold_batch_normalization
from keras_sda.grouping import GroupingReport, pack, self_group
from keras_sda.objectives import Distillation
from keras_sda.search import ChannelSearch, add_channel_gates
from keras_sda.training import AugmentedBatches
from keras_sda.utils import load_model

RESULT = rows.RESULTS / "lite0_variants.csv"
KEY = ("variant", "setting", "epochs", "distill", "learning_rate", "seed")
LOSS = "sparse_categorical_crossentropy"


class Variants:
    """The networks, each made when it is asked for."""

    def __init__(self, model, images, labels, options):
        self.whole, self.options = model, options
        self.images, self.labels = images, labels
        self.made = {
            "whole": lambda: keras.models.clone_model(model),
            "attached": lambda: attach(model),
            "derived": lambda: self.searched().derive().model,
            "grouped": lambda: self.grouped(),
            "derived_refitted": lambda: self.searched().derive(data=self.few).model,
            "grouped_refitted": lambda: self.grouped(data=self.few),
        }
        self.few = images[: options.images]
        self._search = None

    def setting(self, name):
        """What is special to a variant, in words."""
        options = self.options
        words = {
            "derived": f"macs {options.macs} search_epochs {options.search_epochs}",
            "grouped": f"rate {options.rate}",
        }.get(name.removesuffix("_refitted"), "")
        return words + f" images {options.images}" * name.endswith("_refitted")

    def make(self, name):
        """A network of its own."""
        keras.utils.set_random_seed(self.options.seed)
        model = self.made[name]()
        if name == "whole":
            model.set_weights(self.whole.get_weights())
        return model

    def searched(self):
        """The search, when its gates have learned."""
        if self._search is None:
            options = self.options
            gated = add_channel_gates(self.whole, residual="joint")
            search = ChannelSearch(
                gated, options.work / "search", loss=LOSS, seed=options.seed
            )
            search.learn_architecture(
                (self.images, self.labels),
                epochs=options.search_epochs,
                target_macs=options.macs,
                train_dense=False,  # its other classes have no images here
                batch_size=options.batch_size,
                verbose=2,
            )
            self._search = search
        return self._search

    def grouped(self, data=None):
        """Masks on a part of the connections."""
        options = self.options
        return self_group(
            self.whole, options.rate, 0.0, seed=options.seed, data=data
        ).model


def fine_tune(model, teacher, images, labels, options):
    """Trains a network in place."""
    data = AugmentedBatches(
        images, labels, options.batch_size, options.seed, flip=True
    )  # fmt: skip
    rate = keras.optimizers.schedules.CosineDecay(
        options.learning_rate, options.epochs * len(data)
    )
    normal = keras.layers.BatchNormalization
    still = [layer for layer in model.layers if isinstance(layer, normal)]
    for layer in still:
        layer.trainable = False
    trained = model
    if options.distill:
        trained = Distillation(teacher, weight=options.distill).wrap(model)
    trained.compile(keras.optimizers.AdamW(rate, weight_decay=0.01), LOSS)
    trained.fit(data, epochs=options.epochs, verbose=2)
    for layer in still:
        layer.trainable = True


def measure(name, variants, options):
    """One row; the trained network is kept in the folder of work."""
    began = time.perf_counter()
    model = variants.make(name)
    made = time.perf_counter()
    among, top1 = lite0.accuracies(model, *options.test)
    measured = time.perf_counter()
    fine_tune(model, variants.whole, variants.images, variants.labels, options)
    trained = time.perf_counter()
    model.save(options.work / f"{name}.keras")
    among_after, top1_after = lite0.accuracies(model, *options.test)
    whole, left = profile(variants.whole), profile(model)
    macs, params = left.macs, left.params
    if name.startswith("grouped"):  # masks save nothing before they are packed
        report = GroupingReport.of(model)
        macs, params = report.macs_after, report.params_after
    return {
        **key_of(name, variants, options),
        "among_ten_before": round(among, 2),
        "top1_before": round(top1, 2),
        "among_ten": round(among_after, 2),
        "top1": round(top1_after, 2),
        "macs_whole": whole.macs,
        "macs": macs,
        "macs_ratio": round(macs / whole.macs, 4),
        "params": params,
        "seconds": round(made - began, 1),
        "fine_tune_seconds": round(trained - measured, 1),
        "latency_ratio": "",
        "latency_ratio_low": "",
        "latency_ratio_high": "",
        "train_images": len(variants.images),
        "batch_size": options.batch_size,
        **rows.machine(),
    }


def key_of(name, variants, options):
    """What a row is found by."""
    return {
        "variant": name,
        "setting": variants.setting(name),
        **{key: getattr(options, key) for key in KEY[2:]},
    }


def add_times(variants, options):
    """Ratios of the trained networks to the whole one."""
    whole = fold_batch_normalization(variants.whole)
    for row in rows.read_rows(options.output):
        path = options.work / f"{row['variant']}.keras"
        if not path.exists():
            logging.warning("%s is not there; its row keeps its times.", path)
            continue
        model = load_model(path)
        if row["variant"].startswith("grouped"):
            model = pack(model).model
        row |= rows.latency_ratio(whole, fold_batch_normalization(model), options.runs)
        rows.replace_row(row, options.output, KEY)
        logging.info("%s: %s", row["variant"], row["latency_ratio"])


def shorten(options):
    """Just enough to run through every line; the rows go elsewhere."""
    options.images = options.train_images = options.test_images = 16
    options.epochs = options.search_epochs = 1
    options.batch_size, options.runs = 8, 3
    options.work = options.work / "smoke"
    options.output = options.work / "rows.csv"


def main():
    """Measures what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variants", nargs="+", help="Default: all")
    parser.add_argument("--macs", type=float, default=0.75, help="of `derived`")
    parser.add_argument("--rate", type=float, default=0.5, help="of `grouped`")
    parser.add_argument("--search_epochs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2, help="of fine-tuning")
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--distill", type=float, default=0.0, help="0: labels alone")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--images", type=int, default=384, help="for the refit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", action="store_true", help="latencies alone")
    parser.add_argument("--runs", type=int, default=50, help="timed rounds")
    parser.add_argument("--smoke", action="store_true", help="no row is kept")
    parser.add_argument("--work", type=pathlib.Path, default="runs/lite0_variants")
    parser.add_argument("--output", type=pathlib.Path, default=RESULT)
    parser.set_defaults(train_images=None, test_images=None)
    options = parser.parse_args()
    logging.set_verbosity(logging.INFO)
    if options.smoke:
        shorten(options)
    options.work.mkdir(parents=True, exist_ok=True)
    images, labels = lite0.load_images("train", options.train_images)
    options.test = lite0.load_images("validation", options.test_images)
    wanted = np.array(lite0.CLASSES)[labels]
    variants = Variants(lite0.build_lite0(), images, wanted, options)
    if options.times:
        add_times(variants, options)
        return
    for name in options.variants or variants.made:
        if rows.has_row(options.output, **key_of(name, variants, options)):
            continue
        row = measure(name, variants, options)
        rows.replace_row(row, options.output, KEY)
        logging.info("%s", row)
        keras.backend.clear_session()
        gc.collect()
    if options.smoke:
        add_times(variants, options)


if __name__ == "__main__":
    main()
