"""What commands take, checked before any work."""
