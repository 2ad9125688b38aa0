-- Whether two cells run the same model in the same setting on the same node, whatever they measure.
a.model IS NOT DISTINCT FROM b.model
AND a.checkpoint_sha256 IS NOT DISTINCT FROM b.checkpoint_sha256
AND a.exit_blocks IS NOT DISTINCT FROM b.exit_blocks
AND a.device IS NOT DISTINCT FROM b.device
AND a.node IS NOT DISTINCT FROM b.node
AND a.runtime IS NOT DISTINCT FROM b.runtime
AND a.precision IS NOT DISTINCT FROM b.precision
AND a.threads IS NOT DISTINCT FROM b.threads
