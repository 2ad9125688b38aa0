"""Embedded data sets, and the script that makes them."""
