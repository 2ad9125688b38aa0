"""Charts by Altair."""
