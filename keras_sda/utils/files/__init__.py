"""Files that are whole or not there: JSON, CSV, weights, models, locks."""
