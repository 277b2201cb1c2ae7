"""Layers that weigh channels, places or depths."""
