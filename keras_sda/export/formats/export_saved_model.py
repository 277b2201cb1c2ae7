"""Write a classifier as a SavedModel for TensorFlow Serving."""

import os
import pathlib
import shutil
import uuid
from collections.abc import Sequence

import keras
import numpy as np
from absl import logging

from keras_sda.export.formats.check_no_xla import (
    check_no_xla_functions,
    check_no_xla_layers,
)
from keras_sda.export.formats.preprocess_for_serving import preprocess_for_serving
from keras_sda.export.formats.read_labels import read_labels
from keras_sda.export.formats.serving_module import serving_module
from keras_sda.export.passes.fold_batch_normalization import fold_batch_normalization
from keras_sda.export.passes.rename_for_tensorflow import with_taken_names
from keras_sda.export.passes.replace_grouped_convolutions import (
    is_grouped,
    replace_grouped_convolutions,
)
from keras_sda.export.passes.separate_shared_relus import (
    separate_shared_relus,
    shared_relus,
)
from keras_sda.export.passes.split_groups import split_groups
from keras_sda.export.passes.to_float32 import to_float32
from keras_sda.graph import all_layers, model_scope, uncompiled
from keras_sda.tasks import Classification
from keras_sda.utils import InvalidInputError


def export_saved_model(
    model: keras.Model,
    output_dir: str | os.PathLike,
    labels: Sequence[str] | str | os.PathLike | None = None,
    preprocessing: str = "auto",
    version: int | None = None,
    top_k: int = 5,
    fold: bool = True,
    float32: bool = True,
    portable: bool = False,
    name: str | None = None,
    overwrite: bool = False,
    activation: str | None = None,
) -> pathlib.Path:
    """Exports an image classifier so that it runs without Keras and this package.

    Use it to serve a trained model: TensorFlow Serving takes `output_dir` as its model
    folder, `tf.saved_model.load` and the TensorFlow C API take the returned folder.
    The signatures, all with a batch of any size:

    * `serving_default`: `images`, float32 `(batch, height, width, channels)` in the
      size and range of the model's own input,
    * `serve_images`: `images`, uint8 of any height and width; resized by
      `training.resize_images` and preprocessed inside,
    * `serve_bytes`: `image_bytes`, strings, the contents of JPEG, PNG, GIF or BMP files
      of any sizes (models of 1 or 3 channels only). JPEG files are turned upright by
      the orientation in their EXIF part. A file of more than 2**27 pixels is refused
      before it is decoded; set the environment variable KERAS_SDA_MAX_PIXELS when you
      export for another limit. One bad file fails its batch.

    Tensors hold no orientation: clients of the other two send upright images. Inputs
    of another shape are answered with INVALID_ARGUMENT, empty batches with empty ones.

    Each gives `probabilities` float32 `(batch, classes)`, `classes` strings
    `(batch, top_k)`, best first, and their `scores` float32 `(batch, top_k)`.
    The label names also lie in `assets/labels.txt`.

    One sigmoid unit stands for two classes: `probabilities` is `(batch, 1)`, the
    probability of the second label; `classes` and `scores` rank both labels. With
    several sigmoid units every label has a probability of its own.

    Layers whose names TensorFlow refuses have others in the export. Other models
    (features, detection, several outputs): `model.export(path)` of Keras, after
    `rename_for_tensorflow`, `fold_batch_normalization`, `split_groups` and
    `to_float32` of `keras_sda.export` as wanted.

    Args:
        model: Functional or sequential model, one input `(None, height, width,
            channels)`, one output `(None, classes)`. Logits get the softmax or sigmoid
            that its loss names, if it is compiled (see `activation`).
        output_dir: Folder of the model; the version folder is written inside.
        labels: Names of the classes, a list or a text file with one per line.
            Two for a model of one sigmoid unit. Defaults to `None`: `class_0`,
            `class_1` and so on.
        preprocessing: What lies between pixels 0..255 and the model: `"none"`,
            `"imagenet"` (networks of this package), `"tf"` or `"caffe"` (some of
            `keras.applications`), or `"auto"`: "none" where the model starts with
            `Rescaling`, `Normalization` or the like, else what is documented for the
            networks of this package and of `keras.applications`. Defaults to `"auto"`.
        version: Integer from 1. Defaults to `None`: one above the highest there.
        top_k: Most classes to return. Defaults to `5`.
        fold: Whether batch normalization is merged into the layers before it (see
            `fold_batch_normalization`). Defaults to `True`.
        float32: Whether a model of mixed precision is computed in float32. Defaults to
            `True`.
        portable: Whether grouped convolutions are split (see `split_groups`), for
            servers without oneDNN, such as ARM, or x86 without AVX-512 VNNI. Defaults
            to `False`: the form that was fastest and right on this machine.
        name: Folder between `output_dir` and the version. Defaults to `None`: none.
        overwrite: Whether an existing `version` is replaced. Defaults to `False`.
        activation: What turns the outputs into probabilities, where the model does
            not show it: `"softmax"` (one class per image), `"sigmoid"` (one unit for
            two classes, or several labels per image) or `"none"`: they are
            probabilities. Defaults to `None`: as the end of the model and its loss say.

    Returns:
        `pathlib.Path` of the version folder. It appears complete or not at all.

    Raises:
        InvalidInputError: An argument does not fit the model, what its outputs mean
            cannot be known, the version exists, or the model holds a layer that
            TensorFlow compiles with XLA.
        OSError: The folder cannot be written.

    Example:

    >>> import keras, tempfile
    >>> from keras_sda.export import export_saved_model
    >>> x = keras.Input((8, 8, 1))
    >>> y = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(x))
    >>> model = keras.Model(x, keras.layers.Dense(2, activation="softmax")(y))
    >>> export_saved_model(model, tempfile.mkdtemp(), labels=["cat", "dog"]).name
    '1'
    """
    _check_backend()
    given, model = model, _without_lists(with_taken_names(model))
    image_shape = _check_shapes(model)
    preprocess = preprocess_for_serving(model, preprocessing, image_shape[-1])
    _check_number("top_k", top_k)
    # Only what has to be copied is: a layer may not come back from its config.
    if any(is_grouped(layer) for layer in all_layers(model)):
        model = replace_grouped_convolutions(model)
    check_no_xla_layers(model)
    task = Classification.of(given, activation, exclusive=None)
    labels = read_labels(labels, task.num_classes, task.one_unit)
    folder = pathlib.Path(output_dir, name or "")
    target = _target(folder, version, overwrite)
    if float32 and _is_reduced(model):
        model = to_float32(model)
    if portable:
        model = split_groups(model)
    if fold:
        folded = fold_batch_normalization(model)
        _check_same(model, folded)
        model = folded
    if shared_relus(model):
        model = separate_shared_relus(model)
    module, signatures = serving_module(
        model,
        image_shape,
        labels,
        preprocess,
        task,
        min(top_k, task.num_classes),
    )
    if "serve_bytes" not in signatures:
        logging.warning(
            "No signature serve_bytes: image files have 1 or 3 channels, the model %d.",
            image_shape[-1],
        )
    _write(module, signatures, labels, target)
    return target


def _check_backend():
    if keras.backend.backend() != "tensorflow":
        raise InvalidInputError(
            "A SavedModel is written on the TensorFlow backend. Received: backend "
            f"{keras.backend.backend()!r}. Save the model as .keras, set "
            "KERAS_BACKEND=tensorflow, load it and export it there."
        )
    if keras.config.image_data_format() != "channels_last":
        raise InvalidInputError(
            "Exports take images as (height, width, channels). Received: "
            "image_data_format='channels_first'. Set it to 'channels_last' and rebuild "
            "the model."
        )


def _check_number(name, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInputError(
            f"`{name}` must be a positive integer. Received: {name}={value!r}."
        )


def _without_lists(model):
    """A model over single tensors where it was built on lists of one."""
    if len(model.inputs) == len(model.outputs) == 1:
        model = uncompiled(model)
        with model_scope(model):
            return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return uncompiled(model)


def _check_shapes(model):
    inputs = [tuple(x.shape) for x in model.inputs]
    if len(inputs) != 1 or len(inputs[0]) != 4 or None in inputs[0][1:]:
        raise InvalidInputError(
            "`model` must have one image input (None, height, width, channels) of "
            f"fixed size. Received: model {model.name!r} with inputs {inputs}. Build "
            "it with input_shape=(height, width, channels)."
        )
    if inputs[0][0] is not None:
        raise InvalidInputError(
            f"`model` {model.name!r} is built for batches of {inputs[0][0]}. Build it "
            "with keras.Input(shape) instead of batch_shape."
        )
    outputs = [tuple(x.shape) for x in model.outputs]
    if len(outputs) != 1 or len(outputs[0]) != 2 or outputs[0][1] is None:
        raise InvalidInputError(
            "`model` must be a classifier with one output (None, classes). Received: "
            f"model {model.name!r} with outputs {outputs}. Build it with "
            "include_top=True, or add pooling and a Dense layer. For models that are "
            "no classifiers use model.export(path) of Keras, after keras_sda.export."
            "fold_batch_normalization(model)."
        )
    return inputs[0][1:]


def _is_reduced(model):
    return any(
        layer.compute_dtype in ("bfloat16", "float16") for layer in all_layers(model)
    )


def _check_same(model, folded):
    """Finds layers with state that neither their config nor their weights hold."""
    shape = model.inputs[0].shape[1:]
    images = np.random.default_rng(0).uniform(size=(2, *shape))
    images = (images * [[[[255.0]]], [[[1.0]]]]).astype("float32")

    def outputs(model, images):
        result = keras.ops.cast(model(images, training=False), "float32")
        return keras.ops.convert_to_numpy(result)

    expected, received = outputs(model, images), outputs(folded, images)
    if not np.isfinite(expected).all():
        raise InvalidInputError(
            f"`model` {model.name!r} gives outputs that are not finite on random "
            "images. Export weights from before the training diverged."
        )
    # Far above rounding, bfloat16 with fold included, far below a lost layer state.
    tolerance = 0.1 if _is_reduced(model) else 0.01
    scale = max(1.0, np.abs(expected).max())
    difference = np.abs(expected - received).max()
    if difference > tolerance * scale:
        # Noise is no photograph: a network may answer to it by blowing up rounding.
        rounding = np.abs(outputs(model, images * (1 + 1e-6)) - expected).max()
        if difference <= 10 * rounding:
            return
        raise InvalidInputError(
            f"`model` {model.name!r} computes something else after its layers were "
            "rebuilt from their configs: a layer keeps state outside its weights. "
            "Export with fold=False, or complete get_config() of its own layers."
        )


def _target(folder, version, overwrite):
    """The version folder to write, checked."""
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise InvalidInputError(
                f"`output_dir` {folder} cannot be made: {path} is a file. Name "
                "a folder."
            )
    if version is None:
        numbers = [int(p.name) for p in folder.glob("*") if p.name.isdecimal()]
        return folder / str(max(numbers, default=0) + 1)
    _check_number("version", version)
    target = folder / str(version)
    if target.exists() and not overwrite:
        raise InvalidInputError(
            f"`version={version}`: {target} exists. Leave `version` out for the next "
            "free number, or give overwrite=True."
        )
    return target


def _write(module, signatures, labels, target):
    import tensorflow as tf

    made = [p for p in (target.parent, *target.parent.parents) if not p.exists()]
    mark = uuid.uuid4().hex[:8]
    # Names with a dot are no version numbers: a watching server does not see them.
    temporary = target.with_name(f".{target.name}-{mark}")
    previous = target.with_name(f".{target.name}-{mark}-old")
    assets = target.with_name(f".{target.name}-{mark}-assets")
    try:
        assets.mkdir(parents=True)
        labels_file = assets / "labels.txt"
        labels_file.write_text("\n".join(labels) + "\n", encoding="utf-8")
        module.labels_file = tf.saved_model.Asset(str(labels_file))
        tf.saved_model.save(module, str(temporary), signatures=signatures)
        check_no_xla_functions(temporary)
        if target.exists():
            os.rename(target, previous)
        os.rename(temporary, target)
        made = []
    except tf.errors.OpError as error:
        raise OSError(f"{target} cannot be written: {error.message}") from error
    finally:
        if previous.exists() and not target.exists():
            os.rename(previous, target)
        for path in (assets, temporary, previous):
            shutil.rmtree(path, ignore_errors=True)
        for path in made:
            if path.exists() and not any(path.iterdir()):
                path.rmdir()
