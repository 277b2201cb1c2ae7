"""A supernet small enough for tests."""

import keras
import numpy as np

from keras_sda.applications import ProxylessSupernet

OPERATIONS = [f"k{size}_e{expansion}" for size in (3, 5, 7) for expansion in (3, 6)]


def tiny_supernet(**options):
    """Two blocks of six operations, the second with a shortcut; nothing is zero."""
    model = ProxylessSupernet(
        **{
            "input_shape": (32, 32, 3),
            "classes": 5,
            "stackwise_num_blocks": [2],
            "stackwise_num_filters": [6],
            "stackwise_strides": [2],
            "stem_filters": 6,
            "first_filters": 4,
            "head_filters": 10,
            **options,
        }
    )
    generator = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            count = layer.gamma.shape[0]
            layer.set_weights(
                [
                    generator.uniform(0.5, 1.5, count),
                    generator.normal(0, 0.5, count),
                    generator.normal(0, 0.3, count),
                    generator.uniform(0.5, 1.5, count),
                ]
            )
    return model
