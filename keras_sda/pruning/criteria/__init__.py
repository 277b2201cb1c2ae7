"""What a channel is worth, and the statistics that say so."""
