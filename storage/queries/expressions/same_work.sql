-- Whether two cells run the same model on the same images with the same runtime, precision and
-- threads: if they are on one device too, their predictions are the same. An exit rule is in the
-- model's name.
a.model IS NOT DISTINCT FROM b.model
AND a.checkpoint_sha256 IS NOT DISTINCT FROM b.checkpoint_sha256
AND a.exit_blocks IS NOT DISTINCT FROM b.exit_blocks
AND a.dataset IS NOT DISTINCT FROM b.dataset
AND a.dataset_sha256 IS NOT DISTINCT FROM b.dataset_sha256
AND a.runtime IS NOT DISTINCT FROM b.runtime
AND a.precision IS NOT DISTINCT FROM b.precision
AND a.threads IS NOT DISTINCT FROM b.threads
