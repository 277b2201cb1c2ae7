"""One layer in a table of latencies, at all its widths."""

import dataclasses
import functools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_sda.analysis.latency.layer_widths import ShareTimes, one_layer_model
from keras_sda.analysis.latency.write_requests import COLUMNS
from keras_sda.analysis.macs.macs_rules import count_macs
from keras_sda.graph import layer_calls
from keras_sda.utils import InvalidInputError

AGAIN = "Write it anew with LatencyTable.requests(model, folder) and fill it in."


@dataclasses.dataclass(frozen=True, eq=False)
class TableEntry:
    """What a table says of one layer.

    Attributes:
        class_name: Registered name of its class.
        config: What its time depends on.
        in_shape: Shape of its input for one sample, such as `"1x32x32x3"`.
        times: Its times, down to a share of 0.
    """

    class_name: str
    config: dict[str, Any]
    in_shape: str
    times: ShareTimes

    @functools.cached_property
    def macs(self) -> int | None:
        """Multiply-accumulates of the whole layer; None where nobody can say."""
        registered = keras.saving.get_registered_object(self.class_name)
        layer_class = registered or getattr(keras.layers, self.class_name, None)
        if not isinstance(layer_class, type):
            return None
        leading, *sides = (int(side) for side in self.in_shape.split("x"))
        try:
            model = one_layer_model(layer_class, self.config, (None, *sides))
            macs = count_macs(layer_calls(model)[0])
        except (ValueError, TypeError, AttributeError):  # of another version
            return None
        return macs and macs * leading


def read_entries(rows: Sequence[Mapping[str, Any]]) -> dict[str, TableEntry]:
    """Checks the rows of a table and puts those of one layer together.

    Args:
        rows: See `LatencyTable`.

    Returns:
        Entries by key.

    Raises:
        InvalidInputError: A row is damaged, or has no usable time yet.
    """
    if not rows:
        raise InvalidInputError(f"The latency table has no rows. {AGAIN}")
    times: dict[str, dict[float, float]] = {}
    known: dict[str, tuple[str, dict[str, Any], str]] = {}
    empty = []
    for number, row in enumerate(rows, 1):
        absent = [name for name in COLUMNS if name not in row]
        if absent:
            raise InvalidInputError(
                f"The latency table lacks the columns {absent}; it has {list(row)}, "
                f"and {list(COLUMNS)} are expected, separated by commas. {AGAIN}"
            )
        key = str(row["key"])
        where = f"Row {number} of the latency table ({key!r}, share {row['share']})"
        if str(row["ms"]).strip() == "":
            empty.append(where)
            continue
        ms = milliseconds(row["ms"], f"{where}: `ms`")
        share = _number(row["share"])
        if not 0 < share <= 1:
            raise InvalidInputError(
                f"{where} is damaged: `share` must be above 0 and at most 1. {AGAIN}"
            )
        mine = times.setdefault(key, {})
        if share in mine:
            raise InvalidInputError(f"{where} is there twice. Keep one of them.")
        mine[share] = ms
        described = _described(row, where)
        if share == 1:
            known[key] = described
    if empty:
        raise InvalidInputError(
            f"{empty[0]} has no time yet, one of {len(empty)} such rows of "
            f"{len(rows)}. Time the small models on the device and write the "
            "milliseconds into the column `ms`."
        )
    for key in times:
        if key not in known:
            raise InvalidInputError(
                f"The latency table has no row with share 1 for {key!r}, which is the "
                f"whole layer. {AGAIN}"
            )
    if not any(ms for mine in times.values() for ms in mine.values()):
        raise InvalidInputError(
            "All times of the latency table are 0. Time the small models with a finer "
            "clock, many runs in a row, and write the milliseconds of one."
        )
    return {key: TableEntry(*known[key], _with_zero(times[key])) for key in times}


def milliseconds(value: Any, what: str) -> float:
    """A time as a number.

    Args:
        value: What was given, a number or its text.
        what: How the error calls it.

    Raises:
        InvalidInputError: It is no number from 0 up.
    """
    number = _number(value)
    if not 0 <= number < math.inf:
        raise InvalidInputError(
            f"{what} must be milliseconds, a number from 0 up such as 1.25. "
            f"Received: {value!r}."
        )
    return number


def _described(row, where) -> tuple[str, dict[str, Any], str]:
    try:
        config = json.loads(row["config"])
        sides = [int(side) for side in str(row["in_shape"]).split("x")]
        if not isinstance(config, dict) or min(sides) < 1:
            raise ValueError("no object, or a side below 1")
    except (ValueError, TypeError) as error:
        raise InvalidInputError(
            f"{where} is damaged: `config` must be JSON and `in_shape` such as "
            f"1x32x32x3 ({error}). {AGAIN}"
        ) from error
    return str(row["class"]), config, "x".join(map(str, sides))


def _number(value):
    if isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _with_zero(times: dict[float, float]) -> ShareTimes:
    """The times with one for a share of 0, where the line through the last two ends."""
    known = ShareTimes(list(times), list(times.values()))
    shares, values = known.shares, known.times
    zero = 0.0
    if len(shares) > 1:
        slope = (values[1] - values[0]) / (shares[1] - shares[0])
        zero = max(float(values[0] - slope * shares[0]), 0.0)
    return ShareTimes([0.0, *shares], [zero, *values])
