"""Image datasets: TFDS, folders, digits; decoding and resizing."""
