"""Published tables, repeated: one function a table."""
