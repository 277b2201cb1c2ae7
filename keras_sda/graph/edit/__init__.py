"""A new model from an old one: rebuilt, cut, permuted, expanded."""
