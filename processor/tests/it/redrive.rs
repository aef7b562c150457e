//! A redrive sends back what can be processed now, says what cannot, and leaves right tables as they are.

use std::process::Output;

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::ids::{EventType, Resource};
use hookline_schemas::record::{DeadLetter, header};
use hookline_testkit::read_records;
use rdkafka::message::OwnedHeaders;
use serde_json::Value;
use tempfile::TempDir;

use crate::processor_under_test::{DELIVERIES, ProcessorUnderTest, WebhookRecord, now, records_of_job};

pub const DEAD_LETTERS: &str = "SELECT count() FROM dead_letters FINAL";
pub const REDRIVES: &str = "SELECT count() FROM redrives FINAL";
/// A number that changes with any fact of any job, and with any value of the roll-up but its version.
const FACTS: &str = "SELECT groupBitXor(cityHash64(toString(tuple(*)))) FROM job_facts";

/// A dead letter as ingest, or the processor, would write it for a webhook.
pub struct HandMade<'l> {
    pub reason: DeadLetterReason,
    pub record: &'l WebhookRecord,
    pub origin: &'l str,
    pub redrives: u16,
}

impl ProcessorUnderTest {
    pub fn produce_letter(&self, letter: &HandMade<'_>) {
        let record = letter.record;
        let HandMade { reason, origin, redrives, .. } = *letter;
        let dead = DeadLetter { reason, detail: "by hand", origin, redrives };
        let headers = record.headers(Some(record.signed_at - 1), Some(&dead));
        self.produce_raw(self.topics.dead_letter(), &record.job, record.body.as_bytes(), headers);
    }

    /// The letters that ingest would write for the events of these jobs, if all of them came too late.
    pub fn produce_stale_jobs(&self, numbers: std::ops::Range<usize>, created: u32) {
        for number in numbers {
            for record in records_of_job(Resource::ALL[number % 3], number, created) {
                let reason = DeadLetterReason::Stale;
                self.produce_letter(&HandMade { reason, record: &record, origin: "ingest", redrives: 0 });
            }
        }
        self.flush();
    }

    pub async fn redrive(&self, folder: &TempDir, arguments: &[&str]) -> Output {
        let state = folder.path().join("plan.json");
        self.run(&[&["redrive", "--json", "--state", state.to_str().unwrap()], arguments].concat()).await
    }

    /// Plans a redrive, executes it, and gives what both said.
    pub async fn plan_and_execute(&self, folder: &TempDir, arguments: &[&str]) -> (Value, Value) {
        let planned = json(&self.redrive(folder, arguments).await);
        (planned, json(&self.redrive(folder, &["--execute"]).await))
    }
}

pub fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn with_body(record: &WebhookRecord, body: &str) -> WebhookRecord {
    WebhookRecord { body: body.into(), ..record.clone() }
}

#[tokio::test]
async fn each_reason_is_judged_again_and_what_comes_in_has_the_facts_it_would_have_had() {
    let under_test = ProcessorUnderTest::new("redrive", 2).await;
    let created = now() - 7_200;
    let records = |number| records_of_job(Resource::Video, number, created);
    let stale: Vec<_> = (0..40).flat_map(records).collect();
    for record in &stale {
        let reason = DeadLetterReason::Stale;
        under_test.produce_letter(&HandMade { reason, record, origin: "ingest", redrives: 0 });
    }
    // An event that an older ingest did not know, and a row that a table refused.
    let (formerly_unknown, refused) = (&records(50)[1], &records(51)[1]);
    for (reason, record, origin) in [
        (DeadLetterReason::UnknownType, formerly_unknown, "ingest"),
        (DeadLetterReason::InsertRefused, refused, "gone.video/0/7"),
    ] {
        under_test.produce_letter(&HandMade { reason, record, origin, redrives: 0 });
    }
    let any = &records(60)[0];
    for (reason, body) in [
        (DeadLetterReason::NotJson, "no json"),
        (
            DeadLetterReason::UnknownType,
            r#"{"type":"video.paused","payload":{"id":"j","created_at":"2026-01-01T00:00:00Z"}}"#,
        ),
        (
            DeadLetterReason::BadId,
            r#"{"type":"video.started","payload":{"id":"","created_at":"2026-01-01T00:00:00Z"}}"#,
        ),
        (DeadLetterReason::BadCreatedAt, r#"{"type":"video.started","payload":{"id":"j","created_at":"soon"}}"#),
        (DeadLetterReason::Ambiguous, r#"{"type":"video.started","type":"video.started","payload":{"id":"j"}}"#),
        // Stale ones that could not be processed anyway have the reason of today.
        (DeadLetterReason::Stale, "no json, and late"),
    ] {
        under_test.produce_letter(&HandMade { reason, record: &with_body(any, body), origin: "ingest", redrives: 0 });
    }
    under_test.produce_raw(under_test.topics.dead_letter(), "k", b"of nobody", OwnedHeaders::new());
    let often = &records(61)[0];
    under_test.produce_letter(&HandMade {
        reason: DeadLetterReason::InsertRefused,
        record: often,
        origin: "h.video/0/1",
        redrives: 3,
    });
    under_test.flush();
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until(DEAD_LETTERS, 90).await;

    let folder = tempfile::tempdir().unwrap();
    let (planned, executed) = under_test.plan_and_execute(&folder, &[]).await;
    let expected = serde_json::json!({ "video.started": 40, "video.completed": 27, "video.errored": 15 });
    for told in [&planned, &executed] {
        let outcomes = &told["outcomes"];
        assert_eq!((&told["letters"], &told["sent"]), (&90.into(), &82.into()), "{told:#}");
        assert_eq!(outcomes["redriven"], expected, "{told:#}");
        let left = serde_json::json!({ "ambiguous": 1, "bad_created_at": 1, "bad_id": 1, "bad_record": 1, "not_json": 2, "unknown_type": 1 });
        assert_eq!(outcomes["not_processable"], left, "{told:#}");
        assert_eq!((&outcomes["too_often"], &outcomes["refused_before"]), (&1.into(), &1.into()), "{told:#}");
        assert_eq!((&outcomes["jobs_absent"], &outcomes["jobs_changed"]), (&42.into(), &0.into()), "{told:#}");
    }
    under_test.wait_until(DELIVERIES, 82).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(under_test.query_number(REDRIVES).await, 82);
    let told = "SELECT count() FROM redrives AS r FINAL JOIN deliveries AS d FINAL ON r.to_log_id = d.log_id AND r.to_topic = d.topic \
                AND r.to_partition = d.partition AND r.to_offset = d.offset JOIN dead_letters AS l FINAL ON l.log_id = r.log_id AND \
                l.topic = r.topic AND l.partition = r.partition AND l.offset = r.offset WHERE l.signature = d.signature AND l.body = d.body";
    assert_eq!(under_test.query_number(told).await, 82, "the table tells which letter became which delivery");
    assert_eq!(daemon.metric("hookline_jobs_finished_total", &[]).await, 42.0, "each job that ended is counted once");

    let record =
        read_records(&under_test.servers.kafka).await.into_iter().find(|record| record.topic.ends_with(".video"));
    let record = record.unwrap();
    let headers = record.decoded();
    assert_eq!((headers.dead, headers.redrives), (None, 1));
    assert!(record.header(header::REDRIVEN_FROM).unwrap().contains(".dead-letter/"));
    assert_eq!(headers.metadata.first_signed_at.unwrap().0 + 1, headers.metadata.signed_at.0);

    // The same webhooks, had they come in time.
    let reference = ProcessorUnderTest::new("redrive_reference", 2).await;
    for record in stale.iter().chain([formerly_unknown, refused]) {
        reference.produce_first_signed(record, record.signed_at - 1);
    }
    reference.flush();
    let mut other = reference.daemon(&[]);
    other.wait_ready().await;
    reference.wait_until(DELIVERIES, 82).await;
    reference.wait_until_no_lag(&mut other).await;
    let facts = under_test.query_number(FACTS).await;
    assert_eq!(facts, reference.query_number(FACTS).await, "facts of a redriven event are those it would have had");

    // Over right tables it changes nothing and says so.
    let offsets = under_test.committed_offsets();
    let (planned, executed) = under_test.plan_and_execute(&folder, &[]).await;
    assert_eq!((&planned["sent"], &planned["outcomes"]["already_there"]), (&0.into(), &82.into()), "{planned:#}");
    assert_eq!((&executed["sent"], &executed["changed"]), (&0.into(), &false.into()), "{executed:#}");
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!((under_test.query_number(DELIVERIES).await, under_test.query_number(REDRIVES).await), (82, 82));
    assert_eq!((under_test.query_number(FACTS).await, under_test.committed_offsets()), (facts, offsets));

    // A control: what is noted is believed where a delivery has expired, and else the tables alone tell.
    under_test
        .execute(&format!(
            "DELETE FROM deliveries WHERE job_id = '{}' SETTINGS lightweight_deletes_sync = 2",
            formerly_unknown.job
        ))
        .await;
    let planned = json(&under_test.redrive(&folder, &[]).await);
    assert_eq!(planned["sent"], 0, "{planned:#}");
    let (_, executed) = under_test.plan_and_execute(&folder, &["--again"]).await;
    assert_eq!(executed["sent"], 1, "{executed:#}");
    under_test.wait_until(DELIVERIES, 82).await;
}

#[tokio::test]
async fn a_table_that_still_refuses_gives_another_letter_until_the_loop_guard_stops_it() {
    let under_test = ProcessorUnderTest::new("redrive_loop", 1).await;
    let record = &records_of_job(Resource::Audio, 1, now() - 600)[0];
    under_test.execute(&format!("ALTER TABLE jobs ADD CONSTRAINT c CHECK job_id != '{}'", record.job)).await;
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    // A witness, beside which the row can be judged.
    under_test.produce_jobs(5..6, now() - 600);
    under_test.wait_until(DELIVERIES, 2).await;
    under_test.produce(record);
    under_test.flush();
    under_test.wait_until(DEAD_LETTERS, 1).await;
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=2_u64 {
        let (planned, executed) = under_test.plan_and_execute(&folder, &["--max-redrives", "2"]).await;
        let outcomes = &planned["outcomes"];
        assert_eq!((&planned["sent"], &outcomes["refused_before"]), (&1.into(), &1.into()), "{round}: {planned:#}");
        assert_eq!(outcomes["already_there"], round - 1, "the letters that came back as another one: {planned:#}");
        assert_eq!(executed["sent"], 1);
        under_test.wait_until(DEAD_LETTERS, round + 1).await;
        let redrives = "SELECT max(redrives) FROM dead_letters";
        assert_eq!(under_test.query_number(&redrives.replace("max(redrives)", "toUInt64(max(redrives))")).await, round);
    }
    under_test.wait_until_no_lag(&mut daemon).await;
    let planned = json(&under_test.redrive(&folder, &["--max-redrives", "2"]).await);
    assert_eq!((&planned["sent"], &planned["outcomes"]["too_often"]), (&0.into(), &1.into()), "{planned:#}");
    // The way over it; and the table takes the row now.
    under_test.execute("ALTER TABLE jobs DROP CONSTRAINT c").await;
    let (_, executed) = under_test.plan_and_execute(&folder, &["--max-redrives", "9"]).await;
    assert_eq!(executed["sent"], 1, "{executed:#}");
    under_test.wait_until(&format!("{DELIVERIES} WHERE job_id = '{}'", record.job), 1).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(under_test.query_number(DEAD_LETTERS).await, 3);
    let planned = json(&under_test.redrive(&folder, &["--max-redrives", "9"]).await);
    assert_eq!((&planned["sent"], &planned["outcomes"]["already_there"]), (&0.into(), &3.into()), "{planned:#}");
}

#[tokio::test]
async fn what_the_table_lacks_of_a_letter_is_read_from_its_record() {
    let under_test = ProcessorUnderTest::new("redrive_body", 1).await;
    under_test.execute("ALTER TABLE dead_letters ADD CONSTRAINT c CHECK body NOT LIKE '%no_source_face%'").await;
    let errored = &records_of_job(Resource::Image, 3, now() - 600)[1];
    let reason = DeadLetterReason::Stale;
    under_test.produce_letter(&HandMade { reason, record: errored, origin: "ingest", redrives: 0 });
    under_test.produce_letter(&HandMade { reason, record: &with_body(errored, ""), origin: "ingest", redrives: 0 });
    under_test.produce_raw(under_test.topics.dead_letter(), "k", b"harmless", OwnedHeaders::new());
    under_test.flush();
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until(DEAD_LETTERS, 3).await;
    assert_eq!(under_test.query_number(&format!("{DEAD_LETTERS} WHERE body = ''")).await, 2);
    let folder = tempfile::tempdir().unwrap();
    let (_, executed) = under_test.plan_and_execute(&folder, &["--reason", "stale"]).await;
    let outcomes = &executed["outcomes"];
    assert_eq!(
        (&outcomes["redriven"]["image.errored"], &outcomes["not_processable"]["not_json"]),
        (&1.into(), &1.into()),
        "{executed:#}"
    );
    under_test.wait_until(&format!("{DELIVERIES} WHERE body LIKE '%no_source_face%'"), 1).await;

    // Once the topic has lost them, too, there is nothing to send.
    under_test.execute("TRUNCATE TABLE deliveries").await;
    hookline_testkit::delete_records(&under_test.servers.kafka, under_test.topics.dead_letter(), 0, 3).await;
    let planned = json(&under_test.redrive(&folder, &["--reason", "stale", "--again"]).await);
    assert_eq!((&planned["sent"], &planned["outcomes"]["body_lost"]), (&0.into(), &2.into()), "{planned:#}");
}

#[tokio::test]
async fn letters_are_selected_by_each_option_and_listed() {
    let under_test = ProcessorUnderTest::new("redrive_select", 1).await;
    let created = now() - 7_200;
    under_test.produce_stale_jobs(0..3, created);
    let paused = r#"{"type":"video.paused","payload":{"id":"j1"},"url":"https://secret"}"#;
    let record = with_body(&records_of_job(Resource::Video, 9, now() - 60)[0], paused);
    under_test.produce_raw(under_test.topics.dead_letter(), "k\u{1b}[2J", b"\xff\x1b[31m", OwnedHeaders::new());
    under_test.produce_letter(&HandMade {
        reason: DeadLetterReason::UnknownType,
        record: &record,
        origin: "ingest",
        redrives: 0,
    });
    under_test.flush();
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until(DEAD_LETTERS, 8).await;
    let topic = under_test.topics.dead_letter();
    let position = format!("{topic}/0/2");
    let job = format!("c{:024}", 1);
    let started: EventType = "video.started".parse().unwrap();
    for (arguments, letters) in [
        (&[][..], 8_u64),
        (&["--reason", "stale"], 6),
        (&["--reason", "stale", "--reason", "bad_record"], 7),
        (&["--source", "test"], 7),
        (&["--source", "nobody"], 0),
        (&["--job", &job], 2),
        (&["--type", started.as_str()], 2),
        (&["--reason", "unknown_type", "--type", "video.paused"], 0),
        (&["--position", &position], 1),
        (&["--to", "-1h"], 6),
        (&["--from", "-1h"], 2),
        (&["--from", "-1h", "--reason", "stale"], 0),
    ] {
        let counted = under_test.run(&[&["dead-letters", "--count"], arguments].concat()).await;
        assert_eq!(String::from_utf8_lossy(&counted.stdout).trim(), letters.to_string(), "{arguments:?}");
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(json(&under_test.redrive(&folder, arguments).await)["letters"], letters, "{arguments:?}");
    }

    let listed = json(&under_test.run(&["dead-letters", "--json"]).await);
    assert_eq!(listed["groups"][0]["reason"], "stale", "{listed:#}");
    assert_eq!((&listed["groups"][0]["letters"], &listed["extents"][0]["next_offset"]), (&6.into(), &8.into()));
    assert!(!listed.to_string().contains("https://secret"));
    let told = under_test.run(&["dead-letters"]).await;
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(text.contains(&format!("{topic}/0 up to 7")), "{text}");
    assert!(!text.contains("secret") && !text.contains('\u{1b}'), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80 || line.contains(topic)), "{text}");
    let told = under_test.run(&["dead-letters", "--body"]).await;
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(text.contains("https://secret") && !text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
async fn mistakes_have_exit_codes_and_say_what_to_do() {
    let under_test = ProcessorUnderTest::new("redrive_mistakes", 1).await;
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code, part) in [
        (&["--execute"][..], 1, "there is no plan in --state"),
        (&["--execute", "--reason", "stale"], 2, "cannot be used with"),
        (&["--reason", "stail"], 2, "expected one of not_json, unknown_type"),
        (&["--position", "ingest"], 2, "hookline.dead-letter/0/42"),
        (&["--from", "1h", "--to", "2h"], 1, "must be the earlier one"),
        (&["--max-redrives", "0"], 2, "1..=65535"),
    ] {
        let output = under_test.redrive(&folder, arguments).await;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(part), "{arguments:?}: {told}");
    }
    under_test.execute("DROP TABLE redrives").await;
    let output = under_test.redrive(&folder, &[]).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && told.contains("hookline-analytics migrate"), "{told}");
}
