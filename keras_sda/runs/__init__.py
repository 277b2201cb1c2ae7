"""A run on disk: folder, lock, backups, stages, history."""
