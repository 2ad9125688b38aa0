"""Schemas, records and their checks; tables as Parquet and on the wire."""
