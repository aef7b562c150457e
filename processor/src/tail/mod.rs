//! `hookline-processor tail`: records as they come, beside the consumer group and without touching its offsets.

mod follow;
mod record;
mod select;

use anyhow::Context as _;
use hookline_schemas::topics::Topics;
use hookline_service::cli::{TimePoint, is_closed, print_line};
use hookline_service::kafka::KafkaContext;
use hookline_service::shutdown::{CancellationToken, on_signal};
use rdkafka::consumer::BaseConsumer;
use time::OffsetDateTime;

use self::follow::Follower;
use self::record::Shown;
use self::select::TailSelection;
use crate::config::ProcessorConfig;
use crate::consumer::settings;

/// Shows records as they come, until Ctrl-C.
///
/// It reads the topics beside the consumer group, whose offsets it never touches, and shows what is there: also records that the
/// processor will refuse. Bodies and messages of errors stay out unless --body asks for them.
#[derive(Clone, Debug, clap::Args)]
pub struct TailArgs {
    /// Begin with records appended at or after this time instead of now: 2026-11-25T10:00:00Z, or an age such as 10m or -2h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<TimePoint>,
    #[command(flatten)]
    selection: TailSelection,
    /// End after so many records were shown
    #[arg(long, short = 'n', value_name = "RECORDS", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Show bodies, too: they hold names, texts and download URLs, which are secrets for a day
    #[arg(long)]
    body: bool,
    /// Print each record as a line of JSON
    #[arg(long)]
    json: bool,
}

pub async fn tail(config: ProcessorConfig, args: TailArgs) -> anyhow::Result<()> {
    let stop = on_signal()?;
    tokio::task::spawn_blocking(move || run(&config, &args, &stop)).await?
}

fn run(config: &ProcessorConfig, args: &TailArgs, stop: &CancellationToken) -> anyhow::Result<()> {
    let topics = Topics::new(&config.kafka.topic_prefix)?;
    let consumer: BaseConsumer<_> = settings::tail(config)?.create_with_context(KafkaContext::new("tail"))?;
    let from = args.from.map(|from| from.as_millis(OffsetDateTime::now_utc()));
    let mut follower = Follower::new(consumer, &topics, args.selection.topics(), from)
        .with_context(|| format!("Kafka at {} does not tell the partitions", config.kafka.bootstrap_servers))?;
    if args.body {
        tracing::warn!(
            "bodies hold names, texts and download URLs, which are secrets for a day: mind where this output goes"
        );
    }
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 && !stop.is_cancelled() && !is_closed() {
        let Some(batch) = follower.next()? else { continue };
        for shown in Shown::of(batch, &topics, args.body) {
            if args.selection.takes(&shown) {
                if args.json {
                    print_line(serde_json::to_string(&shown)?);
                } else {
                    print_line(&shown);
                }
                left -= 1;
            }
        }
    }
    Ok(())
}
