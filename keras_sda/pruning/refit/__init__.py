"""Kernels and statistics of a pruned model, fitted anew without training."""
