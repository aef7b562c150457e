-- Straight from the facts. `from`, `to` and `step` (seconds) snap outwards to whole minutes; `at` is the start of a step.
-- No job ends later than 8 days after its creation: the bound on the created hour keeps a short range cheap.
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
        AND finished_at < toStartOfMinute({to:DateTime('UTC')} + 59)
        AND created_hour >= toStartOfMinute({from:DateTime('UTC')}) - INTERVAL 8 DAY
    GROUP BY at, source, resource, job_type, error_code
)
WINDOW job_types AS (PARTITION BY at, source, resource, job_type);

CREATE OR REPLACE VIEW job_durations AS
SELECT
    at,
    source,
    resource,
    job_type,
    jobs,
    if(total_max IS NULL, NULL, total[1]) AS total_p50,
    if(total_max IS NULL, NULL, total[2]) AS total_p90,
    if(total_max IS NULL, NULL, total[3]) AS total_p95,
    if(total_max IS NULL, NULL, total[4]) AS total_p99,
    total_max,
    if(run_max IS NULL, NULL, run[1]) AS run_p50,
    if(run_max IS NULL, NULL, run[2]) AS run_p90,
    if(run_max IS NULL, NULL, run[3]) AS run_p95,
    if(run_max IS NULL, NULL, run[4]) AS run_p99,
    run_max,
    if(queue_max IS NULL, NULL, queue[1]) AS queue_p50,
    if(queue_max IS NULL, NULL, queue[2]) AS queue_p90,
    if(queue_max IS NULL, NULL, queue[3]) AS queue_p95,
    if(queue_max IS NULL, NULL, queue[4]) AS queue_p99,
    queue_max
FROM
(
    SELECT
        toDateTime(toUInt32(begin + intDiv(toUnixTimestamp(assumeNotNull(finished_at)) - begin, width) * width), 'UTC') AS at,
        source,
        resource,
        job_type,
        count() AS jobs,
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
        AND finished_at < toStartOfMinute({to:DateTime('UTC')} + 59)
        AND created_hour >= toStartOfMinute({from:DateTime('UTC')}) - INTERVAL 8 DAY
    GROUP BY at, source, resource, job_type
);

-- Jobs whose last event may still come: the provider retries for 24 h.
CREATE OR REPLACE VIEW open_jobs AS
SELECT *
FROM job_facts
WHERE outcome = 'open' AND created_hour >= now() - INTERVAL 26 HOUR AND created_at > now64(3) - INTERVAL 25 HOUR;
