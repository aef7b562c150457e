-- One row for each record of the dead-letter topic. `log_id` is as in `deliveries`, and `origin_log_id` is that of the record
-- it was made from.
CREATE TABLE IF NOT EXISTS dead_letters
(
    log_id LowCardinality(String) COMMENT '`{cluster id}/{topic id}`: a topic that was made anew is another log',
    topic LowCardinality(String) COMMENT 'name of the dead-letter topic',
    partition Int32 COMMENT 'partition of the record',
    offset Int64 COMMENT 'offset of the record',
    source LowCardinality(String) COMMENT 'account or environment; empty where the headers do not tell it',
    reason LowCardinality(String) COMMENT 'why it is a dead letter, see below',
    detail String COMMENT 'what exactly is wrong, for people',
    origin String COMMENT '`topic/partition/offset` of the record it was made from, or `ingest`',
    origin_log_id LowCardinality(String) COMMENT 'log id of the record it was made from; empty where that is `ingest`',
    event_type LowCardinality(String) COMMENT 'such as `video.completed`; empty where the body does not tell it',
    job_id String COMMENT '`payload.id`, or the key of a record that ingest did not write; empty where neither is known',
    key_name LowCardinality(String) COMMENT 'name of the secret that verified the signature',
    signature String COMMENT 'the signature, 64 hex digits',
    signed_at_text String COMMENT 'the timestamp header exactly as it came',
    first_signed_at Nullable(DateTime('UTC')) COMMENT 'when the first attempt was signed, where ingest answered that one with 503',
    redrives UInt16 COMMENT 'how often the record was sent back into its resource topic',
    received_at DateTime64(3, 'UTC') COMMENT 'when the webhook reached ingest; the broker\'s time where the headers do not tell it',
    body String COMMENT 'the signed bytes; empty where ClickHouse refused the row with them' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (log_id, topic, partition, offset)
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 0, replicated_deduplication_window = 0
COMMENT 'Table, `ReplacingMergeTree`, by month of `received_at`. One row for each record of the dead-letter topic.';
