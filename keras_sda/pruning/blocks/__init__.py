"""Whole blocks: which can go, what each is worth, the model without them."""
