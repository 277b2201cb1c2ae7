"""Grouped convolutions in the form that every TensorFlow build can run."""

import keras

from keras_sda.export.passes.replace_grouped_convolutions import is_grouped
from keras_sda.graph import clone_edited
from keras_sda.graph.rules.channel_rules import own_rule
from keras_sda.layers import GroupedConv2D
from keras_sda.utils import InvalidInputError


def split_groups(model: keras.Model) -> keras.Model:
    """Rebuilds a model with every grouped convolution in its split form.

    Use it before an export that has to run where oneDNN is absent or switched off
    (ARM, x86 without AVX-512 VNNI, `TF_ENABLE_ONEDNN_OPTS=0`): the native grouped
    operation fails there. Where oneDNN is on, the native form is the faster one. Every
    layer with a method `portable` is replaced by what that returns, as is one whose
    class was registered with `graph.register_rule(layer_class, portable=)`.

    Args:
        model: A functional or sequential model.

    Returns:
        A functional model with its own copy of the weights and the same outputs.

    Raises:
        InvalidInputError: `model` is not functional or has no input shape, or what
            `portable` returns cannot stand for the layer.

    Example:

    >>> import keras
    >>> from keras_sda.export import split_groups
    >>> from keras_sda.layers import GroupedConv2D
    >>> x = keras.Input((8, 8, 4))
    >>> model = keras.Model(x, GroupedConv2D(4, 3, groups=2)(x))
    >>> split_groups(model).layers[-1].implementation
    'split'
    """

    def edit(layer, config):
        portable = own_rule(layer, "portable")
        if portable is None and is_grouped(layer):
            portable = GroupedConv2D.from_config(config).portable
        return config if portable is None else _checked(layer, portable())

    return clone_edited(model, edit)


def _checked(layer, new):
    if not isinstance(new, keras.layers.Layer) or new.name != layer.name:
        raise InvalidInputError(
            f"`portable` of layer {layer.name!r} ({type(layer).__name__}) must return "
            f"a layer of the same name and weights. Received: {new!r}."
        )
    return new
