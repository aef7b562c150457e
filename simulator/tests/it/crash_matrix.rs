//! Every fault under little traffic; `make soak` injects them under more.

use hookline_simulator::pipeline::faults::Fault;
use hookline_simulator::pipeline::replays::{ReplayEnd, ReplaySource};
use hookline_simulator::pipeline::terminations::{Back, Outage};
use hookline_simulator::pipeline::traffic::Traffic;

use crate::outage::stop_broker_thrice;

macro_rules! matrix {
    ($($name:ident: $fault:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let fault: Fault = $fault;
            assert!(Fault::ALL.contains(&fault), "the soak must inject it, too");
            let survived = fault.run_under_traffic(Traffic { jobs: 500, rate: 150.0, seed: 6 }).await;
            println!("{fault}: {survived}");
        }
    )*};
}

matrix! {
    killed_after_consume: Fault::ProcessorKilled("after_consume");
    killed_after_jobs: Fault::ProcessorKilled("after_jobs");
    killed_after_deliveries: Fault::ProcessorKilled("after_deliveries");
    killed_after_refresh: Fault::ProcessorKilled("after_refresh");
    killed_before_commit: Fault::ProcessorKilled("before_commit");
    killed_after_commit: Fault::ProcessorKilled("after_commit");
    frozen_until_its_partitions_moved: Fault::ProcessorFrozen;
    terminated_while_clickhouse_is_away: Fault::ProcessorTerminated(Outage::Away, Back::AfterEnd);
    terminated_and_clickhouse_is_back_in_time: Fault::ProcessorTerminated(Outage::Away, Back::InTime);
    terminated_and_clickhouse_is_back_late: Fault::ProcessorTerminated(Outage::Away, Back::AfterSettleTimeout);
    terminated_while_clickhouse_is_silent: Fault::ProcessorTerminated(Outage::Silent, Back::AfterSettleTimeout);
    terminated_while_clickhouse_is_slow: Fault::ProcessorTerminated(Outage::Slow, Back::AfterEnd);
    terminated_and_the_rollup_is_back_in_time: Fault::ProcessorTerminated(Outage::NoRollup, Back::InTime);
    terminated_and_the_rollup_is_back_late: Fault::ProcessorTerminated(Outage::NoRollup, Back::AfterSettleTimeout);
    signalled_twice: Fault::ProcessorSignalledTwice;
    rebalance_in_an_outage: Fault::RebalanceInOutage;
    clickhouse_killed: Fault::ClickHouseKilled;
    kafka_restarted: Fault::KafkaRestarted;
    kafka_killed: Fault::KafkaKilled;
    network_cut: Fault::NetworkCut;
    network_slow: Fault::NetworkSlow;
    replay_killed: Fault::ReplayEnded(ReplaySource::Kafka, ReplayEnd::Killed);
    replay_terminated: Fault::ReplayEnded(ReplaySource::Kafka, ReplayEnd::Terminated);
    replay_of_the_archive_killed: Fault::ReplayEnded(ReplaySource::Deliveries, ReplayEnd::Killed);
    replay_of_the_archive_terminated: Fault::ReplayEnded(ReplaySource::Deliveries, ReplayEnd::Terminated);
    redrive_killed_at_its_beginning: Fault::RedriveKilled("redrive_begun");
    redrive_killed_after_one_letter: Fault::RedriveKilled("redrive_one_sent");
    redrive_killed_after_a_page: Fault::RedriveKilled("redrive_all_sent");
    redrive_killed_after_its_note: Fault::RedriveKilled("redrive_noted");
    redrive_killed_after_its_save: Fault::RedriveKilled("redrive_saved");
    redrive_terminated: Fault::RedriveTerminated;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingest_outlives_its_broker() {
    let outage = stop_broker_thrice(Traffic { jobs: 1_000, rate: 100.0, seed: 7 }).await;
    println!("{outage}");
}
