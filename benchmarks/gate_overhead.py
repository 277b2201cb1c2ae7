"""What channel gates cost in a training step.

    python benchmarks/gate_overhead.py                  # CPU, both networks
    python benchmarks/gate_overhead.py --networks CIFARResNet20 --runs 60

Run it on a machine that does nothing else. Four training steps of the same network run
in turn, in an order that turns around, and the ratios are taken inside every round:
the plain network, and the gated one with gates bypassed, binary and soft. All use the
same optimizer and train the same variables; soft gates train as well and pay the
regulariser, as in the architecture stage. Half of the gates' channels are closed.

Columns: `ratio` is gated / plain, with the targets 1.03 (bypass, binary) and 1.10
(soft) in `wanted_ratio`; `_low` and `_high` are the quartiles over the rounds. A row
per network and mode goes to benchmarks/results/gate_overhead.csv and replaces the row
of the same network, mode, device, backend, batch, size and dtype.
"""

import argparse
import gc
import pathlib

import keras
import numpy as np
import rows

from keras_sda import applications
from keras_sda.analysis.latency.timer import Timer, stopwatch
from keras_sda.search import GateCost, add_channel_gates, channel_gates
from keras_sda.search.channel_search import stage_variables
from keras_sda.search.gates.gate_penalty import gate_penalty
from keras_sda.search.search_model import SearchModel

# Batch size and image size of the targets.
NETWORKS = {"ResNet50": (8, 224), "CIFARResNet20": (128, 32)}
WANTED = {"bypass": 1.03, "binary": 1.03, "soft": 1.10}
LAMBDA = 1e-4
KEY = ("network", "mode", "device", "backend", "batch_size", "image_size", "dtype")


def build(name, image_size):
    if hasattr(keras.applications, name):
        return rows.build(name, image_size)
    keras.utils.set_random_seed(0)
    shape = (image_size, image_size, 3)
    model = getattr(applications, name)(weights=None, input_shape=shape)
    rows.randomize_statistics(model)
    return model


def prepare(name, image_size):
    """The models that train, by mode, and the gates, which the gated ones share."""
    plain = build(name, image_size)
    gated = add_channel_gates(plain)
    gates = channel_gates(gated)
    generator = np.random.default_rng(0)
    for gate in gates:
        is_open = generator.random(gate.channels) < 0.5
        gate.mask.assign(is_open.astype("float32"))
    tensors = gated.input, gated.output
    weights = stage_variables(gated, "weights")
    assert len(weights) == len(plain.trainable_variables)
    fixed = SearchModel(*tensors, chosen=weights)
    penalty = gate_penalty(gates, GateCost(gated), "plain")
    soft = SearchModel(
        *tensors, chosen=gated.trainable_variables, penalty=penalty, price=LAMBDA
    )
    models = {"plain": plain, "bypass": fixed, "binary": fixed, "soft": soft}
    for model in (plain, fixed, soft):
        model.compile(
            keras.optimizers.SGD(0.001, momentum=0.9),
            "sparse_categorical_crossentropy",
        )
    return models, gates


def training_step(mode, model, gates, data):
    """A function that trains once and returns the milliseconds that it took."""

    def run():
        if mode in WANTED:
            for gate in gates:
                gate.set_mode(mode)
        return stopwatch(lambda: model.train_on_batch(*data))()

    return run


def measure(name, options):
    """Milliseconds of every round by mode, and the number of gates."""
    batch_size, image_size = sizes(name, options)
    models, gates = prepare(name, image_size)
    generator = np.random.default_rng(0)
    shape = (batch_size, image_size, image_size, 3)
    classes = models["plain"].output_shape[-1]
    data = [
        keras.ops.convert_to_tensor(generator.normal(size=shape).astype("float32")),
        keras.ops.convert_to_tensor(generator.integers(0, classes, batch_size)),
    ]
    steps = {
        mode: training_step(mode, model, gates, data) for mode, model in models.items()
    }
    times = Timer(options.warmup, options.runs).run(steps)
    return times, len(gates), sum(gate.channels for gate in gates)


def sizes(name, options):
    batch_size, image_size = NETWORKS.get(name, (8, 224))
    return options.batch_size or batch_size, options.image_size or image_size


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--batch_size", type=int, help="default: that of the target")
    parser.add_argument("--image_size", type=int, help="default: that of the target")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--warmup", type=int, default=3, help="rounds before the clock")
    parser.add_argument("--runs", type=int, default=30, help="timed rounds")
    parser.add_argument(
        "--output", type=pathlib.Path, default=rows.RESULTS / "gate_overhead.csv"
    )
    options = parser.parse_args()
    keras.config.set_dtype_policy(options.dtype)
    for name in options.networks:
        times, num_gates, num_channels = measure(name, options)
        for mode, wanted in WANTED.items():
            low, ratio, high = rows.quartiles(times[mode] / times["plain"], 4)
            row = {
                "network": name,
                "mode": mode,
                **rows.about(*sizes(name, options)),
                "plain_ms": rows.quartiles(times["plain"], 2)[1],
                "gated_ms": rows.quartiles(times[mode], 2)[1],
                "ratio": ratio,
                "ratio_low": low,
                "ratio_high": high,
                "wanted_ratio": wanted,
                "within_target": bool(ratio <= wanted),
                "num_gates": num_gates,
                "num_channels": num_channels,
                "optimizer": "SGD momentum 0.9",
                "runs": options.runs,
                **rows.machine(options.dtype),
                "command": rows.command(),
            }
            rows.replace_row(row, options.output, KEY)
            print(
                f"{name} {mode}: {row['plain_ms']} -> {row['gated_ms']} ms, "
                f"{ratio} [{low}, {high}], wanted {wanted}",
                flush=True,
            )
        keras.backend.clear_session()
        gc.collect()


if __name__ == "__main__":
    main()
