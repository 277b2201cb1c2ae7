"""That a copy of a model has its own variables."""

import keras

from keras_sda.utils import InvalidInputError


def check_own_variables(model: keras.Model, copy: keras.Model) -> None:
    """Raises `InvalidInputError` where a copy shares a variable with its model.

    Use it on every model that is made from another one: what shares a variable changes
    when the other is trained.

    Args:
        model: The model that was copied.
        copy: What was made of it.

    Raises:
        InvalidInputError: A layer of `copy` holds a variable of `model`.

    Example:

    >>> import keras
    >>> from keras_sda.graph import check_own_variables, clone_edited
    >>> x = keras.Input((4,))
    >>> model = keras.Model(x, keras.layers.Dense(2)(x))
    >>> copy = clone_edited(model, lambda layer, config: config, clone_nested=None)
    >>> check_own_variables(model, copy)
    """
    known = {id(variable) for variable in model.variables}
    shared = [variable for variable in copy.variables if id(variable) in known]
    if not shared:
        return
    holders = [
        layer
        for layer in copy._flatten_layers(include_self=False, recursive=False)
        if any(variable is shared[0] for variable in layer.variables)
    ]
    where = f"{holders[0].name!r} ({type(holders[0]).__name__})" if holders else "?"
    raise InvalidInputError(
        f"`model` '{model.name}' cannot be copied: layer {where} comes back from its "
        f"config with the variable {shared[0].path!r} of the model itself. Let its "
        "get_config() describe what it holds (keras.saving.serialize_keras_object) "
        "and its from_config() build that anew."
    )
