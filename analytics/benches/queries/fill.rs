//! The jobs, their deliveries and the roll-up, made by ClickHouse itself.

use clickhouse::Client;
use hookline_schemas::rollup::refresh_statement;
use hookline_schemas::time::CreatedHour;

/// 2026-11-01T00:00:00Z: the jobs were created in the thirty days before it.
pub const END: u32 = 1_793_491_200;
const SECONDS: u32 = 30 * 86_400;
const DELIVERIES: u64 = 2_000_000;
/// More jobs in a statement take memory and save nothing.
const JOBS_PER_STATEMENT: u64 = 1_000_000;

/// Three resources of ten job types each, one job in twenty errored with one of twelve codes, durations from seconds to eight
/// minutes. The last of the jobs have two deliveries each.
pub async fn fill(client: &Client, jobs: u64) -> anyhow::Result<()> {
    for there in (0..jobs).step_by(JOBS_PER_STATEMENT as usize) {
        let more = JOBS_PER_STATEMENT.min(jobs - there);
        let statement = format!(
            "INSERT INTO jobs (source, resource, created_hour, job_id, created_at, job_type, started_at, completed_at, \
             errored_at, error, first_received_at, last_received_at, fold_version)
             SELECT 'magichour', resource, toStartOfHour(created), {id}, created, concat('TYPE_', toString(number % 10)), \
             started, if(failed, NULL, ended), if(failed, ended, NULL), \
             if(failed, concat('code_', toString(cityHash64(number, 3) % 12), '\\0none'), ''), ended, ended, 1
             FROM (SELECT number, ['video', 'image', 'audio'][intDiv(number, 10) % 3 + 1] AS resource,
                 toDateTime64({start}, 3, 'UTC') + toIntervalMillisecond(intDiv(number * {SECONDS}000, {jobs})) AS created,
                 created + toIntervalMillisecond(200 + cityHash64(number, 1) % 30000) AS started,
                 started + toIntervalMillisecond(toUInt32(3000 * exp(cityHash64(number, 2) % 1000 / 200))) AS ended,
                 cityHash64(number, 4) % 20 = 0 AS failed
                 FROM numbers({there}, {more}))
             SETTINGS max_insert_threads = 2, max_partitions_per_insert_block = 0",
            id = id("number"),
            start = END - SECONDS,
        );
        client.query_raw(&statement).execute().await?;
        println!("{} of {jobs} jobs", there + more);
    }
    let deliveries = format!(
        "INSERT INTO deliveries (log_id, topic, partition, offset, source, resource, action, job_id, created_at, signed_at, \
         signed_at_text, received_at, occurred_at, key_name, signature, body)
         SELECT 'cluster/topic', 'hookline.video', number % 2, intDiv(number, 2), 'magichour', 'video', \
         ['started', 'completed'][number % 2 + 1], {id}, created, created, '', created, created, 'default', \
         lower(hex(SHA256(toString(number)))), concat('{{\"type\":\"video\",\"payload\":', repeat(toString(cityHash64(number)), 25), '}}')
         FROM (SELECT number, toDateTime64({END}, 3, 'UTC') - toIntervalMillisecond(number) AS created
             FROM numbers(least({DELIVERIES}, 2 * {jobs})))
         SETTINGS max_insert_threads = 2, max_partitions_per_insert_block = 0",
        id = id(&format!("({jobs} - 1 - intDiv(number, 2))")),
    );
    client.query_raw(&deliveries).execute().await?;
    for table in ["jobs", "deliveries"] {
        client.query_raw(&format!("OPTIMIZE TABLE {table}")).execute().await?;
    }
    let hours: Vec<_> = (END - SECONDS..END).step_by(3_600).map(|hour| CreatedHour(hour.into())).collect();
    let per_statement = JOBS_PER_STATEMENT * hours.len() as u64 / jobs.max(1);
    let mut refreshed = 0;
    for some in hours.chunks((per_statement as usize).clamp(1, 48)) {
        client.query_raw(&refresh_statement(some)).execute().await?;
        refreshed += some.len();
        println!("{refreshed} of {} hours of the roll-up", hours.len());
    }
    Ok(client.query_raw("OPTIMIZE TABLE job_stats").execute().await?)
}

/// Ids grow with the time of creation, as the provider's do, which begin with it.
fn id(number: &str) -> String {
    format!("concat('c', leftPad(toString({number}), 24, '0'))")
}

/// The id of a job that has deliveries, another one for each `number`.
pub fn job_id(jobs: u64, number: u32) -> String {
    let with_deliveries = (DELIVERIES / 2).min(jobs);
    format!("c{:024}", jobs - 1 - u64::from(number) * 7_919 % with_deliveries)
}
