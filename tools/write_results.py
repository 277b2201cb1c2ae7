"""Writes the tables of README.md and docs/ from the rows in benchmarks/results.

    python tools/write_results.py [--check]

A page says where a table goes:

    <!-- table: pruning_speed -->
    ... rewritten by this program ...
    <!-- end of table -->

The names are the functions of this file that carry `@table`. `--check` writes nothing
and fails where a page is not what the rows say.
"""

import argparse
import collections
import csv
import pathlib
import re
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(
    r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL | re.MULTILINE
)
TABLES = {}


def table(function):
    """Marks a function whose lines a page can ask for."""
    TABLES[function.__name__] = function
    return function


def rows_of(name, **wanted):
    """Returns the rows of a CSV file in which some columns have some values."""
    with open(RESULTS / f"{name}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = [r for r in rows if all(r[c] == str(v) for c, v in wanted.items())]
    if not found:
        sys.exit(f"{name}.csv has no row with {wanted}")
    return found


def lines_of(header, rows):
    """Returns the lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def percent(value, digits=2):
    return f"{100 * float(value):.{digits}f} %"


def number(value):
    return f"{int(float(value)):,}"


def ratio(value):
    return f"{float(value):.2f}"


def unit(row, column="median"):
    return f"{float(row[column]):,.0f} {row['unit']}"


def mean_of(values):
    """Mean and standard deviation of shares in percent, or the one there is."""
    values = [100 * float(value) for value in values]
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


@table
def headlines():
    """The few that a reader of README sees first."""
    pruned = rows_of("pruning_speed", network="ResNet50", batch_size=8)[0]
    derived = rows_of("derived_speed", residual="joint", batch_size=8)[0]
    packed = rows_of(
        "packed_speed", groups="disjoint", batch_size=8, cpu_vectors="avx512f"
    )[0]
    attended = rows_of("sda_families_speed", family="SDAResNet50")[0]
    stock = rows_of("sda_resnet_speed", model="SDAResNet86 stock Conv2D(groups=8)")[0]
    lenet = rows_of("lenet_mnist_grouping_summary", rate="0.99")[0]
    pruned_rows = rows_of("cifar10_pruning", network="ResNet20", criterion="l1")
    whole_rows = rows_of("cifar10_pruning", network="ResNet20", criterion="none")
    return lines_of(
        ["what", "measured"],
        [
            ["ResNet50 pruned to half of its MACs, batch 8",
             f"{ratio(pruned['speed_up'])} times as fast"],
            ["ResNet50 derived by gates to half of its MACs, batch 8",
             f"{ratio(derived['speed_up'])} times as fast"],
            ["ResNet50 in 4 disjoint groups, packed, batch 8",
             f"{ratio(packed['speed_up'])} times as fast"],
            ["ResNet20 on CIFAR-10, half of its MACs, 2 epochs of fine-tuning",
             f"{mean_of(r['accuracy'] for r in pruned_rows)} %, whole network "
             f"{mean_of(r['accuracy'] for r in whole_rows)} %"],
            ["LeNet on MNIST with 99 % of its connections cut",
             f"{float(lenet['accuracy_mean']):.2f} ± "
             f"{float(lenet['accuracy_std']):.2f} % "
             f"(published: {float(lenet['published_accuracy']):.2f} %)"],
            ["depth attention in ResNet50, inference, batch 8",
             f"{ratio(attended['ratio_to_trunk'])} times the time of its plain trunk"],
            ["training step with `GroupedConv2D` instead of `Conv2D(groups=8)`",
             f"{ratio(stock['ratio'])} times as fast"],
        ],
    )  # fmt: skip


@table
def networks():
    rows = rows_of("networks")
    return lines_of(
        ["network", "blocks", "trainable parameters", "MACs", "image", "published"],
        [
            [
                f"`{row['network']}`",
                row["blocks"].replace(" ", ", "),
                number(row["params"]),
                number(row["macs"]),
                row["image_size"],
                row["published"],
            ]
            for row in rows
        ],
    )


@table
def shipped_weights():
    return lines_of(
        ["weights", "network", "top-1", "licence", "from"],
        [
            [
                f"`{row['weights']}`",
                f"`{row['network']}`",
                f"{float(row['top1']):.2f} %",
                row["licence"],
                row["source"],
            ]
            for row in rows_of("network_weights")
        ],
    )


@table
def cifar10_resnet20():
    return lines_of(
        ["network", "test accuracy", "parameters", "MACs", "epochs", "recipe", "seed"],
        [
            [
                f"`{row['model']}`" if row["depth_attention"] == "True"
                else "its plain trunk",
                percent(row["test_accuracy"]),
                number(row["params"]),
                number(row["macs"]),
                row["epochs"],
                f"`{row['recipe']}`",
                row["seed"],
            ]
            for row in rows_of("cifar10_resnet20")
        ],
    )  # fmt: skip


@table
def sda_resnet_speed():
    kinds = {
        "inference": "inference",
        "train": "training step",
        "memory process": "peak memory of the training process",
        "memory step": "memory that the steps add",
    }
    return lines_of(
        ["", "network", "time or memory", "beside", "ratio (quartiles)"],
        [
            [
                kinds[row["kind"]],
                row["model"],
                unit(row),
                row["ratio_to"],
                _spread(row, "ratio"),
            ]
            for row in rows_of("sda_resnet_speed", batch_size=8, image_size=224)
            if row["ratio"]
        ],
    )


def _spread(row, column):
    text = ratio(row[column])
    if row[f"{column}_low"]:
        low, high = (ratio(row[f"{column}_{side}"]) for side in ("low", "high"))
        text += f" ({low} to {high})"
    return text


@table
def sda_families_speed():
    return lines_of(
        ["network", "time", "beside its plain trunk", "beside ResNet50 of Keras",
         "the same per MAC"],
        [
            [
                f"`{row['family']}`",
                f"{float(row['network']):.0f} ms",
                _spread(row, "ratio_to_trunk"),
                ratio(row["ratio_to_resnet50"]),
                ratio(row["ratio_per_macs"]),
            ]
            for row in rows_of("sda_families_speed")
        ],
    )  # fmt: skip


@table
def depth_attention_fine_tuning():
    return lines_of(
        ["data", "variant", "seeds", "accuracy at the start", "accuracy after",
         "lowest to highest"],
        [
            [
                row["dataset"],
                "plain network" if row["variant"] == "plain"
                else f'`start="{row["variant"]}"`',
                row["seeds"],
                percent(row["start_accuracy"]),
                f"{100 * float(row['mean_test_accuracy']):.2f} ± "
                f"{100 * float(row['std_test_accuracy']):.2f} %",
                f"{percent(row['lowest'])} to {percent(row['highest'])}",
            ]
            for row in rows_of("depth_attention_fine_tuning_summary")
        ],
    )  # fmt: skip


@table
def depth_attention_start():
    return lines_of(
        ["data", "start", "images that keep their class", "largest change of a logit",
         "mean weight of the last block after training"],
        [
            [
                row["dataset"],
                row["variant"],
                percent(row["start_agreement"]),
                row["start_max_logit_difference"],
                row["mean_weight_of_last_block"],
            ]
            for row in rows_of("depth_attention_fine_tuning", seed=0)
            if row["variant"] != "plain"
        ],
    )  # fmt: skip


@table
def pruning_speed():
    return lines_of(
        ["network", "batch", "whole", "small", "speed-up (quartiles)", "share of MACs"],
        [
            [
                row["network"],
                row["batch_size"],
                f"{float(row['whole_ms']):.1f} ms",
                f"{float(row['small_ms']):.1f} ms",
                _spread(row, "speed_up"),
                percent(row["macs_ratio"], 1),
            ]
            for row in rows_of("pruning_speed")
        ],
    )


@table
def pruning_latency():
    return lines_of(
        ["network", "asked", "measured again", "share of MACs", "seconds to plan"],
        [
            [
                row["network"],
                row["target"],
                ratio(row["latency_ratio"]),
                percent(row["macs_ratio"], 1),
                row["seconds"],
            ]
            for row in rows_of("pruning_latency")
        ],
    )


@table
def pruning_cost():
    return lines_of(
        ["network", "plan", "shrink", "peak memory"],
        [
            [
                row["network"],
                f"{float(row['plan_seconds']):.2f} s",
                f"{float(row['shrink_seconds']):.2f} s",
                f"{float(row['peak_gigabytes']):.2f} GB",
            ]
            for row in rows_of("pruning_cost")
        ],
    )


@table
def cifar10_pruning():
    found = collections.defaultdict(list)
    for row in rows_of("cifar10_pruning"):
        found[row["network"], row["criterion"]].append(row["accuracy"])
    names = list(dict.fromkeys(name for name, _ in found))
    criteria = list(dict.fromkeys(criterion for _, criterion in found))
    return lines_of(
        ["network", *("whole" if c == "none" else f"`{c}`" for c in criteria)],
        [[name, *(mean_of(found[name, c]) for c in criteria)] for name in names],
    )


@table
def prunable_share():
    return lines_of(
        ["model", "MACs", "removable MACs", "removable parameters", "groups",
         "untouchable channels, mainly because"],
        [
            [
                row["model"],
                number(row["macs"]),
                percent(row["removable_macs"], 1),
                percent(row["removable_params"], 1),
                row["num_groups"],
                f"{percent(row['untouchable_channels'], 1)}: "
                f"{row['main_reason'] or 'it is the output'}",
            ]
            for row in rows_of("prunable_share")
        ],
    )  # fmt: skip


@table
def cifar10_channel_search():
    rows = rows_of("cifar10_channel_search")
    methods = ("search", "magnitude", "scratch")
    found = {(row["budget"], row["method"]): row for row in rows}
    return lines_of(
        ["asked", "got", "searched", "pruned by magnitude", "its widths from scratch",
         "latency of the searched network"],
        [
            [
                budget,
                ratio(found[budget, "search"]["macs_share"]),
                *(percent(found[budget, method]["accuracy"]) for method in methods),
                _spread(found[budget, "search"], "latency_ratio"),
            ]
            for budget in dict.fromkeys(row["budget"] for row in rows[1:])
        ],
    )  # fmt: skip


@table
def cifar10_channel_search_whole():
    row = rows_of("cifar10_channel_search", method="unpruned")[0]
    return lines_of(
        ["whole network", "test accuracy"],
        [
            [f"before the search, {row['weight_epochs']} epochs",
             percent(row["accuracy_start"])],
            ["trained for the epochs of all stages", percent(row["accuracy"])],
        ],
    )  # fmt: skip


@table
def gate_overhead():
    return lines_of(
        ["network", "batch", "gates", "step, plain", "step, gated", "ratio (quartiles)",
         "aim"],
        [
            [
                row["network"],
                row["batch_size"],
                row["mode"],
                f"{float(row['plain_ms']):.0f} ms",
                f"{float(row['gated_ms']):.0f} ms",
                _spread(row, "ratio"),
                row["wanted_ratio"],
            ]
            for row in rows_of("gate_overhead")
        ],
    )  # fmt: skip


@table
def derived_speed():
    return lines_of(
        ["residual streams", "batch", "whole", "small", "speed-up (quartiles)", "aim"],
        [
            [
                f'`residual="{row["residual"]}"`',
                row["batch_size"],
                f"{float(row['whole_ms']):.1f} ms",
                f"{float(row['small_ms']):.1f} ms",
                _spread(row, "speed_up"),
                ratio(row["wanted_speed_up"]),
            ]
            for row in rows_of("derived_speed")
        ],
    )


@table
def packed_speed():
    groups = {
        "disjoint": "4 disjoint groups of one size",
        "diverse_4": "4 groups of any size",
    }
    return lines_of(
        ["groups", "`form`", "runtime", "processor", "batch", "dense", "packed",
         "speed-up (quartiles)", "aim"],
        [
            [
                groups[row["groups"]],
                row["form"],
                row["runtime"],
                row["cpu_vectors"],
                row["batch_size"],
                f"{float(row['dense_ms']):.1f} ms",
                f"{float(row['packed_ms']):.1f} ms",
                _spread(row, "speed_up"),
                row["target"],
            ]
            for row in rows_of("packed_speed")
        ],
    )  # fmt: skip


@table
def grouping_seconds():
    return lines_of(
        ["network", "layers", "`self_group`"],
        [
            [row["network"], row["masked_layers"], f"{float(row['seconds']):.0f} s"]
            for row in rows_of("grouping_seconds")
        ],
    )


@table
def lenet_mnist_grouping():
    return lines_of(
        ["connections cut", "accuracy", "published", "parameters", "published", "MACs",
         "published"],
        [
            [
                percent(row["rate"], 0) if float(row["rate"]) else "none",
                f"{float(row['accuracy_mean']):.2f} ± {float(row['accuracy_std']):.2f}"
                " %",
                f"{float(row['published_accuracy']):.2f} %",
                number(row["params_as_published"]),
                f"{row['published_params_k']} K",
                number(row["macs_as_published"]),
                f"{row['published_macs_k']} K",
            ]
            for row in rows_of("lenet_mnist_grouping_summary")
        ],
    )  # fmt: skip


@table
def cifar10_grouping():
    rows = rows_of("cifar10_grouping")
    rows.sort(key=lambda r: (r["network"], r["groups"] != "none", float(r["rate"])))
    return lines_of(
        ["network", "groups", "MACs cut", "scheme", "accuracy",
         "MACs of the masks", "time, masked", "time, packed"],
        [
            [
                row["network"],
                {"none": "none: fine-tuned as long"}.get(row["groups"], row["groups"]),
                percent(1 - float(row["macs_masked"]) / float(row["macs_dense"]), 0),
                f"`{row['scheme']}`",
                percent(row["accuracy"]),
                number(row["macs_masked"]),
                _ratio_or_none(row["latency_ratio_masked"]),
                _ratio_or_none(row["latency_ratio_packed"]),
            ]
            for row in rows
        ],
    )  # fmt: skip


def _ratio_or_none(value):
    return ratio(value) if value else ""


def pages():
    """Returns the files that may ask for tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def with_tables(text):
    """Returns the text of a page with every table as the rows say."""
    return BLOCK.sub(
        lambda found: f"{found[1]}" + "\n".join(TABLES[found[2]]()) + f"\n{found[3]}",
        text,
    )


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="Write nothing.")
    options = parser.parse_args(words)
    changed = []
    for page in pages():
        text = page.read_text()
        if (wanted := with_tables(text)) != text:
            changed.append(str(page.relative_to(ROOT)))
            if not options.check:
                page.write_text(wanted)
    if options.check and changed:
        sys.exit(f"not what the rows say: {', '.join(changed)}; run this without it")
    print("\n".join(changed) or "every table is what the rows say")


if __name__ == "__main__":
    main()
