"""Runs a SavedModel by `tf.saved_model.load` where Keras cannot be imported.

A program of its own with the arguments and files of `c_api_client.py`, or several pairs
of them: one start of TensorFlow loads several exports.
"""

import importlib
import importlib.abc
import json
import pathlib
import sys

FORBIDDEN = ("keras", "tf_keras", "keras_sda")


class Blinkered(importlib.abc.MetaPathFinder):
    """A finder that does not see the forbidden packages."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in FORBIDDEN:
            return None
        return self.finder.find_spec(name, path, target)


def answer(request_file):
    """Returns what the signatures of an export give for the inputs of a request."""
    import numpy as np
    import tensorflow as tf

    request = json.loads(pathlib.Path(request_file).read_text())
    loaded = tf.saved_model.load(request["export"])
    results = []
    for call in request["calls"]:
        if call["key"] == "image_bytes":
            value = [pathlib.Path(file).read_bytes() for file in call["files"]]
        else:
            value = np.load(call["files"][0])
        signature = loaded.signatures[call["signature"]]
        outputs = signature(**{call["key"]: tf.constant(value)})
        results.append(
            {
                name: [
                    [x.decode() if isinstance(x, bytes) else float(x) for x in row]
                    for row in tensor.numpy()
                ]
                for name, tensor in outputs.items()
            }
        )
    return results


def main(*files):
    sys.meta_path[:] = [Blinkered(finder) for finder in sys.meta_path]
    for name in FORBIDDEN:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        raise RuntimeError(f"{name} can be imported")
    for request_file, result_file in zip(files[::2], files[1::2], strict=True):
        results = answer(request_file)
        modules = {name.split(".")[0] for name in sys.modules}
        forbidden = sorted(modules & set(FORBIDDEN))
        pathlib.Path(result_file).write_text(
            json.dumps({"results": results, "forbidden": forbidden})
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
