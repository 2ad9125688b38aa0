"""What to run, where and in which order; ARCHITECTURE.md lists the packages."""
