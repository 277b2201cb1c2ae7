"""Which filters belong together: importance, clusters, masks."""
