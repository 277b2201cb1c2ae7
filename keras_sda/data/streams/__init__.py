"""Batches for training and evaluation, and their augmentation."""
