"""Count parameters, multiply-accumulates and activations from the graph alone."""

import math
from typing import Any

import keras
from absl import logging

from keras_sda.analysis.macs.macs_rules import count_macs
from keras_sda.analysis.macs.model_profile import LayerProfile, ModelProfile
from keras_sda.graph import LayerCall, all_layers, layer_calls


def profile(model: keras.Model, input_shape: Any = None) -> ModelProfile:
    """Counts what a functional model costs for one sample, without running it.

    Use it to compare networks, to check a pruned one, or to fill a results table.

    MACs are the multiply-accumulates of convolutions, dense layers, recurrent
    kernels and attention products; biases, normalization, activations, pooling and
    elementwise work count as zero, as does the weighted sum of selective depth
    attention. This is the convention of the papers, which print the number as
    "FLOPs". A convolution counts every output position, padding included. A shared
    layer counts its MACs once per call and its parameters once. The masks and labels
    of self-grouped layers are no parameters, and such a layer counts as the dense one.

    Args:
        model: A functional or built sequential Keras model.
        input_shape: Shape of one sample, with or without the batch axis; a list or a
            dict by input name for several inputs. Needed when the model has unknown
            axes. Defaults to `None`, the shapes the model was built with.

    Returns:
        A `ModelProfile`. Layers of your own are counted by the layers and `keras.ops`
        inside of them. Those that nobody can count are in `unknown`, and a warning
        names them: add a `compute_macs(input_shape, output_shape)` method to the
        layer or call `register_macs_rule`.

    Raises:
        InvalidInputError: The model is not functional or not built, `input_shape` is
            missing or does not fit.

    Example:

    >>> import keras
    >>> from keras_sda.analysis import profile
    >>> model = keras.applications.MobileNetV2(weights=None)
    >>> result = profile(model)
    >>> result.params, result.macs
    (3538984, 300774272)
    """
    rows, unknown, counted = [], {}, set()
    for call in layer_calls(model, input_shape):
        macs = count_macs(call)
        if macs is None:
            unknown[call.name] = type(call.layer).__name__
        elements = sum(math.prod(shape) for shape in call.batch_output_shapes)
        shapes = call.output_shapes
        params, trainable_params = _count_new(call.layer, counted)
        rows.append(
            LayerProfile(
                name=_row_name(call),
                type=type(call.layer).__name__,
                output_shape=shapes[0] if len(shapes) == 1 else shapes,
                params=params,
                trainable_params=trainable_params,
                macs=macs,
                activations=elements if macs else 0,
            )
        )
    params, trainable_params = _count_new(model, counted)
    if params:
        # Weights that the model tracks but its graph does not use.
        rows.append(
            LayerProfile("(not in graph)", "", (), params, trainable_params, 0, 0)
        )
    if unknown:
        logging.warning(
            "The MACs of %s do not include these layers, for which there is no rule: "
            "%s. Give the layer a `compute_macs(input_shape, output_shape)` method "
            "or call `keras_sda.analysis.register_macs_rule`.",
            model.name,
            ", ".join(f"{name} ({kind})" for name, kind in unknown.items()),
        )
    return ModelProfile(
        name=model.name,
        params=sum(row.params for row in rows),
        trainable_params=sum(row.trainable_params for row in rows),
        macs=sum(row.macs or 0 for row in rows),
        activations=sum(row.activations for row in rows),
        layers=tuple(rows),
        unknown=tuple(unknown),
    )


def _row_name(call: LayerCall) -> str:
    number = call.call_index + 1
    return call.name if number == 1 else f"{call.name} (call {number})"


def _count_new(layer: keras.Operation, counted: set[int]) -> tuple[int, int]:
    """Sizes of the weights of `layer` that are not in `counted`, which it extends."""
    weights = getattr(layer, "weights", [])  # A `keras.ops` function has none.
    new = [weight for weight in weights if id(weight) not in counted]
    counted.update(id(weight) for weight in new)
    skipped = {
        id(weight)
        for part in all_layers(layer)
        for weight in getattr(part, "bookkeeping_weights", ())
    }
    new = [weight for weight in new if id(weight) not in skipped]
    sizes = {id(weight): math.prod(weight.shape) for weight in new}
    trainable = {id(weight) for weight in getattr(layer, "trainable_weights", [])}
    return sum(sizes.values()), sum(sizes[key] for key in sizes if key in trainable)
