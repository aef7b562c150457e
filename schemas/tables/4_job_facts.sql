-- One row for each job: the facts, and what follows from them. Every column is cast to its public type; a filter on
-- source, resource, created_hour or job_id still reaches the key.
CREATE OR REPLACE VIEW job_facts
(
    source String COMMENT 'account or environment, the last part of the webhook\'s path',
    resource String COMMENT '`video`, `image` or `audio`, from the event\'s `type`',
    job_id String COMMENT '`payload.id`, unique within source and resource',
    job_type String COMMENT '`payload.type`; the greatest one given',
    created_hour DateTime('UTC') COMMENT 'start of the hour of `created_at`; in the key',
    created_at DateTime64(3, 'UTC') COMMENT '`payload.created_at`, the provider\'s clock; the earliest one given',
    started_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when the earliest `started` happened: within its signed second, where our clock says',
    completed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'the same of the earliest `completed`',
    errored_at Nullable(DateTime64(3, 'UTC')) COMMENT 'the same of the earliest `errored`',
    finished_at Nullable(DateTime64(3, 'UTC')) COMMENT '`completed_at`, or else `errored_at`',
    outcome String COMMENT '`completed`, or else `errored`, or else `open`',
    error_code String COMMENT '`payload.error.code` of `errored`',
    error_message String COMMENT '`payload.error.message` of the same event',
    total_seconds Nullable(Float64) COMMENT 'seconds from `created_at` to `finished_at`; `NULL` where negative',
    run_seconds Nullable(Float64) COMMENT 'seconds from `started_at` to `finished_at`; `NULL` where negative',
    queue_seconds Nullable(Float64) COMMENT 'seconds from `created_at` to `started_at`; `NULL` where this or the run is negative',
    width Nullable(Int64) COMMENT '`payload.width` in pixels; the greatest one given',
    height Nullable(Int64) COMMENT '`payload.height` in pixels; the greatest one given',
    image_count Nullable(Int64) COMMENT '`payload.image_count`; the greatest one given',
    fps Nullable(Float64) COMMENT '`payload.fps`, frames per second, of terminal events only: `started` carries an estimate',
    media_seconds Nullable(Float64) COMMENT '`payload.end_seconds` − `payload.start_seconds`: the length of the media, in seconds',
    credits_estimated Nullable(Int64) COMMENT '`payload.credits_charged` of `started`',
    credits_charged Nullable(Int64) COMMENT '`payload.credits_charged` of the event that the outcome follows from',
    credits_refunded Nullable(Int64) COMMENT '`credits_estimated` − `credits_charged` of a job that errored',
    first_received_at DateTime64(3, 'UTC') COMMENT 'when ingest received the first webhook about the job',
    last_received_at DateTime64(3, 'UTC') COMMENT 'when ingest received the last webhook about the job',
    fold_version UInt16 COMMENT 'oldest version of the fold that had a part in the row'
)
AS WITH
    joined AS
    (
        SELECT
            *,
            multiIf(completed_at IS NOT NULL, 'completed', errored_at IS NOT NULL, 'errored', 'open') AS outcome,
            coalesce(completed_at, errored_at) AS finished_at,
            position(error, '\0') AS border,
            dateDiff('millisecond', created_at, finished_at) AS total_ms,
            dateDiff('millisecond', started_at, finished_at) AS run_ms,
            dateDiff('millisecond', created_at, started_at) AS queue_ms
        FROM jobs FINAL
    )
SELECT
    CAST(source, 'String') AS source,
    CAST(resource, 'String') AS resource,
    job_id,
    CAST(job_type, 'String') AS job_type,
    created_hour,
    CAST(created_at, 'DateTime64(3, \'UTC\')') AS created_at,
    CAST(started_at, 'Nullable(DateTime64(3, \'UTC\'))') AS started_at,
    CAST(completed_at, 'Nullable(DateTime64(3, \'UTC\'))') AS completed_at,
    CAST(errored_at, 'Nullable(DateTime64(3, \'UTC\'))') AS errored_at,
    CAST(finished_at, 'Nullable(DateTime64(3, \'UTC\'))') AS finished_at,
    CAST(outcome, 'String') AS outcome,
    CAST(substring(error, 1, border - 1), 'String') AS error_code,
    CAST(if(border = 0, '', substring(error, border + 1)), 'String') AS error_message,
    CAST(if(total_ms >= 0, total_ms / 1000, NULL), 'Nullable(Float64)') AS total_seconds,
    CAST(if(run_ms >= 0, run_ms / 1000, NULL), 'Nullable(Float64)') AS run_seconds,
    CAST(if(queue_ms >= 0 AND coalesce(run_ms, 0) >= 0, queue_ms / 1000, NULL), 'Nullable(Float64)') AS queue_seconds,
    CAST(width, 'Nullable(Int64)') AS width,
    CAST(height, 'Nullable(Int64)') AS height,
    CAST(image_count, 'Nullable(Int64)') AS image_count,
    CAST(fps, 'Nullable(Float64)') AS fps,
    CAST(media_seconds, 'Nullable(Float64)') AS media_seconds,
    CAST(credits_estimated, 'Nullable(Int64)') AS credits_estimated,
    CAST(multiIf(outcome = 'completed', credits_completed, outcome = 'errored', credits_errored, NULL), 'Nullable(Int64)') AS credits_charged,
    CAST(if(outcome = 'errored', credits_estimated - credits_errored, NULL), 'Nullable(Int64)') AS credits_refunded,
    CAST(first_received_at, 'DateTime64(3, \'UTC\')') AS first_received_at,
    CAST(last_received_at, 'DateTime64(3, \'UTC\')') AS last_received_at,
    CAST(fold_version, 'UInt16') AS fold_version
FROM joined
COMMENT 'View. One row for each job: what is known of it, and what follows from that. Every fact comes from the events about the job; of several values that events give, the stated one stays.';
