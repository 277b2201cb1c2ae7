"""The TensorFlow module whose functions become the signatures of an export."""

from collections.abc import Callable, Sequence

import keras

from keras_sda.data.images.decode_image import decode_image
from keras_sda.data.images.resize_images import resize_images
from keras_sda.tasks import Classification
from keras_sda.tasks.classification import both_classes

# A protocol buffer, which a graph with constants is, holds at most 2 GB.
_MAX_CONSTANT_BYTES = 1_500_000_000


def serving_module(
    model: keras.Model,
    image_shape: tuple[int, int, int],
    labels: Sequence[str],
    preprocess: Callable,
    task: Classification,
    top_k: int,
):
    """Builds a `tf.Module` and its signatures from a classifier.

    Use it through `export_saved_model`. The weights become constants of one graph that
    all signatures call: TensorFlow can then prepare kernels once (oneDNN stores its
    own layout), and there is no variable to restore. Models above 1.5 GB keep
    variables.

    Args:
        model: Functional model, one image input, output `(batch, classes)`.
        image_shape: `(height, width, channels)` of its input.
        labels: Names of the classes.
        preprocess: Function from 0..255 float images to the input of the model.
        task: What its outputs mean; logits get the softmax or sigmoid that is missing.
            One unit is the probability of the second label.
        top_k: Number of classes in `classes` and `scores`.

    Returns:
        A tuple: the module and a dict from signature name to function. `serve_bytes`
        is there for models of 1 and 3 channels.
    """
    import tensorflow as tf

    height, width, channels = image_shape
    batch = tf.TensorSpec([None, height, width, channels], tf.float32, name="images")
    module = tf.Module()

    def signature(*specs):
        return tf.function(input_signature=specs, autograph=False)

    compute_probabilities = _probabilities(tf, model, task, module)

    # One function for all signatures, so that constants are stored once.
    @signature(batch, tf.TensorSpec([], tf.int32))
    def classify(images, count):
        probabilities = compute_probabilities(images)[:count]
        scores, indices = tf.math.top_k(both_classes(probabilities), k=top_k)
        return {
            "probabilities": probabilities,
            "classes": tf.gather(tf.constant(list(labels)), indices),
            "scores": scores,
        }

    def checked(images, spec):
        """Images of the shape of a signature, at least one, and their number.

        Servers do not check shapes: kernels of oneDNN would end the process. Nor do
        all kernels take an empty batch, so that one image stands in for it.
        """
        images = tf.ensure_shape(images, spec.shape)
        shape = tf.shape(images)
        one = tf.concat([[1], tf.maximum(shape[1:], 1)], 0)
        filled = tf.cond(
            shape[0] > 0, lambda: images, lambda: tf.zeros(one, images.dtype)
        )
        return tf.ensure_shape(filled, spec.shape), shape[0]

    @signature(batch)
    def serve(images):
        return classify(*checked(images, batch))

    pixels = tf.TensorSpec([None, None, None, channels], tf.uint8, name="images")

    @signature(pixels)
    def serve_images(images):
        images, count = checked(images, pixels)
        images = preprocess(resize_images(images, (height, width)))
        return classify(images, count)

    signatures = {"serving_default": serve, "serve_images": serve_images}
    if channels in (1, 3):
        one = tf.TensorSpec([height, width, channels], tf.float32)

        def load(data):
            return resize_images(decode_image(data, channels), (height, width))

        @signature(tf.TensorSpec([None], tf.string, name="image_bytes"))
        def serve_bytes(image_bytes):
            image_bytes = tf.ensure_shape(image_bytes, [None])
            images = tf.map_fn(load, image_bytes, fn_output_signature=one)
            images, count = checked(images, batch)
            return classify(preprocess(images), count)

        signatures["serve_bytes"] = serve_bytes
    for name, function in signatures.items():
        setattr(module, name, function)
    return module, signatures


def _probabilities(tf, model, task, module):
    """The function from float images to float32 probabilities."""
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    constants = [keras.ops.convert_to_numpy(v) for v in variables]
    if sum(value.nbytes for value in constants) > _MAX_CONSTANT_BYTES:
        constants = None
        module.model_variables = [v.value for v in variables]
    num_trainable = len(model.trainable_variables)

    def compute(images):
        if constants is None:
            outputs = model(images, training=False)
        else:
            values = [tf.constant(value) for value in constants]
            outputs, _ = model.stateless_call(
                values[:num_trainable], values[num_trainable:], images, training=False
            )
        return task.probabilities(outputs)

    return compute
