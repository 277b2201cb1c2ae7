"""How channels pass through a layer or operation."""
