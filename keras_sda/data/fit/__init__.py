"""Whatever `model.fit` takes as data, read by one reader."""
