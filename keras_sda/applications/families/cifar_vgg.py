"""VGG16 with batch normalisation, for small images."""

import keras

from keras_sda.applications.designs.backbone import Parts, pool
from keras_sda.applications.designs.cifar_constructor import cifar_constructor
from keras_sda.layers import batch_normalization

__all__ = ["CIFARVGG16"]

_FILTERS = (64, 128, 256, 512, 512)
_UNITS = 512


def _body(parts: Parts, x, stackwise_num_blocks):
    for stage, count in enumerate(stackwise_num_blocks, 1):
        for number in range(1, count + 1):
            x = keras.layers.Conv2D(
                _FILTERS[stage - 1],
                3,
                padding="same",
                kernel_initializer=keras.initializers.VarianceScaling(
                    2.0, "fan_out", "untruncated_normal"
                ),
                name=f"stage{stage}_block{number}_conv1",
            )(x)
            x = parts.norm(x, name=f"stage{stage}_block{number}_bn1")
            x = parts.relu(x, name=f"stage{stage}_block{number}_relu1")
        x = keras.layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
    return x


def _top(parts: Parts, x):
    # One position is left of images of 32 pixels.
    x = pool(x, "avg")
    x = keras.layers.Dense(
        _UNITS,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        name="fc1",
    )(x)
    x = batch_normalization(synchronized=parts.synchronized, name="fc1_bn")(x)
    return parts.relu(x, name="fc1_relu")


CIFARVGG16 = cifar_constructor(
    "CIFARVGG16",
    _body,
    "VGG16 for CIFAR: 13 convolutions with bias and batch normalisation,\nfive "
    "max-poolings, a dense layer of 512 units with batch normalisation.",
    top=_top,
    normal_classifier=True,
)
