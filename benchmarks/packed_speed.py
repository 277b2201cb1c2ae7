"""ResNet50, self-grouped and packed, beside the dense network.

    python benchmarks/packed_speed.py
    python benchmarks/packed_speed.py --runtimes savedmodel onnx litert

ResNet50 (224 pixels; random weights, since a time needs no trained ones, but those of a
trained network may leave more channels unread) is grouped at Conv-70/FC-60: groups of
any size as published, 16 and 4 of them, and disjoint groups of one size. Each is packed
for each batch size, batch normalization is folded into the dense and the packed
network, and both are timed in alternation: in Keras (compiled, as measure_latency
does), and with --runtimes as a SavedModel (export_saved_model, whose weights are
constants), in ONNX Runtime and, with grouped convolutions split, in LiteRT, on two
threads (`pip install -e ".[runtimes]"`). A row per network, batch size and runtime goes
to packed_speed.csv, and what became of every layer to packed_layers.csv. --form is that
of pack: `dense` only trims the channels that nobody reads. --grouping puts the time
that self_group takes on DenseNet201 into grouping_seconds.csv.
Targets: 1.2 for diverse, 1.8 for disjoint groups; 180 s for DenseNet201.
"""

import argparse
import pathlib
import tempfile
import time

import keras
import numpy as np
from rows import RESULTS, about, command, machine, quartiles, replace_row

from keras_sda.analysis import compare_latency, profile
from keras_sda.analysis.latency.timer import Timer, stopwatch
from keras_sda.export import (
    export_saved_model,
    fold_batch_normalization,
    split_groups,
)
from keras_sda.grouping import pack, self_group
from keras_sda.utils import load_model

IMAGE_SIZE = 224
KEY = ("network", "groups", "form", "runtime", "batch_size", "cpu_vectors")
# Name: arguments of self_group, target for the speed-up.
GROUPINGS = {
    "diverse_16": ({"num_groups": 16}, 1.2),
    "diverse_4": ({"num_groups": 4}, 1.2),
    "disjoint": ({"balance": "disjoint"}, 1.8),
}


def randomized(name):
    """The network with the weights and statistics of no training, but not zeros."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None)
    generator = np.random.default_rng(0)
    for variable in model.weights:
        shape = tuple(variable.shape)
        if "variance" in variable.path:
            variable.assign(generator.uniform(0.5, 1.5, shape))
        elif len(shape) > 1:
            scale = np.sqrt(2 / np.prod(shape[:-1]))
            variable.assign(scale * generator.normal(size=shape))
    return model


def masked_model(name, options):
    """The masked network, from the folder if it is there."""
    path = options.work / f"{name}.keras"
    if not path.exists():
        began = time.perf_counter()
        result = self_group(randomized("ResNet50"), 0.7, 0.6, **GROUPINGS[name][0])
        print(f"{name}: grouped in {time.perf_counter() - began:.0f} s", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        result.model.save(path)
    return load_model(path)


def runners(runtime, models, batch_size):
    """For every model a function that runs it once and returns milliseconds."""
    folder = pathlib.Path(tempfile.mkdtemp())
    generator = np.random.default_rng(0)
    x = generator.normal(size=(batch_size, IMAGE_SIZE, IMAGE_SIZE, 3)).astype("float32")
    steps = {}
    for name, model in models.items():
        path = folder / name
        if runtime == "savedmodel":
            run = _savedmodel(model, path, x)
        elif runtime == "onnx":
            run = _onnx(model, path.with_suffix(".onnx"), x)
        else:
            run = _litert(model, path.with_suffix(".tflite"), x)
        steps[name] = stopwatch(run)
    return steps


def _savedmodel(model, path, x):
    import tensorflow as tf

    folder = export_saved_model(model, path, preprocessing="none")
    loaded = tf.saved_model.load(str(folder))
    serve, images = loaded.signatures["serving_default"], tf.constant(x)

    def run(loaded=loaded):  # which has to live as long as its signatures are called
        return serve(images=images)["probabilities"].numpy()

    return run


def _onnx(model, path, x):
    import onnxruntime

    model(x[:1], training=False)  # Keras exports no model that was never called.
    model.export(str(path), format="onnx", verbose=False)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 2
    # Or the threads of one network would still turn while the other one is timed.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), settings)
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: x})


def _litert(model, path, x):
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    # It has no fast grouped operation.
    model = split_groups(model)
    function = tf.function(lambda image: model(image, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec(x.shape, "float32"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    path.write_bytes(converter.convert())
    interpreter = Interpreter(str(path), num_threads=2)
    interpreter.allocate_tensors()
    place = interpreter.get_input_details()[0]["index"]
    out = interpreter.get_output_details()[0]["index"]

    def run():
        interpreter.set_tensor(place, x)
        interpreter.invoke()
        return interpreter.get_tensor(out)

    return run


def measure(runtime, dense, packed, batch_size, options):
    """Milliseconds of both and the speed-up with its quartiles."""
    models = {"dense": dense, "packed": packed}
    if runtime == "keras":
        result = compare_latency(
            {"packed": packed, "dense": dense},
            batch_size=batch_size,
            num_runs=options.runs,
        )
        low, high = result.ratio_iqrs["dense"]
        times = {name: result.results[name].median_ms for name in models}
        ratio = result.ratios["dense"]
    else:
        found = Timer(3, options.runs).run(runners(runtime, models, batch_size))
        low, ratio, high = quartiles(found["dense"] / found["packed"], 4)
        times = {name: float(np.median(values)) for name, values in found.items()}
    return {
        "dense_ms": round(times["dense"], 2),
        "packed_ms": round(times["packed"], 2),
        "speed_up": round(ratio, 4),
        "speed_up_low": round(low, 4),
        "speed_up_high": round(high, 4),
        "runs": options.runs,
    }


def write_layers(name, report, batch_size, folder):
    for row in report.layers:
        dense, own = row.ms.get("dense"), row.ms.get(row.form)
        replace_row(
            {
                "groups": name,
                "cpu_vectors": machine()["cpu_vectors"],
                "batch_size": batch_size,
                "layer": row.name,
                "form": row.form,
                "filters": row.filters,
                "channels": row.channels,
                "num_groups": row.num_groups,
                "kept": row.kept,
                "computed": row.computed,
                "dense_ms": dense,
                "ms": own,
                "ratio_to_dense": round(own / dense, 4) if dense else "",
            },
            folder / "packed_layers.csv",
            ("groups", "cpu_vectors", "batch_size", "layer"),
        )


def grouping_seconds():
    model = randomized("DenseNet201")
    began = time.perf_counter()
    result = self_group(model, 0.7, 0.6)
    seconds = time.perf_counter() - began
    row = {
        "network": "DenseNet201",
        "masked_layers": len(result.report.layers),
        "seconds": round(seconds, 1),
        "target_seconds": 180,
        **machine(),
        "command": command(),
    }
    replace_row(row, RESULTS / "grouping_seconds.csv", ("network",))
    print(f"DenseNet201: {seconds:.1f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--groupings", nargs="+", default=list(GROUPINGS))
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[8, 1])
    parser.add_argument(
        "--runtimes",
        nargs="+",
        default=["keras"],
        choices=("keras", "savedmodel", "onnx", "litert"),
    )
    parser.add_argument("--form", default="auto", help="of pack")
    parser.add_argument("--grouping", action="store_true")
    parser.add_argument("--runs", type=int, default=30, help="timed rounds")
    parser.add_argument("--work", type=pathlib.Path, default="runs/packed_speed")
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS)
    options = parser.parse_args()
    if options.grouping:
        grouping_seconds()
    whole = randomized("ResNet50")
    dense = fold_batch_normalization(whole)
    for name in options.groupings:
        masked = masked_model(name, options)
        for batch_size in options.batch_sizes:
            result = pack(masked, form=options.form, batch_size=batch_size)
            packed = fold_batch_normalization(result.model)
            if options.form == "auto":
                write_layers(name, result.report, batch_size, options.output)
            before, after = profile(whole), profile(result.model)
            for runtime in options.runtimes:
                row = {
                    "network": "ResNet50",
                    "groups": name,
                    "form": options.form,
                    "runtime": runtime,
                    **about(batch_size, IMAGE_SIZE),
                    **measure(runtime, dense, packed, batch_size, options),
                    "target": GROUPINGS[name][1],
                    "macs": before.macs,
                    "macs_packed": after.macs,
                    "params": before.params,
                    "params_packed": after.params,
                    "forms": " ".join(sorted({x.form for x in result.report.layers})),
                    **machine(),
                    "command": command(),
                }
                replace_row(row, options.output / "packed_speed.csv", KEY)
                print(
                    f"{name} batch {batch_size} {runtime}: {row['speed_up']:.3f} "
                    f"(target {row['target']})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
