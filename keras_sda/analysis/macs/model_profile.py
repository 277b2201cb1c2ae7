"""What `profile` returns: the cost of a model, per layer and in total."""

import dataclasses
from typing import Any

_COLUMNS = ("Layer", "Type", "Output shape", "Params", "MACs", "Activations")


@dataclasses.dataclass(frozen=True)
class LayerProfile:
    """Cost of one layer call for one sample.

    Args:
        name: Path of the layer; later calls of a shared layer end in `" (call 2)"`.
        type: Class name.
        output_shape: Shape without the batch axis; a tuple of shapes when the layer
            has several outputs.
        params: Parameters that no earlier row counts.
        trainable_params: The trainable ones of them.
        macs: Multiply-accumulates; `None` when no rule knows the layer.
        activations: Output elements when the row has MACs, otherwise 0.
    """

    name: str
    type: str
    output_shape: tuple
    params: int
    trainable_params: int
    macs: int | None
    activations: int


@dataclasses.dataclass(frozen=True)
class ModelProfile:
    """Parameters, multiply-accumulates and activations of a model.

    Args:
        name: Name of the model.
        params: All parameters, equal to `model.count_params()` unless the model has
            self-grouped layers, whose masks and labels are left out.
        trainable_params: The trainable ones.
        macs: Multiply-accumulates of convolutions, dense layers and attention
            products for one sample. The papers print this number as "FLOPs".
        activations: Output elements of the layers that have MACs, for one sample.
        layers: Rows in the order the layers run.
        unknown: Names of layers that no rule knows; their MACs are missing.

    Example:

    >>> import keras
    >>> from keras_sda.analysis import profile
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    >>> result = profile(model)
    >>> result.params, result.macs, result.to_dict()["activations"]
    (18, 16, 2)
    """

    name: str
    params: int
    trainable_params: int
    macs: int
    activations: int
    layers: tuple[LayerProfile, ...]
    unknown: tuple[str, ...] = ()

    def to_text(self, all_layers: bool = False) -> str:
        """Returns an aligned table with totals.

        Args:
            all_layers: Also print layers without parameters and MACs. Defaults to
                `False`.

        Returns:
            The table as one string of several lines.
        """
        rows = [
            (
                row.name,
                row.type,
                str(row.output_shape),
                f"{row.params:,}",
                "unknown" if row.macs is None else f"{row.macs:,}",
                f"{row.activations:,}",
            )
            for row in self.layers
            if all_layers or row.params or row.macs != 0
        ]
        total = ("Total", "", "", *map("{:,}".format, self._totals()))
        widths = [
            max(len(row[column]) for row in (_COLUMNS, *rows, total))
            for column in range(len(_COLUMNS))
        ]

        def line(row):
            cells = (
                cell.ljust(width) if column < 3 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            return "  ".join(cells).rstrip()

        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        lines = [f"Profile of {self.name}, one sample", rule, line(_COLUMNS), rule]
        lines += [line(row) for row in rows]
        lines += [rule, line(total)]
        lines += [
            f"Trainable parameters: {self.trainable_params:,}",
            "MACs are the multiply-accumulates of convolutions, dense layers and "
            "attention products.",
        ]
        if self.unknown:
            lines.append("MACs not counted, no rule: " + ", ".join(self.unknown))
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain values that `json.dumps` takes."""
        return {
            "name": self.name,
            "params": self.params,
            "trainable_params": self.trainable_params,
            "macs": self.macs,
            "activations": self.activations,
            "unknown": list(self.unknown),
            "layers": [dataclasses.asdict(row) for row in self.layers],
        }

    def _totals(self):
        return self.params, self.macs, self.activations
