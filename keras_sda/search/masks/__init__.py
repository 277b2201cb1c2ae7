"""From gates to masks to the smaller model."""
