-- The roll-up. A row holds everything that is known of one (created hour, source, resource), once by minute and once by hour of
-- the end of the jobs, and a refresh replaces it whole: a cell that is no more is gone with the old row. Rows are few and large,
-- hence the small granules: a range reads the rows of its own hours. A reader takes the subcolumns that it needs, for the states
-- are nearly all of the bytes.
CREATE TABLE IF NOT EXISTS job_stats
(
    created_hour DateTime('UTC') COMMENT 'hour in which the jobs were created',
    source LowCardinality(String) COMMENT 'as in `job_facts`',
    resource LowCardinality(String) COMMENT 'as in `job_facts`',
    version UInt128 COMMENT 'upper 64 bits: the server\'s time before the refresh read the facts, in nanoseconds since 1970, or one more than that of the row before where the clock went back; lower 64 bits: the server\'s time; the greatest version is the row that counts',
    first_finished_at DateTime('UTC') COMMENT 'second of the earliest end of a job; 2106 where none ended',
    last_finished_at DateTime('UTC') COMMENT 'second of the latest end of a job; 1970 where none ended',
    minute_cells Array(Tuple(
        minute DateTime('UTC'),
        job_type String,
        error_code String,
        completed UInt64,
        errored UInt64,
        total_jobs UInt64,
        run_jobs UInt64,
        queue_jobs UInt64,
        total_max Nullable(Float64),
        run_max Nullable(Float64),
        queue_max Nullable(Float64),
        total_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64),
        run_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64),
        queue_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64))) COMMENT 'the columns of `job_stats_by_minute`',
    hour_cells Array(Tuple(
        hour DateTime('UTC'),
        job_type String,
        error_code String,
        completed UInt64,
        errored UInt64,
        total_jobs UInt64,
        run_jobs UInt64,
        queue_jobs UInt64,
        total_max Nullable(Float64),
        run_max Nullable(Float64),
        queue_max Nullable(Float64),
        total_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64),
        run_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64),
        queue_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64))) COMMENT 'the columns of `job_stats_by_hour`'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(created_hour)
ORDER BY (created_hour, source, resource)
SETTINGS index_granularity = 16, ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 0, replicated_deduplication_window = 0
COMMENT 'Table, `ReplacingMergeTree(version)`, by month of `created_hour`. The roll-up as it is stored: a row holds all cells of one created hour, source and resource, and a refresh replaces it whole.';

-- One row for each minute, source, resource, job type and error code that has finished jobs.
CREATE OR REPLACE VIEW job_stats_by_minute
(
    created_hour DateTime('UTC') COMMENT 'hour in which the jobs were created',
    minute DateTime('UTC') COMMENT 'start of the minute in which the jobs ended',
    source String COMMENT 'as in `job_facts`',
    resource String COMMENT 'as in `job_facts`',
    job_type String COMMENT 'as in `job_facts`',
    error_code String COMMENT 'code of the errored jobs; empty for the completed ones',
    completed UInt64 COMMENT 'jobs that completed',
    errored UInt64 COMMENT 'jobs that errored',
    total_jobs UInt64 COMMENT 'jobs that have a `total_seconds`',
    run_jobs UInt64 COMMENT 'jobs that have a `run_seconds`',
    queue_jobs UInt64 COMMENT 'jobs that have a `queue_seconds`',
    total_max Nullable(Float64) COMMENT 'greatest `total_seconds`',
    run_max Nullable(Float64) COMMENT 'greatest `run_seconds`',
    queue_max Nullable(Float64) COMMENT 'greatest `queue_seconds`',
    total_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64) COMMENT 'state of the quantiles of `total_seconds`',
    run_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64) COMMENT 'state of the quantiles of `run_seconds`',
    queue_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64) COMMENT 'state of the quantiles of `queue_seconds`'
)
AS SELECT
    created_hour,
    minute,
    CAST(source, 'String') AS source,
    CAST(resource, 'String') AS resource,
    job_type,
    error_code,
    completed,
    errored,
    total_jobs,
    run_jobs,
    queue_jobs,
    total_max,
    run_max,
    queue_max,
    total_state,
    run_state,
    queue_state
FROM job_stats FINAL
ARRAY JOIN
    minute_cells.minute AS minute,
    minute_cells.job_type AS job_type,
    minute_cells.error_code AS error_code,
    minute_cells.completed AS completed,
    minute_cells.errored AS errored,
    minute_cells.total_jobs AS total_jobs,
    minute_cells.run_jobs AS run_jobs,
    minute_cells.queue_jobs AS queue_jobs,
    minute_cells.total_max AS total_max,
    minute_cells.run_max AS run_max,
    minute_cells.queue_max AS queue_max,
    minute_cells.total_state AS total_state,
    minute_cells.run_state AS run_state,
    minute_cells.queue_state AS queue_state
COMMENT 'View of the roll-up `job_stats`, at most some seconds behind `job_facts`. One row for each created hour, minute of the end, source, resource, job type and error code that has finished jobs.';

-- The same by the hour of the end.
CREATE OR REPLACE VIEW job_stats_by_hour
(
    created_hour DateTime('UTC') COMMENT 'hour in which the jobs were created',
    hour DateTime('UTC') COMMENT 'start of the hour in which the jobs ended',
    source String COMMENT 'as in `job_facts`',
    resource String COMMENT 'as in `job_facts`',
    job_type String COMMENT 'as in `job_facts`',
    error_code String COMMENT 'code of the errored jobs; empty for the completed ones',
    completed UInt64 COMMENT 'jobs that completed',
    errored UInt64 COMMENT 'jobs that errored',
    total_jobs UInt64 COMMENT 'jobs that have a `total_seconds`',
    run_jobs UInt64 COMMENT 'jobs that have a `run_seconds`',
    queue_jobs UInt64 COMMENT 'jobs that have a `queue_seconds`',
    total_max Nullable(Float64) COMMENT 'greatest `total_seconds`',
    run_max Nullable(Float64) COMMENT 'greatest `run_seconds`',
    queue_max Nullable(Float64) COMMENT 'greatest `queue_seconds`',
    total_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64) COMMENT 'state of the quantiles of `total_seconds`',
    run_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64) COMMENT 'state of the quantiles of `run_seconds`',
    queue_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), Float64) COMMENT 'state of the quantiles of `queue_seconds`'
)
AS SELECT
    created_hour,
    hour,
    CAST(source, 'String') AS source,
    CAST(resource, 'String') AS resource,
    job_type,
    error_code,
    completed,
    errored,
    total_jobs,
    run_jobs,
    queue_jobs,
    total_max,
    run_max,
    queue_max,
    total_state,
    run_state,
    queue_state
FROM job_stats FINAL
ARRAY JOIN
    hour_cells.hour AS hour,
    hour_cells.job_type AS job_type,
    hour_cells.error_code AS error_code,
    hour_cells.completed AS completed,
    hour_cells.errored AS errored,
    hour_cells.total_jobs AS total_jobs,
    hour_cells.run_jobs AS run_jobs,
    hour_cells.queue_jobs AS queue_jobs,
    hour_cells.total_max AS total_max,
    hour_cells.run_max AS run_max,
    hour_cells.queue_max AS queue_max,
    hour_cells.total_state AS total_state,
    hour_cells.run_state AS run_state,
    hour_cells.queue_state AS queue_state
COMMENT 'View of the roll-up `job_stats`, at most some seconds behind `job_facts`. One row for each created hour, hour of the end, source, resource, job type and error code that has finished jobs.';

-- From which created hour on no job may have expired. While no TTL is configured that is every hour; `migrate` replaces the view with
-- the TTL of `jobs`.
CREATE OR REPLACE VIEW jobs_kept_since
(
    created_hour DateTime('UTC') COMMENT 'the first created hour of which no job may have expired; 1970 without a TTL'
)
AS SELECT toDateTime(0, 'UTC') AS created_hour
COMMENT 'View. One row: what `migrate` says about the TTL of `jobs`. A created hour before it is not refreshed in `job_stats` any more.';
