"""Compaction, fsck and repair."""
