"""Classify image files with an export."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from keras_sda.data.images.decode_image import decode_image, pixel_limit
from keras_sda.tasks.classification import both_classes
from keras_sda.utils import InvalidInputError

_BATCH_SIZE = 16


def predict(
    export_dir: str | os.PathLike,
    images: str | os.PathLike | Sequence[str | os.PathLike],
    top_k: int = 5,
) -> list[dict]:
    """Returns the most probable classes of image files.

    Use it to try an export: it needs TensorFlow alone and goes the way of a served
    request, through the signature `serve_bytes`. All files are checked before the
    model is loaded. JPEG files are turned upright by the orientation in their EXIF
    part. Files of more than 2**27 pixels are refused; the environment variable
    KERAS_SDA_MAX_PIXELS sets another limit here and when exporting.

    Args:
        export_dir: Folder that `export_saved_model` returned, or the one above it with
            the versions, of which the highest is taken.
        images: Path of an image file (JPEG, PNG, GIF, BMP), or a list of them.
        top_k: Most classes per image. Defaults to `5`.

    Returns:
        A list with one dict per file: `"file"` (string) and `"predictions"`, a list
        of `{"class": string, "score": float}`, best first.

    Raises:
        InvalidInputError: There is no export, or a file is missing, empty or no image.

    Example:

    ```python
    from keras_sda.export import predict
    predict("exports/digits", ["seven.png"])[0]["predictions"][0]
    # {'class': '7', 'score': 0.998}
    ```
    """
    import tensorflow as tf

    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
        raise InvalidInputError(
            f"`top_k` must be a positive integer. Received: top_k={top_k!r}."
        )
    files = [images] if isinstance(images, (str, os.PathLike)) else list(images)
    if not files:
        raise InvalidInputError("`images` is empty. Name at least one image file.")
    folder = _version_folder(pathlib.Path(export_dir))
    for file in files:
        _read_image(tf, file)
    # The loaded object must outlive its signature, which holds it only weakly.
    loaded = _load(tf, folder)
    signatures = getattr(loaded, "signatures", {})
    signature = signatures.get("serve_bytes")
    labels_file = folder / "assets" / "labels.txt"
    if signature is None or not labels_file.is_file():
        raise InvalidInputError(
            f"`export_dir` {folder} has no signature serve_bytes with labels. Received "
            f"signatures: {sorted(signatures)}. Export a model of 1 or 3 channels with "
            "keras_sda.export.export_saved_model."
        )
    labels = _read_labels(labels_file, signature)
    results = []
    for start in range(0, len(files), _BATCH_SIZE):
        batch = files[start : start + _BATCH_SIZE]
        data = tf.constant([_read_image(tf, file) for file in batch])
        probabilities = signature(image_bytes=data)["probabilities"].numpy()
        probabilities = np.asarray(both_classes(probabilities))
        for file, row in zip(batch, probabilities, strict=True):
            best = np.argsort(-row, kind="stable")[:top_k]
            top = [{"class": labels[i], "score": float(row[i])} for i in best]
            results.append({"file": str(file), "predictions": top})
    return results


def _load(tf, folder):
    try:
        return tf.saved_model.load(str(folder))
    except Exception as error:
        # Whatever a damaged file makes of TensorFlow, it is the file.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InvalidInputError(
            f"`export_dir` {folder} is damaged: TensorFlow cannot load it "
            f"({reason[:200]}). Copy it again, or export the model again."
        ) from error


def _read_labels(path, signature):
    try:
        labels = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"`export_dir`: {path} cannot be read ({error}). Export the model again."
        ) from error
    outputs = signature.structured_outputs.get("probabilities")
    units = None if outputs is None else outputs.shape[-1]
    # One sigmoid unit stands for two classes.
    if units is None or len(labels) != (2 if units == 1 else units):
        raise InvalidInputError(
            f"`export_dir`: {path} names {len(labels)} classes, the model answers "
            f"{'otherwise' if units is None else units}. Export the "
            "model again with its labels."
        )
    return labels


def _version_folder(folder):
    if (folder / "saved_model.pb").is_file():
        return folder
    versions = [
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.name.isdecimal() and (path / "saved_model.pb").is_file()
    ]
    if not versions:
        raise InvalidInputError(
            f"`export_dir` {folder} holds no export: neither saved_model.pb nor a "
            "numbered folder with one. Write it with export_saved_model (or on the "
            "command line: keras-sda export MODEL.keras --output DIR)."
        )
    return max(versions, key=lambda path: int(path.name))


def _read_image(tf, file):
    """The content of a file that is an image."""
    try:
        data = pathlib.Path(file).read_bytes()
    except OSError as error:
        raise InvalidInputError(
            f"Image file {file} cannot be read ({error.strerror}). Check the path."
        ) from error
    if not data:
        raise InvalidInputError(f"Image file {file} is empty. Give an image.")
    try:
        decode_image(data)
    except tf.errors.OpError as error:
        if "more than" in error.message:
            raise InvalidInputError(
                f"Image file {file} has more than {pixel_limit():,} pixels. Make it "
                "smaller, or set the environment variable KERAS_SDA_MAX_PIXELS here "
                "and when exporting, if you trust it."
            ) from error
        raise InvalidInputError(
            f"File {file} is no image that can be decoded. Give a JPEG, PNG, GIF or "
            "BMP file."
        ) from error
    return data
