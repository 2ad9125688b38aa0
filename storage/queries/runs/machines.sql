-- The nodes of one run: their properties, and what could not be read there.
SELECT node, device, host, architecture, accelerator, python, torch, ray, power_source, power_mode,
    are_clocks_locked, note
FROM nodes
WHERE run_id = $run_id
ORDER BY node, device
