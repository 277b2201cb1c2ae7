"""Makes two runs with the same seed give the same bits."""

from collections.abc import Callable

import keras

from keras_sda.training.options.run_options import RunOptions


def make_deterministic(options: RunOptions, log: Callable[[str], None]) -> None:
    """Configures TensorFlow for repeatable training.

    Use it before any TensorFlow operation. On a CPU the gradients of convolutions
    differ in the last bits from run to run when several operations run at the same
    time, even with deterministic kernels forced; one operation at a time, each on all
    cores, does not, and was not slower when measured. Other backends need nothing.

    Args:
        options: `deterministic` and `strategy` decide.
        log: Told when it is too late.

    Example:

    >>> from keras_sda.training import TrainOptions
    >>> make_deterministic(TrainOptions(deterministic=False), log=print)
    """
    if keras.backend.backend() != "tensorflow" or options.deterministic is False:
        return
    import tensorflow as tf

    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    # Replicas wait for each other, so they need a thread each.
    if options.strategy != "none" or (has_gpu and not options.deterministic):
        return
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        if tf.config.threading.get_inter_op_parallelism_threads() != 1:
            log(
                "TensorFlow is in use already, so this run may differ from another "
                "one in the last bits. Start it in a process of its own to avoid that."
            )
