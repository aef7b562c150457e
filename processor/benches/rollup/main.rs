//! What a refresh of the roll-up costs, and that it does not grow with the age of the table: the same two created hours are
//! refreshed while the table grows from one million jobs to ten. `make bench` runs it.
#![expect(clippy::print_stdout, reason = "a bench prints its result")]

use std::time::{Duration, Instant};

use clap::Parser;
use clickhouse::Client;
use comfy_table::{CellAlignment, Table};
use hookline_schemas::migrations::{MIGRATIONS, Migration};
use hookline_schemas::rollup::refresh_statement;
use hookline_schemas::time::CreatedHour;
use hookline_testkit::Servers;

/// 2026-11-01T00:00:00Z: the last hour of the table begins here, and it grows into the past.
const LAST_HOUR: i64 = 1_793_491_200;
const REPEAT: usize = 7;

/// The refresh of the roll-up on a growing table.
#[derive(Parser)]
struct Options {
    /// Jobs created in an hour
    #[arg(long, default_value_t = 20_000)]
    per_hour: u64,
    /// Jobs in the table, one measurement each
    #[arg(long, value_delimiter = ',', default_value = "1000000,3000000,10000000")]
    jobs: Vec<u64>,
    #[arg(long, hide = true, help = "cargo bench says so")]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let servers = Servers::fresh("bench_rollup").await;
    let client = servers.clickhouse.client()?;
    for statement in MIGRATIONS.iter().flat_map(Migration::statements) {
        client.query_raw(statement).execute().await?;
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["jobs in the table", "refresh of two hours, ms", "least", "most"]);
    let mut there = 0;
    for jobs in options.jobs {
        grow(&client, options.per_hour, there, jobs).await?;
        there = jobs;
        let mut times = Vec::new();
        for _ in 0..REPEAT {
            let began = Instant::now();
            let hours = [CreatedHour(LAST_HOUR), CreatedHour(LAST_HOUR - 3_600)];
            client.query_raw(&refresh_statement(&hours)).execute().await?;
            times.push(began.elapsed());
        }
        times.sort();
        let ms = |time: Option<&Duration>| time.map_or("–".into(), |time| format!("{:.0}", time.as_secs_f64() * 1e3));
        table.add_row([jobs.to_string(), ms(times.get(REPEAT / 2)), ms(times.first()), ms(times.last())]);
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    println!("{table}");
    Ok(())
}

/// Adds the jobs numbered from `there` to `jobs`, each older than the one before.
async fn grow(client: &Client, per_hour: u64, there: u64, jobs: u64) -> anyhow::Result<()> {
    let statement = format!(
        "INSERT INTO jobs (source, resource, created_hour, job_id, created_at, job_type, started_at, completed_at, errored_at, \
         error, first_received_at, last_received_at, fold_version)
         SELECT 'magichour', ['video', 'image', 'audio'][number % 3 + 1], toStartOfHour(created), \
         concat('c', leftPad(toString(number), 24, '0')), created, concat('TYPE_', toString(number % 30)), \
         created + 1, if(number % 20 = 0, NULL, created + 20 + number % 600), if(number % 20 = 0, created + 9, NULL), \
         if(number % 20 = 0, 'no_source_face\\0none', ''), created, created, 1
         FROM (SELECT number, toDateTime64({last}, 3, 'UTC') - intDiv(number * 3600, {per_hour}) AS created
               FROM numbers({there}, {more}))
         SETTINGS max_insert_threads = 2, max_partitions_per_insert_block = 0",
        last = LAST_HOUR + 3_599,
        more = jobs - there,
    );
    client.query_raw(&statement).execute().await?;
    Ok(client.query_raw("OPTIMIZE TABLE jobs").execute().await?)
}
