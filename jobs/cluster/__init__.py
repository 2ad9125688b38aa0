"""Machines as nodes of a Ray cluster: what they are, how they start, what is checked before."""
