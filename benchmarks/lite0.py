"""EfficientNet-Lite with its ImageNet weights, and the images it is measured on.

Lite0 is in ../shared/data; the weights of Lite1 are in a package that
`real_networks` looks for.
"""

import pathlib

import keras
import numpy as np
from keras import layers
from safetensors.numpy import load_file

DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
WEIGHTS = DATA / "efficientnet_lite0" / "efficientnet_lite0.safetensors"

# Kernel, stride, expansion, filters of every stage.
STAGES = (
    (3, 1, 1, 16),
    (3, 2, 6, 24),
    (5, 2, 6, 40),
    (3, 2, 6, 80),
    (5, 1, 6, 112),
    (5, 2, 6, 192),
    (3, 1, 6, 320),
)
# Pixels, and how many blocks every stage has.
FORMS = {
    "efficientnet_lite0": (224, (1, 2, 2, 3, 3, 4, 1)),
    "efficientnet_lite1": (240, (1, 3, 3, 4, 4, 5, 1)),
}

# The ImageNet numbers of the ten classes of imagenette_mini, in its order.
CLASSES = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)


def build_lite0(weights=WEIGHTS):
    """Lite0 for images of 0 to 255."""
    return build_lite("efficientnet_lite0", load_file(weights))


def build_lite(name, stored):
    """A network for images of 0 to 255; layer names follow the state dict `stored`."""
    size, depths = FORMS[name]
    values = {}

    def convolution(x, name, filters, kernel=1, strides=1):
        layer = layers.Conv2D(
            filters, kernel, strides, "same", use_bias=False, name=name
        )
        values[layer] = [stored[f"{name}.weight"].transpose(2, 3, 1, 0)]
        return layer(x)

    def depthwise(x, name, kernel, strides):
        layer = layers.DepthwiseConv2D(
            kernel, strides, "same", use_bias=False, name=name
        )
        values[layer] = [stored[f"{name}.weight"].transpose(2, 3, 0, 1)]
        return layer(x)

    def normalized(x, name, activation=True):
        layer = layers.BatchNormalization(epsilon=1e-3, name=name)
        keys = ("weight", "bias", "running_mean", "running_var")
        values[layer] = [stored[f"{name}.{key}"] for key in keys]
        x = layer(x)
        return layers.ReLU(6, name=f"{name}_relu")(x) if activation else x

    inputs = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="pixels")(inputs)
    x = normalized(convolution(x, "_conv_stem", 32, 3, 2), "_bn0")
    number = 0
    for repeats, (kernel, strides, expansion, filters) in zip(
        depths, STAGES, strict=True
    ):
        for repeat in range(repeats):
            block, shortcut = f"_blocks.{number}.", x
            stride = strides if repeat == 0 else 1
            if expansion > 1:
                x = convolution(x, block + "_expand_conv", expansion * x.shape[-1])
                x = normalized(x, block + "_bn0")
            x = depthwise(x, block + "_depthwise_conv", kernel, stride)
            x = normalized(x, block + "_bn1")
            x = convolution(x, block + "_project_conv", filters)
            x = normalized(x, block + "_bn2", activation=False)
            if stride == 1 and shortcut.shape[-1] == filters:
                x = layers.Add(name=block + "add")([x, shortcut])
            number += 1
    x = normalized(convolution(x, "_conv_head", 1280), "_bn1")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.2, name="dropout")(x)
    head = layers.Dense(1000, activation="softmax", name="_fc")
    values[head] = [stored["_fc.weight"].T, stored["_fc.bias"]]
    model = keras.Model(inputs, head(x), name=name)
    for layer, arrays in values.items():
        layer.set_weights(arrays)
    return model


def load_images(split, limit=None, size=224):
    """Images (uint8) and labels (0 to 9) of imagenette_mini, the classes mixed."""
    import tensorflow_datasets as tfds

    data = tfds.load(
        "imagenette_mini", split=split, data_dir=DATA, download=False,
        as_supervised=True,
    )  # fmt: skip
    pairs = list(data.as_numpy_iterator())
    order = np.random.default_rng(0).permutation(len(pairs))[:limit]
    images, labels = zip(*[pairs[k] for k in order], strict=True)
    images = np.stack(images)
    if size != images.shape[1]:
        large = keras.ops.image.resize(
            images.astype("float32"), (size, size), "bicubic", antialias=True
        )
        large = np.rint(np.clip(keras.ops.convert_to_numpy(large), 0, 255))
        images = large.astype("uint8")
    return images, np.array(labels)


def accuracies(model, images, labels):
    """Accuracy among the ten classes, and top-1 of all thousand, in percent."""
    found = model.predict(images, batch_size=50, verbose=0)
    right = np.array(CLASSES)[labels]
    among = found[:, CLASSES].argmax(-1) == labels
    return 100 * among.mean(), 100 * (found.argmax(-1) == right).mean()
