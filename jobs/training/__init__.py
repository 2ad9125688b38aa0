"""Training from a recipe to a checkpoint, and the import of foreign checkpoints."""
