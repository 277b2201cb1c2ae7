"""A run on disk: folder, lock, backups, stages, history, report."""

from keras_sda.runs.epoch_backup import EpochBackup
from keras_sda.runs.report import Report

__all__ = ["EpochBackup", "Report"]
