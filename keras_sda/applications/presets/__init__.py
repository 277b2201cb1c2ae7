"""Published networks and weights as data."""
