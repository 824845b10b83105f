"""A run's folder, the only protocol between the worker and its watchers."""
