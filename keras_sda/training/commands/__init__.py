"""The commands train, prune, search, group and evaluate."""
