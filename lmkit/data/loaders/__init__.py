"""Data loaders of the user: a loader, a generator, or a function that returns one."""
