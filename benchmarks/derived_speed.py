"""How much faster the network is that gates leave of ResNet50.

    python benchmarks/derived_speed.py                  # CPU, batches of 8 and 1 at 224
    python benchmarks/derived_speed.py --residual exact --batch_sizes 8

Run it on a machine that does nothing else. The gates get random numbers `s`; what they
keep is chosen as after a search with `target_macs` and `round_to`: those above a common
cut, a multiple of --round_to channels per gate, within --macs of the
multiply-accumulates. The derived network and the whole one without gates are timed in
alternation. `wanted_speed_up` is 0.75 * (MACs before / MACs after - 1) + 1. With
`exact` gates the residual streams keep their width, with `joint` ones they narrow.

Writes benchmarks/results/derived_speed.csv; a row of the same network, residual,
device, backend, batch, image size and target is replaced.
"""

import argparse
import gc
import pathlib

import keras
import numpy as np
import rows

from keras_sda.analysis import profile
from keras_sda.layers import GatherChannels, ScatterChannels
from keras_sda.search import GateCost, add_channel_gates, channel_gates
from keras_sda.search.masks.choose_masks import choose_masks
from keras_sda.search.masks.derive import derive_masks

KEY = (
    "network", "residual", "device", "backend", "batch_size", "image_size", "target"
)  # fmt: skip


def derive_at(model, residual, options):
    """The derived network, by the same way that a search with a budget takes."""
    gated = add_channel_gates(model, residual=residual)
    generator = np.random.default_rng(0)
    for gate in channel_gates(gated):
        gate.s.assign(generator.normal(size=gate.channels))
        gate.beta.assign(1e4)
    cost = GateCost(gated, (options.image_size, options.image_size, 3))
    masks, changes = choose_masks(
        gated, cost, options.macs * cost.macs, round_to=options.round_to
    )
    return derive_masks(gated, masks, settings=changes).model


def widths(model, round_to):
    """How many convolutions have a multiple of `round_to` filters, and how many not."""
    filters = [x.filters for x in model.layers if isinstance(x, keras.layers.Conv2D)]
    even = sum(count % round_to == 0 for count in filters)
    return even, len(filters) - even


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=["ResNet50"])
    parser.add_argument("--residual", nargs="+", default=["exact", "joint"])
    parser.add_argument("--macs", type=float, default=0.5, help="share that stays")
    parser.add_argument("--round_to", type=int, default=8)
    parser.add_argument("--batch_sizes", nargs="+", type=int, default=[8, 1])
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--warmup", type=int, default=5, help="rounds before the clock")
    parser.add_argument("--runs", type=int, default=30, help="timed rounds")
    parser.add_argument(
        "--output", type=pathlib.Path, default=rows.RESULTS / "derived_speed.csv"
    )
    options = parser.parse_args()
    for name in options.networks:
        for residual in options.residual:
            measure(name, residual, options)
            keras.backend.clear_session()
            gc.collect()


def measure(name, residual, options):
    model = rows.build(name, options.image_size)
    small = derive_at(model, residual, options)
    before, after = profile(model), profile(small)
    even, odd = widths(small, options.round_to)
    own = sum(isinstance(x, (GatherChannels, ScatterChannels)) for x in small.layers)
    wanted = 0.75 * (before.macs / after.macs - 1) + 1
    for batch_size in options.batch_sizes:
        times = rows.timed(model, small, batch_size, options)
        row = {
            "network": name,
            "residual": residual,
            **rows.about(batch_size, options.image_size),
            "target": f"macs {options.macs} round_to {options.round_to}",
            **times,
            "wanted_speed_up": round(wanted, 4),
            "within_target": bool(times["speed_up"] >= wanted),
            **rows.sizes(before, after),
            "rounded_convolutions": even,
            "other_convolutions": odd,
            "gather_and_scatter_layers": own,
            **rows.machine(),
            "command": rows.command(),
        }
        rows.replace_row(row, options.output, KEY)
        print(
            f"{name} {residual} batch {batch_size}: {row['speed_up']:.2f} x at "
            f"{row['macs_ratio']} of the MACs, wanted {wanted:.2f} x",
            flush=True,
        )


if __name__ == "__main__":
    main()
