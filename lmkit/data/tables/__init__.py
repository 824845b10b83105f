"""Tables and images: rows with columns, read from any source."""
