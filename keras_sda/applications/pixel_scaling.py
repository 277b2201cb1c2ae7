"""Which scaling stands between pixels and a network: one table for all rooms."""

import dataclasses
import re
from typing import Any

import keras
import numpy as np
from keras.applications import imagenet_utils

from keras_sda.applications.presets.presets import IMAGENET_MEAN, IMAGENET_STD
from keras_sda.graph import all_layers, graph_of
from keras_sda.graph.model.model_graph import ModelGraph

# Pixels from 0 to 255, in the order of the channels that it leaves (BGR).
_CAFFE_MEAN = (103.939, 116.779, 123.68)

MODES = ("none", "imagenet", "tf", "caffe")
# Our name -> that of keras.applications.imagenet_utils.
_KERAS_MODES = {"imagenet": "torch", "tf": "tf", "caffe": "caffe"}


@dataclasses.dataclass(frozen=True)
class _Family:
    """Networks that expect the same.

    `constructors`: their names. `mode`: what the network without layers of its own
    expects. `scales_itself`: whether the constructor puts such layers inside, for which
    channels. `marks`: names of layers that all of them have, `not_marks`: that none
    has; normalisation is left out, an export folds it away.
    """

    constructors: str
    mode: str
    marks: tuple[str, ...]
    not_marks: tuple[str, ...] = ()
    scales_itself: str = "never"  # or "always", "rgb"


_FAMILIES = (
    _Family(
        r"ConvNeXt\w+", "imagenet",
        (r"convnext_\w+_stem_conv", r"convnext_\w+_stage_0_block_0_depthwise_conv"),
        scales_itself="rgb",
    ),
    _Family(r"DenseNet\d+", "imagenet", ("conv1_conv", "pool1", "conv2_block1_1_conv")),
    # Without its layers nobody says what it expects.
    _Family(r"EfficientNetB\d", "none", (), scales_itself="always"),
    _Family(
        r"EfficientNetV2\w+", "tf", ("stem_conv", "block1a_project_conv"),
        scales_itself="always",
    ),
    _Family(r"InceptionV3", "tf", ("mixed0",)),
    _Family(r"InceptionResNetV2", "tf", ("mixed_5b",)),
    _Family(r"MobileNet", "tf", ("conv1", "conv_dw_1", "conv_pw_1", "conv_pw_2")),
    _Family(
        r"MobileNetV2", "tf", ("Conv1", "expanded_conv_depthwise", "block_1_expand")
    ),
    _Family(
        r"MobileNetV3\w+", "tf", ("conv", "expanded_conv_depthwise"),
        scales_itself="always",
    ),
    _Family(r"NASNet\w+", "tf", ("stem_conv1", "reduction_conv_1_stem_1")),
    _Family(
        r"ResNet\d+", "caffe",
        ("conv1_pad", "conv1_conv", "pool1_pad", "conv2_block1_1_conv"),
        not_marks=("conv2_block1_preact_relu",),
    ),
    _Family(
        r"ResNet\d+V2", "tf",
        ("conv1_pad", "conv1_conv", "pool1_pad", "conv2_block1_preact_relu"),
    ),
    _Family(
        r"VGG\d+", "caffe", ("block1_conv2", "block1_pool", "block2_conv2",
        "block3_conv3"),
    ),
    _Family(r"Xception", "tf", ("block1_conv1", "block1_conv2", "block2_sepconv1")),
    # Ours.
    _Family(
        r"(SDA|CIFAR)\w+|ProxylessSupernet", "imagenet",
        ("stem_conv", r"stage1_block1_\w+"),
    ),
    _Family(
        r"CIFARVGG16|LeNet", "imagenet",
        ("stage1_block1_conv1", "stage1_pool", "stage2_block1_conv1", "stage2_pool"),
    ),
)  # fmt: skip

# Layers and operations that leave the values of pixels as they are.
_PASS_ON = frozenset(
    "Cast CenterCrop Concatenate Cropping2D Dropout ExpandDims Flip GaussianNoise "
    "GetItem Identity InputLayer Permute Reshape Resizing Squeeze Stack Transpose "
    "ZeroPadding2D".split()
)
_SCALES = frozenset(
    "Add Divide Multiply Normalization Rescaling Subtract TrueDivide".split()
)
_LIBRARIES = ("keras", "keras_sda", "keras_hub")


@dataclasses.dataclass(frozen=True)
class PixelScaling:
    """What turns pixels from 0 to 255 into the input of a network.

    Trainer and exporter ask here, so that both do the same. Networks with another
    number of channels than three, for which no mean is published, take -1 to 1.

    Args:
        mode: `"none"` (the network takes the pixels), `"imagenet"` (0 to 1, minus the
            ImageNet mean, divided by its deviation), `"tf"` (-1 to 1) or `"caffe"`
            (BGR, minus the mean).

    Example:

    >>> from keras_sda.applications.pixel_scaling import PixelScaling
    >>> PixelScaling.of_constructor("MobileNetV2", channels=3).mode
    'tf'
    """

    mode: str

    @classmethod
    def of_constructor(cls, name: str, channels: int) -> "PixelScaling | None":
        """What is missing before a network that is built by a constructor.

        Args:
            name: Name of the constructor.
            channels: Channels of the images.

        Returns:
            None where the constructor is unknown.
        """
        for family in _FAMILIES:
            if re.fullmatch(family.constructors, name):
                kind = family.scales_itself
                if kind == "always" or (kind == "rgb" and channels == 3):
                    return cls("none")
                return cls(family.mode if channels == 3 else "tf")
        return None

    @classmethod
    def of_model(cls, model: keras.Model, channels: int) -> "PixelScaling | None":
        """What is missing before a model, as far as its layers tell.

        Args:
            model: A functional model with one image input.
            channels: Channels of the images.

        Returns:
            `"none"` where the model scales pixels itself (`Rescaling`,
            `Normalization`, or arithmetic as that of `preprocess_input`); what the
            table has for a network of `keras.applications` or of this package; None
            where the model does not tell.
        """
        starts = _starts(ModelGraph(model))
        if starts == {"scaled"}:
            return cls("none")
        family = find_family(model)
        if starts != {"plain"} or family is None:
            return None
        return cls(family.mode if channels == 3 else "tf")

    def __call__(self, images: Any) -> Any:
        """Scales float images `(batch, height, width, channels)`."""
        if self.mode == "none":
            return images
        return imagenet_utils.preprocess_input(
            images, data_format="channels_last", mode=_KERAS_MODES[self.mode]
        )

    def as_layers(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """The same as part of a model: the layer `pixel_scaling`.

        Args:
            x: Symbolic images, channels last.
        """
        if self.mode == "none":
            return x
        scale, offset = 1 / 127.5, -1.0
        if self.mode == "imagenet":
            mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
            scale, offset = (1 / (255 * std)).tolist(), (-mean / std).tolist()
        elif self.mode == "caffe":
            x = keras.ops.flip(x, axis=-1)
            scale, offset = 1.0, [-value for value in _CAFFE_MEAN]
        # bfloat16 cannot tell resized pixel values apart, so this stays float32.
        layer = keras.layers.Rescaling
        return layer(scale, offset, dtype="float32", name="pixel_scaling")(x)


def find_family(model: keras.Model) -> _Family | None:
    """The networks of the table that a model is one of, by the names of its layers."""
    layers = all_layers(model)
    if any(map(_is_of_hub, layers)):
        return None  # Some have names of keras.applications and other weights.
    names = {layer.name for layer in layers}
    for family in _FAMILIES:
        if (
            family.marks
            and all(_has(names, mark) for mark in family.marks)
            and not any(mark in names for mark in family.not_marks)
        ):
            return family
    return None


def _is_of_hub(layer):
    """Whether a model is a backbone of KerasHub, or was made from one."""
    if not isinstance(layer, keras.Model):
        return False
    module = type(layer).__module__.split(".")[0]
    return module == "keras_hub" or layer.name.endswith("_backbone")


def _has(names, mark):
    return mark in names or any(re.fullmatch(mark, name) for name in names)


def scales_itself(model: keras.Model, start: keras.KerasTensor | None = None) -> bool:
    """Whether a model scales what it reads before any other layer.

    Args:
        model: A functional model.
        start: A tensor of it to start from. Defaults to its input.
    """
    return _starts(ModelGraph(model), start) == {"scaled"}


def _starts(graph, start=None) -> set[str]:
    """What the ways from the input (or a tensor) come to first.

    `"scaled"`, `"plain"` (a layer that computes), `"unknown"` (code of the user) or
    `"output"`: nothing at all.
    """
    found, seen = set(), set()
    waiting = [
        node.index
        for node in graph.nodes
        if (node.is_input if start is None else
            any(tensor is start for tensor in node.output_tensors))
    ]  # fmt: skip
    while waiting:
        index = waiting.pop()
        if index in seen:
            continue
        seen.add(index)
        if any(source == index for source, _ in graph.outputs):
            found.add("output")
        for reader in graph.readers[index]:
            kinds = _kinds(graph.nodes[reader].layer)
            if "output" in kinds:
                waiting.append(reader)
            found |= kinds - {"output"}
    return found


def _kinds(layer):
    graph = graph_of(layer)
    if graph is not None:
        return _starts(ModelGraph(graph))
    if isinstance(layer, keras.Model):
        return {"unknown"}
    name = type(layer).__name__
    known = type(layer).__module__.split(".")[0] in _LIBRARIES
    if not known or name == "Lambda":
        return {"unknown"}
    if name in _PASS_ON or name.startswith("Random"):
        return {"output"}
    return {"scaled" if name in _SCALES else "plain"}
