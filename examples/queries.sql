-- What a run found, as several statements: gfjobs sql -f examples/queries.sql

-- How many images exit where, on the way to the accuracy of each threshold.
create view latest as
    from ladder where run_id = (select arg_max(run_id, submitted_at) from runs);

select model, dataset, threshold, acc1, mean_blocks, exit_counts from latest;

-- The rounds in which a device was throttled; the figures leave them out.
select count(*) as throttled from throttled_rounds;
