"""Convolutions and what stands beside them."""
