"""LeNet with 20 and 50 filters and 500 units."""

import keras

from keras_sda.applications.designs.backbone import Parts
from keras_sda.applications.designs.cifar_constructor import cifar_constructor

__all__ = ["LeNet"]

_FILTERS, _UNITS = (20, 50), 500


def _body(parts: Parts, x, stackwise_num_blocks):
    for stage, (count, filters) in enumerate(
        zip(stackwise_num_blocks, _FILTERS, strict=True), 1
    ):
        for block in range(1, count + 1):
            name = f"stage{stage}_block{block}"
            x = keras.layers.Conv2D(filters, 5, name=f"{name}_conv1")(x)
            x = parts.relu(x, name=f"{name}_relu1")
        x = keras.layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
    return x


def _top(parts: Parts, x):
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(_UNITS, name="fc1")(x)
    return parts.relu(x, name="fc1_relu")


LeNet = cifar_constructor(
    "LeNet",
    _body,
    "two 5x5 convolutions of 20 and 50 filters, each with max-pooling,\na dense layer "
    "of 500 units.",
    top=_top,
    channels=1,
    min_size=16,
)
