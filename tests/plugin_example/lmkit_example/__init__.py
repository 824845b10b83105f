"""A distribution that adds one of each kind to lmkit by its entry points; its folder on the path installs it."""
