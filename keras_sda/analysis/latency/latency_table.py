"""What the layers of a model take on another device, as somebody measured it there."""

import hashlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_sda.analysis.latency.layer_timer import timeable_calls
from keras_sda.analysis.latency.layer_widths import WIDTHS, ShareTimes
from keras_sda.analysis.latency.table_entry import AGAIN, milliseconds, read_entries
from keras_sda.analysis.latency.write_requests import (
    class_name,
    entry_key,
    layer_settings,
    write_requests,
)
from keras_sda.analysis.macs.macs_rules import count_macs
from keras_sda.graph import LayerCall
from keras_sda.utils import InvalidInputError
from keras_sda.utils.files.csv_rows import read_rows


class LatencyTable:
    """The times of the layers of a model on a device that is not this one.

    Use it to prune or search for a phone, a board or a server. `requests` writes one
    small model per layer and width, and a CSV file whose column `ms` is empty. Time the
    small models on the device, write the milliseconds into the column, and `load` the
    file; then `make_plan(model, latency=0.5, latency_table=table)` needs no device.

    Between the widths that were timed, times are interpolated over the share of
    multiply-accumulates; below the narrowest one, the line goes on, to no less than 0.
    A layer with one row is taken to cost as much per multiply-accumulate at every
    width. Times never rise as channels go. Layers without a kernel (normalization,
    activations, sums) are in no row: say with `fixed_ms` what they take together.

    Args:
        rows: A dictionary per row, with the columns of the file: `key`, `class`,
            `config` (JSON), `in_shape` (such as `"1x32x32x3"`), `share` and `ms`.
        unit: What the numbers are, for plans and reports, such as `"ms on a Pixel 8"`.
            Defaults to `"ms, by table"`.
        fixed_ms: What a run takes beyond these layers. Defaults to `0.0`.
        missing: What is done about a layer without an entry: `"error"`, or `"macs"`
            takes it to cost as much per multiply-accumulate as the known ones do
            together. Defaults to `"error"`.

    Attributes:
        unit: As given.
        fixed_ms: As given.

    Raises:
        InvalidInputError: A row is damaged, or has no usable time yet.

    Example:

    >>> import keras, tempfile
    >>> from keras_sda.analysis import LatencyTable
    >>> from keras_sda.graph import layer_calls
    >>> from keras_sda.utils.files.csv_rows import read_rows
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4, name="hidden")(x)
    >>> model = keras.Model(x, keras.layers.Dense(2)(y))
    >>> path = LatencyTable.requests(model, tempfile.mkdtemp() + "/phone")
    >>> rows = [{**row, "ms": 2 * float(row["share"])} for row in read_rows(path)]
    >>> table = LatencyTable(rows, unit="ms on a phone")
    >>> table.time(layer_calls(model)[0], [0.5])
    1.0

    Source: the idea of VPU specific CNNs (Donegan et al., ICPR 2020), a table of times
    of another device; the interpolation is ours.
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        unit: str = "ms, by table",
        fixed_ms: float = 0.0,
        missing: str = "error",
    ):
        if missing not in ("error", "macs"):
            raise InvalidInputError(
                f"`missing` must be 'error' or 'macs'. Received: missing={missing!r}."
            )
        if not isinstance(unit, str) or not unit:
            raise InvalidInputError(
                "`unit` must say what the numbers of the table are, such as 'ms on a "
                f"Pixel 8'. Received: unit={unit!r}."
            )
        self.unit = unit
        self.fixed_ms = milliseconds(fixed_ms, "`fixed_ms`")
        self._missing = missing
        self._entries = read_entries(rows)
        # Layers of a model before it lost channels, by name: see `following`.
        self._origins: dict[tuple[str, int], tuple[str, int]] = {}
        self._rate: float | None = None

    @staticmethod
    def requests(
        model: keras.Model,
        folder: str | os.PathLike,
        widths: Sequence[float] = WIDTHS,
        exporter: Callable[[keras.Model, pathlib.Path], Any] | None = None,
        batch_size: int = 1,
        input_shape: Any = None,
    ) -> pathlib.Path:
        """Writes the small models to time and the table to fill in.

        The folder then holds `latency.csv` and, in `models`, one model for every row,
        called `KEY-SHARE` after these columns. Equal layers share a key. The rows of
        the most expensive layers come first. Time them as the network will run: same
        precision, same number of threads.

        Args:
            model: A functional or built sequential model. It is not changed.
            folder: A new or empty folder.
            widths: Shares of the channels at which layers are timed. Defaults to
                `(1, 0.75, 0.5, 0.25)`; the first one must be 1.
            exporter: Function of a small model and a path without ending that writes
                it in the format of the device, such as `lambda model, path:
                model.export(f"{path}.tflite", format="litert")`. Defaults to `None`,
                `.keras` files.
            batch_size: Images per run; the small models take no other. Defaults to `1`.
            input_shape: Shape of one sample, where the model leaves it open. Defaults
                to `None`.

        Returns:
            Path of the CSV file.

        Raises:
            InvalidInputError: The folder is in use, an argument is wrong, or the model
                has no layer that can be timed. Nothing is written then.
        """
        return write_requests(model, folder, widths, exporter, batch_size, input_shape)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        unit: str | None = None,
        fixed_ms: float = 0.0,
        missing: str = "error",
    ) -> "LatencyTable":
        """Reads a table that `requests` wrote and somebody filled in.

        Args:
            path: The CSV file, or the folder of `requests`.
            unit: See the class. Defaults to `"ms, by table"` with the name of the file.
            fixed_ms: See the class.
            missing: See the class.

        Raises:
            InvalidInputError: There is no such file, it is damaged, or a time is
                missing or no positive number.
        """
        path = pathlib.Path(path)
        if path.is_dir():
            path = path / "latency.csv"
        if not path.is_file():
            raise InvalidInputError(
                f"`path` {str(path)!r} is no file. Name the CSV file that "
                "LatencyTable.requests(model, folder) wrote and that was filled in."
            )
        # Spreadsheets put a mark before the first column.
        rows = [
            {name.removeprefix("\ufeff"): value for name, value in row.items()}
            for row in read_rows(path)
        ]
        try:
            return cls(rows, unit or f"ms, by table {path.name}", fixed_ms, missing)
        except InvalidInputError as error:
            raise InvalidInputError(f"`path` {str(path)!r}: {error}") from error

    def time(self, call: LayerCall, kept: Sequence[float] = ()) -> float:
        """Milliseconds of one layer when channels are gone.

        Args:
            call: The layer, see `graph.layer_calls`.
            kept: For every channel axis of its kernel the share that is left; their
                product is the share of multiply-accumulates. Defaults to none, the
                whole layer.

        Raises:
            InvalidInputError: The table has no entry for it, and `missing` is
                `"error"`; the message names the nearest one.
        """
        return self.times(call).at(math.prod(kept))

    def times(self, call: LayerCall) -> ShareTimes:
        """Milliseconds of one layer by the share of its multiply-accumulates.

        Args:
            call: See `time`.

        Raises:
            InvalidInputError: See `time`.
        """
        place = self._place(call)
        if place is not None:
            key, share = place
            known = self._entries[key].times
            return ShareTimes(known.shares / share, known.times)
        self._check_known([call], None)
        return ShareTimes([0.0, 1.0], [0.0, self._ms_per_mac() * _macs(call)])

    def check(self, model: keras.Model, calls: Sequence[LayerCall]) -> None:
        """Raises where the table was not made for a model.

        Args:
            model: The model.
            calls: Its layers that a table knows, see `timeable_calls`.

        Raises:
            InvalidInputError: It knows no layer of the model; or not all of them, and
                `missing` is `"error"`.
        """
        if calls and not any(self._place(call) for call in calls):
            raise InvalidInputError(
                f"`latency_table` has an entry for none of the {len(calls)} layers of "
                f"model '{model.name}': it belongs to another model or another input "
                f"shape. {self._nearest(calls[0])} {AGAIN}"
            )
        self._check_known(calls, model)

    def following(self, model: keras.Model, input_shape: Any = None) -> "LatencyTable":
        """The same table, which knows the layers of a model once they are narrower too.

        Use it where a model loses channels in several steps: its layers are found by
        their names, and their times by what is left of their multiply-accumulates.

        Args:
            model: The model that the table was made for.
            input_shape: Shape of one sample, where the model leaves it open. Defaults
                to `None`.
        """
        table = LatencyTable.__new__(LatencyTable)
        table.__dict__.update(self.__dict__)
        table._origins = {
            (call.name, call.call_index): (_key(call), _macs(call))
            for call in timeable_calls(model, input_shape)
        }
        return table

    @property
    def digest(self) -> str:
        """A fingerprint of everything in it, to see that it is given the same again."""
        rows = {
            key: [entry.times.shares.tolist(), entry.times.times.tolist()]
            for key, entry in sorted(self._entries.items())
        }
        text = json.dumps([rows, self.unit, self.fixed_ms, self._missing])
        return hashlib.sha256(text.encode()).hexdigest()

    def _place(self, call) -> tuple[str, float] | None:
        """Key of a layer, and what it has left of the one that was timed."""
        origin = self._origins.get((call.name, call.call_index))
        if origin and origin[0] in self._entries:
            return origin[0], _macs(call) / origin[1]
        key = _key(call)
        return (key, 1.0) if key in self._entries else None

    def _check_known(self, calls, model):
        unknown = [call for call in calls if self._place(call) is None]
        if not unknown or self._missing == "macs":
            return
        named = ", ".join(repr(call.name) for call in unknown[:8])
        named += f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        where = f" of model '{model.name}'" if model is not None else ""
        raise InvalidInputError(
            f"`latency_table` has no entry for {named}{where}. "
            f"{self._nearest(unknown[0])} "
            f"{AGAIN} Or read it with missing='macs', which estimates such layers "
            "from their multiply-accumulates."
        )

    def _nearest(self, call):
        """A sentence: what is asked for, and the entry that differs least from it."""
        kind = class_name(call.layer)
        shape = "x".join(map(str, call.batch_input_shapes[0]))
        config = layer_settings(call.layer)

        def differences(entry):
            found = [
                f"{name} {entry.config.get(name)!r} instead of {config.get(name)!r}"
                for name in sorted({*config, *entry.config})
                if _plain(entry.config.get(name)) != _plain(config.get(name))
            ]
            if entry.in_shape != shape:
                found.append(f"in_shape {entry.in_shape} instead of {shape}")
            return found

        key, entry = min(
            self._entries.items(),
            key=lambda item: (
                item[1].class_name != kind,
                item[1].in_shape.count("x") != shape.count("x"),
                len(differences(item[1])),
            ),
        )
        if entry.class_name != kind:
            text = f"another class, {entry.class_name}"
        else:
            text = "; ".join(differences(entry)[:4])
        return (
            f"{call.name!r} is a {kind} with input {shape}; the nearest known entry is "
            f"{key!r} ({text})."
        )

    def _ms_per_mac(self) -> float:
        """What the known layers take per multiply-accumulate, all of them together."""
        if self._rate is None:
            counted = [
                (entry.times.whole, entry.macs)
                for entry in self._entries.values()
                if entry.macs
            ]
            if not counted:
                kinds = sorted({x.class_name for x in self._entries.values()})
                raise InvalidInputError(
                    "`missing='macs'` needs an entry whose multiply-accumulates can be "
                    "counted, of a Keras layer or a registered class. The table has "
                    f"{kinds}."
                )
            ms, macs = (sum(column) for column in zip(*counted, strict=True))
            self._rate = ms / macs
        return self._rate


def _key(call):
    return entry_key(call.layer, call.batch_input_shapes[0])


def _macs(call):
    return count_macs(call) or 0


def _plain(value):
    """As JSON has it, to compare with what was read."""
    return json.dumps(value, sort_keys=True, default=str)
