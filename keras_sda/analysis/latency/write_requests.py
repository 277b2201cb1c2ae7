"""Write what has to be timed on another device: small models and an empty table."""

import hashlib
import json
import os
import pathlib
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from absl import logging

from keras_sda.analysis.latency.layer_timer import timeable_calls
from keras_sda.analysis.latency.layer_widths import (
    LayerWidth,
    kernel_axes,
    layer_widths,
    one_layer_model,
)
from keras_sda.graph import ChannelGraph, expand_known_blocks
from keras_sda.utils import InvalidInputError, save_model
from keras_sda.utils.files.csv_rows import write_rows

COLUMNS = ("key", "class", "config", "in_shape", "share", "ms")

# What a layer is called, how it is trained and where it starts take no time.
_FREE = ("name", "trainable")
_FREE_ENDINGS = ("_initializer", "_regularizer", "_constraint")


def write_requests(  # noqa: D417
    model: keras.Model,
    folder: str | os.PathLike,
    widths: Sequence[float],
    exporter: Callable[[keras.Model, pathlib.Path], Any] | None,
    batch_size: int,
    input_shape: Any,
) -> pathlib.Path:
    """Writes one small model per layer and width, and the table to fill in.

    Args:
        model, folder, widths, exporter, batch_size, input_shape: See
            `LatencyTable.requests`.

    Returns:
        Path of the CSV file.

    Raises:
        InvalidInputError: See there.
    """
    folder = pathlib.Path(folder)
    _check(folder, widths, exporter, batch_size)
    graph = ChannelGraph(expand_known_blocks(model), input_shape)
    rows, models, unbuilt = [], [], []
    entries = _entries(graph, input_shape, widths, unbuilt)
    for key, (layer, found) in entries.items():
        for width in found:
            leading, *sides = width.batch_input_shape
            shape = (leading * batch_size, *sides)
            try:
                small = one_layer_model(type(layer), width.config, shape, name=key)
            except (ValueError, TypeError, AttributeError) as error:
                unbuilt.append(f"{layer.name} at {width.share:.3g} ({error})")
                continue
            models.append((f"{key}-{width.share:.6g}", small))
            rows.append(_row(key, layer, width))
    if not rows:
        raise InvalidInputError(
            f"`model` '{graph.model.name}' has no layer that can be timed alone: none "
            "with a kernel, one input and a complete config."
        )
    if unbuilt:
        logging.warning(
            "Without a row in the latency table, which has to be read with "
            "missing='macs': %s.",
            "; ".join(unbuilt),
        )
    # All of it is there in the end, or nothing.
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        (temporary / "models").mkdir(parents=True)
        for name, small in models:
            path = temporary / "models" / name
            if exporter is None:
                save_model(small, f"{path}.keras")
            else:
                exporter(small, path)
        write_rows(rows, temporary / "latency.csv")
        if folder.is_dir():
            folder.rmdir()
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder / "latency.csv"


def entry_key(layer: keras.Operation, batch_input_shape: Sequence[int]) -> str:
    """What a table calls a layer: its class and a digest of what its time depends on.

    Args:
        layer: The layer.
        batch_input_shape: Shape of its input for one sample, batch axis first.

    Example:

    >>> import keras
    >>> from keras_sda.analysis.latency.write_requests import entry_key
    >>> one, other = keras.layers.Dense(4, name="a"), keras.layers.Dense(4, name="b")
    >>> entry_key(one, (1, 8)) == entry_key(other, (1, 8))
    True
    >>> entry_key(one, (1, 8)) == entry_key(one, (1, 9))
    False
    """
    config = _text(layer_settings(layer))
    text = f"{class_name(layer)} {tuple(batch_input_shape)} {config}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return f"{type(layer).__name__}-{digest}"


def layer_settings(layer: keras.Operation) -> dict[str, Any]:
    """The entries of its config that the time of a layer depends on.

    Args:
        layer: The layer. One that does not say its config has none.
    """
    try:
        return _timed(layer.get_config())
    except NotImplementedError:
        return {}


def _timed(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in config.items()
        if name not in _FREE and not name.endswith(_FREE_ENDINGS)
    }


def class_name(layer: keras.Operation) -> str:
    """The name of the class of a layer, with the package that registered it.

    Args:
        layer: The layer.
    """
    return keras.saving.get_registered_name(type(layer))


def _entries(graph, input_shape, widths, unbuilt):
    """By key a layer and its widths; notes those that do not say their config."""
    records = {id(record.layer): record for record in graph.layers.values()}
    entries: dict[str, tuple[keras.Operation, list[LayerWidth]]] = {}
    for call in timeable_calls(graph.model, input_shape):
        record = records.get(id(call.layer))
        try:
            if record is not None and kernel_axes(graph, call.layer):
                found = layer_widths(graph, record, call, widths)
            else:  # a layer that a wrapper holds, or that nothing can be cut of
                config = call.layer.get_config()
                found = [LayerWidth(1.0, config, call.batch_input_shapes[0])]
        except NotImplementedError:
            unbuilt.append(f"{call.name} (it has no get_config)")
            continue
        # Where little can go, narrow widths are one.
        found = list({width.share: width for width in found}.values())
        key = entry_key(call.layer, call.batch_input_shapes[0])
        # Of equal layers that of which the most can go.
        if key not in entries or found[-1].share < entries[key][1][-1].share:
            entries[key] = call.layer, found
    return entries


def _row(key, layer, width):
    return {
        "key": key,
        "class": class_name(layer),
        "config": _text(_timed(width.config)),
        "in_shape": "x".join(map(str, width.batch_input_shape)),
        "share": width.share,
        "ms": "",
    }


def _text(config):
    return json.dumps(config, sort_keys=True, default=str)


def _check(folder, widths, exporter, batch_size):
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InvalidInputError(
            f"`folder` {str(folder)!r} is not empty. Times that were filled in stay: "
            "name a new folder."
        )
    numbers = isinstance(widths, (list, tuple)) and all(
        isinstance(w, (int, float)) and not isinstance(w, bool) and 0 < w <= 1
        for w in widths
    )
    if not numbers or not widths or widths[0] != 1:
        raise InvalidInputError(
            "`widths` must be shares of the channels above 0, the first one 1, such as "
            f"(1, 0.75, 0.5, 0.25). Received: widths={widths!r}."
        )
    if exporter is not None and not callable(exporter):
        raise InvalidInputError(
            "`exporter` must be a function of a model and a path without ending. "
            f"Received: exporter={exporter!r}."
        )
    if (
        isinstance(batch_size, bool)
        or not isinstance(batch_size, int)
        or batch_size < 1
    ):
        raise InvalidInputError(
            f"`batch_size` must be a positive integer. Received: {batch_size!r}."
        )
