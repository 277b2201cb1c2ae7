"""Say which frozen layers a change of the channels leaves untrained."""

from collections.abc import Collection, Iterator

import keras

from keras_sda.graph.model.as_functional import graph_of


def frozen_note(
    before: keras.Model,
    after: keras.Model,
    changed: Collection[str] | None = None,
) -> str:
    """Names frozen layers that lost weights, for the report of whatever cut them.

    Use it after surgery: fine-tuning makes up for what was removed, and cannot where
    the layers do not train, such as those of a backbone with `trainable=False`.

    Args:
        before: The model before.
        after: The model after, with the layer names of `before`.
        changed: Names of the layers that were changed, with the names of nested models
            before them. Defaults to all whose weights have other shapes.

    Returns:
        One sentence without its full stop, or `""` where nothing frozen was changed.

    Example:

    >>> import keras
    >>> from keras_sda.graph import frozen_note
    >>> def build(units):
    ...     x = keras.Input((4,))
    ...     y = keras.layers.Dense(units, trainable=False, name="a")(x)
    ...     return keras.Model(x, keras.layers.Dense(2, name="b")(y))
    >>> frozen_note(build(4), build(3)).split(":")[0]
    "2 of 4 weights train, and channels were removed from frozen layers ('a')"
    """
    old = dict(_named_layers(before))
    frozen = []
    for name, layer in _named_layers(after):
        if not layer.weights or layer.trainable_weights:
            continue
        if changed is None:
            is_changed = name in old and _shapes(old[name]) != _shapes(layer)
        else:
            is_changed = name in changed
        if is_changed:
            frozen.append(name)
    if not frozen:
        return ""
    parts: dict[str, int] = {}
    for name in frozen:
        parts[name.split("/")[0]] = parts.get(name.split("/")[0], 0) + 1
    named = [
        f"{part!r}" if part in frozen else f"{part!r}: {count} layers"
        for part, count in parts.items()
    ]
    more = f" and {len(named) - 8} more" if len(named) > 8 else ""
    first = next(iter(parts))
    return (
        f"{len(after.trainable_weights)} of {len(after.weights)} weights train, and "
        f"channels were removed from frozen layers ({', '.join(named[:8])}{more}): "
        "fine-tuning cannot make up for what they lost. To let them train: "
        f"model.get_layer({first!r}).trainable = True, for each of them, then "
        "model.compile(...) again"
    )


def _named_layers(model, prefix="") -> Iterator[tuple[str, keras.layers.Layer]]:
    for layer in model.layers:
        graph = graph_of(layer)
        if graph is None:
            yield prefix + layer.name, layer
        else:
            yield from _named_layers(graph, f"{prefix}{layer.name}/")


def _shapes(layer):
    return [tuple(variable.shape) for variable in layer.weights]
