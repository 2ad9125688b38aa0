"""The machine that a process runs on: devices, slots, sensors, conditions, heartbeat."""
