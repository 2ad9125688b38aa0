-- The exits that have a gate, in order: those before the last block.
list_filter(coalesce(exit_blocks, []), lambda block: depth IS NULL OR block < depth - 1)
