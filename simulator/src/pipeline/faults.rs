//! Faults of a running pipeline, one at a time; when the fault is over, every number must be right.

use std::fmt;
use std::time::Duration;

use hookline_testkit::{Daemon, NetworkState, Signal, eventually};
use tokio::time::sleep;

use super::assertions::{
    assert_replay_changes_nothing, assert_tables_are_right, wait_until_caught_up, wait_until_settled,
};
use super::rebuilds::{Ending, end_rebuild};
use super::redrives::{self, Away};
use super::replays::{ReplayEnd, ReplaySource, end_replay};
use super::terminations::{Back, Outage, rebalance_in_outage, signal_twice, terminate};
use super::traffic::Traffic;
use super::{DEADLINE, Pipeline};
use crate::ledger::Attempt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL at a fail point of the processor.
    ProcessorKilled(&'static str),
    /// SIGSTOP until its partitions are assigned to another processor, then SIGCONT.
    ProcessorFrozen,
    /// SIGTERM while it cannot write what it holds.
    ProcessorTerminated(Outage, Back),
    /// SIGTERM while ClickHouse is away, and again before it has ended.
    ProcessorSignalledTwice,
    /// Another processor joins and leaves while ClickHouse is away.
    RebalanceInOutage,
    /// SIGKILL while an insert is being written, three times.
    ClickHouseKilled,
    /// SIGTERM and a new start.
    KafkaRestarted,
    /// SIGKILL and a new start.
    KafkaKilled,
    /// Connections to ClickHouse are closed, four times.
    NetworkCut,
    /// Connections to ClickHouse are slow for 3 s, and then stalled for 3 s.
    NetworkSlow,
    /// The end of a replay in the middle of repairing deleted rows; it is then continued.
    ReplayEnded(ReplaySource, ReplayEnd),
    /// SIGKILL at a fail point of a redrive of letters that came too late; the redrive is then continued.
    RedriveKilled(&'static str),
    /// SIGTERM in the middle of such a redrive.
    RedriveTerminated,
    /// A server is away for some seconds in the middle of such a redrive.
    RedriveInOutage(Away),
    /// A rebuild, its swap or its undo, ended by a signal at a fail point; the same command then goes on, and everything is swapped in the end.
    RebuildEnded(Ending, &'static str),
}

/// A fault that was survived with every number right.
#[derive(Clone, Copy, Debug)]
pub struct Survived {
    pub attempts: usize,
    /// From the last webhook until everything was in its table.
    pub settled: Duration,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProcessorKilled(fail_point) => write!(f, "processor killed {}", fail_point.replace('_', " ")),
            Self::ProcessorFrozen => f.write_str("processor frozen"),
            Self::ProcessorTerminated(outage, back) => write!(f, "processor terminated, {outage}, {back}"),
            Self::ProcessorSignalledTwice => f.write_str("processor signalled twice"),
            Self::RebalanceInOutage => f.write_str("rebalance in an outage"),
            Self::ClickHouseKilled => f.write_str("ClickHouse killed"),
            Self::KafkaRestarted => f.write_str("Kafka restarted"),
            Self::KafkaKilled => f.write_str("Kafka killed"),
            Self::NetworkCut => f.write_str("network cut"),
            Self::NetworkSlow => f.write_str("network slow"),
            Self::ReplayEnded(source, end) => write!(f, "replay of {source} {end}"),
            Self::RedriveKilled(fail_point) => {
                write!(f, "redrive killed {}", fail_point.trim_start_matches("redrive_").replace(['_', ':'], " "))
            }
            Self::RedriveTerminated => f.write_str("redrive terminated"),
            Self::RedriveInOutage(away) => write!(f, "redrive in an outage of {away}"),
            Self::RebuildEnded(ending, fail_point) => write!(f, "rebuild {ending} {}", fail_point.replace('_', " ")),
        }
    }
}

impl fmt::Display for Survived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempts, settled } = self;
        write!(f, "{attempts} attempts, 0 differences, settled in {:.1} s", settled.as_secs_f64())
    }
}

impl Fault {
    pub const ALL: [Self; 45] = [
        Self::ProcessorKilled("after_consume"),
        Self::ProcessorKilled("after_jobs"),
        Self::ProcessorKilled("after_deliveries"),
        Self::ProcessorKilled("after_refresh"),
        Self::ProcessorKilled("before_commit"),
        Self::ProcessorKilled("after_commit"),
        Self::ProcessorFrozen,
        Self::ProcessorTerminated(Outage::Away, Back::InTime),
        Self::ProcessorTerminated(Outage::Away, Back::AfterSettleTimeout),
        Self::ProcessorTerminated(Outage::Away, Back::AfterEnd),
        Self::ProcessorTerminated(Outage::Silent, Back::AfterSettleTimeout),
        Self::ProcessorTerminated(Outage::Slow, Back::AfterEnd),
        Self::ProcessorTerminated(Outage::NoRollup, Back::InTime),
        Self::ProcessorTerminated(Outage::NoRollup, Back::AfterSettleTimeout),
        Self::ProcessorSignalledTwice,
        Self::RebalanceInOutage,
        Self::ClickHouseKilled,
        Self::KafkaRestarted,
        Self::KafkaKilled,
        Self::NetworkCut,
        Self::NetworkSlow,
        Self::ReplayEnded(ReplaySource::Kafka, ReplayEnd::Killed),
        Self::ReplayEnded(ReplaySource::Kafka, ReplayEnd::Terminated),
        Self::ReplayEnded(ReplaySource::Deliveries, ReplayEnd::Killed),
        Self::ReplayEnded(ReplaySource::Deliveries, ReplayEnd::Terminated),
        Self::RedriveKilled("redrive_begun"),
        Self::RedriveKilled("redrive_one_sent"),
        Self::RedriveKilled("redrive_all_sent"),
        Self::RedriveKilled("redrive_noted"),
        Self::RedriveKilled("redrive_saved"),
        Self::RedriveTerminated,
        Self::RedriveInOutage(Away::ClickHouse),
        Self::RedriveInOutage(Away::Kafka),
        Self::RebuildEnded(Ending::Killed, "after_shadow"),
        Self::RebuildEnded(Ending::Killed, "after_filled_batch"),
        Self::RebuildEnded(Ending::Killed, "after_fill"),
        Self::RebuildEnded(Ending::Killed, "after_verify"),
        Self::RebuildEnded(Ending::Killed, "before_exchange"),
        Self::RebuildEnded(Ending::Killed, "after_exchange"),
        Self::RebuildEnded(Ending::Killed, "after_inserts"),
        Self::RebuildEnded(Ending::Killed, "after_catch_up"),
        Self::RebuildEnded(Ending::Killed, "after_rebuild_refresh"),
        Self::RebuildEnded(Ending::Terminated, "after_filled_batch"),
        Self::RebuildEnded(Ending::Terminated, "after_exchange"),
        Self::RebuildEnded(Ending::Terminated, "after_catch_up"),
    ];

    /// Injects the fault into a pipeline of its own under `traffic`, which goes on until the fault is over. Panics where a
    /// difference remains, or where the oracle misses one that is made on purpose.
    pub async fn run_under_traffic(self, traffic: Traffic) -> Survived {
        let mut pipeline = match self {
            Self::ClickHouseKilled | Self::KafkaRestarted | Self::KafkaKilled | Self::RedriveInOutage(Away::Kafka) => {
                Pipeline::on_own_servers().await
            }
            Self::ProcessorKilled(_)
            | Self::ProcessorFrozen
            | Self::ProcessorTerminated(..)
            | Self::ProcessorSignalledTwice
            | Self::RebalanceInOutage
            | Self::NetworkCut
            | Self::NetworkSlow
            | Self::ReplayEnded(..)
            | Self::RebuildEnded(..)
            | Self::RedriveKilled(_)
            | Self::RedriveTerminated
            | Self::RedriveInOutage(Away::ClickHouse) => Pipeline::on_shared_servers("matrix").await,
        };
        let mut processor = pipeline.processor("one", &[]);
        let stream = traffic.stream(pipeline.url.clone());
        pipeline.wait_for_rows(traffic.jobs as u64 / 4).await;
        let stale = self.inject(&mut pipeline, &mut processor).await;
        let attempts = [stream.end().await, stale].concat();
        let settled = wait_until_settled(&pipeline, &mut processor).await;
        if matches!(self, Self::ReplayEnded(..) | Self::RebuildEnded(..)) {
            assert_replay_changes_nothing(&pipeline).await;
        }
        if self == Self::RebalanceInOutage {
            let restarts = processor.metric("hookline_processor_consumer_restarts_total", &[]).await;
            assert_eq!(restarts, 0.0, "it goes on by itself, and not by the watchdog");
        }
        assert_tables_are_right(&pipeline, &attempts).await;
        Survived { attempts: attempts.len(), settled }
    }

    /// Injects the fault under whatever traffic there is, and returns when it is over: everything runs again, though the
    /// processor may lag. Gives the attempts that the fault made itself.
    pub async fn inject(self, pipeline: &mut Pipeline, processor: &mut Daemon) -> Vec<Attempt> {
        match self {
            Self::ProcessorKilled(fail_point) => kill_processor(pipeline, processor, fail_point).await,
            Self::ProcessorFrozen => freeze_processor(pipeline, processor).await,
            Self::ProcessorTerminated(outage, back) => terminate(pipeline, processor, outage, back).await,
            Self::ProcessorSignalledTwice => signal_twice(pipeline, processor).await,
            Self::RebalanceInOutage => rebalance_in_outage(pipeline, processor).await,
            Self::ClickHouseKilled => kill_clickhouse(pipeline).await,
            Self::KafkaRestarted => {
                pipeline.own_kafka().terminate(1).await;
                pipeline.own_kafka().restart(1).await;
            }
            Self::KafkaKilled => {
                pipeline.own_kafka().kill(1).await;
                pipeline.own_kafka().restart(1).await;
            }
            Self::NetworkCut => cut_network(pipeline).await,
            Self::NetworkSlow => slow_network(pipeline).await,
            Self::ReplayEnded(source, end) => end_replay(pipeline, source, end).await,
            Self::RedriveKilled(fail_point) => return redrives::kill(pipeline, fail_point).await,
            Self::RedriveTerminated => return redrives::terminate(pipeline).await,
            Self::RedriveInOutage(away) => return redrives::outage(pipeline, away).await,
            Self::RebuildEnded(ending, fail_point) => end_rebuild(pipeline, ending, fail_point).await,
        }
        Vec::new()
    }
}

async fn kill_processor(pipeline: &Pipeline, processor: &mut Daemon, fail_point: &str) {
    assert!(processor.terminate().await.success(), "the processor did not end in order");
    *processor = pipeline.processor("one", &[("HOOKLINE_FAIL_POINT", &format!("{fail_point}:3"))]);
    let status = processor.wait().await;
    assert!(!status.success(), "the processor was to be killed {fail_point}, but ended by itself");
    *processor = pipeline.processor("one", &[]);
}

async fn freeze_processor(pipeline: &Pipeline, processor: &mut Daemon) {
    let alone = assignments(processor).await;
    let mut other = pipeline.processor("two", &[]);
    let shared = assigned(&mut other, 0.0).await;
    let before = assigned(processor, alone).await;
    processor.signal(Signal::SIGSTOP);
    assigned(&mut other, shared).await;
    // Now the other one has every partition, and commits beyond the batch that the frozen one holds.
    wait_until_caught_up(&pipeline.kafka).await;
    processor.signal(Signal::SIGCONT);
    assigned(processor, before).await;
    assert!(other.terminate().await.success(), "the second processor did not end in order");
}

/// How often partitions were assigned to a processor.
async fn assignments(processor: &mut Daemon) -> f64 {
    processor.metric("hookline_processor_rebalances_total", &["kind=\"assign\""]).await
}

/// Waits until partitions were assigned to it more than `before` times.
async fn assigned(processor: &mut Daemon, before: f64) -> f64 {
    let more = async || Some(assignments(processor).await).filter(|count| *count > before);
    eventually("partitions to be assigned", DEADLINE, more).await
}

async fn kill_clickhouse(pipeline: &mut Pipeline) {
    for _ in 0..3 {
        pipeline.proxy.set(NetworkState::Slow(8 << 10));
        eventually("an insert in progress", DEADLINE, async || {
            // An insert that has taken so long is waiting for the rest of its body.
            let inserts = "system.processes WHERE query_kind = 'Insert' AND elapsed > 0.1";
            pipeline.count(inserts).await.filter(|count| *count > 0)
        })
        .await;
        pipeline.own_clickhouse().kill();
        pipeline.proxy.set(NetworkState::Open);
        pipeline.own_clickhouse().restart().await;
    }
}

async fn cut_network(pipeline: &Pipeline) {
    // In the middle of a request, and after the last byte of one whose answer then never comes.
    for bytes in [1, 10 << 10, 30 << 10, 50 << 10] {
        pipeline.proxy.wait_for_bytes(bytes).await;
        pipeline.proxy.set(NetworkState::Cut);
        sleep(Duration::from_millis(700)).await;
        pipeline.proxy.set(NetworkState::Open);
    }
}

async fn slow_network(pipeline: &Pipeline) {
    pipeline.proxy.wait_for_bytes(1).await;
    pipeline.proxy.set(NetworkState::Slow(64 << 10));
    sleep(Duration::from_secs(3)).await;
    pipeline.proxy.set(NetworkState::Stalled);
    sleep(Duration::from_secs(3)).await;
    pipeline.proxy.set(NetworkState::Open);
}
