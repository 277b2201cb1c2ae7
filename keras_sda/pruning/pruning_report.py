"""What became of a model: layer by layer, before and after."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras

from keras_sda.analysis import compare_latency, profile
from keras_sda.analysis.latency.layer_timer import LayerTimer
from keras_sda.graph import frozen_note, swapped_bias_note
from keras_sda.pruning.calibration_losses import losses_text
from keras_sda.pruning.draw_channels import draw_channels
from keras_sda.pruning.pruning_plan import is_ruined
from keras_sda.pruning.refit.refit_row import RefitRow, refit_lines, refit_tables
from keras_sda.runs.report import Report, change, merged_names
from keras_sda.utils.draw_in_run import draw_in_run


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
class PruningReport(Report):
    """What a smaller model has left of a larger one.

    Made by `prune`; `PruningReport.of` makes one for any two models whose layers have
    the same names, however the smaller one came about.

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
        table_latency: None, or what the latency table of another device says:
            `ms_before`, `ms_after`, `ratio`, and its `unit`.
        refits: A `RefitRow` for every kernel that was fitted anew, or that reads
            removed channels and stays as it was cut; of the last step.
        losses: The loss on some samples in the last step, where it is known: `before`
            it, after the `cut` alone, `reconstructed`, and by `chance`, of a model
            which looks at nothing. Empty without data and a loss.

    Example:

    >>> import keras
    >>> from keras_sda.pruning import PruningReport
    >>> def build(units):
    ...     x = keras.Input((8,))
    ...     y = keras.layers.Dense(units, name="hidden")(x)
    ...     return keras.Model(x, keras.layers.Dense(2, name="predictions")(y))
    >>> report = PruningReport.of(build(4), build(3))
    >>> report.macs_before, report.macs_after, report.layers[0].channels_after
    (40, 30, 3)
    """

    layers: tuple[LayerChange, ...]
    uncounted: tuple[str, ...] = ()
    table_latency: dict[str, Any] | None = None
    refits: tuple[RefitRow, ...] = ()
    losses: dict[str, float] = dataclasses.field(default_factory=dict)

    format_name: ClassVar[str] = "keras_sda pruning report, version 1"
    maker: ClassVar[str] = "`keras-sda prune` or `PruningReport.save`"

    @classmethod
    def of(
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
        table_latency: dict[str, Any] | None = None,
        refits: Sequence[RefitRow] = (),
        losses: Mapping[str, float] | None = None,
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
            table_latency: See the class. Defaults to `None`.
            refits: See the class. Defaults to none.
            losses: See the class. Defaults to `None`, which is empty.

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
            latency = compare_latency(
                {"before": before, "after": after},
                batch_size=batch_size,
                num_runs=num_runs,
                input_shape=input_shape,
            ).change()
        reasons: dict[str, list] = {}
        for entry in untouchable:
            reasons.setdefault(entry.layer, []).append(entry)
        old = {row.name: row for row in whole.layers}
        new = {row.name: row for row in small.layers}
        names = merged_names(list(old), list(new))
        for name in [name for name in reasons if name not in names]:
            # A wrapper whose rows are those of the layers inside.
            inside = [row for row in names if row.startswith(f"{name}/")]
            if inside:
                reasons.setdefault(inside[0], []).extend(reasons.pop(name))
        rows = []
        for name in names:
            a: Any = old.get(name)
            b: Any = new.get(name)
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
                    _loss_note(losses or {}, settings or {}),
                    *warnings,
                )
                if text
            ),
            uncounted=tuple(dict.fromkeys([*whole.unknown, *small.unknown])),
            table_latency=table_latency,
            refits=tuple(refits),
            losses=dict(losses or {}),
        )

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A dictionary per layer and one for the total, as in the CSV file."""
        return [dataclasses.asdict(row) for row in (*self.layers, self._total())]

    def summary(self, row: LayerChange) -> str:
        """The channels of one layer before and after."""
        return change(row.channels_before, row.channels_after)

    def details(self) -> list[str]:
        """What is not counted, the latency, and the number of changed layers."""
        lines = []
        if self.uncounted:
            lines.append("MACs not counted, no rule: " + ", ".join(self.uncounted))
        if self.latency:
            lines.append(
                "latency: {ms_before:.2f} -> {ms_after:.2f} ms (ratio {ratio:.3f}; "
                "batch {batch_size}, {dtype}, {backend} on {device})".format(
                    **self.latency
                )
            )
        if self.table_latency:
            lines.append(
                "latency by table: {ms_before:.2f} -> {ms_after:.2f} (ratio "
                "{ratio:.3f}; {unit})".format(**self.table_latency)
            )
        narrower = [
            row for row in self.layers
            if row.channels_before is not None
            and (row.channels_after or 0) < row.channels_before
        ]  # fmt: skip
        lines.append(f"layers with fewer channels: {len(narrower)} of "
                     f"{len(self.layers)}")  # fmt: skip
        lines += refit_lines(self.refits)
        if self.losses:
            lines.append(f"loss of samples: {losses_text(self.losses)}")
        fixed = [row for row in self.layers if row.untouchable]
        if fixed:
            lines.append(f"layers with untouchable channels: {len(fixed)}")
        return lines

    def tables(self) -> list[tuple[str, list[str], list[list[Any]]]]:
        """The layers and the total, and what was untouchable."""
        timed = any(row.ms_before is not None for row in self.layers)
        header = ["Layer", "Type", "Channels", "Params", "MACs"]
        header += ["Latency (ms)"] * timed
        rows: list[list[Any]] = []
        for row in (*self.layers, self._total()):
            cells = [
                row.name,
                row.type,
                change(row.channels_before, row.channels_after),
                change(row.params_before, row.params_after),
                change(row.macs_before, row.macs_after),
            ]
            rows.append(cells + [change(row.ms_before, row.ms_after)] * timed)
        tables = [("Layers", header, rows)]
        tables += refit_tables(self.refits)
        fixed = [row for row in self.layers if row.untouchable]
        if fixed:
            rows = [[row.name, f"{row.untouchable:,}", row.reason] for row in fixed]
            header = ["Layer", "Channels", "Why"]
            tables.append(("Untouchable channels", header, rows))
        return tables

    def save(self, folder: str | os.PathLike, name: str | None = None) -> None:
        """Writes report.json, report.csv, report.md and report.png into a folder.

        Without matplotlib there is no report.png.

        Args:
            folder: Where the files go.
            name: Name of the files. Defaults to `"report"`.
        """
        path = pathlib.Path(folder) / f"{name or self.file_name}.png"
        draw_in_run(draw_channels, self, path)
        super().save(folder, name)

    def _total(self):
        latency = self.latency or {}
        return LayerChange(
            "Total", "", None, None,
            self.params_before, self.params_after,
            self.macs_before, self.macs_after,
            latency.get("ms_before"), latency.get("ms_after"),
            sum(row.untouchable for row in self.layers),
        )  # fmt: skip


def _loss_note(losses, settings):
    """What a user should know where the fit did not bring the loss back."""
    before, fitted, chance = (
        losses.get(name) for name in ("before", "reconstructed", "chance")
    )
    if not is_ruined(before, fitted, chance):
        return ""
    advice = "" if settings.get("scope") == "loss" else "take scope='loss', "
    return (
        f"with the kernels that stay fitted, the loss is {fitted:.3g}, where it was "
        f"{before:.3g} and a model which looks at nothing has {chance:.3g}: cut less "
        f"at a time (`steps`), {advice}or train the result"
    )


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
