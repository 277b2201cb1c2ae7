"""The published results of self-grouping, as data."""

PUBLISHED_GROUPINGS: dict[str, tuple[dict, ...]] = {
    name: tuple(
        dict(
            zip(
                (
                    "scheme",
                    "conv_rate",
                    "dense_rate",
                    "params_millions",
                    "macs_millions",
                    "top1",
                    "top5",
                ),
                row,
                strict=True,
            )
        )
        for row in rows
    )
    for name, rows in {
        "lenet_mnist": (
            ("", 0.0, 0.0, 0.431, 2.294, 99.40, 100.0),
            ("global", 0.95, 0.95, 0.022, 0.388, 99.17, 100.0),
            ("global", 0.96, 0.96, 0.018, 0.367, 99.10, 100.0),
            ("global", 0.97, 0.97, 0.014, 0.348, 99.02, 100.0),
            ("global", 0.98, 0.98, 0.009, 0.328, 98.91, 100.0),
            ("global", 0.99, 0.99, 0.005, 0.307, 98.53, 99.98),
        ),
        "densenet121_cifar10": (
            ("", 0.0, 0.0, 6.89, 888.36, 95.23, 99.86),
            ("global", 0.75, 0.75, 1.71, 221.90, 95.40, 99.91),
            ("global", 0.80, 0.80, 1.37, 177.72, 95.29, 99.91),
            ("global", 0.85, 0.85, 1.03, 134.10, 95.39, 99.90),
            ("global", 0.90, 0.90, 0.68, 89.77, 95.03, 99.93),
            ("global", 0.95, 0.95, 0.34, 45.76, 94.32, 99.89),
        ),
        "densenet121_cifar100": (
            ("", 0.0, 0.0, 6.99, 888.45, 78.67, 94.55),
            ("global", 0.70, 0.70, 2.10, 266.60, 78.78, 94.51),
            ("global", 0.75, 0.75, 1.75, 222.14, 78.40, 94.19),
            ("global", 0.80, 0.80, 1.40, 176.46, 78.24, 94.28),
            ("global", 0.85, 0.85, 1.06, 133.46, 78.18, 94.34),
            ("global", 0.90, 0.90, 0.71, 89.86, 76.73, 94.04),
            ("global", 0.95, 0.95, 0.36, 45.67, 74.37, 93.33),
        ),
        "resnet50_imagenet": (
            ("", 0.0, 0.0, 25.55, 4090.0, 76.13, 92.862),
            ("global", 0.6, 0.6, 11.88, 1910.0, 75.20, 92.55),
            ("global", 0.7, 0.6, 9.83, 1550.0, 74.43, 92.30),
            ("global", 0.8, 0.6, 7.76, 1200.0, 73.22, 91.70),
            ("local_global", 0.6, 0.6, 11.87, 1910.0, 75.12, 92.59),
            ("local_global", 0.7, 0.6, 9.83, 1560.0, 74.42, 92.31),
            ("local_global", 0.8, 0.6, 7.76, 1200.0, 73.38, 91.69),
        ),
        "densenet201_imagenet": (
            ("", 0.0, 0.0, 19.82, 4290.0, 76.896, 93.37),
            ("global", 0.7, 0.6, 6.00, 1340.0, 76.21, 93.07),
            ("global", 0.8, 0.6, 4.32, 990.0, 74.99, 92.55),
            ("local_global", 0.7, 0.6, 6.00, 1340.0, 76.12, 93.06),
            ("local_global", 0.8, 0.6, 4.32, 990.0, 75.17, 92.60),
        ),
    }.items()
}
"""Rows by recipe of `GROUPING_RECIPES`, as published: MACs are called FLOPs there, and
parameters and MACs are those of `published_counts`. A row of rate 0 is the whole
network. The tables of LeNet and CIFAR do not name their scheme; they stand under
`"global"`."""
