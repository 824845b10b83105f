"""Which nodes are joined: the edges beside a table of nodes."""

from __future__ import annotations

from pydantic import Field, field_validator

from lmkit.specs.base import Names, Spec


class GraphSpec(Spec):
    """The edges that join the rows of the table, which are the nodes of a graph.

    An edge counts in both directions and once, however often it is written; one from a node to itself, and any other
    column of the file (such as weights), is left out. A node without a target is part of the graph, and neither trained
    nor tested on; nodes without columns are each told apart by a feature of their own.
    """

    edges: str = Field("edges.csv", min_length=1)
    """The .csv or .parquet file of the edges, a row each."""
    node: str = "id"
    """The column of the table by which the edges call a node."""
    ends: Names = ("source", "target")
    """The two columns of the edges that name the nodes an edge joins."""

    @field_validator("ends")
    @classmethod
    def _two(cls, ends: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(ends)) != 2 or len(ends) != 2:
            raise ValueError(f"given {list(ends)}, expected two columns, such as [source, target]")
        return ends
