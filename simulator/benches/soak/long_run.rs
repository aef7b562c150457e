//! One pipeline, a steady stream of webhooks, and faults at random moments.

use std::time::{Duration, Instant};

use hookline_simulator::pipeline::Pipeline;
use hookline_simulator::pipeline::assertions::{
    assert_replay_changes_nothing, assert_tables_are_right, wait_until_caught_up, wait_until_settled,
};
use hookline_simulator::pipeline::faults::Fault;
use hookline_simulator::pipeline::traffic::Traffic;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::report::Report;

/// Seconds without a fault between the end of one and the next.
const QUIET: std::ops::Range<f64> = 3.0..20.0;

pub async fn run(seconds: u64, rate: f64, seed: u64) {
    let mut pipeline = Pipeline::on_own_servers().await;
    let mut processor = pipeline.processor("one", &[]);
    // Each run of the stream takes about ten seconds.
    let stream = Traffic { jobs: (rate * 5.0) as usize, rate, seed }.stream(pipeline.url.clone());
    pipeline.wait_for_rows((rate * 5.0) as u64).await;
    let began = Instant::now();
    let bar = crate::bar(seconds, "s");
    let ticking = tokio::spawn({
        let bar = bar.clone();
        async move {
            loop {
                bar.set_position(began.elapsed().as_secs().min(seconds));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    });

    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut report = Report::new(wait_until_caught_up(&pipeline.kafka).await);
    let (mut left, mut of_faults) = (Vec::new(), Vec::new());
    loop {
        bar.set_message("quiet");
        tokio::time::sleep(Duration::from_secs_f64(rng.random_range(QUIET))).await;
        report.note_memory(&pipeline, &processor);
        if began.elapsed().as_secs() >= seconds {
            break;
        }
        // All faults in some order, and then all of them in another.
        if left.is_empty() {
            left = Fault::ALL.to_vec();
            left.shuffle(&mut rng);
        }
        let fault = left.pop().expect("it was just filled");
        bar.set_message(fault.to_string());
        let injected = began.elapsed();
        of_faults.extend(fault.inject(&mut pipeline, &mut processor).await);
        let over = began.elapsed() - injected;
        let catching_up = wait_until_caught_up(&pipeline.kafka).await;
        report.note_memory(&pipeline, &processor);
        report.add(fault, catching_up);
        let (at, over, lag) = (injected.as_secs(), over.as_secs_f64(), catching_up.as_secs_f64());
        bar.suspend(|| println!("at {at:>4} s  {fault}, over after {over:.1} s, lag zero {lag:.1} s later"));
    }
    bar.set_message("asking the oracle");
    let attempts = [stream.end().await, of_faults].concat();
    let sent = began.elapsed();
    let settled = wait_until_settled(&pipeline, &mut processor).await;
    assert_replay_changes_nothing(&pipeline).await;
    assert_tables_are_right(&pipeline, &attempts).await;
    ticking.abort();
    bar.finish_and_clear();
    println!("{report}");
    println!(
        "{} attempts in {:.0} s, settled {:.1} s after the last: 0 differences, a replay changed nothing, and the oracle found \
         both changes made on purpose",
        attempts.len(),
        sent.as_secs_f64(),
        settled.as_secs_f64()
    );
}
