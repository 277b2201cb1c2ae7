"""The published searches for widths, as data."""

PUBLISHED_SEARCHES: dict[str, dict] = {
    "vgg16_cifar": {
        "network": "CIFARVGG16",
        "dataset": "cifar10",
        "rows": (
            (0, 313.47, 14.99, 93.77),
            (1e-5, 211.89, 5.51, 93.82),
            (5e-5, 195.14, 3.73, 93.53),
            (1e-4, 161.97, 2.10, 93.75),
            (2e-4, 61.23, 0.60, 92.33),
            (3e-4, 29.77, 0.29, 89.93),
            (4e-4, 22.04, 0.24, 89.92),
            (5e-4, 16.65, 0.17, 89.27),
        ),
    },
    "resnet56_cifar": {
        "network": "CIFARResNet56",
        "dataset": "cifar10",
        "rows": (
            (0, 125.49, 0.85, 94.15),
            (1e-5, 93.94, 0.66, 93.76),
            (5e-5, 83.11, 0.59, 93.75),
            (1e-4, 36.94, 0.25, 93.20),
            (2e-4, 8.63, 0.060, 89.31),
            (3e-4, 3.44, 0.022, 85.83),
            (4e-4, 2.38, 0.013, 84.07),
            (5e-4, 1.68, 0.007, 83.48),
        ),
    },
    "mobilenet_v2_cifar": {
        "network": "CIFARMobileNetV2",
        "dataset": "cifar10",
        "rows": (
            (0, 91.17, 2.30, 94.31),
            (1e-5, 59.47, 1.43, 94.17),
            (5e-5, 54.98, 1.20, 94.30),
            (1e-4, 36.63, 0.65, 94.01),
            (2e-4, 13.35, 0.20, 91.96),
            (3e-4, 7.81, 0.12, 90.65),
            (4e-4, 5.40, 0.096, 88.83),
            (5e-4, 4.50, 0.081, 87.85),
        ),
    },
    "vgg16_imagenet": {
        "network": None,
        "dataset": "imagenet2012",
        "rows": (
            (0, 15470, 138.37, 76.13),
            (1e-4, 4690, 77.05, 69.80),
        ),
    },
    "resnet50_imagenet": {
        "network": "ResNet50",
        "dataset": "imagenet2012",
        "rows": (
            (0, 4090, 25.55, 75.19),
            (5e-5, 2070, 15.34, 74.07),
            (6e-5, 1750, 12.75, 73.65),
            (7e-5, 1440, 10.94, 72.86),
            (1e-4, 880, 7.18, 70.17),
        ),
    },
    "mobilenet_v2_imagenet": {
        "network": "MobileNetV2",
        "dataset": "imagenet2012",
        "rows": (
            (0, 300.79, 3.50, 71.52),
            (6e-5, 217.24, 2.87, 71.02),
            (7e-5, 207.25, 2.78, 70.91),
        ),
    },
    "proxyless_imagenet": {
        "network": "ProxylessSupernet",
        "dataset": "imagenet2012",
        "rows": (
            (0, None, 16.0, 75.7),
            (6e-5, None, 3.6, 75.0),
        ),
    },
}
"""By the name of the recipe: network (None where this package has none of that form),
dataset, and the rows of the table: price of an open gate (0 for the whole network),
multiply-accumulates in millions (the tables call them FLOPs; None where there is no
number), parameters in millions, top-1 accuracy in percent.

Source: arXiv 2103.02126 (Pattern Recognition 126, 2022) and its repository. The
accuracy of the whole VGG16 on ImageNet is that of the usual ResNet50, so probably a
slip.
"""
