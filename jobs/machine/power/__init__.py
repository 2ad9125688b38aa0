"""Power: sensors and other sources, windows around timed sections, import of a meter's log."""
