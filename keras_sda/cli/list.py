"""The command `keras-sda list`."""

import argparse
import json
from collections.abc import Callable
from typing import Any


def add_list_command(
    commands: Any,
    command: Callable[..., argparse.ArgumentParser],
    show: Callable[[str], None],
) -> None:
    """Adds `list` to the command line.

    Args:
        commands: The sub-parsers of `keras-sda`.
        command: Makes the parser of one command.
        show: Prints a line.
    """
    parser = command(
        commands,
        "list",
        lambda options: _list(options, show),
        "Show the networks of this package, their sizes and weights",
        "keras-sda list",
    )
    parser.add_argument("--json", action="store_true", help="Print JSON.")


def _list(options, show):
    from keras_sda.applications.get_model import REGISTERED
    from keras_sda.applications.presets.cifar_presets import CIFAR_PRESETS
    from keras_sda.applications.presets.presets import PRESETS
    from keras_sda.applications.presets.supernet_presets import SUPERNET_PRESETS

    if options.json:
        show(json.dumps(PRESETS, indent=2))
        return
    show("Networks with selective depth attention")
    show(
        f"{'network':13} {'blocks':11} {'params':>7} {'MACs':>7} {'paper':>5}  weights"
    )
    for name, row in PRESETS.items():
        if name in CIFAR_PRESETS or name in SUPERNET_PRESETS:
            continue
        weights = "; ".join(
            _weights_text(key, source) for key, source in row.get("weights", {}).items()
        )
        line = (
            f"{name:13} {_blocks(row):11} {_params(row)} "
            f"{row['macs'] / 1e9:6.2f}G {_top1(row):>5}  {weights}"
        )
        show(line.rstrip())
    show("paper: top-1 on ImageNet in percent, by the authors; not repeated here.")
    show(
        "weights: names for weights=, top-1 in percent (of the trunk where they come "
        "from timm),\nlicence. keras_sda.applications.model_info(name) has the details."
    )
    show("\nNetworks of the published tables on small images")
    show(f"{'network':16} {'blocks':19} {'params':>7} {'MACs':>8} {'paper':>5}")
    for name, row in CIFAR_PRESETS.items():
        line = (
            f"{name:16} {_blocks(row):19} {_params(row)} "
            f"{row['macs'] / 1e6:7.2f}M {_top1(row):>5} {row.get('published_on', '')}"
        )
        show(line.rstrip())
    show("paper: top-1 in percent on the data set named, by the authors, unpruned.")
    show("\nSupernets: several operations in every block, for keras_sda.search")
    show(f"{'network':18} {'blocks':17} {'params':>7} {'MACs':>8} {'paper':>5}")
    for name, row in SUPERNET_PRESETS.items():
        show(
            f"{name:18} {_blocks(row):17} {_params(row)} "
            f"{row['macs'] / 1e9:7.2f}G {_top1(row):>5} {row['published_on']}"
        )
    show("paper: top-1 in percent of the whole supernet, by the authors.")
    show(
        "\nparams: trainable. MACs: for one image of 224 pixels (CIFAR forms: 32, "
        "LeNet: 28)."
    )
    if REGISTERED:
        show(f"\nRegistered by your own files: {', '.join(sorted(REGISTERED))}")


def _blocks(row):
    return ", ".join(map(str, row["stackwise_num_blocks"]))


def _params(row):
    return f"{row['params'] / 1e6:6.2f}M"


def _top1(row):
    return f"{row['published_top1']:.2f}" if "published_top1" in row else ""


def _weights_text(name, source):
    words = [name, f"{source['top1']:.2f}"]
    if source["source"] == "hub" and source["repository"] != name:
        words.append(source["repository"])
    licence = source["licence"]
    words.append("licence unknown" if licence == "unknown" else licence)
    return " ".join(words)
