"""Interprets results with SQL and numpy; measures nothing itself."""
