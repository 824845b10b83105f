"""Training: the loop that every framework shares."""
