//! Finds acknowledged webhooks that are missing in the topics.

use std::collections::BTreeSet;

use hookline_schemas::record::header;
use hookline_schemas::topics::Topics;
use hookline_service::kafka::KafkaConfig;
pub use hookline_testkit::{Record, create_topics as create, delete_topics, read_records as read};

use crate::webhook::Webhook;

/// Fails unless every acknowledged webhook is in a topic as it was signed. The control: without one of them it must
/// fail.
pub fn assert_none_missing(acknowledged: &[Webhook], records: &[Record]) {
    assert_eq!(missing(acknowledged, records), Vec::<&Webhook>::new(), "acknowledged, but in no topic");
    let lost = acknowledged.last().expect("something was acknowledged");
    let fewer: Vec<_> = records.iter().filter(|record| webhook(record) != *lost).cloned().collect();
    assert_eq!(missing(acknowledged, &fewer), [lost], "the check misses a lost webhook");
}

/// The webhook that ingest made a record of.
fn webhook(record: &Record) -> Webhook {
    let header = |name| record.header(name).unwrap().to_owned();
    let (timestamp, signature) = (header(header::SIGNED_AT), header(header::SIGNATURE));
    Webhook { timestamp, signature, body: record.value.clone() }
}

fn missing<'a>(acknowledged: &'a [Webhook], records: &[Record]) -> Vec<&'a Webhook> {
    let stored: BTreeSet<_> = records.iter().map(webhook).collect();
    acknowledged.iter().filter(|webhook| !stored.contains(webhook)).collect()
}

pub fn topics(kafka: &KafkaConfig) -> Topics {
    Topics::new(&kafka.topic_prefix).unwrap()
}
