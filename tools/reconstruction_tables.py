"""The tables of docs/results/reconstruction.md, as data: a part of `result_tables`."""

import collections

from table_cells import (
    Table,
    either,
    lines_of,
    mean_of,
    number,
    once_measured,
    plain,
    rows_of,
    spread,
)


def both(*columns):
    """Two percentages, such as accuracy among ten classes and among all."""
    cells = [number(column, "{:.1f}") for column in columns]
    return lambda row: " / ".join(filter(None, (cell(row) for cell in cells)))


def chosen_by(row):
    """The criterion of a row, and what else is not as usual."""
    if row["criterion"] == "none":
        return "whole network"
    more = [f'`scope="{row["scope"]}"`'] if row["scope"] != "global" else []
    more += [f"{row['steps']} steps"] if row["steps"] != "1" else []
    return ", ".join([f"`{row['criterion']}`", *more])


def macs_kept(row):
    return f"{float(row['target_macs']):g}"


def lite0_reconstruct():
    """Our rows, with those of Torch-Pruning's nearest criterion beside them."""
    others = {
        (row["target_macs"], row["criterion"]): row
        for row in rows_of("torch_pruning_lite0")
    }
    versions = " ".join({row["version"] for row in others.values()})

    def beside(row):
        plainly = row["scope"] == "global" and row["steps"] == "1"
        other = others.get((row["target_macs"], row["criterion"]))
        if other is None or not plainly:
            return ""
        share = f", {other['macs_ratio']} of the MACs" if other["macs_ratio"] else ""
        return f"{both('among_ten', 'top1')(other)} ({other['method']}{share})"

    found = sorted(
        rows_of("lite0_reconstruct"),
        key=lambda row: (-float(row["target_macs"]), row["steps"]),
    )
    columns = {
        "MACs kept": macs_kept,
        "chosen by": chosen_by,
        "cut only": both("among_ten_cut", "top1_cut"),
        "kernels refitted": both("among_ten", "top1"),
        versions: beside,
        "latency (quartiles)": spread("latency_ratio"),
        "seconds to plan": "plan_seconds",
        "to refit": "reconstruct_seconds",
    }
    cells = [plain(c) if isinstance(c, str) else c for c in columns.values()]
    return lines_of(list(columns), [[cell(row) for cell in cells] for row in found])


def cifar10_lines(header, columns, **wanted):
    """A line per share and criterion, a column per pair of start and teacher."""
    found = collections.defaultdict(list)
    for row in rows_of("cifar10_reconstruct"):
        if all((row[name] == value) == same for name, (value, same) in wanted.items()):
            key = macs_kept(row), chosen_by(row)
            found[*key, row["start"], float(row["distill"]) > 0].append(row["accuracy"])
    lines = []
    for macs, criterion in dict.fromkeys(key[:2] for key in found):
        # Nothing is cut from the whole network: one figure stands in each column.
        cells = [
            found.get((macs, criterion, start, taught))
            or found.get((macs, criterion, "whole", taught), [])
            for start, taught in columns
        ]
        lines.append([macs, criterion, *(mean_of(c) if c else "" for c in cells)])
    lines.sort(key=lambda line: -float(line[0]))
    return lines_of(["MACs kept", "chosen by", *header], lines)


def cifar10_untrained():
    return cifar10_lines(
        ["cut only", "kernels refitted"],
        [("cut", False), ("refitted", False)],
        epochs=("0", True),
    )


def cifar10_trained():
    return cifar10_lines(
        ["cut", "cut, with a teacher", "refitted", "refitted, with a teacher"],
        [("cut", False), ("cut", True), ("refitted", False), ("refitted", True)],
        epochs=("0", False),
    )


_VARIANTS = {
    "whole": "as it is",
    "attached": "with depth attention",
    "derived": "derived by gates",
    "derived_refitted": "derived by gates, kernels refitted",
    "grouped": "self-grouped, packed",
    "grouped_refitted": "self-grouped, kernels refitted, packed",
}

RECONSTRUCTION_TABLES = {
    "lite0_reconstruct": lite0_reconstruct,
    "real_networks": once_measured(
        "real_networks",
        Table(
            "real_networks",
            {
                "network": plain("network", "`{}`"),
                "MACs kept": macs_kept,
                "chosen by": chosen_by,
                "accuracy, cut only": both("accuracy_cut", "top1_cut"),
                "kernels refitted": both("accuracy", "top1"),
                "same class as whole, cut only": both("same_class_cut"),
                "same class, refitted": both("same_class"),
            },
        ),
        "real_networks.py",
    ),
    "cifar10_untrained": once_measured(
        "cifar10_reconstruct", cifar10_untrained, "cifar10_reconstruct.py"
    ),
    "cifar10_trained": once_measured(
        "cifar10_reconstruct", cifar10_trained, "cifar10_reconstruct.py"
    ),
    "lite0_variants": once_measured(
        "lite0_variants",
        Table(
            "lite0_variants",
            {
                "network": either("variant", _VARIANTS),
                "setting": "setting",
                "MACs": number("macs_ratio", "{:.2f}"),
                "before training": both("among_ten_before", "top1_before"),
                "after": both("among_ten", "top1"),
                "epochs": "epochs",
                "latency (quartiles)": spread("latency_ratio"),
            },
        ),
        "lite0_variants.py",
    ),
    "reconstruct_cost": once_measured(
        "reconstruct_cost",
        Table(
            "reconstruct_cost",
            {
                "what": "part",
                "images": "images",
                "time": number("seconds", "{:.0f} s"),
                "aim": number("wanted_seconds", "{:.0f} s"),
                "peak memory": number("peak_gigabytes", "{:.2f} GB"),
                "aim for it": number("wanted_gigabytes", "{:.0f} GB"),
                "cores": "cpu_cores",
            },
        ),
        "resnet50_reconstruct.py",
    ),
    "reconstruct_latency": once_measured(
        "reconstruct_latency",
        Table(
            "reconstruct_latency",
            {
                "network": "network",
                "batch": "batch_size",
                "share of MACs": number("macs_ratio", "{:.2f}"),
                "share of the time (quartiles)": spread("latency_ratio"),
            },
        ),
        "resnet50_reconstruct.py --parts times",
    ),
}
