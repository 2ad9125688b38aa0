"""The site of a results root: all runs in one place, made anew only where something changed."""
