-- The roll-up. A row holds everything that is known of one (created hour, source, resource), by minute of the end of the
-- jobs, and a refresh replaces it whole: a minute, job type or error code that is no more is gone with the old row.
CREATE TABLE IF NOT EXISTS job_stats
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

-- One row for each minute, source, resource, job type and error code that has finished jobs.
CREATE OR REPLACE VIEW job_stats_by_minute AS
SELECT
    created_hour,
    tupleElement(cell, 'minute') AS minute,
    CAST(source, 'String') AS source,
    CAST(resource, 'String') AS resource,
    tupleElement(cell, 'job_type') AS job_type,
    tupleElement(cell, 'error_code') AS error_code,
    tupleElement(cell, 'completed') AS completed,
    tupleElement(cell, 'errored') AS errored,
    tupleElement(cell, 'total_max') AS total_max,
    tupleElement(cell, 'run_max') AS run_max,
    tupleElement(cell, 'queue_max') AS queue_max,
    tupleElement(cell, 'total_state') AS total_state,
    tupleElement(cell, 'run_state') AS run_state,
    tupleElement(cell, 'queue_state') AS queue_state
FROM job_stats FINAL
ARRAY JOIN cells AS cell;
