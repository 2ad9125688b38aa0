"""Reading results: what a root holds, views, the DuckDB connection, export formats."""
