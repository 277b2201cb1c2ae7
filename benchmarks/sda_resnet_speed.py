"""Speed and memory of SDA-ResNet beside its plain trunk and keras.applications.

    python benchmarks/sda_resnet_speed.py                       # CPU, all rows
    KERAS_BACKEND=jax python benchmarks/sda_resnet_speed.py --rows inference,train \
        --batch_size 128 --dtype mixed_bfloat16                 # on a GPU

Run it on a machine that does nothing else. Ratios are taken inside every round, all
models in turn, so that drift hits them alike. Rows are added to
benchmarks/results/sda_resnet_speed.csv; rows of the same device, backend, dtype,
batch, size and kind are replaced.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import keras
import numpy as np

from keras_sda.analysis.latency.inference_step import device_name, versions
from keras_sda.analysis.latency.timer import Timer, stopwatch
from keras_sda.applications import SDAResNet50, SDAResNet86
from keras_sda.export import fold_batch_normalization, separate_shared_relus
from keras_sda.layers import GroupedConv2D
from keras_sda.utils.files.csv_rows import read_rows, write_rows

RESULT = pathlib.Path(__file__).parent / "results" / "sda_resnet_speed.csv"
KEY = ("kind", "device", "backend", "dtype", "batch_size", "image_size")


def stock_grouped(**kwargs):
    """SDAResNet86 with keras.layers.Conv2D(groups=8) in place of GroupedConv2D."""
    model = SDAResNet86(**kwargs)

    def replace(layer):
        if not isinstance(layer, GroupedConv2D):
            return layer.__class__.from_config(layer.get_config())
        config = layer.get_config()
        config.pop("implementation")
        return keras.layers.Conv2D.from_config(config)

    return keras.models.clone_model(model, clone_function=replace)


def split_grouped(**kwargs):
    """SDAResNet86 with the portable form of its grouped convolutions."""
    model = SDAResNet86(**kwargs)

    def replace(layer):
        config = layer.get_config()
        if isinstance(layer, GroupedConv2D):
            config["implementation"] = "split"
        return layer.__class__.from_config(config)

    return keras.models.clone_model(model, clone_function=replace)


MODELS = {
    "keras ResNet50": lambda **kw: keras.applications.ResNet50(weights=None, **kw),
    "SDAResNet50 plain trunk": lambda **kw: SDAResNet50(depth_attention=False, **kw),
    "SDAResNet50": SDAResNet50,
    "SDAResNet86 plain trunk": lambda **kw: SDAResNet86(depth_attention=False, **kw),
    "SDAResNet86": SDAResNet86,
    "SDAResNet86 split": split_grouped,
    "SDAResNet86 stock Conv2D(groups=8)": stock_grouped,
}
RATIOS = {
    "SDAResNet50": ("SDAResNet50 plain trunk", "keras ResNet50"),
    "SDAResNet86": ("SDAResNet86 plain trunk", "keras ResNet50"),
    "SDAResNet86 split": ("keras ResNet50",),
    "SDAResNet86 plain trunk": ("keras ResNet50",),
    "SDAResNet50 folded": ("keras ResNet50", "SDAResNet50"),
    "SDAResNet86 folded": ("keras ResNet50", "SDAResNet86"),
    "SDAResNet86 exported, folded": ("keras ResNet50", "SDAResNet86"),
    "SDAResNet50 exported, folded": ("keras ResNet50", "SDAResNet50"),
    "SDAResNet86 stock Conv2D(groups=8)": ("SDAResNet86",),
}


def build(name, options):
    """Builds a network with the statistics of a trained one, not all zeros and ones.

    TensorFlow leaves out what a zero bias makes needless, in exports above all.
    """
    shape = (options.image_size, options.image_size, 3)
    model = MODELS[name](input_shape=shape)
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape
            gamma, variance = generator.uniform(0.5, 1.5, (2, *size))
            beta, mean = generator.normal(size=(2, *size))
            layer.set_weights([gamma, beta, mean, variance])
    return model


def exported(name, options, folder):
    """The folded SavedModel of a network, as a function of an image batch."""
    import tensorflow as tf

    from keras_sda.export import export_saved_model

    path = export_saved_model(
        build(name, options), pathlib.Path(folder) / name, preprocessing="none"
    )
    loaded = tf.saved_model.load(str(path))
    function = loaded.signatures["serving_default"]
    keyword = next(iter(function.structured_input_signature[1]))

    def run(images, keep=loaded):
        return function(**{keyword: images})

    return run


def inference(options):
    names = [
        "keras ResNet50",
        "SDAResNet50 plain trunk",
        "SDAResNet50",
        "SDAResNet86 plain trunk",
        "SDAResNet86",
        "SDAResNet86 split",
    ]
    models = {name: build(name, options) for name in names}
    for name in ("SDAResNet50", "SDAResNet86"):
        folded = fold_batch_normalization(models[name])
        models[f"{name} folded"] = separate_shared_relus(folded)
    with tempfile.TemporaryDirectory() as folder:
        if keras.backend.backend() == "tensorflow":
            for name in ("SDAResNet50", "SDAResNet86"):
                models[f"{name} exported, folded"] = exported(name, options, folder)
        size = options.image_size
        times = Timer(3, options.runs).run(
            {name: forward(m, options.batch_size, size) for name, m in models.items()}
        )
    return rows_of("inference", times, options)


def forward(model, batch_size, size):
    from keras_sda.analysis.latency.inference_step import InferenceStep

    return InferenceStep(model, batch_size, (size, size, 3)).time_ms


def train(options):
    names = ["SDAResNet86", "SDAResNet86 plain trunk", "keras ResNet50"]
    if not options.skip_stock:
        names.append("SDAResNet86 stock Conv2D(groups=8)")
    steps = {name: training_step(name, options) for name in names}
    times = Timer(2, options.train_runs).run(steps)
    return rows_of("train", times, options)


def training_step(name, options):
    model = build(name, options)
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy"
    )
    generator = np.random.default_rng(0)
    size = options.image_size
    x = generator.normal(size=(options.batch_size, size, size, 3)).astype("float32")
    y = generator.integers(0, 1000, options.batch_size)

    def run():
        model.train_on_batch(x, y)

    return stopwatch(run)


def memory(options, processes=3):
    """Peak resident memory of three training steps, each time in a new process."""
    values = {}
    for name in ("SDAResNet86 plain trunk", "SDAResNet86"):
        command = [sys.executable, __file__, "--memory_of", name]
        command += ["--batch_size", str(options.batch_size)]
        command += ["--image_size", str(options.image_size), "--dtype", options.dtype]
        runs = []
        for _ in range(processes):
            output = subprocess.run(command, check=True, capture_output=True, text=True)
            runs.append(json.loads(output.stdout.splitlines()[-1]))
            print(name, runs[-1], flush=True)
        values[name] = {part: [run[part] for run in runs] for part in runs[0]}
    rows = []
    for name, value in values.items():
        plain = values["SDAResNet86 plain trunk"]
        for part in ("process", "step"):
            row = common(f"memory {part}", options)
            low, median, high = np.percentile(value[part], [25, 50, 75])
            row.update(
                model=name,
                median=round(median, 1),
                iqr_low=round(low, 1),
                iqr_high=round(high, 1),
                unit="MiB",
                runs=processes,
            )
            if name == "SDAResNet86":
                row.update(
                    ratio=round(median / np.median(plain[part]), 4),
                    ratio_to="SDAResNet86 plain trunk",
                )
            rows.append(row)
    return rows


def memory_of(name, options):
    step = training_step(name, options)
    before = peak_memory()
    for _ in range(3):
        step()
    process = peak_memory()
    print(json.dumps({"process": process, "step": process - before}))


def peak_memory():
    """Peak resident memory of this process so far, in MiB (Linux)."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def common(kind, options):
    return {
        "kind": kind,
        "model": "",
        "median": "",
        "unit": "ms",
        "iqr_low": "",
        "iqr_high": "",
        "ratio": "",
        "ratio_low": "",
        "ratio_high": "",
        "ratio_to": "",
        "batch_size": options.batch_size,
        "image_size": options.image_size,
        "dtype": options.dtype,
        "runs": "",
        "device": device_name(),
        "backend": keras.backend.backend(),
        "versions": " ".join(f"{k} {v}" for k, v in versions().items()),
    }


def rows_of(kind, times, options):
    rows = []
    for name, values in times.items():
        for other in RATIOS.get(name, ("",)):
            row = common(kind, options)
            low, median, high = np.percentile(values, [25, 50, 75])
            row.update(
                model=name,
                median=round(median, 2),
                iqr_low=round(low, 2),
                iqr_high=round(high, 2),
                runs=len(values),
            )
            if other in times:
                low, ratio, high = np.percentile(values / times[other], [25, 50, 75])
                row.update(
                    ratio=round(ratio, 4),
                    ratio_low=round(low, 4),
                    ratio_high=round(high, 4),
                    ratio_to=other,
                )
            rows.append(row)
    return rows


def write(rows):
    old = read_rows(RESULT)
    keys = {tuple(str(row[k]) for k in KEY) for row in rows}
    old = [row for row in old if tuple(row[k] for k in KEY) not in keys]
    write_rows([*old, *rows], RESULT)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="inference,train,memory")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--train_runs", type=int, default=5)
    parser.add_argument("--skip_stock", action="store_true")
    parser.add_argument("--memory_of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    keras.config.set_dtype_policy(options.dtype)
    if options.memory_of:
        memory_of(options.memory_of, options)
        return
    kinds = {"inference": inference, "train": train, "memory": memory}
    for name in options.rows.split(","):
        rows = kinds[name](options)
        for row in rows:
            print(
                f"{row['kind']:15} {row['model']:36} {row['median']:>10} {row['unit']}"
                f"  {row['ratio']} {row['ratio_to'] and 'x ' + row['ratio_to']}",
                flush=True,
            )
        write(rows)


if __name__ == "__main__":
    main()
