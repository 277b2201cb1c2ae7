"""A run on disk: folder, lock, backups, stages, history."""

from keras_sda.runs.epoch_backup import EpochBackup

__all__ = ["EpochBackup"]
