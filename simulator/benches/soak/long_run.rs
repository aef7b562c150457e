//! One pipeline, a steady stream, and faults at random moments.

use std::time::{Duration, Instant};

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::faults::Fault;
use crate::report::Report;
use crate::scene::Scene;
use crate::topics::caught_up;
use crate::traffic::Traffic;
use crate::verdict::{assert_nothing_to_repair, assert_right, settled};

/// Seconds of quiet between the end of one fault and the next.
const QUIET: std::ops::Range<f64> = 3.0..20.0;

pub async fn run(seconds: u64, rate: f64, seed: u64) {
    let mut scene = Scene::own().await;
    // Lots of about ten seconds.
    let stream = Traffic { jobs: (rate * 5.0) as usize, rate, seed }.stream(scene.stage.url.clone());
    scene.rows((rate * 5.0) as u64).await;
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
    let mut report = Report::new(caught_up(&scene.stage.kafka).await);
    let mut left = Vec::new();
    loop {
        bar.set_message("quiet");
        tokio::time::sleep(Duration::from_secs_f64(rng.random_range(QUIET))).await;
        report.ingest.note(&scene.stage.ingest);
        report.processor.note(&scene.processor);
        if began.elapsed().as_secs() >= seconds {
            break;
        }
        // All of them in some order, and then all of them in another.
        if left.is_empty() {
            left = Fault::ALL.to_vec();
            left.shuffle(&mut rng);
        }
        let fault = left.pop().expect("it was just filled");
        bar.set_message(fault.to_string());
        let struck = began.elapsed();
        fault.befall(&mut scene).await;
        let over = began.elapsed() - struck;
        let lag = caught_up(&scene.stage.kafka).await;
        report.ingest.note(&scene.stage.ingest);
        report.processor.note(&scene.processor);
        report.add(fault, lag);
        let (at, over, lag) = (struck.as_secs(), over.as_secs_f64(), lag.as_secs_f64());
        bar.suspend(|| println!("at {at:>4} s  {fault}, over after {over:.1} s, lag zero {lag:.1} s later"));
    }
    bar.set_message("the verdict");
    let attempts = stream.end().await;
    let sent = began.elapsed();
    let settled = settled(&scene.stage, &mut scene.processor).await;
    assert_nothing_to_repair(&scene.stage).await;
    assert_right(&scene.stage, &attempts).await;
    ticking.abort();
    bar.finish_and_clear();
    println!("{report}");
    println!(
        "{} attempts in {:.0} s, settled {:.1} s after the last: 0 differences, nothing to repair, and both controls found",
        attempts.len(),
        sent.as_secs_f64(),
        settled.as_secs_f64()
    );
}
