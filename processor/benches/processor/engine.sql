-- The usual way without a processor: ClickHouse's own Kafka engine, and materialized views that fill the same tables. Of fourteen
-- variants this shape cost least: raw bodies, one typed extraction, and a table that stores nothing in front of the two that do.
CREATE TABLE records (body String) ENGINE = Kafka
SETTINGS
    kafka_broker_list = '{brokers}',
    kafka_topic_list = '{topics}',
    kafka_group_name = '{group}',
    kafka_format = 'RawBLOB',
    kafka_num_consumers = 2,
    kafka_thread_per_consumer = 1,
    kafka_max_block_size = 65536;

CREATE TABLE events
(
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
    body String,
    job_type LowCardinality(String),
    width Nullable(Int64),
    height Nullable(Int64),
    media_seconds Nullable(Float64),
    image_count Nullable(Int64),
    credits Nullable(Int64),
    fps Nullable(Float64),
    error String
)
ENGINE = Null;

CREATE MATERIALIZED VIEW to_deliveries TO deliveries AS
SELECT
    '{log_id}' AS log_id, topic, partition, offset, source, resource, action, job_id, created_at, signed_at, signed_at_text,
    first_signed_at, received_at, occurred_at, key_name, signature, body
FROM events;

CREATE MATERIALIZED VIEW to_jobs TO jobs AS
SELECT
    source,
    resource,
    toStartOfHour(created_at) AS created_hour,
    job_id,
    created_at,
    job_type,
    width,
    height,
    media_seconds,
    image_count,
    if(action = 'started', occurred_at, NULL) AS started_at,
    if(action = 'completed', occurred_at, NULL) AS completed_at,
    if(action = 'errored', occurred_at, NULL) AS errored_at,
    error,
    if(action = 'started', credits, NULL) AS credits_estimated,
    if(action = 'completed', credits, NULL) AS credits_completed,
    if(action = 'errored', credits, NULL) AS credits_errored,
    if(action = 'started', NULL, fps) AS fps,
    received_at AS first_received_at,
    received_at AS last_received_at,
    {fold_version} AS fold_version,
    multiIf(action = 'completed', 1, action = 'errored', 2, 0) AS counted_ends
FROM events;

CREATE MATERIALIZED VIEW to_events TO events AS
WITH
    JSONExtract(body, 'Tuple(
        type String,
        payload Tuple(
            id String, created_at String, type String, width Nullable(Int64), height Nullable(Int64), fps Nullable(Float64),
            start_seconds Nullable(Float64), end_seconds Nullable(Float64), image_count Nullable(Int64),
            credits_charged Nullable(Int64), error Tuple(code String, message String)))') AS event,
    splitByChar('.', event.type) AS words,
    _headers.value[indexOf(_headers.name, 'hookline-first-signed-at')] AS first_signed_at_text,
    toDateTime64(coalesce(first_signed_at, signed_at), 3, 'UTC') AS first_known_signed_at
SELECT
    _topic AS topic,
    toInt32(_partition) AS partition,
    toInt64(_offset) AS offset,
    substring(_headers.value[indexOf(_headers.name, 'ce_source')], 11) AS source,
    words[1] AS resource,
    words[2] AS action,
    event.payload.id AS job_id,
    parseDateTime64BestEffortOrZero(event.payload.created_at, 3, 'UTC') AS created_at,
    toDateTime(toUInt32OrZero(signed_at_text), 'UTC') AS signed_at,
    _headers.value[indexOf(_headers.name, 'hookline-signed-at')] AS signed_at_text,
    toDateTime(toUInt32OrNull(first_signed_at_text), 'UTC') AS first_signed_at,
    fromUnixTimestamp64Milli(toInt64OrZero(_headers.value[indexOf(_headers.name, 'hookline-received-at')]), 'UTC') AS received_at,
    least(
        greatest(received_at, first_known_signed_at, created_at),
        first_known_signed_at + toIntervalMillisecond(999)) AS occurred_at,
    _headers.value[indexOf(_headers.name, 'hookline-key')] AS key_name,
    _headers.value[indexOf(_headers.name, 'hookline-signature')] AS signature,
    body,
    event.payload.type AS job_type,
    nullIf(event.payload.width, -1) AS width,
    nullIf(event.payload.height, -1) AS height,
    event.payload.end_seconds - event.payload.start_seconds AS media_seconds,
    event.payload.image_count AS image_count,
    event.payload.credits_charged AS credits,
    event.payload.fps AS fps,
    if(action = 'errored', concat(event.payload.error.code, '\0', event.payload.error.message), '') AS error
FROM records;
