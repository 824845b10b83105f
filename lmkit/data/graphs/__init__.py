"""Graphs: nodes with features, and edges."""
