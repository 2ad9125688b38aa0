"""Errors, YAML with line numbers, clock, version, text and tables; imports nothing from jobs."""
