"""What channels cost, and how many may stay."""
