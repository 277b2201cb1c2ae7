"""What packing made of a masked model: layer by layer."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_sda.analysis import profile
from keras_sda.graph import swapped_bias_note
from keras_sda.grouping.packing.filter_lists import filter_lists
from keras_sda.utils.files.csv_rows import csv_text
from keras_sda.utils.files.report_files import markdown_table, read_report, write_report

_FORMAT = "keras_sda packing report, version 1"


@dataclasses.dataclass(frozen=True)
class PackedLayer:
    """One masked layer and what stands for it.

    Attributes:
        name: Name of the layer, with the names of nested models before it.
        form: `"dense"`, `"grouped"`, `"lists"` or `"lists_N"`, see `pack`.
        filters, channels: Of its kernel, after unread channels were removed.
        num_groups: Groups of filters that read the same channels.
        kept: Connections that the mask keeps.
        computed: Connections that the form computes; what is more than `kept` are
            zeros.
        gathers: Whether its input is gathered, as one tensor or group by group.
        reorders: Whether its output is put in order.
        ms: Milliseconds per batch of every form that was timed, with a ReLU.
        note: What differs from what was asked for.
    """

    name: str
    form: str
    filters: int
    channels: int
    num_groups: int
    kept: int
    computed: int
    gathers: bool
    reorders: bool
    ms: dict[str, float] = dataclasses.field(default_factory=dict)
    note: str = ""

    @classmethod
    def of(cls, name: str, layer: Any, form: Any, ms: Mapping[str, float]):
        """The row of a masked layer and its `PackedForm`."""
        mask = keras.ops.convert_to_numpy(layer.mask) > 0
        lists = form.config.get("channels", [])
        ranges = [own == list(range(min(own), max(own) + 1)) for own in lists if own]
        return cls(
            name=name,
            form=form.name,
            filters=mask.shape[1],
            channels=mask.shape[0],
            num_groups=len(filter_lists(mask)),
            kept=int(mask.sum()),
            computed=form.connections,
            gathers=form.gather is not None or not all(ranges),
            reorders=form.order is not None or bool(form.config.get("order")),
            ms={key: round(value, 4) for key, value in ms.items()},
        )


@dataclasses.dataclass(frozen=True)
class PackingReport:
    """What became of each layer of a masked model.

    Made by `pack`.

    Attributes:
        model: Name of the model.
        params_before, params_after: Parameters of the masked model (those of the dense
            one: masks are not counted), and of the packed one.
        macs_before, macs_after: Multiply-accumulates of one sample, likewise.
        unread: Channels that were removed because nobody reads them.
        layers: A `PackedLayer` for every masked layer, in the order in which they run.
        settings: How the model was packed.
        warnings: What the user should know.

    Example:

    >>> from keras_sda.applications import LeNet
    >>> from keras_sda.grouping import pack, self_group
    >>> masked = self_group(LeNet(), conv_rate=0.9, dense_rate=0.9).model
    >>> report = pack(masked, form="lists").report
    >>> [row.form for row in report.layers]
    ['lists', 'lists', 'lists']
    """

    model: str
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    unread: int
    layers: tuple[PackedLayer, ...]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @classmethod
    def compare(
        cls,
        before: keras.Model,
        after: keras.Model,
        layers: Sequence[PackedLayer],
        unread: int = 0,
        settings: Mapping[str, Any] | None = None,
        input_shape: Any = None,
    ) -> "PackingReport":
        """Counts both models.

        Args:
            before: The masked model.
            after: The packed one.
            layers: What became of the masked layers.
            unread: Channels that were removed. Defaults to `0`.
            settings: How the model was packed. Defaults to `{}`.
            input_shape: Shape of one image, where the models leave it open.
        """
        whole, small = profile(before, input_shape), profile(after, input_shape)
        return cls(
            model=before.name,
            params_before=whole.params,
            params_after=small.params,
            macs_before=whole.macs,
            macs_after=small.macs,
            unread=unread,
            layers=tuple(layers),
            settings=dict(settings or {}),
            warnings=tuple(filter(None, [swapped_bias_note(after, input_shape)])),
        )

    def to_text(self) -> str:
        """The totals in a few lines."""
        forms: dict[str, int] = {}
        for row in self.layers:
            forms[row.form] = forms.get(row.form, 0) + 1
        lines = [f"{self.model}, packed"]
        for name, before, after in (
            ("parameters", self.params_before, self.params_after),
            ("MACs", self.macs_before, self.macs_after),
        ):
            share = f"{after / before:.1%}" if before else "-"
            lines.append(f"{name}: {before:,} -> {after:,} ({share})")
        lines.append(f"channels that nobody reads, removed: {self.unread:,}")
        counts = ", ".join(f"{name} {count}" for name, count in sorted(forms.items()))
        lines.append(f"masked layers: {len(self.layers)} ({counts})")
        ratio = self.settings.get("latency_ratio_to_dense")
        if ratio is not None:
            lines.append(f"latency beside all layers dense: {ratio:.3f}")
        lines += [f"warning: {text}" for text in self.warnings]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Everything, as JSON."""
        return json.dumps(
            {"format": _FORMAT, **dataclasses.asdict(self)}, indent=1, default=str
        )

    def to_csv(self) -> str:
        """A row per masked layer."""
        rows = [
            {
                **dataclasses.asdict(row),
                "ms": " ".join(f"{name}={value}" for name, value in row.ms.items()),
            }
            for row in self.layers
        ]
        return csv_text(rows, [field.name for field in dataclasses.fields(PackedLayer)])

    def to_markdown(self) -> str:
        """Totals and layers, as Markdown."""
        title, *totals = self.to_text().splitlines()
        header = ["Layer", "Form", "Filters x channels", "Groups", "Kept", "Computed"]
        header += ["ms (dense)", "ms", "Note"]
        lines = [f"# {title}", "", *(f"* {line}" for line in totals), ""]
        rows = []
        for row in self.layers:
            size = row.filters * row.channels or 1
            rows.append(
                [
                    row.name,
                    row.form,
                    f"{row.filters} x {row.channels}",
                    row.num_groups,
                    f"{row.kept / size:.1%}",
                    f"{row.computed / size:.1%}",
                    row.ms.get("dense", "-"),
                    row.ms.get(row.form, "-"),
                    row.note,
                ]
            )
        lines += markdown_table(header, rows)
        return "\n".join(lines) + "\n"

    def save(self, folder: str | os.PathLike, name: str = "packing") -> None:
        """Writes NAME.json, NAME.csv and NAME.md into a folder.

        Args:
            folder: An existing folder.
            name: Name of the files. Defaults to `"packing"`.
        """
        write_report(self, folder, name)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "PackingReport":
        """Reads the JSON file that `save` wrote, or packing.json in a folder.

        Raises:
            InvalidInputError: There is no report, or it is damaged.
        """
        return read_report(path, cls, _FORMAT, "`PackingReport.save`", "packing")
