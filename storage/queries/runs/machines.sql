-- The nodes of each run: their properties, and what could not be read there.
SELECT run_id, node, device, host, architecture, accelerator, python, torch, ray, power_source,
    power_mode, are_clocks_locked, note
FROM nodes
ORDER BY run_id, node, device
