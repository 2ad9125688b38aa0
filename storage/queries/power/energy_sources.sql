-- What measured the power of each node of a run, in the words shown wherever its millijoules are
-- shown: `energy: INA3221, rail VDD_IN`, `energy: replay: power.csv`, `energy: meter: log.csv`.
WITH
named AS (
    SELECT run_id, node,
        regexp_replace(regexp_replace(regexp_replace(power_source,
            '^(ina3221|ina238|rapl): (\S+)$', '\1, rail \2'),
            '^(ina3221|ina238|rapl): (\S+( \+ \S+)+)$', '\1, rails \2'),
            '^(ina3221|ina238|nvml): ', '\1, ') AS source
    FROM nodes
    WHERE power_source IS NOT NULL
)
SELECT run_id, node,
    'energy: ' || string_agg(DISTINCT CASE
        WHEN regexp_matches(source, '^(ina3221|ina238|rapl|nvml), ')
            THEN upper(split_part(source, ',', 1)) || ',' || array_to_string(split(source, ',')[2:], ',')
        ELSE source
    END, ' / ') AS energy_source
FROM named
GROUP BY run_id, node
