"""Masked layers as faster ones: forms, order, timing."""
