//! Every fault under little traffic; `make soak` injects them under more.

use hookline_simulator::pipeline::faults::Fault;
use hookline_simulator::pipeline::rebuilds::Ending;
use hookline_simulator::pipeline::redrives::Away;
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
            // A rebuild takes several steps, and traffic must go on beside each.
            let rate = if matches!(fault, Fault::RebuildEnded(..)) { 50.0 } else { 150.0 };
            let survived = fault.run_under_traffic(Traffic { jobs: 500, rate, seed: 6 }).await;
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
    redrive_while_clickhouse_is_away: Fault::RedriveInOutage(Away::ClickHouse);
    redrive_while_kafka_is_away: Fault::RedriveInOutage(Away::Kafka);
    rebuild_killed_after_shadow: Fault::RebuildEnded(Ending::Killed, "after_shadow");
    rebuild_killed_after_filled_batch: Fault::RebuildEnded(Ending::Killed, "after_filled_batch");
    rebuild_killed_after_fill: Fault::RebuildEnded(Ending::Killed, "after_fill");
    rebuild_killed_after_verify: Fault::RebuildEnded(Ending::Killed, "after_verify");
    rebuild_killed_before_exchange: Fault::RebuildEnded(Ending::Killed, "before_exchange");
    rebuild_killed_after_exchange: Fault::RebuildEnded(Ending::Killed, "after_exchange");
    rebuild_killed_after_inserts: Fault::RebuildEnded(Ending::Killed, "after_inserts");
    rebuild_killed_after_catch_up: Fault::RebuildEnded(Ending::Killed, "after_catch_up");
    rebuild_killed_after_rebuild_refresh: Fault::RebuildEnded(Ending::Killed, "after_rebuild_refresh");
    rebuild_terminated_after_filled_batch: Fault::RebuildEnded(Ending::Terminated, "after_filled_batch");
    rebuild_terminated_after_exchange: Fault::RebuildEnded(Ending::Terminated, "after_exchange");
    rebuild_terminated_after_catch_up: Fault::RebuildEnded(Ending::Terminated, "after_catch_up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingest_outlives_its_broker() {
    let outage = stop_broker_thrice(Traffic { jobs: 1_000, rate: 100.0, seed: 7 }).await;
    println!("{outage}");
}
