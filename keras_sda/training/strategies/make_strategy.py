"""One device or all of them, behind one interface."""

import contextlib
import dataclasses
from collections.abc import Callable

import keras

from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.utils import InvalidInputError


@dataclasses.dataclass(frozen=True)
class Strategy:
    """Where a model is built and trained. Made by `make_strategy`.

    Args:
        num_devices: Devices that share each batch.
        scope: Returns the context manager in which to build, compile and fit.
        description: For the log and metrics.json.
    """

    num_devices: int
    scope: Callable[[], contextlib.AbstractContextManager]
    description: str

    def check(self, batch_size: int, dataset: ImageDataset) -> None:
        """Raises `InvalidInputError` where the devices cannot share the batches."""
        if batch_size % self.num_devices:
            raise InvalidInputError(
                f"`batch_size` must be a multiple of the {self.num_devices} devices. "
                f"Received: batch_size={batch_size}."
            )
        if (
            self.num_devices > 1
            and keras.backend.backend() == "jax"
            and dataset.num_test % self.num_devices
        ):
            raise InvalidInputError(
                f"The {dataset.num_test} test images of {dataset.name!r} cannot be "
                f"shared evenly by {self.num_devices} devices, which the JAX backend "
                "needs. Use another number of devices or the TensorFlow backend."
            )


def make_strategy(name: str = "none", virtual_devices: int = 0) -> Strategy:
    """Chooses the devices for training.

    Use it before anything has run on a device: the number of virtual devices cannot
    be changed afterwards. On the TensorFlow backend `"mirrored"` is
    `tf.distribute.MirroredStrategy`, on the JAX backend
    `keras.distribution.DataParallel`. Build the model with synchronized
    BatchNormalization, then the losses are those of one device.

    Args:
        name: `"none"` for one device, `"mirrored"` for all GPUs of this machine.
        virtual_devices: With `"mirrored"`: split the CPU into so many devices.
            Defaults to 0, which uses the devices that are there.

    Returns:
        A `Strategy`.

    Raises:
        InvalidInputError: Unknown name, the devices are in use already, or the
            backend has no such strategy.

    Example:

    >>> make_strategy("none").num_devices
    1
    """
    if name == "none":
        return Strategy(1, contextlib.nullcontext, "one device")
    if name != "mirrored":
        raise InvalidInputError(
            f"`strategy` must be 'none' or 'mirrored'. Received: strategy={name!r}."
        )
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _mirrored(virtual_devices)
    if backend == "jax":
        return _data_parallel(virtual_devices)
    raise InvalidInputError(
        f"strategy='mirrored' is not available on the {backend} backend. Use "
        "KERAS_BACKEND=tensorflow or jax, or strategy='none'."
    )


def _mirrored(virtual_devices) -> Strategy:
    import tensorflow as tf

    if not virtual_devices:
        strategy = tf.distribute.MirroredStrategy()
        return _tensorflow_strategy(strategy)
    cpu = tf.config.list_physical_devices("CPU")[0]
    configuration = [tf.config.LogicalDeviceConfiguration()] * virtual_devices
    try:
        tf.config.set_logical_device_configuration(cpu, configuration)
    except RuntimeError:
        pass  # too late: the count below decides
    found = tf.config.list_logical_devices("CPU")
    if len(found) < virtual_devices:
        raise InvalidInputError(
            f"`virtual_devices`={virtual_devices} cannot be set any more: TensorFlow "
            f"already runs with {len(found)} CPU device(s). Start a new process and "
            "call this before any other TensorFlow operation."
        )
    strategy = tf.distribute.MirroredStrategy(
        [f"CPU:{index}" for index in range(virtual_devices)],
        # The default collective allows one strategy per process and has no CPU kernel
        # that is safe for several models.
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )
    return _tensorflow_strategy(strategy)


def _tensorflow_strategy(strategy) -> Strategy:
    count = strategy.num_replicas_in_sync
    return Strategy(count, strategy.scope, f"MirroredStrategy on {count} device(s)")


def _data_parallel(virtual_devices) -> Strategy:
    import jax

    if virtual_devices:
        try:
            jax.config.update("jax_num_cpu_devices", virtual_devices)
        except (RuntimeError, AttributeError):
            pass  # too late, or an old JAX: the count below decides
        devices = keras.distribution.list_devices("cpu")
        if len(devices) < virtual_devices:
            raise InvalidInputError(
                f"`virtual_devices`={virtual_devices} cannot be set any more: JAX "
                f"already runs with {len(devices)} CPU device(s). Start a new process."
            )
        devices = devices[:virtual_devices]
    else:
        devices = keras.distribution.list_devices()
    distribution = keras.distribution.DataParallel(
        devices=devices, auto_shard_dataset=False
    )

    @contextlib.contextmanager
    def scope():
        previous = keras.distribution.distribution()
        keras.distribution.set_distribution(distribution)
        try:
            yield
        finally:
            keras.distribution.set_distribution(previous)

    return Strategy(len(devices), scope, f"DataParallel on {len(devices)} device(s)")
