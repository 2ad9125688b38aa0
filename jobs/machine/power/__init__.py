"""Power: sources of milliwatts, windows around what is timed, and a wall meter's log afterwards."""
