"""What the user asks for: the grid file read, resolved and cross-checked."""
