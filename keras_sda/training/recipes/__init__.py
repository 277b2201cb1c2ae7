"""Recipes, schedules and optimizers."""
