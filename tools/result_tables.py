"""The tables of README.md and docs/, as data: `write_results` puts them there."""

import collections

from reconstruction_tables import RECONSTRUCTION_TABLES
from table_cells import (
    Table,
    either,
    lines_of,
    mean_of,
    milliseconds,
    number,
    plain,
    ratio,
    rows_of,
    share,
    spread,
)


def headlines():
    """The few that a reader of README sees first."""
    accuracies = (
        mean_of(
            row["accuracy"]
            for row in rows_of("cifar10_pruning", network="ResNet20", criterion=name)
        )
        for name in ("l1", "none")
    )
    faster, slower = "{:.2f} times as fast", "{:.2f} times the time of its plain trunk"
    found = {
        "ResNet50 pruned to half of its MACs, batch 8": number("speed_up", faster)(
            rows_of("pruning_speed", network="ResNet50", batch_size=8)[0]
        ),
        "ResNet50 derived by gates to half of its MACs, batch 8": number(
            "speed_up", faster
        )(rows_of("derived_speed", residual="joint", batch_size=8)[0]),
        "ResNet50 in 4 disjoint groups, packed, batch 8": number("speed_up", faster)(
            rows_of(
                "packed_speed", groups="disjoint", batch_size=8, cpu_vectors="avx512f"
            )[0]
        ),
        "ResNet20 on CIFAR-10, half of its MACs, 2 epochs of fine-tuning": (
            "{} %, whole network {} %".format(*accuracies)
        ),
        "LeNet on MNIST with 99 % of its connections cut": (
            "{accuracy_mean:.2f} ± {accuracy_std:.2f} % (published: "
            "{published_accuracy:.2f} %)"
        ).format_map(
            {
                name: float(value)
                for name, value in rows_of("lenet_mnist_grouping_summary", rate="0.99")[
                    0
                ].items()
            }
        ),
        "depth attention in ResNet50, inference, batch 8": number(
            "ratio_to_trunk", slower
        )(rows_of("sda_families_speed", family="SDAResNet50")[0]),
        "training step with `GroupedConv2D` instead of `Conv2D(groups=8)`": number(
            "ratio", faster
        )(rows_of("sda_resnet_speed", model="SDAResNet86 stock Conv2D(groups=8)")[0]),
    }
    return lines_of(["what", "measured"], found.items())


def cifar10_pruning():
    """A line per network, a column per criterion."""
    found = collections.defaultdict(list)
    for row in rows_of("cifar10_pruning"):
        found[row["network"], row["criterion"]].append(row["accuracy"])
    names = list(dict.fromkeys(name for name, _ in found))
    criteria = list(dict.fromkeys(criterion for _, criterion in found))
    return lines_of(
        ["network", *("whole" if c == "none" else f"`{c}`" for c in criteria)],
        [[name, *(mean_of(found[name, c]) for c in criteria)] for name in names],
    )


def cifar10_channel_search():
    """A line per budget, a column per method."""
    rows = rows_of("cifar10_channel_search")
    found = {(row["budget"], row["method"]): row for row in rows}
    methods = ("search", "magnitude", "scratch")
    return lines_of(
        [
            *("asked", "got", "searched", "pruned by magnitude"),
            *("its widths from scratch", "latency of the searched network"),
        ],
        [
            [
                budget,
                ratio("macs_share")(found[budget, "search"]),
                *(share("accuracy")(found[budget, method]) for method in methods),
                spread("latency_ratio")(found[budget, "search"]),
            ]
            for budget in dict.fromkeys(row["budget"] for row in rows[1:])
        ],
    )


def cifar10_channel_search_whole():
    row = rows_of("cifar10_channel_search", method="unpruned")[0]
    return lines_of(
        ["whole network", "test accuracy"],
        [
            [plain("weight_epochs", "before the search, {} epochs")(row),
             share("accuracy_start")(row)],
            ["trained for the epochs of all stages", share("accuracy")(row)],
        ],
    )  # fmt: skip


TABLES = {
    **RECONSTRUCTION_TABLES,
    "headlines": headlines,
    "cifar10_pruning": cifar10_pruning,
    "cifar10_channel_search": cifar10_channel_search,
    "cifar10_channel_search_whole": cifar10_channel_search_whole,
    "networks": Table(
        "networks",
        {
            "network": plain("network", "`{}`"),
            "blocks": lambda row: row["blocks"].replace(" ", ", "),
            "trainable parameters": number("params"),
            "MACs": number("macs"),
            "image": "image_size",
            "published": "published",
        },
    ),
    "shipped_weights": Table(
        "network_weights",
        {
            "weights": plain("weights", "`{}`"),
            "network": plain("network", "`{}`"),
            "top-1": number("top1", "{:.2f} %"),
            "licence": "licence",
            "from": "source",
        },
    ),
    "cifar10_resnet20": Table(
        "cifar10_resnet20",
        {
            "network": lambda row: (
                f"`{row['model']}`"
                if row["depth_attention"] == "True"
                else "its plain trunk"
            ),
            "test accuracy": share("test_accuracy"),
            "parameters": number("params"),
            "MACs": number("macs"),
            "epochs": "epochs",
            "recipe": plain("recipe", "`{}`"),
            "seed": "seed",
        },
    ),
    "sda_resnet_speed": Table(
        "sda_resnet_speed",
        {
            "": either(
                "kind",
                {
                    "train": "training step",
                    "memory process": "peak memory of the training process",
                    "memory step": "memory that the steps add",
                },
            ),
            "network": "model",
            "time or memory": lambda row: f"{number('median')(row)} {row['unit']}",
            "beside": "ratio_to",
            "ratio (quartiles)": spread("ratio"),
        },
        lambda rows: [row for row in rows if row["ratio"]],
        batch_size=8,
        image_size=224,
    ),
    "sda_families_speed": Table(
        "sda_families_speed",
        {
            "network": plain("family", "`{}`"),
            "time": milliseconds("network", 0),
            "beside its plain trunk": spread("ratio_to_trunk"),
            "beside ResNet50 of Keras": ratio("ratio_to_resnet50"),
            "the same per MAC": ratio("ratio_per_macs"),
        },
    ),
    "depth_attention_fine_tuning": Table(
        "depth_attention_fine_tuning_summary",
        {
            "data": "dataset",
            "variant": either("variant", {"plain": "plain network"}, '`start="{}"`'),
            "seeds": "seeds",
            "accuracy at the start": share("start_accuracy"),
            "accuracy after": lambda row: (
                f"{100 * float(row['mean_test_accuracy']):.2f} ± "
                f"{share('std_test_accuracy')(row)}"
            ),
            "lowest to highest": lambda row: (
                f"{share('lowest')(row)} to {share('highest')(row)}"
            ),
        },
    ),
    "depth_attention_start": Table(
        "depth_attention_fine_tuning",
        {
            "data": "dataset",
            "start": "variant",
            "images that keep their class": share("start_agreement"),
            "largest change of a logit": "start_max_logit_difference",
            "mean weight of the last block after training": "mean_weight_of_last_block",
        },
        lambda rows: [row for row in rows if row["variant"] != "plain"],
        seed=0,
    ),
    "pruning_speed": Table(
        "pruning_speed",
        {
            "network": "network",
            "batch": "batch_size",
            "whole": milliseconds("whole_ms"),
            "small": milliseconds("small_ms"),
            "speed-up (quartiles)": spread("speed_up"),
            "share of MACs": share("macs_ratio", 1),
        },
    ),
    "pruning_latency": Table(
        "pruning_latency",
        {
            "network": "network",
            "asked": "target",
            "measured again": ratio("latency_ratio"),
            "share of MACs": share("macs_ratio", 1),
            "seconds to plan": "seconds",
        },
    ),
    "pruning_cost": Table(
        "pruning_cost",
        {
            "network": "network",
            "plan": number("plan_seconds", "{:.2f} s"),
            "shrink": number("shrink_seconds", "{:.2f} s"),
            "peak memory": number("peak_gigabytes", "{:.2f} GB"),
        },
    ),
    "prunable_share": Table(
        "prunable_share",
        {
            "model": "model",
            "MACs": number("macs"),
            "removable MACs": share("removable_macs", 1),
            "removable parameters": share("removable_params", 1),
            "groups": "num_groups",
            "untouchable channels, mainly because": lambda row: (
                f"{share('untouchable_channels', 1)(row)}: "
                f"{row['main_reason'] or 'it is the output'}"
            ),
        },
    ),
    "gate_overhead": Table(
        "gate_overhead",
        {
            "network": "network",
            "batch": "batch_size",
            "gates": "mode",
            "step, plain": milliseconds("plain_ms", 0),
            "step, gated": milliseconds("gated_ms", 0),
            "ratio (quartiles)": spread("ratio"),
            "aim": "wanted_ratio",
        },
    ),
    "derived_speed": Table(
        "derived_speed",
        {
            "residual streams": plain("residual", '`residual="{}"`'),
            "batch": "batch_size",
            "whole": milliseconds("whole_ms"),
            "small": milliseconds("small_ms"),
            "speed-up (quartiles)": spread("speed_up"),
            "aim": ratio("wanted_speed_up"),
        },
    ),
    "packed_speed": Table(
        "packed_speed",
        {
            "groups": either(
                "groups",
                {
                    "disjoint": "4 disjoint groups of one size",
                    "diverse_4": "4 groups of any size",
                },
            ),
            "`form`": "form",
            "runtime": "runtime",
            "processor": "cpu_vectors",
            "batch": "batch_size",
            "dense": milliseconds("dense_ms"),
            "packed": milliseconds("packed_ms"),
            "speed-up (quartiles)": spread("speed_up"),
            "aim": "target",
        },
    ),
    "grouping_seconds": Table(
        "grouping_seconds",
        {
            "network": "network",
            "layers": "masked_layers",
            "`self_group`": number("seconds", "{:.0f} s"),
        },
    ),
    "lenet_mnist_grouping": Table(
        "lenet_mnist_grouping_summary",
        {
            "connections cut": lambda row: (
                share("rate", 0)(row) if float(row["rate"]) else "none"
            ),
            "accuracy": lambda row: (
                f"{ratio('accuracy_mean')(row)} ± {ratio('accuracy_std')(row)} %"
            ),
            "published accuracy": number("published_accuracy", "{:.2f} %"),
            "parameters": number("params_as_published"),
            "published parameters": plain("published_params_k", "{} K"),
            "MACs": number("macs_as_published"),
            "published MACs": plain("published_macs_k", "{} K"),
        },
    ),
    "cifar10_grouping": Table(
        "cifar10_grouping",
        {
            "network": "network",
            "groups": either("groups", {"none": "none: fine-tuned as long"}),
            "MACs cut": lambda row: (
                f"{100 - 100 * int(row['macs_masked']) / int(row['macs_dense']):.0f} %"
            ),
            "scheme": plain("scheme", "`{}`"),
            "accuracy": share("accuracy"),
            "MACs of the masks": number("macs_masked"),
            "time, masked": ratio("latency_ratio_masked"),
            "time, packed": ratio("latency_ratio_packed"),
        },
        lambda rows: sorted(
            rows, key=lambda r: (r["network"], r["groups"] != "none", float(r["rate"]))
        ),
    ),
}
