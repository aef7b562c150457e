-- One row for each range of offsets that a partition had lost before the processor read it: its log began after the offset that
-- was next. Of the rows of a range the one with the latest acknowledged_at wins, which is 1970 until somebody acknowledges.
CREATE TABLE IF NOT EXISTS expired_offsets
(
    log_id LowCardinality(String) COMMENT '`{cluster id}/{topic id}`: a topic that was made anew is another log',
    topic LowCardinality(String) COMMENT 'name of the topic',
    partition Int32 COMMENT 'partition that lost the records',
    from_offset Int64 COMMENT 'the offset that was next to be read',
    to_offset Int64 COMMENT 'the offset at which the log began',
    detected_at DateTime64(3, 'UTC') COMMENT 'when it was noticed, by the server\'s clock',
    acknowledged_at DateTime64(3, 'UTC') COMMENT 'when somebody acknowledged it; 1970 until then'
)
ENGINE = ReplacingMergeTree(acknowledged_at)
ORDER BY (log_id, topic, partition, from_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 0, replicated_deduplication_window = 0
COMMENT 'Table, `ReplacingMergeTree(acknowledged_at)`. One row for each range of offsets that retention or DeleteRecords removed from a topic before the processor read them: their webhooks were acknowledged and are in no table. Written by the processor when it notices; `hookline-processor acknowledge` sets `acknowledged_at`.';
