"""The edges of a graph whose nodes are the rows of a table."""

from __future__ import annotations

from pydantic import Field, field_validator

from lmkit.specs.base import Names, Spec


class GraphSpec(Spec):
    """The edges between the rows of the table, which are the nodes of a graph.

    An edge counts in both directions, and once if it occurs several times; edges from a node to itself, and other
    columns of the file (such as weights), are ignored. A node without a target is part of the graph, but not of the
    training, validation or test part; nodes without columns get a one-hot feature each.
    """

    edges: str = Field("edges.csv", min_length=1)
    """The .csv or .parquet file of the edges, one per row."""
    node: str = "id"
    """The column of the table that identifies a node in the edges."""
    ends: Names = ("source", "target")
    """The two columns of the edges that identify the nodes of an edge."""

    @field_validator("ends")
    @classmethod
    def _two(cls, ends: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(ends)) != 2 or len(ends) != 2:
            raise ValueError(f"given {list(ends)}, expected two columns, such as [source, target]")
        return ends
