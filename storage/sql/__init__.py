"""SQL text, macros and views by name, and the sandbox that DuckDB reads through."""
