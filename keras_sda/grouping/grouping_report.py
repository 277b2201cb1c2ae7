"""What grouping made of a model: layer by layer."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from keras_sda.analysis import profile
from keras_sda.graph import layer_calls
from keras_sda.grouping.clusters.importance_vectors import importance_vectors
from keras_sda.grouping.published_counts import published_counts
from keras_sda.layers.compression.self_grouped import SelfGrouped
from keras_sda.pruning.refit.refit_row import RefitRow, refit_lines, refit_tables
from keras_sda.runs.report import Report
from keras_sda.utils import InvalidInputError


@dataclasses.dataclass(frozen=True)
class GroupedLayer:
    """One masked layer.

    Attributes:
        name: Name of the layer, with the names of nested models before it.
        type: Class name.
        filters, channels: Of the whole kernel.
        num_groups: Groups that have filters.
        group_sizes: Filters of each group.
        group_channels: Channels that each group reads.
        num_masks: Different masks of filters; more than `num_groups` where
            regrouping mixed filters with different masks.
        dead_filters: Filters that read nothing.
        connections, kept: (Filter, channel) pairs, all and kept.
        kept_share: `kept / connections`.
        kept_importance: Share of the L1 mass of the kernel on kept connections.
        threshold: Importance up to which connections were cut, None if unknown.
        params_before, params_after: True parameters; after: without what is cut.
        macs_before, macs_after: True multiply-accumulates of one sample.
        published_params, published_macs: As the paper counts them, after.
        note: What differs from what was asked for.
    """

    name: str
    type: str
    filters: int
    channels: int
    num_groups: int
    group_sizes: tuple[int, ...]
    group_channels: tuple[int, ...]
    num_masks: int
    dead_filters: int
    connections: int
    kept: int
    kept_share: float
    kept_importance: float
    threshold: float | None
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    published_params: int
    published_macs: int
    note: str = ""


@dataclasses.dataclass(frozen=True)
class LayerLeftAlone:
    """One layer with a kernel that has no mask.

    Attributes:
        name: Name of the layer, with the names of nested models before it.
        type: Class name.
        reason: Why it has none.
    """

    name: str
    type: str
    reason: str


@dataclasses.dataclass(frozen=True)
class GroupingReport(Report):
    """What a masked model has left, in true and in published counts.

    Made by `self_group`; `GroupingReport.of` makes one for any masked model, such as a
    fine-tuned or a loaded one.

    Attributes:
        model: Name of the model.
        params_before, params_after: All parameters of the dense model, and those
            without what the masks cut. Masks and labels are no parameters.
        macs_before, macs_after: Multiply-accumulates of one sample, likewise.
        latency: None, or that of the packed network beside the dense one.
        published_params, published_macs: As the paper counts them, after.
        layers: A `GroupedLayer` for every masked layer, in the order in which they
            run.
        left_alone: A `LayerLeftAlone` for every other layer with a kernel.
        warnings: What the user should know.
        settings: How the model was made.
        refits: A `RefitRow` for every kernel that was fitted anew, or
            whose mask cuts and that stays as it was; of the last step.

    Example:

    >>> from keras_sda.applications import LeNet
    >>> from keras_sda.grouping import self_group
    >>> report = self_group(LeNet(), conv_rate=0.9, dense_rate=0.9).report
    >>> [row.name for row in report.layers]
    ['stage2_block1_conv1', 'fc1', 'predictions']
    >>> report.params_before
    431080
    """

    layers: tuple[GroupedLayer, ...]
    published_params: int
    published_macs: int
    left_alone: tuple[LayerLeftAlone, ...] = ()
    refits: tuple[RefitRow, ...] = ()

    format_name: ClassVar[str] = "keras_sda grouping report, version 1"
    maker: ClassVar[str] = "`keras-sda group` or `GroupingReport.save`"
    made: ClassVar[str] = "self-grouped"

    @classmethod
    def of(
        cls,
        model: keras.Model,
        left_alone: Sequence[LayerLeftAlone] = (),
        thresholds: Mapping[str, float | None] | None = None,
        notes: Mapping[str, str] | None = None,
        warnings: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        input_shape: Any = None,
    ) -> "GroupingReport":
        """Reads a masked model.

        Args:
            model: A model with masked layers.
            left_alone: Layers without masks, and why. Defaults to none.
            thresholds: By layer name, what its threshold was. Defaults to none.
            notes: By layer name, what differs from what was asked for.
            warnings: What the user should know. Defaults to nothing.
            settings: How the model was made. Defaults to `{}`.
            input_shape: Shape of one image, where the model leaves it open.

        Raises:
            InvalidInputError: No layer has a mask, or the model has no readable graph.
        """
        whole = profile(model, input_shape)
        published = published_counts(model, input_shape=input_shape)
        uncounted = [f"the MACs of {name} are not counted, no rule knows them"
                     for name in whole.unknown]  # fmt: skip
        costs, layers = {}, {}
        for call, row in zip(
            layer_calls(model, input_shape), whole.layers, strict=False
        ):
            if not isinstance(call.layer, SelfGrouped):
                continue
            name, layer = layers.setdefault(id(call.layer), (call.name, call.layer))
            params, macs = costs.get(name, (0, 0))
            costs[name] = params + row.params, macs + (row.macs or 0)
        if not layers:
            raise InvalidInputError(
                f"`model` '{model.name}' has no masked layer. Make a masked model of "
                "it with grouping.self_group(model)."
            )
        rows = tuple(
            _row(
                name,
                layer,
                costs[name],
                published.layers[name],
                (thresholds or {}).get(name),
                (notes or {}).get(name, ""),
            )
            for name, layer in layers.values()
        )
        return cls(
            model=model.name,
            params_before=whole.params,
            params_after=whole.params
            - sum(row.params_before - row.params_after for row in rows),
            macs_before=whole.macs,
            macs_after=whole.macs
            - sum(row.macs_before - row.macs_after for row in rows),
            published_params=published.params,
            published_macs=published.macs,
            layers=rows,
            left_alone=tuple(left_alone),
            warnings=(*warnings, *uncounted),
            settings=dict(settings or {}),
        )

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row per masked layer, one for the total, a row per layer left alone."""
        rows: list[dict] = [dataclasses.asdict(layer) for layer in self.layers]
        for row in rows:
            for key in ("group_sizes", "group_channels"):
                row[key] = " ".join(map(str, row[key]))
        total = {
            key: sum(getattr(row, key) for row in self.layers)
            for key in ("connections", "kept", "dead_filters")
        }
        for key in ("params", "macs"):
            for name in (f"{key}_before", f"{key}_after", f"published_{key}"):
                total[name] = getattr(self, name)
        rows.append({"name": "Total", **total})
        return rows + [
            {"name": layer.name, "type": layer.type, "note": layer.reason}
            for layer in self.left_alone
        ]

    def columns(self) -> list[str]:
        """Columns of the CSV file: what is known of a masked layer."""
        return [field.name for field in dataclasses.fields(GroupedLayer)]

    def summary(self, row: GroupedLayer) -> str:
        """Groups of one layer, and what they keep."""
        return f"{row.num_groups} groups, {row.kept_share:.1%} kept"

    def note(self, key: str) -> str:
        """The total as the paper counts it."""
        published = getattr(self, f"published_{key}")
        return f"; counted as published: {published:,}"

    def details(self) -> list[str]:
        """How many connections are kept, and in how many layers."""
        kept = sum(row.kept for row in self.layers)
        connections = sum(row.connections for row in self.layers)
        share = f"{kept / connections:.1%}" if connections else "-"
        lines = [
            f"masked layers: {len(self.layers)}, which keep {kept:,} of "
            f"{connections:,} connections ({share})",
            f"layers left alone: {len(self.left_alone)}",
        ]
        dead = sum(row.dead_filters for row in self.layers)
        if dead:
            lines.append(f"filters that read nothing: {dead:,}")
        return lines + refit_lines(self.refits)

    def tables(self) -> list[tuple[str, list[str], list[list[Any]]]]:
        """Masked layers, and layers left alone."""
        header = ["Layer", "Type", "Filters x channels", "Groups (filters: channels)"]
        header += ["Kept", "Kept importance", "Threshold", "Params", "MACs"]
        header += ["Params (published)", "MACs (published)", "Note"]
        rows: list[list[Any]] = []
        for row in self.layers:
            pairs = zip(row.group_sizes, row.group_channels, strict=True)
            groups = ", ".join(f"{size}: {channels}" for size, channels in pairs)
            rows.append(
                [
                    row.name,
                    row.type,
                    f"{row.filters} x {row.channels}",
                    f"{row.num_groups} ({groups})",
                    f"{row.kept_share:.1%}",
                    f"{row.kept_importance:.1%}",
                    "-" if row.threshold is None else f"{row.threshold:.4g}",
                    f"{row.params_before:,} -> {row.params_after:,}",
                    f"{row.macs_before:,} -> {row.macs_after:,}",
                    f"{row.published_params:,}",
                    f"{row.published_macs:,}",
                    row.note,
                ]
            )
        tables = [("Masked layers", header, rows), *refit_tables(self.refits)]
        if self.left_alone:
            rows = [[x.name, x.type, x.reason] for x in self.left_alone]
            tables.append(("Layers left alone", ["Layer", "Type", "Why"], rows))
        return tables


def _row(name, layer, costs, published, threshold, note):
    mask = keras.ops.convert_to_numpy(layer.mask).T.astype(bool)
    labels = keras.ops.convert_to_numpy(layer.labels)
    importance = importance_vectors(keras.ops.convert_to_numpy(layer.kernel))
    groups, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    kept, total = int(mask.sum()), importance.sum()
    window = int(np.prod(layer.kernel.shape[:-2]))
    params, macs = costs
    return GroupedLayer(
        name=name,
        type=type(layer).__name__,
        filters=mask.shape[0],
        channels=mask.shape[1],
        num_groups=len(groups),
        group_sizes=tuple(map(int, sizes)),
        group_channels=tuple(int(mask[index].sum()) for index in first),
        num_masks=len(np.unique(mask, axis=0)),
        dead_filters=int((~mask.any(axis=1)).sum()),
        connections=mask.size,
        kept=kept,
        kept_share=kept / mask.size,
        kept_importance=float(importance[mask].sum() / total) if total else 1.0,
        threshold=threshold,
        params_before=params,
        params_after=params - window * (mask.size - kept),
        macs_before=macs,
        macs_after=macs * kept // mask.size,
        published_params=published[0],
        published_macs=published[1],
        note=note,
    )
