"""Which network a set of weights belongs to, told from names and shapes alone."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import keras

from keras_sda.applications.presets.presets import PRESETS

# Width of the first convolution of a block in the first stage, in all named networks.
_WIDTHS = {"cifar": 16, "sda_res2net": 104}
_RES2NET_PARTS = 4
_PARTS = (
    # Pattern of the rest of a torch name, name of the layer here.
    (r"convs\.(\d+)\..*", lambda m: f"conv2_{int(m[1]) + 1}"),
    (r"(se\.)?fc\d\..*", lambda m: "se"),
    (r"(ca|sa)\..*", lambda m: "cbam"),
    (r"(\w+)\..*", lambda m: m[1]),
)


@dataclasses.dataclass(frozen=True)
class NetworkSignature:
    """What tells networks apart: family, blocks per stage, widths, groups.

    Use it to say which network a file fits. No model is built for that.

    Attributes:
        family: As in `presets.py`, such as `"sda_resnet"`.
        is_basic: Whether the blocks are those of the CIFAR form.
        blocks: Number of blocks per stage.
        width: Filters of the first convolution of the first block.
        groups: Groups of its 3x3 convolution; for Res2Net the number of parts.
        attention: Whether the stages end in depth attention; `None` where a file in
            timm's layout leaves it open.

    Example:

    >>> from keras_sda.applications import SDAResNet50
    >>> from keras_sda.applications.checkpoints.network_signature import (
    ...     NetworkSignature
    ... )
    >>> NetworkSignature.of_model(SDAResNet50()).preset
    'SDAResNet50'
    """

    family: str
    is_basic: bool
    blocks: tuple[int, ...]
    width: int
    groups: int
    attention: bool | None

    @classmethod
    def of_layers(
        cls, layers: Mapping[str, Sequence[tuple]], attention: bool | None = False
    ) -> "NetworkSignature":
        """Reads layer names of this package with the shapes of their weights."""
        blocks, first = {}, {}
        for name, shapes in layers.items():
            if re.fullmatch(r"stage\d+_sda", name):
                attention = True
            match = re.fullmatch(r"stage(\d+)_block(\d+)_(\w+)", name)
            if match:
                blocks.setdefault(int(match[1]), set()).add(int(match[2]))
                if match[1] == match[2] == "1":
                    first.setdefault(match[3], []).extend(shapes)
        kernels = [shape for shape in first.get("conv2", ()) if len(shape) == 4]
        width = next((s[-1] for s in first.get("conv1", ()) if len(s) == 4), 0)
        num_parts = sum(part.startswith("conv2_") for part in first)
        groups = 1
        if num_parts:
            family, groups = "sda_res2net", num_parts + 1
        elif len(kernels) > 1:
            gates = len(first["conv2"]) > len(kernels)
            family = "sda_epsanet" if gates else "sda_pyconv"
        elif "se" in first or "cbam" in first:
            family = "sda_senet" if "se" in first else "sda_cbam"
        else:
            family = "sda_resnet"
            if kernels and kernels[0][2]:
                groups = max(width // kernels[0][2], 1)
        is_basic = "conv3" not in first
        shortcuts = ("stage2_block1_shortcut_conv", "stage2_block1_downsample")
        if is_basic and attention is False and not set(shortcuts) & set(layers):
            family = "cifar_resnet"  # its shortcuts have no weights
        return cls(
            family=family,
            is_basic=is_basic,
            blocks=tuple(len(blocks[stage]) for stage in sorted(blocks)),
            width=width,
            groups=groups,
            attention=attention,
        )

    @classmethod
    def of_model(cls, model: keras.Model) -> "NetworkSignature":
        """Reads a model."""
        return cls.of_layers(
            {
                layer.name: [tuple(weight.shape) for weight in layer.weights]
                for layer in model.layers
                if layer.weights
            }
        )

    @classmethod
    def of_tensors(cls, shapes: Mapping[str, tuple]) -> "NetworkSignature":
        """Reads tensor names in the layout of the authors or of timm."""
        layers, from_timm = {}, False
        for name, shape in shapes.items():
            match = re.match(r"(?:stage(\d+)\.layers|layer(\d+))\.(\d+)\.(.+)", name)
            if match:
                from_timm = from_timm or match[1] is None
                for pattern, layer in _PARTS:
                    if part := re.fullmatch(pattern, match[4]):
                        stage, block = match[1] or match[2], int(match[3]) + 1
                        layer = f"stage{stage}_block{block}_{layer(part)}"
                        break
                else:
                    continue
                if len(shape) == 4 and not layer.endswith("_se"):
                    shape = tuple(shape[axis] for axis in (2, 3, 1, 0))
                layers.setdefault(layer, []).append(shape)
            elif match := re.match(r"stage(\d+)\.fcs?\.", name):
                layers.setdefault(f"stage{match[1]}_sda", []).append(shape)
        return cls.of_layers(layers, attention=None if from_timm else False)

    @property
    def preset(self) -> str | None:
        """The named network, with or without depth attention; `None` if none fits."""
        for name, row in PRESETS.items():
            if row["family"] != self.family:
                continue
            if self == dataclasses.replace(_of_preset(row), attention=self.attention):
                return name
        return None

    def difference(self, model: "NetworkSignature") -> str:
        """Says which network these weights fit, where that is another than `model`."""
        if self.attention is None:
            model = dataclasses.replace(model, attention=None)
        if model == self:
            return ""
        here, there = self._name(), model._name()
        if here:
            return f"This file fits {here}" + (
                f", and the model is {there}." if there else "."
            )
        if self.blocks != model.blocks and self.blocks:
            return (
                f"This file holds stages of {list(self.blocks)} blocks, the model has "
                f"{list(model.blocks)}."
            )
        if not self.blocks:
            return "This file holds no stages of residual blocks as networks here do."
        return ""

    def _name(self):
        has_attention = self.family != "cifar_resnet"
        if self.preset and has_attention and self.attention is False:
            return f"{self.preset} with depth_attention=False"
        return self.preset


def _of_preset(row) -> NetworkSignature:
    is_basic = row["form"] == "cifar"
    return NetworkSignature(
        family=row["family"],
        is_basic=is_basic,
        blocks=tuple(row["stackwise_num_blocks"]),
        width=_WIDTHS.get(row["form"]) or _WIDTHS.get(row["family"], 64),
        groups=_RES2NET_PARTS
        if row["family"] == "sda_res2net"
        else row.get("groups", 1),
        attention=True,
    )
