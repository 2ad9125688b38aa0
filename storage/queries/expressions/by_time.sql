-- The mean of values, weighted by duration; equally weighted if all durations are 0. An aggregate.
coalesce(sum(value * duration_us) / nullif(sum(duration_us), 0), avg(value))
