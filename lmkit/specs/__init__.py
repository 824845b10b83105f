"""What can be configured, free of any framework; ``tasks`` needs NumPy alone, since a bundle reads it."""
