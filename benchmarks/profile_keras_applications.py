"""Profile every model of keras.applications and write one CSV row per model.

    python benchmarks/profile_keras_applications.py

Takes a few minutes; no weights are downloaded. Writes
benchmarks/results/profile_keras_applications.csv and fails when a model holds a layer
that `profile` does not know or its parameters differ from `count_params()`.
"""

import gc
import pathlib
import sys
import time

import keras

from keras_sda.analysis import profile
from keras_sda.utils.files.csv_rows import write_rows

RESULT = pathlib.Path(__file__).parent / "results" / "profile_keras_applications.csv"


def constructors():
    """Name and function of every model in keras.applications."""
    for name, function in sorted(vars(keras.applications).items()):
        if name[0].isupper() and callable(function):
            yield name, function


def main():
    rows = []
    for name, constructor in constructors():
        keras.utils.clear_session()
        model = constructor(weights=None)
        input_shape = model.input_shape[1:]
        if None in input_shape:  # MobileNetV3 leaves the size open.
            input_shape = (224, 224, 3)
        start = time.perf_counter()
        result = profile(model, input_shape)
        seconds = time.perf_counter() - start
        rows.append(
            {
                "model": name,
                "input_shape": "x".join(map(str, input_shape)),
                "params": result.params,
                "params_match": result.params == model.count_params(),
                "trainable_params": result.trainable_params,
                "macs": result.macs,
                "activations": result.activations,
                "num_unknown": len(result.unknown),
            }
        )
        print(f"{rows[-1]} {seconds:.2f} s", flush=True)
        del model, result
        gc.collect()
    write_rows(rows, RESULT)
    if any(row["num_unknown"] or not row["params_match"] for row in rows):
        sys.exit("Some models were not counted completely, see the rows above.")


if __name__ == "__main__":
    main()
