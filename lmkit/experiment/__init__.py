"""The experiment: one validated configuration."""
