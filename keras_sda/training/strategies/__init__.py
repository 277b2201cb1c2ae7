"""Devices, precision and determinism of a run."""
