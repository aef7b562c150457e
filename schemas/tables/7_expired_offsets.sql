-- One row for each range of offsets that a partition had lost before the processor read it: its log began after the offset that
-- was next. Of the rows of a range the one with the latest acknowledged_at wins, which is 1970 until somebody acknowledges.
CREATE TABLE IF NOT EXISTS expired_offsets
(
    log_id LowCardinality(String),
    topic LowCardinality(String),
    partition Int32,
    from_offset Int64,
    to_offset Int64,
    detected_at DateTime64(3, 'UTC'),
    acknowledged_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(acknowledged_at)
ORDER BY (log_id, topic, partition, from_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 0, replicated_deduplication_window = 0;
