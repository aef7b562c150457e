-- One row for each record of a resource topic: the receipt and the archive. Nothing parsed from the body is in the key or
-- the partition, so that a fix of the decoder cannot double rows. `log_id` is `{cluster id}/{topic id}`: the records of another
-- cluster, or of a topic that was made anew, have the same offsets and are others.
CREATE TABLE IF NOT EXISTS deliveries
(
    log_id LowCardinality(String) COMMENT '`{cluster id}/{topic id}`: a topic that was made anew is another log',
    topic LowCardinality(String) COMMENT 'topic of the record',
    partition Int32 COMMENT 'partition of the record',
    offset Int64 COMMENT 'offset of the record',
    source LowCardinality(String) COMMENT 'account or environment, from the header `ce_source`',
    resource LowCardinality(String) COMMENT '`video`, `image` or `audio`',
    action LowCardinality(String) COMMENT '`started`, `completed` or `errored`',
    job_id String COMMENT '`payload.id`',
    created_at DateTime64(3, 'UTC') COMMENT '`payload.created_at` of this event',
    signed_at DateTime('UTC') COMMENT 'when the provider signed this attempt, by its clock',
    signed_at_text String COMMENT 'the timestamp header exactly as it came: the signature covers its text',
    first_signed_at Nullable(DateTime('UTC')) COMMENT 'when the first attempt was signed, where ingest answered that one with 503',
    received_at DateTime64(3, 'UTC') COMMENT 'when the webhook reached ingest, by ingest\'s clock',
    occurred_at DateTime64(3, 'UTC') COMMENT 'when the event happened: within the first signed second that is known, where our clock says',
    key_name LowCardinality(String) COMMENT 'name of the secret that verified the signature',
    signature String COMMENT 'the signature, 64 hex digits',
    body String COMMENT 'the signed bytes' CODEC(ZSTD(1)),
    INDEX job_id_minmax job_id TYPE minmax GRANULARITY 1,
    INDEX job_id_bloom job_id TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(signed_at)
ORDER BY (log_id, topic, partition, offset)
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 0, replicated_deduplication_window = 0
COMMENT 'Table, `ReplacingMergeTree`, by month of `signed_at`. One row for each record of a resource topic: the receipt of a webhook, and its body. A row of it implies that its facts are in `jobs`.';
