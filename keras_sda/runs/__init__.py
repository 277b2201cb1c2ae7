"""A run on disk: folder, lock, manifest, stages, backups, history, report."""

from keras_sda.runs.epoch_backup import EpochBackup
from keras_sda.runs.report import Report
from keras_sda.runs.run import Run
from keras_sda.runs.run_metrics import RunMetrics

__all__ = ["EpochBackup", "Report", "Run", "RunMetrics"]
