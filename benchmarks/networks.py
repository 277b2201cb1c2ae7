"""The named networks and their weights as rows: sizes, published accuracy, licences.

    python benchmarks/networks.py

Writes benchmarks/results/networks.csv and network_weights.csv from what
`keras_sda.applications.model_info` knows; the tests hold the constructors to these
sizes. Takes seconds, nothing is built or downloaded.
"""

from rows import RESULTS

from keras_sda.applications import list_models, model_info
from keras_sda.utils.files.csv_rows import write_rows

# Pixels that the sizes of a form are counted for.
SIZES = {"imagenet": 224, "bottleneck": 224, "supernet": 224, "cifar": 32, "mnist": 28}


def published(info):
    """The published accuracy in words, or nothing."""
    if "published_top1" not in info:
        return ""
    data = info.get("published_on", "ImageNet-1K")
    return f"{info['published_top1']} % ({data})"


def main():
    networks, weights = [], []
    for info in map(model_info, list_models()):
        networks.append(
            {
                "network": info["name"],
                "blocks": " ".join(map(str, info.get("stackwise_num_blocks", []))),
                "params": info["params"],
                "macs": info["macs"],
                "image_size": SIZES[info["form"]],
                "published": published(info),
            }
        )
        for name, row in info["weights"].items():
            weights.append(
                {
                    "weights": name,
                    "network": info["name"],
                    "top1": row["top1"],
                    "evaluated_at": row["evaluated_at"]["size"],
                    "licence": row["licence"],
                    "source": row.get("repository", "this package"),
                }
            )
    write_rows(networks, RESULTS / "networks.csv")
    write_rows(weights, RESULTS / "network_weights.csv")


if __name__ == "__main__":
    main()
