//! `hookline-processor acknowledge`: lists what expired before it was read, and ends the warnings about it.

use hookline_service::cli::print_line;
use serde_json::json;

use super::table::{ExpiredRange, acknowledge as acknowledge_range, unacknowledged};
use crate::clickhouse::inserter::ClickHouse;
use crate::config::ProcessorConfig;

/// Lists the offsets that were removed from the topics before they were read, and ends the warnings about them.
///
/// Their webhooks were acknowledged and are in no table. What was found is kept in the table expired_offsets.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct AcknowledgeArgs {
    /// Only list them: the warnings stay
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub async fn acknowledge(config: ProcessorConfig, args: AcknowledgeArgs) -> anyhow::Result<()> {
    let clickhouse = ClickHouse::new(&config.clickhouse)?;
    let ranges = unacknowledged(&clickhouse).await?;
    if !args.dry_run {
        for range in &ranges {
            acknowledge_range(&clickhouse, range).await?;
        }
    }
    let records: i64 = ranges.iter().map(ExpiredRange::records).sum();
    if args.json {
        let range = |range: &ExpiredRange| json!({ "topic": range.topic, "partition": range.partition, "from": range.from, "to": range.to, "detected_at": range.detected_at() });
        let ranges: Vec<_> = ranges.iter().map(range).collect();
        print_line(json!({ "dry_run": args.dry_run, "records": records, "ranges": ranges }));
        return Ok(());
    }
    for range in &ranges {
        print_line(format_args!(
            "{}/{}  {}..{}  {} records, found {}",
            range.topic,
            range.partition,
            range.from,
            range.to,
            range.records(),
            range.detected_at()
        ));
    }
    match (ranges.len(), args.dry_run) {
        (0, _) => print_line(format_args!("nothing is to be acknowledged")),
        (count, true) => print_line(format_args!("{records} records in {count} ranges; nothing was acknowledged")),
        (count, false) => print_line(format_args!("{records} records in {count} ranges are acknowledged")),
    }
    Ok(())
}
