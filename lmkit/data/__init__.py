"""From an experiment's data to arrays and batches."""
