"""Grid files: read, resolved and cross-checked."""
