"""Comparisons: variants of a model, built and measured side by side."""
