-- Whether an image exits at an exit, as the router decides it: float32 on both sides; a NaN score
-- never exits (in DuckDB NaN >= 0.5 is true, hence the isnan); the last block has no gate (NULL).
score IS NULL OR (NOT isnan(score) AND score >= threshold::FLOAT)
