"""Images and batches: read, split, augmented, streamed."""
