-- Straight from the facts. `from`, `to` and `step` (seconds) snap outwards to whole minutes; `at` is the start of a step.
-- No job ends later than 8 days after its creation, or nearly none: the bound on the created hour keeps a short range cheap, and
-- the roll-up knows the hours beyond it that hold a job which did. Both ends are kept from wrapping: 1970 has no 8 days before
-- it, and DateTime ends within a minute.
CREATE OR REPLACE VIEW error_rates AS
SELECT
    at,
    source,
    resource,
    job_type,
    error_code,
    sum(group_completed) OVER job_types AS completed,
    group_errored AS errored,
    group_errored / sum(group_completed + group_errored) OVER job_types AS error_rate
FROM
(
    SELECT
        toDateTime(toUInt32(begin + intDiv(toUnixTimestamp(assumeNotNull(finished_at)) - begin, width) * width), 'UTC') AS at,
        source,
        resource,
        job_type,
        if(outcome = 'errored', job_facts.error_code, '') AS error_code,
        countIf(outcome = 'completed') AS group_completed,
        countIf(outcome = 'errored') AS group_errored,
        intDiv(toUnixTimestamp({from:DateTime('UTC')}), 60) * 60 AS begin,
        greatest(intDiv({step:UInt32} + 59, 60), 1) * 60 AS width
    FROM job_facts
    WHERE outcome != 'open'
        AND finished_at >= toStartOfMinute({from:DateTime('UTC')})
        AND finished_at < toStartOfMinute(least({to:DateTime('UTC')}, toDateTime(4294967236, 'UTC')) + 59)
        AND (created_hour >= toStartOfHour(greatest(toStartOfMinute({from:DateTime('UTC')}), toDateTime(0, 'UTC') + INTERVAL 8 DAY) - INTERVAL 8 DAY)
            OR created_hour IN (
                SELECT created_hour
                FROM job_stats
                WHERE created_hour < toStartOfHour(greatest(toStartOfMinute({from:DateTime('UTC')}), toDateTime(0, 'UTC') + INTERVAL 8 DAY) - INTERVAL 8 DAY)
                    AND last_finished_at >= toStartOfMinute({from:DateTime('UTC')})))
    GROUP BY at, source, resource, job_type, error_code
)
WINDOW job_types AS (PARTITION BY at, source, resource, job_type)
COMMENT 'View with parameters, the range of the time when jobs ended and the seconds of a step: `SELECT * FROM error_rates(from = now() - 86400, to = now(), step = 3600)`. One row for each step, source, resource, job type and error code that has finished jobs. The row with an empty error code is that of the completed jobs; their number stands in every row of the step and job type, so it must not be summed over error codes.';

CREATE OR REPLACE VIEW job_durations AS
SELECT
    at,
    source,
    resource,
    job_type,
    jobs,
    total_jobs,
    if(total_max IS NULL, NULL, least(total[1], assumeNotNull(total_max))) AS total_p50,
    if(total_max IS NULL, NULL, least(total[2], assumeNotNull(total_max))) AS total_p90,
    if(total_max IS NULL, NULL, least(total[3], assumeNotNull(total_max))) AS total_p95,
    if(total_max IS NULL, NULL, least(total[4], assumeNotNull(total_max))) AS total_p99,
    total_max,
    run_jobs,
    if(run_max IS NULL, NULL, least(run[1], assumeNotNull(run_max))) AS run_p50,
    if(run_max IS NULL, NULL, least(run[2], assumeNotNull(run_max))) AS run_p90,
    if(run_max IS NULL, NULL, least(run[3], assumeNotNull(run_max))) AS run_p95,
    if(run_max IS NULL, NULL, least(run[4], assumeNotNull(run_max))) AS run_p99,
    run_max,
    queue_jobs,
    if(queue_max IS NULL, NULL, least(queue[1], assumeNotNull(queue_max))) AS queue_p50,
    if(queue_max IS NULL, NULL, least(queue[2], assumeNotNull(queue_max))) AS queue_p90,
    if(queue_max IS NULL, NULL, least(queue[3], assumeNotNull(queue_max))) AS queue_p95,
    if(queue_max IS NULL, NULL, least(queue[4], assumeNotNull(queue_max))) AS queue_p99,
    queue_max
FROM
(
    SELECT
        toDateTime(toUInt32(begin + intDiv(toUnixTimestamp(assumeNotNull(finished_at)) - begin, width) * width), 'UTC') AS at,
        source,
        resource,
        job_type,
        count() AS jobs,
        count(total_seconds) AS total_jobs,
        count(run_seconds) AS run_jobs,
        count(queue_seconds) AS queue_jobs,
        max(total_seconds) AS total_max,
        max(run_seconds) AS run_max,
        max(queue_seconds) AS queue_max,
        quantilesDDIf(0.01, 0.5, 0.9, 0.95, 0.99)(assumeNotNull(total_seconds), total_seconds IS NOT NULL) AS total,
        quantilesDDIf(0.01, 0.5, 0.9, 0.95, 0.99)(assumeNotNull(run_seconds), run_seconds IS NOT NULL) AS run,
        quantilesDDIf(0.01, 0.5, 0.9, 0.95, 0.99)(assumeNotNull(queue_seconds), queue_seconds IS NOT NULL) AS queue,
        intDiv(toUnixTimestamp({from:DateTime('UTC')}), 60) * 60 AS begin,
        greatest(intDiv({step:UInt32} + 59, 60), 1) * 60 AS width
    FROM job_facts
    WHERE outcome != 'open'
        AND finished_at >= toStartOfMinute({from:DateTime('UTC')})
        AND finished_at < toStartOfMinute(least({to:DateTime('UTC')}, toDateTime(4294967236, 'UTC')) + 59)
        AND (created_hour >= toStartOfHour(greatest(toStartOfMinute({from:DateTime('UTC')}), toDateTime(0, 'UTC') + INTERVAL 8 DAY) - INTERVAL 8 DAY)
            OR created_hour IN (
                SELECT created_hour
                FROM job_stats
                WHERE created_hour < toStartOfHour(greatest(toStartOfMinute({from:DateTime('UTC')}), toDateTime(0, 'UTC') + INTERVAL 8 DAY) - INTERVAL 8 DAY)
                    AND last_finished_at >= toStartOfMinute({from:DateTime('UTC')})))
    GROUP BY at, source, resource, job_type
)
COMMENT 'View with parameters, the range of the time when jobs ended and the seconds of a step: `SELECT * FROM job_durations(from = now() - 86400, to = now(), step = 3600)`. One row for each step, source, resource and job type that has finished jobs. Quantiles have a relative error of at most 1 %, are never above the exact maximum, and are of the lower rank: of two jobs, every one is the shorter. They are `NULL` where no job of the group has the duration; the number of those that have it stands beside them.';

-- One step that is longer than the range, which snaps to at most 61 minutes.
CREATE OR REPLACE VIEW error_rates_1h
(
    at DateTime('UTC') COMMENT 'start of the hour that ends now, a whole minute',
    source String COMMENT 'as in `error_rates`',
    resource String COMMENT 'as in `error_rates`',
    job_type String COMMENT 'as in `error_rates`',
    error_code String COMMENT 'as in `error_rates`',
    completed UInt64 COMMENT 'as in `error_rates`',
    errored UInt64 COMMENT 'as in `error_rates`',
    error_rate Float64 COMMENT 'as in `error_rates`'
)
AS SELECT *
FROM error_rates(from = now('UTC') - 3600, to = now('UTC'), step = 7200)
COMMENT 'View. What `error_rates` says of the jobs that ended in the last hour, as one step.';

CREATE OR REPLACE VIEW job_durations_1h
(
    at DateTime('UTC') COMMENT 'start of the hour that ends now, a whole minute',
    source String COMMENT 'as in `job_durations`',
    resource String COMMENT 'as in `job_durations`',
    job_type String COMMENT 'as in `job_durations`',
    jobs UInt64 COMMENT 'as in `job_durations`',
    total_jobs UInt64 COMMENT 'as in `job_durations`',
    total_p50 Nullable(Float64) COMMENT 'as in `job_durations`',
    total_p90 Nullable(Float64) COMMENT 'as in `job_durations`',
    total_p95 Nullable(Float64) COMMENT 'as in `job_durations`',
    total_p99 Nullable(Float64) COMMENT 'as in `job_durations`',
    total_max Nullable(Float64) COMMENT 'as in `job_durations`',
    run_jobs UInt64 COMMENT 'as in `job_durations`',
    run_p50 Nullable(Float64) COMMENT 'as in `job_durations`',
    run_p90 Nullable(Float64) COMMENT 'as in `job_durations`',
    run_p95 Nullable(Float64) COMMENT 'as in `job_durations`',
    run_p99 Nullable(Float64) COMMENT 'as in `job_durations`',
    run_max Nullable(Float64) COMMENT 'as in `job_durations`',
    queue_jobs UInt64 COMMENT 'as in `job_durations`',
    queue_p50 Nullable(Float64) COMMENT 'as in `job_durations`',
    queue_p90 Nullable(Float64) COMMENT 'as in `job_durations`',
    queue_p95 Nullable(Float64) COMMENT 'as in `job_durations`',
    queue_p99 Nullable(Float64) COMMENT 'as in `job_durations`',
    queue_max Nullable(Float64) COMMENT 'as in `job_durations`'
)
AS SELECT *
FROM job_durations(from = now('UTC') - 3600, to = now('UTC'), step = 7200)
COMMENT 'View. What `job_durations` says of the jobs that ended in the last hour, as one step.';

-- Jobs without an end, in two views by their age that leave none out: the provider retries for 24 h, so nothing more comes of an
-- older one, unless late. The bound on the created hour is implied by that on the creation, and cheap, being in the key.
CREATE OR REPLACE VIEW open_jobs
(
    source String COMMENT 'as in `job_facts`',
    resource String COMMENT 'as in `job_facts`',
    job_id String COMMENT 'as in `job_facts`',
    job_type String COMMENT 'as in `job_facts`',
    created_hour DateTime('UTC') COMMENT 'as in `job_facts`',
    created_at DateTime64(3, 'UTC') COMMENT 'as in `job_facts`',
    started_at Nullable(DateTime64(3, 'UTC')) COMMENT 'as in `job_facts`',
    completed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'always `NULL`',
    errored_at Nullable(DateTime64(3, 'UTC')) COMMENT 'always `NULL`',
    finished_at Nullable(DateTime64(3, 'UTC')) COMMENT 'always `NULL`',
    outcome String COMMENT 'always `open`',
    error_code String COMMENT 'always empty',
    error_message String COMMENT 'always empty',
    total_seconds Nullable(Float64) COMMENT 'always `NULL`',
    run_seconds Nullable(Float64) COMMENT 'always `NULL`',
    queue_seconds Nullable(Float64) COMMENT 'as in `job_facts`',
    width Nullable(Int64) COMMENT 'as in `job_facts`',
    height Nullable(Int64) COMMENT 'as in `job_facts`',
    image_count Nullable(Int64) COMMENT 'as in `job_facts`',
    fps Nullable(Float64) COMMENT 'always `NULL`',
    media_seconds Nullable(Float64) COMMENT 'as in `job_facts`',
    credits_estimated Nullable(Int64) COMMENT 'as in `job_facts`',
    credits_charged Nullable(Int64) COMMENT 'always `NULL`',
    credits_refunded Nullable(Int64) COMMENT 'always `NULL`',
    first_received_at DateTime64(3, 'UTC') COMMENT 'as in `job_facts`',
    last_received_at DateTime64(3, 'UTC') COMMENT 'as in `job_facts`',
    fold_version UInt16 COMMENT 'as in `job_facts`',
    age_seconds Nullable(Float64) COMMENT 'seconds since `created_at`; `NULL` where that lies ahead'
)
AS SELECT
    *,
    CAST(if(created_at <= now64(3), dateDiff('millisecond', created_at, now64(3)) / 1000, NULL), 'Nullable(Float64)') AS age_seconds
FROM job_facts
WHERE outcome = 'open' AND created_hour >= now() - INTERVAL 26 HOUR AND created_at > now64(3) - INTERVAL 25 HOUR
COMMENT 'View. The rows of `job_facts` without an end whose last event may still come: the provider retries for 24 hours. Jobs that were created 25 hours ago or earlier are in `unresolved_jobs` instead.';

CREATE OR REPLACE VIEW unresolved_jobs
(
    source String COMMENT 'as in `open_jobs`',
    resource String COMMENT 'as in `open_jobs`',
    job_id String COMMENT 'as in `open_jobs`',
    job_type String COMMENT 'as in `open_jobs`',
    created_hour DateTime('UTC') COMMENT 'as in `open_jobs`',
    created_at DateTime64(3, 'UTC') COMMENT 'as in `open_jobs`',
    started_at Nullable(DateTime64(3, 'UTC')) COMMENT 'as in `open_jobs`',
    completed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'as in `open_jobs`',
    errored_at Nullable(DateTime64(3, 'UTC')) COMMENT 'as in `open_jobs`',
    finished_at Nullable(DateTime64(3, 'UTC')) COMMENT 'as in `open_jobs`',
    outcome String COMMENT 'as in `open_jobs`',
    error_code String COMMENT 'as in `open_jobs`',
    error_message String COMMENT 'as in `open_jobs`',
    total_seconds Nullable(Float64) COMMENT 'as in `open_jobs`',
    run_seconds Nullable(Float64) COMMENT 'as in `open_jobs`',
    queue_seconds Nullable(Float64) COMMENT 'as in `open_jobs`',
    width Nullable(Int64) COMMENT 'as in `open_jobs`',
    height Nullable(Int64) COMMENT 'as in `open_jobs`',
    image_count Nullable(Int64) COMMENT 'as in `open_jobs`',
    fps Nullable(Float64) COMMENT 'as in `open_jobs`',
    media_seconds Nullable(Float64) COMMENT 'as in `open_jobs`',
    credits_estimated Nullable(Int64) COMMENT 'as in `open_jobs`',
    credits_charged Nullable(Int64) COMMENT 'as in `open_jobs`',
    credits_refunded Nullable(Int64) COMMENT 'as in `open_jobs`',
    first_received_at DateTime64(3, 'UTC') COMMENT 'as in `open_jobs`',
    last_received_at DateTime64(3, 'UTC') COMMENT 'as in `open_jobs`',
    fold_version UInt16 COMMENT 'as in `open_jobs`',
    age_seconds Nullable(Float64) COMMENT 'as in `open_jobs`'
)
AS SELECT
    *,
    CAST(if(created_at <= now64(3), dateDiff('millisecond', created_at, now64(3)) / 1000, NULL), 'Nullable(Float64)') AS age_seconds
FROM job_facts
WHERE outcome = 'open' AND created_hour <= now() - INTERVAL 25 HOUR AND created_at <= now64(3) - INTERVAL 25 HOUR
COMMENT 'View. The rows of `job_facts` without an end that were created 25 hours ago or earlier: canceled jobs, which send no last event, and jobs whose last webhook was lost. A late event takes a job out of it. It reads the whole of `jobs` but the last day: filter by `created_hour`.';

-- `stuck_jobs_view` in `schemas/src/sql.rs` writes other thresholds into this statement.
CREATE OR REPLACE VIEW stuck_jobs
(
    source String COMMENT 'as in `open_jobs`',
    resource String COMMENT 'as in `open_jobs`',
    job_id String COMMENT 'as in `open_jobs`',
    job_type String COMMENT 'as in `open_jobs`',
    created_hour DateTime('UTC') COMMENT 'as in `open_jobs`',
    created_at DateTime64(3, 'UTC') COMMENT 'as in `open_jobs`',
    started_at Nullable(DateTime64(3, 'UTC')) COMMENT 'as in `open_jobs`',
    completed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'as in `open_jobs`',
    errored_at Nullable(DateTime64(3, 'UTC')) COMMENT 'as in `open_jobs`',
    finished_at Nullable(DateTime64(3, 'UTC')) COMMENT 'as in `open_jobs`',
    outcome String COMMENT 'as in `open_jobs`',
    error_code String COMMENT 'as in `open_jobs`',
    error_message String COMMENT 'as in `open_jobs`',
    total_seconds Nullable(Float64) COMMENT 'as in `open_jobs`',
    run_seconds Nullable(Float64) COMMENT 'as in `open_jobs`',
    queue_seconds Nullable(Float64) COMMENT 'as in `open_jobs`',
    width Nullable(Int64) COMMENT 'as in `open_jobs`',
    height Nullable(Int64) COMMENT 'as in `open_jobs`',
    image_count Nullable(Int64) COMMENT 'as in `open_jobs`',
    fps Nullable(Float64) COMMENT 'as in `open_jobs`',
    media_seconds Nullable(Float64) COMMENT 'as in `open_jobs`',
    credits_estimated Nullable(Int64) COMMENT 'as in `open_jobs`',
    credits_charged Nullable(Int64) COMMENT 'as in `open_jobs`',
    credits_refunded Nullable(Int64) COMMENT 'as in `open_jobs`',
    first_received_at DateTime64(3, 'UTC') COMMENT 'as in `open_jobs`',
    last_received_at DateTime64(3, 'UTC') COMMENT 'as in `open_jobs`',
    fold_version UInt16 COMMENT 'as in `open_jobs`',
    age_seconds Nullable(Float64) COMMENT 'as in `open_jobs`',
    stuck_after_seconds UInt32 COMMENT 'threshold of the resource, in seconds'
)
AS SELECT
    *,
    CAST(transform(resource, ['audio', 'image', 'video'], [900, 900, 3600], 3600), 'UInt32') AS stuck_after_seconds
FROM open_jobs
WHERE age_seconds > stuck_after_seconds
COMMENT 'View. The rows of `open_jobs` that are open for longer than their resource\'s threshold: 900 s for `audio`, 900 s for `image`, 3600 s for `video`.';
