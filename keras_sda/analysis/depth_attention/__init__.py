"""What depth attention looks at: weights by scale, tables and pictures."""
