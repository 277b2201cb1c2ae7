"""How long a model, a layer or one form beside another takes."""
