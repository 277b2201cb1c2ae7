"""Layers which gates, grouping and packing leave behind."""
