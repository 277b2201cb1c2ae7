"""What became of a model: layer by layer, before and after."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_sda.analysis import LatencyComparison, compare_latency, profile
from keras_sda.analysis.latency.layer_timer import LayerTimer
from keras_sda.graph import frozen_note, swapped_bias_note
from keras_sda.pruning.criteria.draw_channels import draw_channels
from keras_sda.utils.draw_in_run import draw_in_run
from keras_sda.utils.files.csv_rows import csv_text
from keras_sda.utils.files.report_files import markdown_table, read_report, write_report

_FORMAT = "keras_sda pruning report, version 1"


@dataclasses.dataclass(frozen=True)
class LayerChange:
    """One layer before and after. None stands for a layer that one model lacks.

    Attributes:
        name: Name of the layer, with the names of nested models before it.
        type: Class name, that of the smaller model where the layer is still there.
        channels_before, channels_after: Channels of its output.
        params_before, params_after: Parameters.
        macs_before, macs_after: Multiply-accumulates of one sample.
        ms_before, ms_after: Measured time of the layer alone in milliseconds per
            batch; None where it was not measured.
        untouchable: How many of its channels could not be removed.
        reason: Why not.
    """

    name: str
    type: str
    channels_before: int | None
    channels_after: int | None
    params_before: int | None
    params_after: int | None
    macs_before: int | None
    macs_after: int | None
    ms_before: float | None = None
    ms_after: float | None = None
    untouchable: int = 0
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class PruningReport:
    """What a smaller model has left of a larger one.

    Made by `prune`; `PruningReport.compare` makes one for any two models whose layers
    have the same names, however the smaller one came about.

    Attributes:
        model: Name of the model.
        params_before, params_after: All parameters.
        macs_before, macs_after: Multiply-accumulates of one sample.
        layers: A `LayerChange` for every layer with parameters or
            multiply-accumulates, in the order in which they run.
        latency: None, or what was measured: `ms_before`, `ms_after`, `ratio` (median
            over rounds of both models), `ratio_iqr`, `batch_size`, `device`,
            `backend`, `dtype`, `versions`.
        settings: How the smaller model was made.
        warnings: What the user should know, such as which frozen layers were cut.
        uncounted: Names of layers whose multiply-accumulates are missing in all
            counts, because no rule knows them.

    Example:

    >>> import keras
    >>> from keras_sda.pruning import PruningReport
    >>> def build(units):
    ...     x = keras.Input((8,))
    ...     y = keras.layers.Dense(units, name="hidden")(x)
    ...     return keras.Model(x, keras.layers.Dense(2, name="predictions")(y))
    >>> report = PruningReport.compare(build(4), build(3))
    >>> report.macs_before, report.macs_after, report.layers[0].channels_after
    (40, 30, 3)
    """

    model: str
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    layers: tuple[LayerChange, ...]
    latency: dict[str, Any] | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    uncounted: tuple[str, ...] = ()

    @classmethod
    def compare(
        cls,
        before: keras.Model,
        after: keras.Model,
        untouchable: Sequence[Any] = (),
        settings: Mapping[str, Any] | None = None,
        measure_latency: bool = False,
        batch_size: int = 1,
        num_runs: int = 30,
        input_shape: Any = None,
        warnings: Sequence[str] = (),
    ) -> "PruningReport":
        """Compares two models by the names of their layers.

        Args:
            before: The larger model.
            after: The smaller one.
            untouchable: What could not be removed and why: objects with `layer`,
                `num_channels`, `because_of` and `reason`, such as those of
                `ChannelGraph.untouchable`. Defaults to none.
            settings: How the smaller model was made. Defaults to `{}`.
            measure_latency: Whether to time both models in alternation, and their
                layers one by one. Defaults to `False`.
            batch_size: Samples per timed run. Defaults to `1`.
            num_runs: Timed rounds. Defaults to `30`.
            input_shape: Shape of one image, where the models leave it open.
            warnings: What else the user should know. Defaults to none.

        Raises:
            InvalidInputError: A model has no readable graph.
        """
        whole, small = profile(before, input_shape), profile(after, input_shape)
        axes = {**_first_axes(before), **_first_axes(after)}
        times = {}, {}
        latency = None
        if measure_latency:
            timer = LayerTimer(batch_size)
            times = timer.times_ms(before), timer.times_ms(after)
            models = {"before": before, "after": after}
            latency = _latency(
                compare_latency(
                    models,
                    batch_size=batch_size,
                    num_runs=num_runs,
                    input_shape=input_shape,
                )
            )
        reasons: dict[str, list] = {}
        for entry in untouchable:
            reasons.setdefault(entry.layer, []).append(entry)
        old = {row.name: row for row in whole.layers}
        new = {row.name: row for row in small.layers}
        names = _merged(list(old), list(new))
        for name in [name for name in reasons if name not in names]:
            # A wrapper whose rows are those of the layers inside.
            inside = [row for row in names if row.startswith(f"{name}/")]
            if inside:
                reasons.setdefault(inside[0], []).extend(reasons.pop(name))
        rows = []
        for name in names:
            a, b = old.get(name), new.get(name)
            counts = any(row and (row.params or row.macs) for row in (a, b))
            if not counts and name not in reasons:
                continue
            found = reasons.get(name, ())
            rows.append(
                LayerChange(
                    name=name,
                    type=(b or a).type,
                    channels_before=_channels(a, axes),
                    channels_after=_channels(b, axes),
                    params_before=a and a.params,
                    params_after=b and b.params,
                    macs_before=a and a.macs,
                    macs_after=b and b.macs,
                    ms_before=times[0].get(name),
                    ms_after=times[1].get(name),
                    untouchable=sum(entry.num_channels for entry in found),
                    reason="; ".join(
                        entry.reason
                        if entry.because_of == name
                        else f"{entry.reason} ({entry.because_of})"
                        for entry in found
                    ),
                )
            )
        return cls(
            model=before.name,
            params_before=whole.params,
            params_after=small.params,
            macs_before=whole.macs,
            macs_after=small.macs,
            layers=tuple(rows),
            latency=latency,
            settings=dict(settings or {}),
            warnings=tuple(
                text
                for text in (
                    frozen_note(before, after),
                    _round_note(rows, (settings or {}).get("round_to", 1)),
                    swapped_bias_note(after, input_shape),
                    *warnings,
                )
                if text
            ),
            uncounted=tuple(dict.fromkeys([*whole.unknown, *small.unknown])),
        )

    def to_text(self) -> str:
        """The totals in a few lines."""
        lines = [f"{self.model}, before and after"]
        for name, before, after in (
            ("parameters", self.params_before, self.params_after),
            ("MACs", self.macs_before, self.macs_after),
        ):
            lines.append(f"{name}: {before:,} -> {after:,} ({_share(before, after)})")
        if self.uncounted:
            lines.append("MACs not counted, no rule: " + ", ".join(self.uncounted))
        if self.latency:
            lines.append(
                "latency: {ms_before:.2f} -> {ms_after:.2f} ms (ratio {ratio:.3f}; "
                "batch {batch_size}, {dtype}, {backend} on {device})".format(
                    **self.latency
                )
            )
        narrower = [
            row for row in self.layers
            if row.channels_before is not None
            and (row.channels_after or 0) < row.channels_before
        ]  # fmt: skip
        lines.append(f"layers with fewer channels: {len(narrower)} of "
                     f"{len(self.layers)}")  # fmt: skip
        fixed = [row for row in self.layers if row.untouchable]
        if fixed:
            lines.append(f"layers with untouchable channels: {len(fixed)}")
        lines += [f"warning: {text}" for text in self.warnings]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Everything, as JSON."""
        return json.dumps(
            {"format": _FORMAT, **dataclasses.asdict(self)}, indent=1, default=str
        )

    def to_csv(self) -> str:
        """A row per layer and one for the total."""
        rows = [*self.layers, self._total()]
        return csv_text([dataclasses.asdict(row) for row in rows])

    def to_markdown(self) -> str:
        """Totals, layers and what was untouchable, as Markdown tables."""
        timed = any(row.ms_before is not None for row in self.layers)
        header = ["Layer", "Type", "Channels", "Params", "MACs"]
        header += ["Latency (ms)"] * timed
        totals = self.to_text().splitlines()
        lines = [f"# {totals[0]}", "", *(f"* {line}" for line in totals[1:]), ""]
        rows = []
        for row in (*self.layers, self._total()):
            cells = [
                row.name,
                row.type,
                _change(row.channels_before, row.channels_after),
                _change(row.params_before, row.params_after),
                _change(row.macs_before, row.macs_after),
            ]
            rows.append(cells + [_change(row.ms_before, row.ms_after)] * timed)
        lines += ["## Layers", "", *markdown_table(header, rows)]
        fixed = [row for row in self.layers if row.untouchable]
        if fixed:
            rows = [[row.name, f"{row.untouchable:,}", row.reason] for row in fixed]
            table = markdown_table(["Layer", "Channels", "Why"], rows)
            lines += ["", "## Untouchable channels", "", *table]
        if self.settings:
            lines += ["", "## Settings", ""]
            lines += [f"* {key}: {value}" for key, value in self.settings.items()]
        return "\n".join(lines) + "\n"

    def save(self, folder: str | os.PathLike) -> None:
        """Writes report.json, report.csv, report.md and report.png into a folder.

        Without matplotlib there is no report.png.
        """
        draw_in_run(draw_channels, self, pathlib.Path(folder) / "report.png")
        write_report(self, folder)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "PruningReport":
        """Reads the report.json that `save` wrote into a folder.

        Raises:
            InvalidInputError: There is no report, or it is damaged.
        """
        maker = "`keras-sda prune` or `PruningReport.save`"
        return read_report(folder, cls, _FORMAT, maker)

    def _total(self):
        latency = self.latency or {}
        return LayerChange(
            "Total", "", None, None,
            self.params_before, self.params_after,
            self.macs_before, self.macs_after,
            latency.get("ms_before"), latency.get("ms_after"),
            sum(row.untouchable for row in self.layers),
        )  # fmt: skip


def _round_note(rows, round_to):
    """Which layers keep no multiple of what they were to keep multiples of."""
    odd = [
        f"{row.name!r} ({row.channels_after})"
        for row in rows
        if row.macs_after
        and row.type != "BatchNormalization"
        and row.channels_before is not None
        and row.channels_after is not None
        and row.channels_after < row.channels_before
        and row.channels_after % round_to
    ]
    if not odd:
        return ""
    more = f" and {len(odd) - 8} more" if len(odd) > 8 else ""
    return (
        f"`round_to`={round_to} rounds every group of channels that go together; of "
        "these layers, whose channels fall into several groups or partly have to stay, "
        f"other numbers of channels are left: {', '.join(odd[:8])}{more}"
    )


def _latency(comparison: LatencyComparison) -> dict[str, Any]:
    result = comparison.results["before"]
    return {
        "ms_before": result.median_ms,
        "ms_after": comparison.results["after"].median_ms,
        "ratio": comparison.ratios["after"],
        "ratio_iqr": list(comparison.ratio_iqrs["after"]),
        "batch_size": result.batch_size,
        "num_runs": result.num_runs,
        "device": result.device,
        "backend": result.backend,
        "dtype": result.dtype,
        "versions": result.versions,
    }


def _merged(old: list[str], new: list[str]) -> list[str]:
    """The names of the old model; those that only the new one has, where they run."""
    merged = list(old)
    position = 0
    for name in new:
        if name in old:
            position = merged.index(name) + 1
        else:
            merged.insert(position, name)
            position += 1
    return merged


def _first_axes(model, prefix="") -> dict[str, bool]:
    """Names of the layers whose channels are their first axis."""
    names = {}
    for layer in model.layers:
        if getattr(layer, "data_format", None) == "channels_first":
            names[prefix + layer.name] = True
        if isinstance(layer, keras.Model) and layer is not model:
            names.update(_first_axes(layer, f"{prefix}{layer.name}/"))
    return names


def _channels(row, first_axes):
    """Channels of the output of a layer; None for several outputs or no layer."""
    if row is None or not row.output_shape or isinstance(row.output_shape[0], tuple):
        return None
    return row.output_shape[0 if row.name in first_axes else -1]


def _share(before, after):
    return f"{after / before:.1%}" if before else "-"


def _change(before, after):
    if before is None and after is None:
        return ""
    before, after = (
        "-" if v is None else f"{v:,.3f}" if isinstance(v, float) else f"{v:,}"
        for v in (before, after)
    )
    return before if before == after else f"{before} -> {after}"
