-- One row for each record of a resource topic: the receipt and the archive. Nothing parsed from the body is in the key or
-- the partition, so that a fix of the decoder cannot double rows. `log_id` is `{cluster id}/{topic id}`: the records of another
-- cluster, or of a topic that was made anew, have the same offsets and are others.
CREATE TABLE IF NOT EXISTS deliveries
(
    log_id LowCardinality(String),
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    source LowCardinality(String),
    resource LowCardinality(String),
    action LowCardinality(String),
    job_id String,
    created_at DateTime64(3, 'UTC'),
    signed_at DateTime('UTC'),
    signed_at_text String,
    first_signed_at Nullable(DateTime('UTC')),
    received_at DateTime64(3, 'UTC'),
    occurred_at DateTime64(3, 'UTC'),
    key_name LowCardinality(String),
    signature String,
    body String CODEC(ZSTD(1)),
    INDEX job_id_bloom job_id TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(signed_at)
ORDER BY (log_id, topic, partition, offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 0, replicated_deduplication_window = 0;
