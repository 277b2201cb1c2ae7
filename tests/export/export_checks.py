"""The checks that every exported model has to pass."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
from export import load_client
from test_case import infer

from keras_sda.data.images.decode_image import adapt_channels
from keras_sda.data.images.resize_images import resize_images
from keras_sda.export import export_saved_model
from keras_sda.export.formats.check_no_xla import check_no_xla_functions

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
HERE = "this process"


def run_export_test(
    model,
    folder,
    clients=(HERE,),
    logits=False,
    tolerance=1e-5,
    environment=None,
    **arguments,
):
    """Exports a model and compares every signature with Keras.

    Args:
        model: The classifier. Its outputs must depend on the image.
        folder: Empty folder for the files of the test.
        clients: Programs that load the export without Keras, or HERE: in this process,
            which saves the start of TensorFlow.
        logits: Whether the model ends in logits.
        tolerance: Largest allowed difference of a probability.
        environment: Further environment variables of the clients.
        **arguments: For `export_saved_model`. `preprocessing` defaults to "none".

    Returns:
        Path of the export.
    """
    test = ExportTest(model, folder, logits, tolerance, **arguments)
    for client in clients:
        if client == HERE:
            test.check(load_client.answer(test.request), client)
        else:
            run_client(client, [test], environment)
    return test.export


class ExportTest:
    """An export, the inputs to feed it with and what has to come out.

    See `run_export_test` for the arguments.
    """

    def __init__(self, model, folder, logits=False, tolerance=1e-5, **arguments):
        folder = pathlib.Path(folder)
        num_classes = model.output_shape[-1]
        arguments = {"preprocessing": "none", **arguments}
        arguments.setdefault("labels", [f"label {i}" for i in range(num_classes)])
        self.export = export_saved_model(model, folder / "export", **arguments)
        check_no_xla_functions(self.export)
        inputs, self.calls = _calls(model, folder, arguments["preprocessing"])
        tensors = signature_tensors(self.export)
        for call in self.calls:
            call.update(tensors[call["signature"]])
        self.request = folder / "request.json"
        self.request.write_text(
            json.dumps({"export": str(self.export), "calls": self.calls})
        )
        self.expected = [_keras_probabilities(model, x, logits) for x in inputs]
        seen = np.concatenate(self.expected)
        assert np.ptp(seen, axis=0).max() > 0.01, "the outputs hardly depend on images"
        assert np.median(seen.max(axis=-1)) < 0.999, "the outputs are saturated"
        self.labels, self.tolerance = arguments["labels"], tolerance
        self.top_k = min(arguments.get("top_k", 5), num_classes)

    def check(self, results, client):
        """Compares what a client got with what Keras says."""
        for call, probabilities, result in zip(
            self.calls, self.expected, results, strict=True
        ):
            check_outputs(
                result,
                probabilities,
                self.labels,
                self.top_k,
                self.tolerance,
                f"{client} {call['signature']}",
            )


def check_outputs(result, probabilities, labels, k, tolerance, where):
    """Compares the three outputs of a signature with the expected probabilities."""
    assert sorted(result) == ["classes", "probabilities", "scores"], where
    received = np.asarray(result["probabilities"], "float32")
    assert received.shape == probabilities.shape, where
    error = np.abs(received - probabilities).max()
    assert error <= tolerance, f"{where}: off by {error}"
    np.testing.assert_allclose(received.sum(-1), 1, atol=1e-4)
    order = np.argsort(-received, axis=-1, kind="stable")[:, :k]
    best = np.take_along_axis(received, order, -1)
    np.testing.assert_allclose(np.asarray(result["scores"]), best, atol=1e-7)
    assert result["classes"] == [[labels[i] for i in row] for row in order], where


def run_client(client, tests, environment=None):
    """Runs a client program, isolated from this repository, and checks its answers.

    Args:
        client: Name of the program.
        tests: `ExportTest`s to answer; "load_client.py" takes several.
        environment: Further environment variables.
    """
    files = []
    for test in tests:
        files += [str(test.request), str(test.request.with_name("result.json"))]
        pathlib.Path(files[-1]).unlink(missing_ok=True)
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    process = subprocess.run(
        [sys.executable, str(FOLDER / client), *files],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tests[0].request.parent,
        env={**inherited, "TF_CPP_MIN_LOG_LEVEL": "2", **(environment or {})},
    )
    assert process.returncode == 0, process.stderr[-4000:]
    for test, file in zip(tests, files[1::2], strict=True):
        answer = json.loads(pathlib.Path(file).read_text())
        assert answer["forbidden"] == []
        test.check(answer["results"], client)


def signature_tensors(export):
    """Names of the input and output tensors of every signature, as servers see them."""
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((export / "saved_model.pb").read_bytes())
    signatures = {}
    for name, signature in proto.meta_graphs[0].signature_def.items():
        if not signature.outputs or name.startswith("__"):
            continue
        ((key, tensor),) = signature.inputs.items()
        assert tensor.tensor_shape.dim[0].size == -1, f"{name}: fixed batch"
        signatures[name] = {
            "key": key,
            "input": tensor.name,
            "dtype": tensor.dtype,
            "outputs": {k: v.name for k, v in signature.outputs.items()},
        }
    return signatures


def sample_images(*shape, seed=3):
    """uint8 images that differ in brightness, colour and coarse structure."""
    count, height, width, channels = shape
    generator = np.random.default_rng(seed)
    coarse = generator.uniform(size=(count, 4, 4, channels))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    structure = coarse[:, rows][:, :, columns]
    level = generator.uniform(0, 150, (count, 1, 1, channels))
    return (level + 100 * structure + generator.uniform(0, 5, shape)).astype("uint8")


def with_telling_outputs(model, preprocessing="none"):
    """Makes an untrained classifier depend on the image without being saturated.

    Normalization gets the statistics of sample images, the last Dense layer a scale.
    """
    _, height, width, channels = model.input_shape
    images = sample_images(16, height, width, channels, seed=9).astype("float32")
    if preprocessing == "imagenet":
        images = images / 127.5 - 1
    normalizations = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momenta = [layer.momentum for layer in normalizations]
    for layer in normalizations:
        layer.momentum = 0.0
    model(images, training=True)
    for layer, momentum in zip(normalizations, momenta, strict=True):
        layer.momentum = momentum
    last = model.layers[-1]
    features = infer(keras.Model(model.input, last.input), images)
    kernel = np.random.default_rng(4).normal(size=last.kernel.shape)
    logits = features @ kernel
    kernel = 2 * kernel / logits.std(axis=0)
    last.set_weights([kernel, -(features @ kernel).mean(axis=0)])
    return model


def _calls(model, folder, preprocessing):
    """What to feed, and for each call the input that the Keras model gets."""
    import tensorflow as tf

    _, height, width, channels = model.input_shape

    def prepare(images):
        images = [resize_images(image, (height, width)) for image in images]
        images = np.stack([adapt_channels(image, channels) for image in images])
        if preprocessing == "imagenet":  # written out, not the code under test
            return (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        return images

    calls, expected = [], []

    def add(signature, files, inputs):
        files = [str(file) for file in files]
        calls.append({"signature": signature, "files": files})
        expected.append(np.asarray(inputs, "float32"))

    for batch in (1, 3):  # two sizes: the batch is dynamic
        images = sample_images(batch, height, width, channels, seed=batch)
        images = images.astype("float32") + 0.25
        if preprocessing == "imagenet":
            images = images / 127.5 - 1
        np.save(folder / f"float{batch}.npy", images)
        add("serving_default", [folder / f"float{batch}.npy"], images)
    for index, shape in enumerate([(2, height, width), (3, height + 13, width + 40)]):
        images = sample_images(*shape, channels)
        np.save(folder / f"uint8_{index}.npy", images)
        add("serve_images", [folder / f"uint8_{index}.npy"], prepare(images))
    if channels not in (1, 3):
        return expected, calls
    files, images = [], []
    sizes = [(height, width), (height + 9, width + 30), (height // 2, width)]
    for index, size in enumerate(sizes):
        image = sample_images(1, *size, channels, seed=index)[0]
        if index == 2:
            data = tf.io.encode_jpeg(image)
            image = tf.io.decode_image(data, channels=channels)
        else:
            data = tf.io.encode_png(image)
        files.append(folder / f"image{index}")
        files[-1].write_bytes(data.numpy())
        images.append(image)
    add("serve_bytes", files, prepare(images))
    add("serve_bytes", files[1:2], prepare(images[1:2]))
    return expected, calls


def _keras_probabilities(model, inputs, logits):
    outputs = infer(model, inputs).astype("float32")
    if logits:
        outputs = np.exp(outputs - outputs.max(-1, keepdims=True))
        outputs = outputs / outputs.sum(-1, keepdims=True)
    return outputs
