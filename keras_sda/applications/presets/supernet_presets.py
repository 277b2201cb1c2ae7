"""Pure data: networks that hold several operations in every block, to search among.

`params` and `macs` are counted as in `presets.py`, for one image of 224 pixels and
1000 classes, of the whole supernet. The 16.09 M of the publication count its 60,704
gates, which `search.add_channel_gates` puts on. `stackwise_*` are those of the blocks
that sum operations; a block of one operation comes before them.
"""

from typing import Any

SUPERNET_PRESETS: dict[str, dict[str, Any]] = {
    "ProxylessSupernet": {
        "family": "proxyless_supernet",
        "form": "supernet",
        "stackwise_num_blocks": [4, 4, 4, 4, 4, 1],
        "stackwise_num_filters": [24, 40, 80, 96, 192, 320],
        "stackwise_strides": [2, 2, 2, 1, 2, 1],
        "kernel_sizes": [3, 5, 7],
        "expansions": [3, 6],
        "params": 16_034_168,
        "macs": 2_260_347_776,
        "published_top1": 75.7,
        "published_on": "ImageNet",
        "source": "arXiv 2103.02126 (Pattern Recognition 126, 2022)",
    },
}
