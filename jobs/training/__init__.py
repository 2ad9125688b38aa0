"""Recipe to checkpoint, and the import of foreign checkpoints."""
