"""A run's folder: layout, manifests, the single writer, merge, summaries, seals."""
