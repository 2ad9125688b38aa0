"""Machines as nodes of a Ray cluster: identity, checks before the start, and the start itself."""
