//! Each fault at a small size; `make soak` has the large one.

use crate::faults::Fault;
use crate::outage::broker_stopped_thrice;
use crate::traffic::Traffic;

macro_rules! matrix {
    ($($name:ident: $fault:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let fault: Fault = $fault;
            assert!(Fault::ALL.contains(&fault), "the soak must know it, too");
            let outcome = fault.strike(Traffic { jobs: 500, rate: 150.0, seed: 6 }).await;
            println!("{fault}: {outcome}");
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
    clickhouse_killed: Fault::ClickHouseKilled;
    kafka_restarted: Fault::KafkaRestarted;
    kafka_killed: Fault::KafkaKilled;
    network_cut: Fault::NetworkCut;
    network_slow: Fault::NetworkSlow;
    replay_killed: Fault::ReplayKilled;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingest_outlives_its_broker() {
    let outcome = broker_stopped_thrice(Traffic { jobs: 1_000, rate: 100.0, seed: 7 }).await;
    println!("{outcome}");
}
