//! Faults of the end of a processor: it is told to end, or loses partitions, while ClickHouse does not take what it holds.

use std::fmt;
use std::time::{Duration, Instant};

use hookline_testkit::{Daemon, NetworkState, Signal, eventually};

use super::{DEADLINE, Pipeline};

/// What keeps the processor from writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outage {
    /// Connections to ClickHouse are closed.
    Away,
    /// ClickHouse accepts connections and is silent.
    Silent,
    /// A block takes longer than the processor may.
    Slow,
    /// Rows go in, and the roll-up cannot be refreshed.
    NoRollup,
}

/// When the outage is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Back {
    /// Before `group.settle_timeout_ms`.
    InTime,
    /// As soon as that is over and the batch in progress was cancelled.
    AfterSettleTimeout,
    /// After the processor has ended.
    AfterEnd,
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Away => "ClickHouse away",
            Self::Silent => "ClickHouse silent",
            Self::Slow => "ClickHouse slow",
            Self::NoRollup => "no roll-up",
        })
    }
}

impl fmt::Display for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InTime => "back in time",
            Self::AfterSettleTimeout => "back after the settle timeout",
            Self::AfterEnd => "back after the end",
        })
    }
}

impl Outage {
    async fn begin(self, pipeline: &Pipeline) {
        match self {
            Self::Away => pipeline.proxy.set(NetworkState::Cut),
            Self::Silent => pipeline.proxy.set(NetworkState::Stalled),
            Self::Slow => pipeline.proxy.set(NetworkState::Slow(256)),
            Self::NoRollup => pipeline.execute("RENAME TABLE job_stats TO job_stats_away").await,
        }
    }

    async fn end(self, pipeline: &Pipeline) {
        match self {
            Self::Away | Self::Silent | Self::Slow => pipeline.proxy.set(NetworkState::Open),
            Self::NoRollup => pipeline.execute("RENAME TABLE job_stats_away TO job_stats").await,
        }
    }
}

/// SIGTERM while a batch is being written and the next one is waiting.
pub async fn terminate(pipeline: &Pipeline, processor: &mut Daemon, outage: Outage, back: Back) {
    let settle_timeout_ms = if back == Back::InTime { "15000" } else { "1500" };
    restart(pipeline, processor, settle_timeout_ms).await;
    outage.begin(pipeline).await;
    wait_until_blocked(processor, outage).await;
    processor.signal(Signal::SIGTERM);
    match back {
        Back::InTime => wait_for_line(processor, "shutting down").await,
        Back::AfterSettleTimeout => wait_for_line(processor, "within group.settle_timeout_ms").await,
        Back::AfterEnd => drop(processor.wait().await),
    }
    outage.end(pipeline).await;
    assert!(processor.wait().await.success(), "the processor did not end in order");
    let everything =
        if back == Back::InTime { "everything that was read is" } else { "not everything that was read is" };
    assert!(has_line(processor, everything), "the processor does not say what it left");
    *processor = pipeline.processor("one", &[]);
}

/// SIGTERM twice: the second ends the process in the middle of what the first made it wait for.
pub async fn signal_twice(pipeline: &Pipeline, processor: &mut Daemon) {
    restart(pipeline, processor, "17000").await;
    Outage::Away.begin(pipeline).await;
    wait_until_blocked(processor, Outage::Away).await;
    processor.signal(Signal::SIGTERM);
    wait_for_line(processor, "shutting down").await;
    processor.signal(Signal::SIGTERM);
    assert_eq!(
        processor.wait().await.code(),
        Some(1),
        "the second signal ends the process, and says that it was cut short"
    );
    assert!(!has_line(processor, "within group.settle_timeout_ms"), "the process ended only after its deadline");
    Outage::Away.end(pipeline).await;
    *processor = pipeline.processor("one", &[]);
}

/// Another processor joins and leaves while ClickHouse is away for the first: its revocation cancels a batch.
pub async fn rebalance_in_outage(pipeline: &Pipeline, processor: &mut Daemon) {
    restart(pipeline, processor, "1500").await;
    Outage::Away.begin(pipeline).await;
    wait_until_blocked(processor, Outage::Away).await;
    // The guest reaches ClickHouse past the proxy, or it would wait for it before it joins. Without static membership it leaves
    // at once.
    let (_, direct) = pipeline.environment.iter().find(|(name, _)| name == "CLICKHOUSE_URL").expect("an address");
    let mut guest = pipeline.processor("", &[("CLICKHOUSE_URL", direct)]);
    wait_for_line(processor, "within group.settle_timeout_ms").await;
    eventually("the guest's share", DEADLINE, async || {
        (guest.metric("hookline_processor_records_consumed_total", &[]).await > 0.0).then_some(())
    })
    .await;
    assert!(guest.terminate().await.success(), "the guest did not end in order");
    Outage::Away.end(pipeline).await;
}

async fn restart(pipeline: &Pipeline, processor: &mut Daemon, settle_timeout_ms: &str) {
    assert!(processor.terminate().await.success(), "the processor did not end in order");
    *processor = pipeline.processor("one", &[("HOOKLINE_PROCESSOR__GROUP__SETTLE_TIMEOUT_MS", settle_timeout_ms)]);
    eventually("the processor to consume", DEADLINE, async || {
        (processor.metric("hookline_processor_records_consumed_total", &[]).await > 0.0).then_some(())
    })
    .await;
}

/// Waits until the processor consumes nothing though there is traffic: one batch is being written, the next is full. Without a
/// roll-up it goes on until its writer next refreshes, and then it is the same.
async fn wait_until_blocked(processor: &mut Daemon, outage: Outage) {
    const STANDS_STILL: Duration = Duration::from_millis(1_500);
    let mut seen = (-1.0, Instant::now());
    eventually(&format!("the processor to wait: {outage}"), DEADLINE, async || {
        let consumed = processor.metric("hookline_processor_records_consumed_total", &[]).await;
        if consumed != seen.0 {
            seen = (consumed, Instant::now());
        }
        (seen.1.elapsed() >= STANDS_STILL).then_some(())
    })
    .await;
}

fn has_line(processor: &Daemon, part: &str) -> bool {
    processor.log().iter().any(|line| line.contains(part))
}

async fn wait_for_line(processor: &Daemon, part: &str) {
    eventually(part, DEADLINE, async || has_line(processor, part).then_some(())).await;
}
