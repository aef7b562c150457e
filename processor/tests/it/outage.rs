//! Servers go away while there is nothing to do, and come back.

use hookline_schemas::migrations::{MIGRATIONS, Migration};
use hookline_schemas::topics::Topics;
use hookline_testkit::{
    ClickHouseServer, Daemon, KafkaCluster, Servers, clickhouse_environment, create_topics, eventually,
    kafka_environment, with,
};

use crate::processor_under_test::{DEADLINE, DELIVERIES, ProcessorUnderTest, now};

const LAG: &str = "hookline_processor_lag_records";

const STAGE_SECONDS: &str = "hookline_processor_stage_seconds_total";

/// Waits until a stage has taken a second more, and twice as much as any other.
async fn holds_up(daemon: &mut Daemon, stage: &str) {
    let before = daemon.metrics().await;
    let own = format!("stage=\"{stage}\"");
    eventually(&format!("{stage} to take the time"), DEADLINE, async || {
        let now = daemon.metrics().await;
        let grown = |labels: &str| now.read(STAGE_SECONDS, &[labels]) - before.read(STAGE_SECONDS, &[labels]);
        let others = before.labels(STAGE_SECONDS).into_iter().filter(|labels| !labels.contains(&own));
        let most = others.map(|labels| grown(&labels)).fold(0.0, f64::max);
        (grown(&own) > 1.0 && grown(&own) > 2.0 * most).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_stage_that_holds_the_others_up_is_the_one_whose_time_grows() {
    let mut clickhouse = ClickHouseServer::start().await;
    let mut servers = Servers::fresh("stages").await;
    servers.clickhouse = clickhouse.config();
    let processor = ProcessorUnderTest::on(servers, 1).await;
    let mut daemon = processor.daemon(&[]);
    processor.produce_jobs(0..1, now());
    processor.wait_until_no_lag(&mut daemon).await;
    holds_up(&mut daemon, "wait").await;
    clickhouse.kill();
    processor.produce_jobs(1..2, now());
    holds_up(&mut daemon, "insert_jobs").await;
    clickhouse.restart().await;
    processor.wait_until(DELIVERIES, 4).await;
    holds_up(&mut daemon, "wait").await;
}

/// Waits until exactly these parts are missing, each with a reason and since when; returns the text.
async fn missing(daemon: &mut Daemon, parts: &[&str]) -> String {
    eventually(&format!("{parts:?} to be missing"), DEADLINE, async || {
        let (status, text) = daemon.health().await;
        let health: serde_json::Value = serde_json::from_str(&text).unwrap();
        let missing = health["missing"].as_object().unwrap();
        assert_eq!(status == 200, missing.is_empty(), "{text}");
        let dated = missing.values().all(|why| why.as_str().unwrap().contains(" since 20"));
        (missing.keys().eq(parts.iter()) && dated).then_some(text)
    })
    .await
}

#[tokio::test]
async fn a_server_that_is_away_without_traffic_is_missing_until_it_is_back() {
    let (mut cluster, mut clickhouse) = (KafkaCluster::start(&[]).await, ClickHouseServer::start().await);
    let kafka = cluster.config("hookline");
    let topics = Topics::new(&kafka.topic_prefix).unwrap();
    create_topics(&kafka, topics.all(), (2, 1), &[]).await;
    let client = clickhouse.config().client().unwrap();
    for statement in MIGRATIONS.iter().flat_map(Migration::statements) {
        client.query(statement).execute().await.unwrap();
    }
    let environment = [kafka_environment(&kafka), clickhouse_environment(&clickhouse.config())].concat();
    let settings = [("HOOKLINE_PROCESSOR__ADMIN__LISTEN", "127.0.0.1:0")];
    let mut daemon = Daemon::start("hookline-processor", &[], &with(&environment, &settings));
    daemon.wait_ready().await;
    eventually("all partitions", DEADLINE, async || (daemon.metric_labels(LAG).await.len() == 8).then_some(())).await;

    let before = daemon.log().len();
    cluster.kill(1).await;
    let text = missing(&mut daemon, &["kafka"]).await;
    assert!(text.contains("no broker answers (") && text.contains("Connection refused"), "{text}");
    clickhouse.kill();
    missing(&mut daemon, &["clickhouse", "kafka"]).await;
    assert_eq!(daemon.metric_labels(LAG).await.len(), 8, "the lag of an outage is the last that was known");
    let log = daemon.log();
    let lines = log.iter().skip(before);
    let of_librdkafka = lines.filter(|line| line.contains("librdkafka") || line.contains("fetched")).count();
    assert!((1..=8).contains(&of_librdkafka), "{of_librdkafka} lines: {log:#?}");

    clickhouse.restart().await;
    missing(&mut daemon, &["kafka"]).await;
    cluster.restart(1).await;
    missing(&mut daemon, &[]).await;
    let again = |part: &str| {
        let says = |line: &String| {
            line.contains("it is there again") && line.contains(part) && line.contains("\"missing_seconds\":")
        };
        daemon.log().iter().skip(before).filter(|line| says(line)).count()
    };
    // A line is written a moment after what it tells of.
    eventually("lines that say so", DEADLINE, async || ((again("kafka"), again("clickhouse")) == (1, 1)).then_some(()))
        .await;
    // The second one is that of the end of the outage.
    let ready = || daemon.log().iter().filter(|line| line.contains("\"message\":\"ready\"")).count();
    eventually("a line that says ready", DEADLINE, async || (ready() == 2).then_some(())).await;
    assert!(daemon.log()[0].contains("\"message\":\"starting\""), "{:#?}", daemon.log()[0]);
}
