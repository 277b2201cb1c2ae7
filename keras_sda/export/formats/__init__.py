"""What an export is written as, and what goes in beside the network."""
