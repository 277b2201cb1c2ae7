"""Carry out a plan, and let the kernels that stay take over from what goes."""

from typing import Any

import keras
import numpy as np

from keras_sda.data.fit.array_structures import is_number
from keras_sda.graph import ChannelGraph, expand_known_blocks, remove_channels
from keras_sda.pruning.pruning_plan import PruningPlan
from keras_sda.pruning.refit.calibration_batches import calibration_batches
from keras_sda.pruning.refit.refit_kernels import refit_kernels
from keras_sda.utils import InvalidInputError


def reconstruct(
    model: keras.Model,
    plan: PruningPlan,
    data: Any,
    ridge: float | None = None,
    sequential: bool = True,
    max_rows: int = 65536,
    max_samples: int = 512,
    seed: int = 0,
) -> keras.Model:
    """Removes the channels of a plan and fits the kernels that stay, without training.

    Use it instead of `shrink` where there are some images: 256 to 512 are enough, and
    labels are not looked at. Every kernel is fitted by least squares to give what it
    gave in the whole model, from what it reads in the smaller one.

    What can be fitted are convolutions and dense layers, with groups, strides and
    dilation, in nested models, and after `Flatten`; the second half of separable
    convolutions; and the kernels inside of layers with a method `linear_parts`, such as
    depth attention, squeeze and excitation, pyramids and packed layers. A layer that is
    called several times is corrected for what it loses alone. Others stay as `shrink`
    leaves them, and so do kernels with a constraint. Masks of padding are not followed.

    Of a plan with blocks, kernels behind a block aim at what they gave in the whole
    model.

    Args:
        model: A functional or built sequential model. It is not changed.
        plan: A `PruningPlan` for it.
        data: Images as in `model.fit`, with or without targets. Streams have to be
            shuffled: their first samples are read.
        ridge: What a change of a kernel costs, relative to the mean power of what it
            reads. Defaults to `None`: for every kernel the power of ten from 1e-6 to 1
            that errs least on images that it was not fitted to.
        sequential: Whether kernels are fitted one after the other to what they read in
            the smaller model by then, so that they mend the errors of those before.
            Without, removed channels are predicted from kept ones as the whole model
            has them, in one pass: faster, and worse where much goes. Defaults to
            `True`.
        max_rows: At most so many positions of feature maps are looked at for a kernel.
            Defaults to `65536`.
        max_samples: At most so many samples of `data` are read. Defaults to `512`.
        seed: Of the choice of samples and positions. Defaults to `0`.

    Returns:
        A functional `keras.Model` as from `shrink`, with fitted weights.

    Raises:
        InvalidInputError: The plan or the data do not fit the model, or values are not
            finite.

    Source: the least squares step of He, Zhang and Sun (arXiv 1707.06168), per kernel;
    without `sequential` the linear dependence elimination of Shah, Olivier and Raj
    (arXiv 2005.14070).

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.pruning import make_plan, reconstruct
    >>> x = keras.Input((4,))
    >>> y = keras.layers.Dense(8, name="hidden")(x)
    >>> model = keras.Model(x, keras.layers.Dense(2)(y))
    >>> images = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    >>> small = reconstruct(model, make_plan(model, macs=0.5), images)
    >>> bool(np.allclose(small(images), model(images), atol=1e-2))
    True
    """
    _check(ridge, max_rows, max_samples)
    whole = ChannelGraph(expand_known_blocks(model))
    graph, removed = plan.applied(model, whole)
    batches = calibration_batches(data, graph.model, max_samples, seed=seed)
    small = remove_channels(graph, removed)
    refit_kernels(
        graph, removed, small, batches, ridge, sequential, max_rows, seed, whole.model
    )
    return small


def _check(ridge, max_rows, max_samples):
    for key, value, least in (
        ("max_rows", max_rows, 1),
        ("max_samples", max_samples, 2),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InvalidInputError(
                f"`{key}` must be an integer of at least {least}. Received: "
                f"{key}={value!r}."
            )
    if ridge is not None and not (is_number(ridge) and 0 <= ridge < np.inf):
        raise InvalidInputError(
            "`ridge` must be a number of at least 0, such as 1e-3, or None to choose "
            f"one for every kernel. Received: ridge={ridge!r}."
        )
