"""Multiply-accumulates and parameters, counted layer by layer."""
