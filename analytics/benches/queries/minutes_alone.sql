-- The roll-up in one resolution, cells by minute alone, and how it was refreshed: what a refresh of both is measured against.
CREATE TABLE IF NOT EXISTS job_stats_by_minute_alone
(
    created_hour DateTime('UTC'),
    source LowCardinality(String),
    resource LowCardinality(String),
    version UInt128,
    cells Array(Tuple(
        minute DateTime('UTC'),
        job_type String,
        error_code String,
        completed UInt64,
        errored UInt64,
        total_max Nullable(Float64),
        run_max Nullable(Float64),
        queue_max Nullable(Float64),
        total_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64),
        run_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64),
        queue_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64)))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(created_hour)
ORDER BY (created_hour, source, resource)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 0, replicated_deduplication_window = 0;

INSERT INTO job_stats_by_minute_alone (created_hour, source, resource, version, cells)
SETTINGS insert_deduplicate = 0, async_insert = 0, max_partitions_per_insert_block = 0
SELECT
    created_hour,
    source,
    resource,
    bitShiftLeft(toUInt128(greatest(began, standing.2[indexOf(standing.1, (created_hour, source, resource))] + 1)), 64) + began,
    cells
FROM
(
    SELECT
        toUInt64(toUnixTimestamp64Nano(now64(9, 'UTC'))) AS began,
        (
            SELECT (groupArray(group), groupArray(upper))
            FROM
            (
                SELECT
                    (created_hour, CAST(source, 'String'), CAST(resource, 'String')) AS group,
                    toUInt64(bitShiftRight(max(version), 64)) AS upper
                FROM job_stats_by_minute_alone
                WHERE created_hour IN ({hours})
                GROUP BY group
            )
        ) AS standing
) AS started
CROSS JOIN
(
SELECT created_hour, source, resource, groupArrayArray(cells) AS cells
FROM
(
    SELECT
        created_hour,
        source,
        resource,
        [tuple(
            toStartOfMinute(assumeNotNull(finished_at)) AS minute,
            job_type,
            if(outcome = 'errored', error_code, '') AS code,
            countIf(outcome = 'completed'),
            countIf(outcome = 'errored'),
            max(total_seconds),
            max(run_seconds),
            max(queue_seconds),
            quantilesDDStateIf(0.01, 0.5, 0.9, 0.95, 0.99)(assumeNotNull(total_seconds), total_seconds IS NOT NULL),
            quantilesDDStateIf(0.01, 0.5, 0.9, 0.95, 0.99)(assumeNotNull(run_seconds), run_seconds IS NOT NULL),
            quantilesDDStateIf(0.01, 0.5, 0.9, 0.95, 0.99)(assumeNotNull(queue_seconds), queue_seconds IS NOT NULL))] AS cells
    FROM job_facts
    WHERE created_hour IN ({hours}) AND outcome != 'open'
    GROUP BY created_hour, source, resource, minute, job_type, code
    UNION ALL
    SELECT DISTINCT created_hour, CAST(source, 'String') AS source, CAST(resource, 'String') AS resource, [] AS cells
    FROM job_stats_by_minute_alone
    WHERE created_hour IN ({hours})
)
GROUP BY created_hour, source, resource
) AS refreshed;
