-- One row for each dead letter that was sent back into its resource topic and each record that it became there. Rows of the same
-- letter and record replace each other, so that a redrive which was killed may note both again.
CREATE TABLE IF NOT EXISTS redrives
(
    log_id LowCardinality(String) COMMENT 'log id of the dead letter, as in `dead_letters`',
    topic LowCardinality(String) COMMENT 'name of the dead-letter topic',
    partition Int32 COMMENT 'partition of the dead letter',
    offset Int64 COMMENT 'offset of the dead letter',
    redrives UInt16 COMMENT 'how often the record has been sent back, this time included',
    to_log_id LowCardinality(String) COMMENT 'log id of the record that it became, as in `deliveries`',
    to_topic LowCardinality(String) COMMENT 'resource topic that it was sent to',
    to_partition Int32 COMMENT 'partition of the record that it became',
    to_offset Int64 COMMENT 'offset of the record that it became',
    redriven_at DateTime64(3, 'UTC') COMMENT 'when this was noted, by the clock of the redrive: right after the brokers had the record, or when a killed redrive was continued'
)
ENGINE = ReplacingMergeTree
ORDER BY (log_id, topic, partition, offset, to_log_id, to_topic, to_partition, to_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 0, replicated_deduplication_window = 0
COMMENT 'Table, `ReplacingMergeTree`. One row for each dead letter that was sent back, and each record that it became. Written by `hookline-processor redrive`.';
