"""The life of a run: submit, resume, amend, cancel, watch, detach, rebuild."""
