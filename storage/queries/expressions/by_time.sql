-- The mean of values by how long each lasted; where none lasted they count equally. An aggregate.
coalesce(sum(value * duration_us) / nullif(sum(duration_us), 0), avg(value))
