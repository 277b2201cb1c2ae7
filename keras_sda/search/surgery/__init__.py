"""How closed channels leave a model, and what their constants become."""
