"""The course of an architecture stage, as CSV and for TensorBoard."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_sda.search.gates.gate_cost import GateCost
from keras_sda.search.search_callbacks import gate_values, hard_macs
from keras_sda.utils.files.csv_rows import read_numbers, write_rows
from keras_sda.utils.optional_import import has_optional, is_installed


class SearchLog(keras.callbacks.Callback):
    """Notes open gates, multiply-accumulates and the price after every epoch.

    Use it through `ChannelSearch.learn_architecture`. `architecture.csv` has a row per
    epoch, `gates.csv` one per epoch and gate. TensorBoard also gets histograms of the
    gates, where it is installed with TensorFlow.

    Args:
        gates: The gates.
        cost: Their `GateCost`.
        folder: Gets the files; `None` keeps the rows in memory alone.
        start_epoch: First epoch of this run, from 0; later rows are dropped.
        threshold: Gates above it count as open. Defaults to `0.9`.

    Attributes:
        rows: A dictionary per epoch: `epoch`, `beta`, `price`, `open`, `half_open`,
            `gates`, `macs` (of the channels with `s` from 0 up), `expected_macs` (with
            the gates as probabilities), and what the model logs.
        gate_rows: A dictionary per epoch and gate: `epoch`, `gate`, `channels`, `open`,
            `half_open`, `mean`.

    Example:

    ```python
    log = SearchLog(channel_gates(gated), GateCost(gated), "runs/search")
    model.fit(data, callbacks=[log])
    ```
    """

    def __init__(
        self,
        gates: Sequence[Any],
        cost: GateCost,
        folder: str | os.PathLike | None = None,
        start_epoch: int = 0,
        threshold: float = 0.9,
    ):
        super().__init__()
        self.gates, self.cost, self.threshold = gates, cost, threshold
        self.folder = None if folder is None else pathlib.Path(folder)
        self.rows: list[dict] = []
        self.gate_rows: list[dict] = []
        if self.folder is not None:
            rows = read_numbers(self.folder / "architecture.csv")
            self.rows = [r for r in rows if r["epoch"] <= start_epoch]
            gates = read_numbers(self.folder / "gates.csv", texts=("gate",))
            self.gate_rows = [r for r in gates if r["epoch"] <= start_epoch]
        self._writer = None

    def on_epoch_end(self, epoch, logs=None):
        price = float(keras.ops.convert_to_numpy(self.model.price))
        values = gate_values(self.gates)
        every = np.concatenate(list(values.values()))
        row = {
            "epoch": epoch + 1,
            "beta": float(keras.ops.convert_to_numpy(self.gates[0].beta)),
            "price": price,
            **_counts(every, self.threshold),
            "gates": len(every),
            "macs": hard_macs(self.gates, self.cost),
            "expected_macs": self.cost.macs_at(values),
            "all_macs": self.cost.macs,
        }
        row.update({name: float(value) for name, value in (logs or {}).items()})
        self.rows = [old for old in self.rows if old["epoch"] <= epoch] + [row]
        self.gate_rows = [old for old in self.gate_rows if old["epoch"] <= epoch]
        for name, value in values.items():
            self.gate_rows.append(
                {
                    "epoch": epoch + 1,
                    "gate": name,
                    "channels": len(value),
                    **_counts(value, self.threshold),
                    "mean": float(value.mean()),
                }
            )
        if self.folder is not None:
            write_rows(self.rows, self.folder / "architecture.csv")
            write_rows(self.gate_rows, self.folder / "gates.csv")
            self._write_tensorboard(epoch, row, values)

    def _write_tensorboard(self, epoch, row, values):
        if not is_installed("tensorflow") or not has_optional(
            "tensorboard", "What logs/ would hold for TensorBoard"
        ):
            return
        import tensorflow as tf

        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.folder / "logs"))
        with self._writer.as_default(step=epoch + 1):
            for name, value in row.items():
                tf.summary.scalar(f"search/{name}", value)
            for name, value in values.items():
                share = float((value > self.threshold).mean())
                tf.summary.scalar(f"open/{name}", share)
                tf.summary.histogram(f"gates/{name}", value)
        self._writer.flush()


def _counts(values, threshold):
    low = min(threshold, 1 - threshold)
    return {
        "open": int((values > threshold).sum()),
        "half_open": int(((values > low) & (values <= threshold)).sum()),
    }
