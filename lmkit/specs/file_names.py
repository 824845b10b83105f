"""The ends of the names of files that hold tables and texts."""

from __future__ import annotations

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zip")

LINES = (".csv", ".tsv", ".data", ".dat")
"""Files of text with a row a line, whatever separates the values."""

RECORDS = (".json", ".jsonl", ".ndjson")
"""Files of JSON: a list of records, columns, or a record a line."""

PARQUET = (".parquet", ".pq")

DELIMITED = (*LINES, *(f"{name}{end}" for name in LINES for end in COMPRESSIONS))

FILES = (
    *(".csv", ".parquet", ".npz", ".tsv", ".feather", ".json", ".xlsx"),
    *(".pq", ".ndjson", ".arff", ".data", ".dat"),
    *(f"{name}{end}" for name in (*LINES, *RECORDS, ".arff") for end in COMPRESSIONS),
)
"""Files of tables."""

FILE_NAMES = ".csv, .parquet, .npz, .tsv, .feather, .json, .ndjson, .xlsx, .arff (text also compressed)"
"""The ends of the names of files of tables, for messages."""

STREAMS = (".csv", ".tsv", *PARQUET, ".csv.gz", ".tsv.gz", ".csv.bz2", ".tsv.bz2")
"""Files that can be read piece by piece."""

TEXTS = (".txt", ".jsonl")
"""Files of text; with a target they are tables, and tables may hold text in a column."""
