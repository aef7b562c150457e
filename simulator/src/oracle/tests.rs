//! The oracle agrees with the fold of `schemas` about simulated jobs, and notices every single thing that is wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use hookline_schemas::envelope;
use hookline_schemas::facts::Facts;
use hookline_schemas::outcome::Derived;
use hookline_schemas::record::DeliveryMetadata;
use hookline_schemas::signature::SigningKey;
use hookline_schemas::time::{ReceivedAt, SignedAt, occurred_at};
use serde_json::Value;

use super::rows::JobKey;
use super::*;
use crate::ledger::{Answer, sha256_hex};
use crate::plan::{Settings, Timing, plan};
use crate::provider_time::ProviderTime;

const NOW: ProviderTime = ProviderTime(1_786_699_613_589);

fn answered(body: &[u8], number: usize) -> Answer {
    match (envelope::decode(body), number % 20) {
        (_, 0) => Answer::Unknown,
        (_, 1) => Answer::Status(503),
        (Ok(_), _) => Answer::Status(200),
        (Err(_), _) => Answer::Status(202),
    }
}

/// Right tables after a run in which some attempts got no answer or a 503, and half of those arrived all the same.
pub(super) fn right() -> Snapshot {
    let settings = Settings {
        jobs: 500,
        seed: 11,
        timing: Timing::Past(Duration::from_secs(240)),
        duplicates: 0.3,
        shuffle: 0.3,
        missing_started: 0.2,
        foreign: 0.1,
    };
    let key = SigningKey::new("mhw_live_test");
    let mut snapshot = Snapshot::default();
    let mut facts = BTreeMap::<JobKey, Facts<'static>>::new();
    for (number, delivery) in plan(&settings, NOW).into_iter().enumerate() {
        let signed_at = SignedAt(u32::try_from(delivery.signed_at.second()).unwrap());
        let signed_at_text = signed_at.0.to_string();
        let hex = key.sign(&signed_at_text, &delivery.body).to_hex();
        let answer = answered(&delivery.body, number);
        snapshot.attempts.push(Attempt {
            source: "test".into(),
            event_type: delivery.event_type.clone(),
            job_id: delivery.job_id.clone(),
            created_at: delivery.created_at,
            event_at: delivery.event_at,
            attempt: 1,
            sent_at: NOW,
            signed_at_text: signed_at_text.clone(),
            signature: hex.to_string(),
            body_sha256: sha256_hex(&delivery.body),
            answer,
        });
        if !answer.acknowledges() && number % 40 < 20 {
            continue;
        }
        let received_at = ProviderTime(NOW.0 + number as i64);
        let Ok(event) = envelope::decode(&delivery.body) else {
            snapshot.dead_letters.push(DeadLetter {
                source: "test".into(),
                reason: "unknown_type".into(),
                origin: "ingest".into(),
                event_type: delivery.event_type,
                job_id: delivery.job_id,
                signature: hex.to_string(),
                signed_at_text,
                body_sha256: sha256_hex(&delivery.body),
            });
            continue;
        };
        let metadata = DeliveryMetadata {
            source: "test",
            received_at: ReceivedAt(received_at.0),
            signed_at,
            signed_at_text: &signed_at_text,
            signature: hex,
            key_name: "default",
            first_signed_at: None,
        };
        let resource = event.event_type.resource.to_string();
        let job = ("test".to_owned(), resource.clone(), delivery.job_id.clone());
        let new = Facts::of(&event, &metadata).into_owned();
        facts.entry(job).and_modify(|known| known.join(new.clone())).or_insert(new);
        snapshot.deliveries.push(Delivery {
            log_id: "log".into(),
            topic: format!("hookline.{resource}"),
            partition: 0,
            offset: number as i64,
            source: "test".into(),
            resource,
            action: event.event_type.action.to_string(),
            job_id: delivery.job_id,
            created_at: ProviderTime(event.created_at.0),
            signed_at: signed_at.0,
            signed_at_text,
            first_signed_at: None,
            received_at,
            occurred_at: ProviderTime(occurred_at(ReceivedAt(received_at.0), signed_at, event.created_at).0),
            signature: hex.to_string(),
            body: String::from_utf8(delivery.body).unwrap(),
        });
    }
    snapshot.job_facts = facts.into_iter().map(|(job, facts)| row(job, &facts)).collect();
    roll_up(&mut snapshot);
    snapshot
}

/// Brings the roll-up up to date with the facts.
fn roll_up(snapshot: &mut Snapshot) {
    (snapshot.quantiles, snapshot.job_stats) = rolled_up(&snapshot.job_facts, 60);
    (snapshot.hourly_quantiles, snapshot.hourly_job_stats) = rolled_up(&snapshot.job_facts, 3_600);
}

/// Counts one job after the other.
fn rolled_up(job_facts: &[JobFacts], seconds: i64) -> (Vec<FactQuantiles>, Vec<JobStats>) {
    let mut stats: Vec<JobStats> = Vec::new();
    for row in job_facts {
        let Some(finished_at) = row.finished_at else { continue };
        let completed = row.outcome == "completed";
        let one = JobStats {
            created_hour: row.created_hour,
            ended: u32::try_from(finished_at.second() - finished_at.second() % seconds).unwrap(),
            source: row.source.clone(),
            resource: row.resource.clone(),
            job_type: row.job_type.clone(),
            error_code: if completed { String::new() } else { row.error_code.clone() },
            completed: u64::from(completed),
            errored: u64::from(!completed),
            total_jobs: u64::from(row.total_seconds.is_some()),
            run_jobs: u64::from(row.run_seconds.is_some()),
            queue_jobs: u64::from(row.queue_seconds.is_some()),
            total_max: row.total_seconds,
            run_max: row.run_seconds,
            queue_max: row.queue_seconds,
            total: vec![1.0, 2.0, 3.0, 4.0],
            run: vec![f64::NAN; 4],
            queue: vec![0.5; 4],
        };
        let Some(known) = stats.iter_mut().find(|known| known.key() == one.key()) else {
            stats.push(one);
            continue;
        };
        known.completed += one.completed;
        known.errored += one.errored;
        known.total_jobs += one.total_jobs;
        known.run_jobs += one.run_jobs;
        known.queue_jobs += one.queue_jobs;
        // `None` is less than any number.
        for (known, one) in [
            (&mut known.total_max, one.total_max),
            (&mut known.run_max, one.run_max),
            (&mut known.queue_max, one.queue_max),
        ] {
            *known = if one > *known { one } else { *known };
        }
    }
    (stats.iter().map(quantiles).collect(), stats)
}

fn quantiles(row: &JobStats) -> FactQuantiles {
    let JobStats { created_hour, ended, source, resource, job_type, error_code, total, run, queue, .. } = row.clone();
    FactQuantiles { created_hour, ended, source, resource, job_type, error_code, total, run, queue }
}

fn row((source, resource, job_id): JobKey, facts: &Facts<'_>) -> JobFacts {
    let derived = Derived::from(facts);
    let (error_code, error_message) = facts.error.split_once('\0').unwrap_or_default();
    let outcome = derived.outcome.as_str();
    let credits_charged = match outcome {
        "completed" => facts.credits_completed,
        "errored" => facts.credits_errored,
        _ => None,
    };
    let seconds = |milliseconds: Option<i64>| milliseconds.map(|milliseconds| milliseconds as f64 / 1000.0);
    JobFacts {
        source,
        resource,
        job_id,
        job_type: facts.job_type.to_string(),
        created_hour: u32::try_from(facts.created_at.hour().0).unwrap(),
        created_at: ProviderTime(facts.created_at.0),
        started_at: facts.started_at.map(|at| ProviderTime(at.0)),
        completed_at: facts.completed_at.map(|at| ProviderTime(at.0)),
        errored_at: facts.errored_at.map(|at| ProviderTime(at.0)),
        finished_at: derived.finished_at.map(|at| ProviderTime(at.0)),
        outcome: outcome.into(),
        error_code: error_code.into(),
        error_message: error_message.into(),
        total_seconds: seconds(derived.total_ms),
        run_seconds: seconds(derived.run_ms),
        queue_seconds: seconds(derived.queue_ms),
        width: facts.width,
        height: facts.height,
        image_count: facts.image_count,
        fps: facts.fps,
        media_seconds: facts.media_seconds,
        credits_estimated: facts.credits_estimated,
        credits_charged,
        credits_refunded: facts
            .credits_estimated
            .zip(credits_charged)
            .map(|(estimated, charged)| estimated - charged)
            .filter(|_| outcome == "errored"),
        first_received_at: ProviderTime(facts.first_received_at.0),
        last_received_at: ProviderTime(facts.last_received_at.0),
        fold_version: facts.fold_version,
    }
}

/// The one difference that a change of right tables makes.
fn difference_after(change: impl FnOnce(&mut Snapshot)) -> Difference {
    let mut snapshot = right();
    change(&mut snapshot);
    let mut found = snapshot.differences();
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

#[test]
fn right_tables_show_no_difference() {
    let snapshot = right();
    assert!(snapshot.deliveries.len() > 900 && snapshot.dead_letters.len() > 20);
    assert!(snapshot.job_facts.iter().any(|row| row.outcome == "errored"));
    assert!(snapshot.job_stats.iter().any(|row| row.errored > 0));
    assert!(snapshot.job_stats.iter().any(|row| row.completed > 1 && row.run_max.is_some()));
    assert_eq!(snapshot.differences(), []);
}

#[test]
fn every_column_counts() {
    let columns = serde_json::to_value(&right().job_facts[0]).unwrap().as_object().unwrap().clone();
    for (column, _) in columns.iter().filter(|(column, _)| !["source", "resource", "job_id"].contains(&&***column)) {
        let mut snapshot = right();
        // A completed video with a `started` fills most columns; changed values keep their type.
        let index = snapshot
            .job_facts
            .iter()
            .position(|row| row.resource == "video" && row.outcome == "completed" && row.started_at.is_some())
            .unwrap();
        let mut changed = serde_json::to_value(&snapshot.job_facts[index]).unwrap();
        let old = &changed[column];
        changed[column] = other_than(old);
        snapshot.job_facts[index] = serde_json::from_value(changed).unwrap();
        let found = snapshot.differences();
        let named =
            |difference: &&Difference| matches!(difference, Difference::Column { column: of, .. } if of == column);
        assert_eq!(found.iter().filter(named).count(), 1, "{column}: {found:#?}");
    }
}

/// Another value of the same type.
fn other_than(value: &Value) -> Value {
    if let Some(text) = value.as_str() {
        format!("{text}x").into()
    } else if let Some(integer) = value.as_i64() {
        (integer + 1).into()
    } else if let Some(float) = value.as_f64() {
        (float + 0.5).into()
    } else if let Some([first, rest @ ..]) = value.as_array().map(Vec::as_slice) {
        let changed = [&[other_than(first)], rest].concat();
        changed.into()
    } else {
        7.into()
    }
}

#[test]
fn every_column_of_the_roll_up_counts() {
    let right = right();
    let minutes = (rollup::BY_MINUTE, "job_stats_by_minute", &right.quantiles, &right.job_stats);
    let hours = (rollup::BY_HOUR, "job_stats_by_hour", &right.hourly_quantiles, &right.hourly_job_stats);
    for (resolution, view, quantiles, job_stats) in [minutes, hours] {
        let index = job_stats.iter().position(|row| row.run_max.is_some()).unwrap();
        let mut row = job_stats[index].clone();
        // NaN is not JSON.
        row.run.clone_from(&row.total);
        let row = serde_json::to_value(row).unwrap();
        let key = ["created_hour", "ended", "source", "resource", "job_type", "error_code"];
        for (column, value) in row.as_object().unwrap().iter().filter(|(column, _)| !key.contains(&&***column)) {
            let mut changed = row.clone();
            changed[column] = other_than(value);
            let mut job_stats = job_stats.clone();
            job_stats[index] = serde_json::from_value(changed).unwrap();
            let mut quantiles = quantiles.clone();
            quantiles[index].run = quantiles[index].total.clone();
            let found = rollup::differences(resolution, (&right.job_facts, &[]), &quantiles, &job_stats);
            let named =
                matches!(&*found, [Difference::Column { table, column: of, .. }] if *table == view && of == column);
            assert!(named, "{view} {column}: {found:#?}");
        }
    }
}

#[test]
fn a_stale_roll_up_is_noticed() {
    let right = right();
    let found = |facts: &[JobFacts], stats: &[JobStats]| {
        rollup::differences(rollup::BY_MINUTE, (facts, &[]), &right.quantiles, stats)
    };
    let one = right.job_stats.iter().find(|row| row.completed == 1 && row.errored == 0).unwrap();
    let several = right.job_stats.iter().find(|row| row.completed > 1).unwrap();

    // A job ended after the last refresh: one more of its group, and the only one of its group.
    for (group, is_new) in [(several, false), (one, true)] {
        let mut stale = right.clone();
        stale.job_facts.retain(|row| row.job_id != job_of(&right, group).job_id);
        roll_up(&mut stale);
        let found = found(&right.job_facts, &stale.job_stats);
        assert!(
            match &*found {
                [Difference::MissingRow { table: "job_stats_by_minute", row }] =>
                    is_new && row.contains(&group.job_type),
                [Difference::Column { column, .. }, ..] => !is_new && column == "completed",
                _ => false,
            },
            "{found:#?}"
        );
    }

    // An errored job turned out completed: it is gone from one group and counted in another.
    let mut late = right.clone();
    let errored = late.job_facts.iter_mut().find(|row| row.outcome == "errored").unwrap();
    (errored.outcome, errored.completed_at) = ("completed".into(), errored.errored_at);
    assert!(!found(&late.job_facts, &right.job_stats).is_empty());

    // A row twice.
    let twice = [&right.job_stats[..], &right.job_stats[..1]].concat();
    assert!(matches!(&*found(&right.job_facts, &twice), [Difference::ExtraRow { table: "job_stats_by_minute", .. }]));
}

/// A job that is counted in the group.
fn job_of<'a>(snapshot: &'a Snapshot, group: &JobStats) -> &'a JobFacts {
    let counted = |row: &&JobFacts| {
        let minute = row.finished_at.map(|at| at.second() - at.second() % 60);
        minute == Some(i64::from(group.ended))
            && (&row.resource, &row.job_type, row.created_hour)
                == (&group.resource, &group.job_type, group.created_hour)
            && (row.outcome == "completed") == group.error_code.is_empty()
    };
    snapshot.job_facts.iter().find(counted).unwrap()
}

#[test]
fn a_lost_row_is_noticed() {
    let acknowledged = right().attempts.iter().position(|attempt| attempt.answer == Answer::Status(202)).unwrap();
    let signature = right().attempts[acknowledged].signature.clone();
    let lost = difference_after(|snapshot| snapshot.dead_letters.retain(|row| row.signature != signature));
    assert!(matches!(lost, Difference::Lost { table: "dead_letters", .. }), "{lost}");

    let mut snapshot = right();
    let index = snapshot.deliveries.iter().position(|row| row.action == "completed").unwrap();
    snapshot.deliveries.remove(index);
    let found = snapshot.differences();
    assert!(matches!(found[0], Difference::Lost { table: "deliveries", rows: 0 | 1, .. }), "{found:#?}");
}

#[test]
fn an_invented_row_is_noticed() {
    let twice = difference_after(|snapshot| {
        let row = snapshot.dead_letters[0].clone();
        snapshot.dead_letters.push(row);
    });
    assert!(matches!(twice, Difference::Invented { table: "dead_letters", .. }), "{twice}");
    let forged = difference_after(|snapshot| {
        let mut row = snapshot.deliveries[0].clone();
        row.signature = "0".repeat(64);
        snapshot.deliveries.push(row);
    });
    assert!(matches!(forged, Difference::Invented { table: "deliveries", attempts: 0, .. }), "{forged}");
}

#[test]
fn a_changed_body_is_noticed() {
    let changed = difference_after(|snapshot| snapshot.deliveries[0].body.push(' '));
    assert!(matches!(changed, Difference::Body { table: "deliveries", .. }), "{changed}");
    let changed = difference_after(|snapshot| snapshot.dead_letters[0].body_sha256 = sha256_hex(b"other"));
    assert!(matches!(changed, Difference::Body { table: "dead_letters", .. }), "{changed}");
}

#[test]
fn a_missing_and_an_extra_job_are_noticed() {
    let missing = difference_after(|snapshot| {
        snapshot.job_facts.remove(0);
        roll_up(snapshot);
    });
    assert!(matches!(missing, Difference::MissingRow { table: "job_facts", .. }), "{missing}");
    let mut snapshot = right();
    snapshot.job_facts[0].job_id.push('x');
    let found = snapshot.differences();
    assert!(found.iter().any(|difference| matches!(difference, Difference::ExtraRow { .. })), "{found:#?}");
}

#[test]
fn a_wrong_column_of_a_delivery_is_noticed() {
    let changed = difference_after(|snapshot| snapshot.deliveries[0].occurred_at.0 += 1);
    assert!(matches!(&changed, Difference::Column { column, .. } if column == "occurred_at"), "{changed}");
}

#[test]
fn a_time_that_nobody_signed_is_noticed() {
    let mut snapshot = right();
    let row = snapshot.job_facts.iter_mut().find(|row| row.completed_at.is_some()).unwrap();
    row.completed_at = row.completed_at.map(|at| ProviderTime(at.0 + 60_000));
    let found = snapshot.differences();
    assert!(
        found.iter().any(|difference| matches!(difference, Difference::Time { column: "completed_at", .. })),
        "{found:#?}"
    );
}

#[test]
fn a_record_that_the_processor_dead_lettered_counts_once() {
    let mut snapshot = right();
    let index = snapshot.deliveries.iter().position(|row| row.action == "errored").unwrap();
    let row = snapshot.deliveries.remove(index);
    let job = (row.source.clone(), row.resource.clone(), row.job_id.clone());
    snapshot.deliveries.retain(|other| other.job_id != row.job_id);
    let dead: Vec<_> = right().deliveries.into_iter().filter(|other| other.job_id == row.job_id).collect();
    snapshot.job_facts.retain(|row| row.key() != job);
    roll_up(&mut snapshot);
    for row in dead.iter().chain([&dead[0]]) {
        snapshot.dead_letters.push(DeadLetter {
            source: row.source.clone(),
            reason: "insert_refused".into(),
            origin: row.position(),
            event_type: format!("{}.{}", row.resource, row.action),
            job_id: row.job_id.clone(),
            signature: row.signature.clone(),
            signed_at_text: row.signed_at_text.clone(),
            body_sha256: sha256_hex(row.body.as_bytes()),
        });
    }
    assert_eq!(snapshot.differences(), []);
}

/// Makes the delivery at `place` one that came too late, and was sent back.
fn redriven(snapshot: &mut Snapshot, place: usize) -> Redrive {
    let delivery = snapshot.deliveries[place].clone();
    let attempts = snapshot.attempts.iter_mut().filter(|attempt| attempt.receipt() == delivery.receipt());
    attempts.for_each(|attempt| attempt.answer = Answer::Status(401));
    snapshot.dead_letters.push(DeadLetter {
        source: delivery.source.clone(),
        reason: "stale".into(),
        origin: "ingest".into(),
        event_type: format!("{}.{}", delivery.resource, delivery.action),
        job_id: delivery.job_id.clone(),
        signature: delivery.signature.clone(),
        signed_at_text: delivery.signed_at_text.clone(),
        body_sha256: sha256_hex(delivery.body.as_bytes()),
    });
    let Delivery { source, signature, signed_at_text, .. } = delivery.clone();
    let (letter, record) = ("hookline.dead-letter/0/1".into(), delivery.position());
    let redrive = Redrive { source, signature, signed_at_text, letter, record };
    snapshot.redrives.push(redrive.clone());
    redrive
}

#[test]
fn a_letter_that_was_sent_back_is_one_delivery() {
    let mut snapshot = right();
    let once =
        |row: &Delivery| snapshot.attempts.iter().filter(|attempt| attempt.receipt() == row.receipt()).count() == 1;
    let place = snapshot.deliveries.iter().position(once).unwrap();
    let redrive = redriven(&mut snapshot, place);
    assert_eq!(snapshot.differences(), []);

    let mut unnoted = snapshot.clone();
    unnoted.redrives.clear();
    assert!(matches!(unnoted.differences()[0], Difference::Invented { table: "deliveries", .. }));

    let mut doubled = snapshot.clone();
    doubled.deliveries.push(Delivery { offset: -1, ..snapshot.deliveries[place].clone() });
    assert!(matches!(doubled.differences()[0], Difference::Invented { table: "deliveries", rows: 2, .. }));
    doubled.redrives.push(Redrive { record: "hookline.video/0/-1".into(), ..redrive });
    assert!(
        matches!(doubled.differences()[0], Difference::Invented { attempts: 1, rows: 2, .. }),
        "also where it is noted"
    );

    let mut lost = snapshot.clone();
    lost.deliveries.remove(place);
    assert!(matches!(lost.differences()[0], Difference::Lost { table: "deliveries", acknowledged: 1, rows: 0, .. }));
}
