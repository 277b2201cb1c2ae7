"""What packing made of a masked model: layer by layer."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras

from keras_sda.analysis import profile
from keras_sda.graph import swapped_bias_note
from keras_sda.grouping.packing.filter_lists import filter_lists
from keras_sda.runs.report import Report


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
    def of(
        cls, name: str, layer: Any, form: Any, ms: Mapping[str, float]
    ) -> "PackedLayer":
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
class PackingReport(Report):
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

    layers: tuple[PackedLayer, ...]
    unread: int

    format_name: ClassVar[str] = "keras_sda packing report, version 1"
    maker: ClassVar[str] = "`PackingReport.save`"
    made: ClassVar[str] = "packed"
    file_name: ClassVar[str] = "packing"

    @classmethod
    def of(
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

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A dictionary per masked layer, as in the CSV file."""
        return [
            {
                **dataclasses.asdict(row),
                "ms": " ".join(f"{name}={value}" for name, value in row.ms.items()),
            }
            for row in self.layers
        ]

    def columns(self) -> list[str]:
        """Columns of the CSV file: what is known of a masked layer."""
        return [field.name for field in dataclasses.fields(PackedLayer)]

    def summary(self, row: PackedLayer) -> str:
        """The form of one layer, and what it computes."""
        return f"{row.form}, {_share(row.computed, row)} computed"

    def details(self) -> list[str]:
        """How many layers took which form."""
        forms: dict[str, int] = {}
        for row in self.layers:
            forms[row.form] = forms.get(row.form, 0) + 1
        counts = ", ".join(f"{name} {count}" for name, count in sorted(forms.items()))
        lines = [
            f"channels that nobody reads, removed: {self.unread:,}",
            f"masked layers: {len(self.layers)} ({counts})",
        ]
        ratio = self.settings.get("latency_ratio_to_dense")
        if ratio is not None:
            lines.append(f"latency beside all layers dense: {ratio:.3f}")
        return lines

    def tables(self) -> list[tuple[str, list[str], list[list[Any]]]]:
        """The masked layers."""
        header = ["Layer", "Form", "Filters x channels", "Groups", "Kept", "Computed"]
        header += ["ms (dense)", "ms", "Note"]
        rows = [
            [
                row.name,
                row.form,
                f"{row.filters} x {row.channels}",
                row.num_groups,
                _share(row.kept, row),
                _share(row.computed, row),
                row.ms.get("dense", "-"),
                row.ms.get(row.form, "-"),
                row.note,
            ]
            for row in self.layers
        ]
        return [("Layers", header, rows)]


def _share(count, row):
    return f"{count / (row.filters * row.channels or 1):.1%}"
