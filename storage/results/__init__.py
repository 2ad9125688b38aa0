"""Reading results: contents of a root, views, the DuckDB connection, export formats."""
