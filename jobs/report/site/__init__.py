"""The pages of all runs under a results root, as a folder of files or served on loopback."""
