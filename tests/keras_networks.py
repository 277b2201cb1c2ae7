"""Known networks, whole or with the fewest blocks of every kind."""

import inspect

import keras

from keras_sda.applications.designs import backbone
from keras_sda.applications.families import cifar_resnet


def _resnet(module, **options):
    def blocks(x):
        x = module.stack_residual_blocks_v1(x, 8, 2, stride1=1, name="conv2")
        return module.stack_residual_blocks_v1(x, 16, 2, name="conv3")

    return module.ResNet(blocks, False, True, **options)


def _resnet_v2(module, **options):
    def blocks(x):
        x = module.resnet.stack_residual_blocks_v2(x, 8, 2, name="conv2")
        return module.resnet.stack_residual_blocks_v2(x, 16, 2, stride1=1, name="conv5")

    return module.resnet.ResNet(blocks, True, True, **options)


def _mobilenet_v3(module, **options):
    def blocks(x, kernel, activation, se_ratio):
        x = module._inverted_res_block(x, 1, 8, 3, 2, se_ratio, module.relu, 0)
        x = module._inverted_res_block(x, 4, 16, 3, 2, None, module.relu, 1)
        for number in (2, 3):
            x = module._inverted_res_block(
                x, 3, 16, kernel, 1, se_ratio, activation, number
            )
        return x

    return module.MobileNetV3(blocks, 64, model_type="small", **options)


def _efficientnet(module, **options):
    blocks = module.DEFAULT_BLOCKS_ARGS[:3]
    return module.EfficientNet(0.25, 0.6, 224, blocks_args=blocks, **options)


def _efficientnet_v2(module, **options):
    blocks = module.DEFAULT_BLOCKS_ARGS["efficientnetv2-b0"][1:4]
    return module.EfficientNetV2(0.25, 0.6, 224, blocks_args=blocks, **options)


# Every function takes the module of Keras that holds the family.
_SMALL = {
    "ResNet50": _resnet,
    "ResNet50V2": _resnet_v2,
    "DenseNet121": lambda module, **options: module.DenseNet([2, 1, 1, 1], **options),
    "MobileNet": lambda module, **options: module.MobileNet(alpha=0.25, **options),
    "MobileNetV2": lambda module, **options: module.MobileNetV2(alpha=0.1, **options),
    "MobileNetV3Small": _mobilenet_v3,
    "EfficientNetB0": _efficientnet,
    "EfficientNetV2B0": _efficientnet_v2,
    "NASNetMobile": lambda module, **options: module.NASNet(
        penultimate_filters=96,
        num_blocks=1,
        stem_block_filters=8,
        skip_reduction=False,
        default_size=224,
        **options,
    ),
    "ConvNeXtTiny": lambda module, **options: module.ConvNeXt(
        [1, 1, 2, 1], [24, 24, 32, 32], **options
    ),
}


def make_network(name, /, small=False, size=32, classes=10, **options):
    """Returns a network of keras.applications that gives logits, with random weights.

    Args:
        name: of the function that makes it.
        small: the same blocks, as few and as narrow as Keras lets them be.
        size: pixels of the square image.
        classes: of the last layer.
        options: further arguments of the function.
    """
    function = getattr(keras.applications, name)
    options = {
        "weights": None,
        "input_shape": (size, size, 3),
        "classes": classes,
        "classifier_activation": None,
        **options,
    }
    if small:
        return _SMALL[name](inspect.getmodule(function), **options)
    return function(**options)


def make_cifar_resnet(num_blocks=(1, 1, 1), classifier_activation="softmax"):
    """CIFARResNet20 of this package with fewer blocks, for images of 16 pixels."""
    x = keras.Input((16, 16, 3))
    y = backbone.pool(cifar_resnet._body(backbone.Parts(), x, num_blocks), "avg")
    y = backbone.classify(y, 10, classifier_activation)
    return keras.Model(x, y, name="cifar_resnet8")
