//! `hookline-processor tail`: what it shows, and that nothing else notices it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::ids::Resource;
use hookline_schemas::record::DeadLetter;
use hookline_testkit::{Daemon, Signal, eventually, grow_topics};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use rdkafka::Offset;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;

use crate::processor_under_test::{DEADLINE, ProcessorUnderTest, now, records_of_job};

/// The lines that a tail prints of as many records as there are.
async fn lines(under_test: &ProcessorUnderTest, records: usize, arguments: &[&str]) -> Vec<String> {
    let limit = records.to_string();
    let arguments = [&["tail", "--from", "-10m", "--limit", &limit], arguments].concat();
    let output = under_test.run(&arguments).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

async fn records(under_test: &ProcessorUnderTest, records: usize, arguments: &[&str]) -> Vec<Value> {
    let lines = lines(under_test, records, &[arguments, &["--json"]].concat()).await;
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_shown_as_they_are_selected() {
    let under_test = ProcessorUnderTest::new("tail", 2).await;
    under_test.produce_jobs(0..6, now() - 60);
    under_test.produce_raw(under_test.topics.resource(Resource::Audio), "k", b"\x1b[31m", OwnedHeaders::new());
    let late = &records_of_job(Resource::Video, 7, now() - 7_200)[0];
    let dead =
        DeadLetter { reason: DeadLetterReason::Stale, detail: "signed 7200 s ago", origin: "ingest", redrives: 0 };
    under_test.produce_raw(
        under_test.topics.dead_letter(),
        &late.job,
        late.body.as_bytes(),
        late.headers(None, Some(&dead)),
    );
    under_test.flush();
    let before = under_test.committed_offsets();

    let all = records(&under_test, 13, &[]).await;
    assert_eq!(all.len(), 13, "two of each job, and a foreign one");
    assert!(all.iter().all(|record| record.get("body").is_none()), "{all:?}");
    let foreign: Vec<_> = all.iter().filter(|record| record["reason"] == "bad_record").collect();
    assert_eq!((foreign.len(), &foreign[0]["source"]), (1, &"".into()), "{foreign:?}");

    let errored = records(
        &under_test,
        2,
        &["--outcome", "errored", "--resource", "video", "--resource", "image", "--resource", "audio"],
    )
    .await;
    assert!(errored.iter().all(|record| record["error_code"] == "no_source_face"), "{errored:?}");
    let job = format!("c{:024}", 4);
    let of_job = records(&under_test, 2, &["--job", &job, "--source", "test", "--body"]).await;
    assert!(of_job.iter().all(|record| record["job_id"] == *job && record["body"].as_str().unwrap().contains(&job)));
    let of_type = records(&under_test, 2, &["--type", "KIND_4"]).await;
    assert!(of_type.iter().all(|record| record["job_type"] == "KIND_4"), "{of_type:?}");
    let [letter] = records(&under_test, 1, &["--dead-letters"]).await.try_into().unwrap();
    assert_eq!((&letter["reason"], &letter["detail"]), (&"stale".into(), &"signed 7200 s ago".into()));
    assert_eq!(letter["job_id"], late.job);

    let text = lines(&under_test, 13, &["--body"]).await.join("\n");
    assert!(text.contains("bad_record") && text.contains("\\u001b[31m") && !text.contains('\u{1b}'), "{text}");
    assert_eq!(under_test.committed_offsets(), before);
    assert!(before.iter().all(|offset| *offset == Offset::Invalid), "nobody has committed anything");
}

/// A tail that goes on, and the lines that it has shown.
struct Tail {
    process: Child,
    shown: mpsc::Receiver<Value>,
}

impl Tail {
    /// Reads so many lines and then closes the pipe.
    fn start(under_test: &ProcessorUnderTest, lines: usize) -> Self {
        let mut command = Command::new(Daemon::binary("hookline-processor"));
        let command = command.args(["tail", "--resource", "video", "--json"]).envs(under_test.servers.environment());
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let (sender, shown) = mpsc::channel();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().take(lines) {
                sender.send(serde_json::from_str(&line.unwrap()).unwrap()).unwrap();
            }
        });
        Self { process, shown }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_time_only_what_comes_is_shown() {
    let under_test = ProcessorUnderTest::new("tail_now", 1).await;
    under_test.produce_jobs(0..3, now() - 60);
    let mut tail = Tail::start(&under_test, 1);
    let mut number = 3;
    let mut produce = || {
        under_test.produce_jobs(number..number + 3, now());
        number += 3;
    };
    // It has begun once something that came later is shown.
    let first = eventually("a record to be shown", DEADLINE, async || {
        produce();
        tail.shown.try_recv().ok()
    })
    .await;
    assert!(first["offset"].as_i64().unwrap() >= 2, "the two of before are not shown: {first}");
    let ended = eventually("the tail to end, since nobody reads it", DEADLINE, async || {
        produce();
        tail.process.try_wait().unwrap()
    })
    .await;
    assert!(ended.success(), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_followed() {
    let under_test = ProcessorUnderTest::new("tail_grown", 1).await;
    let mut tail = Tail::start(&under_test, usize::MAX);
    let mut number = 0;
    eventually("a record to be shown", DEADLINE, async || {
        under_test.produce_jobs(number..number + 3, now());
        number += 3;
        tail.shown.try_recv().ok()
    })
    .await;
    let topic = under_test.topics.resource(Resource::Video);
    grow_topics(&under_test.servers.kafka, [topic], 2).await;
    // The producer of before does not know the new partition yet.
    let producer: BaseProducer = under_test.servers.kafka.client().unwrap().create().unwrap();
    let [record, _] = records_of_job(Resource::Video, 9, now()).try_into().unwrap();
    let headers = record.headers(None, None);
    let of_new = BaseRecord::to(topic).partition(1).key(&record.job).payload(&record.body).headers(headers);
    producer.send(of_new).map_err(|(error, _)| error).unwrap();
    producer.flush(DEADLINE).unwrap();
    let shown = eventually("the record of the new partition", DEADLINE, async || {
        tail.shown.try_iter().find(|record| record["partition"] == 1)
    })
    .await;
    assert_eq!((&shown["offset"], &shown["job_id"]), (&0.into(), &record.job.into()));
    kill(Pid::from_raw(i32::try_from(tail.process.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(tail.process.wait().unwrap().success(), "it ends by a signal as by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told() {
    let under_test = ProcessorUnderTest::new("tail_mistakes", 1).await;
    for (arguments, told) in [
        (vec!["--outcome", "failed"], "\"failed\" is not an outcome: expected started, completed or errored"),
        (vec!["--resource", "dead-letter"], "dead letters have --dead-letters"),
        (vec!["--from", "yesterday"], "\"yesterday\" is not a time"),
    ] {
        let output = under_test.run(&[&["tail"], &*arguments].concat()).await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(told), "{error}");
    }
}
