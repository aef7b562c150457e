-- One row for each record of the dead-letter topic. `log_id` is as in `deliveries`, and `origin_log_id` is that of the record
-- it was made from.
CREATE TABLE IF NOT EXISTS dead_letters
(
    log_id LowCardinality(String),
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    source LowCardinality(String),
    reason LowCardinality(String),
    detail String,
    origin String,
    origin_log_id LowCardinality(String),
    event_type LowCardinality(String),
    job_id String,
    key_name LowCardinality(String),
    signature String,
    signed_at_text String,
    redrives UInt16,
    received_at DateTime64(3, 'UTC'),
    body String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (log_id, topic, partition, offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 0, replicated_deduplication_window = 0;
