"""Depth attention that starts as the trunk it was put on."""

import keras
import numpy as np

from keras_sda.layers import SelectiveDepthAttention


def start_from_trunk(model: keras.Model) -> None:
    """Makes depth attention and the head normalisation pass on what the trunk gives.

    Use it after the trunk of a network got trained weights. Every
    `SelectiveDepthAttention` starts at the last block of its stage
    (`start_at_last_block`), and the normalisation `head_bn` starts as the identity:
    `predict` and `evaluate` then give the answers of the plain trunk, up to the small
    weight that the other blocks keep so that the attention can learn.

    In training mode `head_bn` takes the statistics of the batch, as every
    BatchNormalization does: the classifier sees normalised features from the first
    step of `fit` on and needs some steps to follow.

    Args:
        model: A network of `keras_sda.applications`; one without depth attention is
            left as it is.

    Example:

    >>> from keras_sda.applications import SDAResNet20
    >>> from keras_sda.applications.checkpoints.start_from_trunk import start_from_trunk
    >>> start_from_trunk(SDAResNet20())
    """
    for layer in model.layers:
        if isinstance(layer, SelectiveDepthAttention):
            layer.start_at_last_block()
        elif layer.name == "head_bn":
            size = layer.gamma.shape
            layer.gamma.assign(np.ones(size, "float32"))
            layer.beta.assign(np.zeros(size, "float32"))
            layer.moving_mean.assign(np.zeros(size, "float32"))
            # The layer divides by the root of variance plus epsilon.
            layer.moving_variance.assign(np.full(size, 1 - layer.epsilon, "float32"))
