"""The machine a process runs on: devices, slots, sensors, conditions, heartbeat."""
