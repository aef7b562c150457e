-- The facts of each job. A row is what one batch says of a job; the engine joins rows of a job as the fold does.
-- What is acknowledged is on the disk, because its offset is committed then, and a block that is sent again is inserted again,
-- because what it had inserted may be gone: hence the settings, the same for every table.
-- A TTL, where `migrate` sets one, drops whole parts and rewrites none.
-- The provider's ids begin with the time of creation, so the least and the greatest id of a granule rule out nearly all of them;
-- the bloom filter, 15 KB for each granule, is read for the others alone, and for all of them where ids are in no order.
-- Minima are Nullable where a fact may be missing: a plain column would keep 1970.
CREATE TABLE IF NOT EXISTS jobs
(
    source LowCardinality(String) COMMENT 'as in `job_facts`',
    resource LowCardinality(String) COMMENT 'as in `job_facts`',
    created_hour DateTime('UTC') COMMENT 'as in `job_facts`',
    job_id String COMMENT 'as in `job_facts`',
    created_at SimpleAggregateFunction(min, DateTime64(3, 'UTC')) COMMENT 'as in `job_facts`',
    job_type SimpleAggregateFunction(max, LowCardinality(String)) COMMENT 'as in `job_facts`',
    width SimpleAggregateFunction(max, Nullable(Int64)) COMMENT 'as in `job_facts`',
    height SimpleAggregateFunction(max, Nullable(Int64)) COMMENT 'as in `job_facts`',
    media_seconds SimpleAggregateFunction(max, Nullable(Float64)) COMMENT 'as in `job_facts`',
    image_count SimpleAggregateFunction(max, Nullable(Int64)) COMMENT 'as in `job_facts`',
    started_at SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'as in `job_facts`',
    completed_at SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'as in `job_facts`',
    errored_at SimpleAggregateFunction(min, Nullable(DateTime64(3, 'UTC'))) COMMENT 'as in `job_facts`',
    error SimpleAggregateFunction(max, String) COMMENT 'code, a NUL, message; empty where no `errored` was seen',
    credits_estimated SimpleAggregateFunction(max, Nullable(Int64)) COMMENT '`payload.credits_charged` of `started`',
    credits_completed SimpleAggregateFunction(max, Nullable(Int64)) COMMENT '`payload.credits_charged` of `completed`',
    credits_errored SimpleAggregateFunction(min, Nullable(Int64)) COMMENT '`payload.credits_charged` of `errored`',
    fps SimpleAggregateFunction(max, Nullable(Float64)) COMMENT 'as in `job_facts`',
    first_received_at SimpleAggregateFunction(min, DateTime64(3, 'UTC')) COMMENT 'as in `job_facts`',
    last_received_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')) COMMENT 'as in `job_facts`',
    fold_version SimpleAggregateFunction(min, UInt16) COMMENT 'as in `job_facts`',
    counted_ends SimpleAggregateFunction(groupBitOr, UInt8) COMMENT 'no fact: the terminal events that the consumer group inserted and counts in its metrics, 1 for `completed` and 2 for `errored`; 0 where only a replay inserted any',
    INDEX job_id_minmax job_id TYPE minmax GRANULARITY 1,
    INDEX job_id_bloom job_id TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(created_hour)
ORDER BY (source, resource, created_hour, job_id)
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 0, replicated_deduplication_window = 0
COMMENT 'Table, `AggregatingMergeTree`, by month of `created_hour`. The facts as they are stored: a row is what one batch knows of a job, and ClickHouse joins rows of a job by the minimum or maximum of each column. `job_facts` is the view to read.';
