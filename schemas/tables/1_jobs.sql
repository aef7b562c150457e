-- The facts of each job. A row is what one batch says of a job; the engine joins rows of a job as the fold does.
-- What is acknowledged is on the disk, because its offset is committed then, and a block that is sent again is inserted again,
-- because what it had inserted may be gone: hence the settings, the same for every table.
-- Minima are Nullable where a fact may be missing: a plain column would keep 1970.
-- counted_ends is no fact: it says which terminal events the consumer group inserted, and so counted in its metrics. A replay leaves it 0.
CREATE TABLE IF NOT EXISTS jobs
(
    source LowCardinality(String),
    resource LowCardinality(String),
    created_hour DateTime('UTC'),
    job_id String,
    created_at SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    job_type SimpleAggregateFunction(max, LowCardinality(String)),
    width SimpleAggregateFunction(max, Nullable(Int64)),
    height SimpleAggregateFunction(max, Nullable(Int64)),
    media_seconds SimpleAggregateFunction(max, Nullable(Float64)),
    image_count SimpleAggregateFunction(max, Nullable(Int64)),
    started_at SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))),
    completed_at SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))),
    errored_at SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))),
    error SimpleAggregateFunction(max, String),
    credits_estimated SimpleAggregateFunction(max, Nullable(Int64)),
    credits_completed SimpleAggregateFunction(max, Nullable(Int64)),
    credits_errored SimpleAggregateFunction(min, Nullable(Int64)),
    fps SimpleAggregateFunction(max, Nullable(Float64)),
    first_received_at SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last_received_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    fold_version SimpleAggregateFunction(min, UInt16),
    counted_ends SimpleAggregateFunction(groupBitOr, UInt8),
    INDEX job_id_bloom job_id TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(created_hour)
ORDER BY (source, resource, created_hour, job_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 0, replicated_deduplication_window = 0;
