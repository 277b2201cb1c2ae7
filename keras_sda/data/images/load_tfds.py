"""Reads a dataset that TensorFlow Datasets has prepared."""

import contextlib
import difflib
import os
import pathlib
import re

import numpy as np

from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.data.images.image_split import ImageSplit
from keras_sda.data.images.reading_errors import reading_errors
from keras_sda.utils import InvalidInputError

_MEMORY_LIMIT = 1 << 30  # bytes of uint8 pixels; larger parts are streamed


def load_tfds(
    name: str, data_dir: str | os.PathLike | None = None, download: bool = False
) -> ImageDataset:
    """Loads an image classification dataset of TensorFlow Datasets.

    Use it through `load_image_dataset`. Data on disk is looked for first, without
    any network access; a prepared folder without builder code is read from its
    metadata.

    Args:
        name: Name, optionally with configuration and version: `"cifar10"`,
            `"cifar10:3.0.2"`.
        data_dir: Folder of the prepared datasets. Defaults to TFDS_DATA_DIR, then to
            `~/tensorflow_datasets`.
        download: Whether to download and prepare an absent dataset.

    Returns:
        An `ImageDataset`. Parts up to 1 GiB of equal-sized images are kept in memory.

    Raises:
        InvalidInputError: The name is unknown, the data is absent or damaged, or it
            is not an image classification dataset with a test or validation part.

    Example:

    ```python
    data = load_tfds("cifar10", data_dir="data")
    ```
    """
    builder = _find_builder(name, _data_dir(data_dir), download)
    image_key, label_key = _keys(name, builder.info.features)
    label_feature = builder.info.features[label_key]
    shape = builder.info.features[image_key].shape
    channels = shape[-1] or 3
    train = "train" if "train" in builder.info.splits else None
    with reading_errors(name, "test", str(builder.data_dir)):
        test = _test_part(builder, label_key)
    if not train or not test:
        raise InvalidInputError(
            f"`dataset` {name!r} needs a train part and a test or validation part. "
            f"Received parts: {sorted(builder.info.splits)}."
        )
    image_shape = tuple(shape) if None not in shape else None

    def read(part):
        with reading_errors(name, part, str(builder.data_dir)):
            return _read(
                builder, part, image_key, label_key, image_shape, label_feature
            )

    return ImageDataset(
        name=name,
        class_names=tuple(label_feature.names),
        channels=channels,
        image_shape=image_shape,
        train_split=read(train),
        test_split=read(test),
        folder=str(builder.data_dir),
    )


def _data_dir(data_dir) -> pathlib.Path:
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return pathlib.Path(chosen).expanduser()


def _find_builder(name, data_dir, download):
    import tensorflow_datasets as tfds

    folder = _prepared_folder(name, data_dir)
    if folder is not None:
        with _metadata_errors(name, folder):
            builder = tfds.builder_from_directory(folder)
            # All of it is read here, and not while the images are.
            for split in builder.info.splits.values():
                split.num_examples, split.filenames  # noqa: B018
            builder.info.features.items()
            return builder
    base = re.split("[:/]", name)[0]
    known = tfds.list_builders(with_community_datasets=False)
    if base not in known:
        on_disk = sorted(
            path.parent.parent.name for path in data_dir.glob("*/*/dataset_info.json")
        )
        nearest = difflib.get_close_matches(base, ["digits", *on_disk, *known], n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise InvalidInputError(
            f"`dataset` {name!r} is neither in `data_dir` (--data_dir) {data_dir} nor "
            f"a name that TensorFlow Datasets knows.{hint} Expected digits, a "
            "TensorFlow Datasets name, or a folder with one sub-folder of images per "
            "class."
        )
    if download:
        builder = tfds.builder(name, data_dir=str(data_dir), try_gcs=False)
        try:
            builder.download_and_prepare()
        except Exception as error:
            raise InvalidInputError(
                f"`dataset` {name!r} could not be downloaded ({type(error).__name__}: "
                f"{str(error).splitlines()[0][:200] if str(error) else 'no message'})."
                f" {_ways_out(name, data_dir)}"
            ) from error
        return builder
    raise InvalidInputError(
        f"`dataset` {name!r} is not prepared in {data_dir}. {_ways_out(name, data_dir)}"
    )


@contextlib.contextmanager
def _metadata_errors(name, folder):
    try:
        yield
    except InvalidInputError:
        raise
    except Exception as error:
        # Whatever a damaged file makes of TensorFlow Datasets, it is the file.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InvalidInputError(
            f"`dataset` {name!r}: dataset_info.json or features.json in {folder} is "
            f"damaged ({reason[:200]}). Prepare or copy the dataset again."
        ) from error


def _ways_out(name, data_dir):
    return (
        "Point `data_dir` (--data_dir, or the environment variable TFDS_DATA_DIR) at "
        f"the folder that holds {re.split('[:/]', name)[0]}/; or set `download` "
        "(--download), which first looks for the original archive in "
        f"{data_dir / 'downloads' / 'manual'}; or use --dataset digits, which needs "
        "no file."
    )


def _prepared_folder(name, data_dir):
    """Newest prepared version below data_dir, or None."""
    path, _, version = name.partition(":")
    infos = (data_dir / path).glob(f"{version or '*'}/dataset_info.json")
    if "/" not in path:
        infos = [*infos, *(data_dir / path).glob("*/*/dataset_info.json")]
    folders = [info.parent for info in infos if re.match(r"\d", info.parent.name)]
    return max(folders, key=_version_key, default=None)


def _version_key(folder):
    return [int(part) for part in re.findall(r"\d+", folder.name)]


def _keys(name, features):
    import tensorflow_datasets as tfds

    images = [k for k, v in features.items() if isinstance(v, tfds.features.Image)]
    labels = [k for k, v in features.items() if isinstance(v, tfds.features.ClassLabel)]
    image = "image" if "image" in images else next(iter(images), None)
    label = "label" if "label" in labels else next(iter(labels), None)
    if image is None or label is None:
        raise InvalidInputError(
            f"`dataset` {name!r} is not an image classification dataset: expected an "
            f"image and a class label, received features {sorted(features)}."
        )
    return image, label


def _test_part(builder, label_key):
    for part in ("test", "validation"):
        if part in builder.info.splits:
            first = next(iter(builder.as_dataset(split=f"{part}[:1]")), None)
            # Some datasets (ImageNet) publish their test images without labels.
            if first is None or int(first[label_key]) >= 0:
                return part
    return None


def _read(builder, part, image_key, label_key, image_shape, label_feature):
    import tensorflow as tf

    count = builder.info.splits[part].num_examples
    num_classes = label_feature.num_classes

    def select(example):
        return example[image_key], tf.cast(example[label_key], tf.int64)

    in_memory = (
        image_shape is not None and count * int(np.prod(image_shape)) <= _MEMORY_LIMIT
    )
    if not in_memory:
        import tensorflow_datasets as tfds

        # The shuffle buffer then holds compressed images.
        dataset = builder.as_dataset(
            split=part,
            shuffle_files=False,
            decoders={image_key: tfds.decode.SkipDecoding()},
        )
        decode = builder.info.features[image_key].decode_example
        stream = check_stream(
            dataset.map(select), num_classes, f"{builder.name} {part}"
        )
        return ImageSplit(count, stream=stream, decode=decode)
    dataset = builder.as_dataset(split=part, shuffle_files=False).map(
        select, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    images = np.empty((count, *image_shape), "uint8")
    labels = np.empty(count, "int64")
    done = 0
    for image, label in dataset.batch(1024).prefetch(2).as_numpy_iterator():
        images[done : done + len(label)] = image
        labels[done : done + len(label)] = label
        done += len(label)
    return ImageSplit(done, arrays=(images[:done], labels[:done]))


def check_stream(stream, num_classes: int, where: str):
    """Adds a check of every label to a stream that is too long to read in advance.

    Args:
        stream: `tf.data.Dataset` of `(image, label)`.
        num_classes: Labels must be from 0 to this number minus 1.
        where: Name of the dataset and part, for the message.

    Returns:
        The dataset; reading a wrong label raises
        `tensorflow.errors.InvalidArgumentError`.
    """
    import tensorflow as tf

    message = f"`dataset` {where}: label out of range, expected 0 to {num_classes - 1}."
    bound = tf.constant(num_classes, tf.int64)

    def check(image, label):
        checks = [
            tf.debugging.assert_non_negative(label, message=message),
            tf.debugging.assert_less(label, bound, message=message),
        ]
        with tf.control_dependencies(checks):
            return image, tf.identity(label)

    return stream.map(check)
