"""Units that belong together: groups of channels over a whole model."""
