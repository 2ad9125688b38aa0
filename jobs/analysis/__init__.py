"""What results mean: reads SQL and numpy, and measures nothing itself."""
