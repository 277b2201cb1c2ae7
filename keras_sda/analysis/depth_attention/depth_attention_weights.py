"""What `depth_attention` returns."""

from collections.abc import Mapping

import numpy as np


class DepthAttentionWeights(dict[str, np.ndarray]):
    """The weights of the blocks, stage by stage: a dict that also knows the blocks.

    Args:
        weights: Name of the layer to float32 array `(images, K, channels)`, which
            sums to one over axis 1; in the order in which the layers run.
        block_names: Name of the layer to the names of the K layers that feed it, in
            the order of axis 1.

    Example:

    >>> import numpy as np
    >>> from keras_sda.analysis import DepthAttentionWeights
    >>> weights = {"stage1_sda": np.full((1, 2, 4), 0.5, "float32")}
    >>> result = DepthAttentionWeights(weights, {"stage1_sda": ("add1", "add2")})
    >>> result["stage1_sda"].shape, result.block_names["stage1_sda"]
    ((1, 2, 4), ('add1', 'add2'))
    """

    def __init__(
        self,
        weights: Mapping[str, np.ndarray],
        block_names: Mapping[str, tuple[str, ...]],
    ):
        super().__init__(weights)
        self.block_names = dict(block_names)
