"""Pure data: the networks of the published CIFAR-10 and MNIST tables.

`params` and `macs` are counted as in `presets.py`, for one image of 32 pixels and 10
classes (LeNet: 28 pixels, one channel). The tables count one operation more for every
bias and every normalised filter: VGG16 313.47 M, MobileNetV2 91.17 M, LeNet 2.294 M.
For DenseNet121 they count two parameters per filter, 6,893,130, where normalisation
of all that a convolution reads has more. `published_top1` is the accuracy in percent of
the unpruned network in the table of `source`.
"""

from typing import Any

CIFAR_PRESETS: dict[str, dict[str, Any]] = {
    "CIFARResNet20": {
        "family": "cifar_resnet",
        "form": "cifar",
        "stackwise_num_blocks": [3, 3, 3],
        "params": 269_722,
        "macs": 40_551_040,
        "source": "arXiv 1512.03385, the CIFAR networks with parameter-free shortcuts",
    },
    "CIFARResNet56": {
        "family": "cifar_resnet",
        "form": "cifar",
        "stackwise_num_blocks": [9, 9, 9],
        "params": 853_018,
        "macs": 125_485_696,
        "published_top1": 94.15,
        "published_on": "CIFAR-10",
        "source": "arXiv 2103.02126 (Pattern Recognition 126, 2022)",
    },
    "CIFARVGG16": {
        "family": "cifar_vgg",
        "form": "cifar",
        "stackwise_num_blocks": [2, 2, 3, 3, 3],
        "params": 14_991_946,
        "macs": 313_463_808,
        "published_top1": 93.77,
        "published_on": "CIFAR-10",
        "source": "arXiv 2103.02126 (Pattern Recognition 126, 2022)",
    },
    "CIFARMobileNetV2": {
        "family": "cifar_mobilenet_v2",
        "form": "cifar",
        "stackwise_num_blocks": [1, 2, 3, 4, 3, 3, 1],
        "params": 2_296_922,
        "macs": 91_154_944,
        "published_top1": 94.31,
        "published_on": "CIFAR-10",
        "source": "arXiv 2103.02126 (Pattern Recognition 126, 2022)",
    },
    "CIFARDenseNet121": {
        "family": "cifar_densenet",
        "form": "cifar",
        "stackwise_num_blocks": [6, 12, 24, 16],
        "params": 6_956_298,
        "macs": 888_350_720,
        "published_top1": 95.23,
        "published_on": "CIFAR-10",
        "source": "arXiv 2009.13803 (Neural Networks 132, 2020)",
    },
    "LeNet": {
        "family": "lenet",
        "form": "mnist",
        "stackwise_num_blocks": [1, 1],
        "params": 431_080,
        "macs": 2_293_000,
        "published_top1": 99.40,
        "published_on": "MNIST",
        "source": "arXiv 2009.13803 (Neural Networks 132, 2020)",
    },
}
