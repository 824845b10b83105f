"""Models, losses, metrics and data that a user passes as Python objects."""
