//! What librdkafka is told, by the live group and by a replay.

use hookline_schemas::facts::FOLD_VERSION;
use hookline_service::config::ConfigError;
use rdkafka::ClientConfig;

use crate::config::ProcessorConfig;

/// A replay's readers share one process, so each reads ahead by less than the live consumer.
const REPLAY_READ_AHEAD_KIB: usize = 8192;

/// What the brokers tell of a member of the group, and with it the version of its fold: a rebuild asks for it.
pub fn live_client_id() -> String {
    format!("hookline-processor-fold-{FOLD_VERSION}")
}

pub fn live(config: &ProcessorConfig) -> Result<ClientConfig, ConfigError> {
    // A quarter of a batch: records take more memory in librdkafka's hands than their bytes.
    let mut client = common(config, config.batch.max_bytes / 4 / 1024)?;
    client
        .set("group.id", config.group_id())
        .set("client.id", live_client_id())
        .set("partition.assignment.strategy", "roundrobin")
        .set("session.timeout.ms", config.group.session_timeout_ms.to_string())
        // How long a commit waits for a broker that accepts connections and does not answer.
        .set("socket.timeout.ms", "10000")
        .set("statistics.interval.ms", "1000")
        .set("fetch.max.bytes", "2097152")
        .set("fetch.message.max.bytes", "524288")
        .set("topic.metadata.refresh.interval.ms", "30000");
    if let Some(instance_id) = config.instance_id() {
        // The brokers keep the client.id with which a static member first came, also where another version takes its place. So
        // another fold is another member.
        client.set("group.instance.id", format!("{instance_id}.fold-{FOLD_VERSION}"));
    }
    Ok(client)
}

pub fn replay(config: &ProcessorConfig) -> Result<ClientConfig, ConfigError> {
    let mut client = common(config, REPLAY_READ_AHEAD_KIB)?;
    client
        // librdkafka demands a group, though this one is neither joined nor committed to.
        .set("group.id", format!("{}.replay", config.kafka.topic_prefix))
        .set("client.id", format!("hookline-replay-fold-{FOLD_VERSION}"))
        .set("enable.partition.eof", "true");
    Ok(client)
}

/// Reads what is there and what comes, for somebody who watches.
pub fn tail(config: &ProcessorConfig) -> Result<ClientConfig, ConfigError> {
    let mut client = replay(config)?;
    client.set("client.id", "hookline-tail").set("enable.partition.eof", "false");
    Ok(client)
}

fn common(config: &ProcessorConfig, read_ahead_kib: usize) -> Result<ClientConfig, ConfigError> {
    let mut client = config.kafka.client()?;
    client
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        // Whatever size the brokers took is read: a limit below theirs would stop the partition at its first larger batch. The
        // limit also holds for a batch when it is decompressed.
        .set("receive.message.max.bytes", i32::MAX.to_string())
        .set("queued.max.messages.kbytes", read_ahead_kib.to_string())
        // How soon librdkafka reads on once there is room again. By default it is a second, in which the writer has no work.
        .set("fetch.queue.backoff.ms", "20");
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_member_of_another_fold_is_another_member() {
        let mut config = ProcessorConfig::default();
        let client = |config: &ProcessorConfig| live(config).unwrap();
        let fold = format!(".9082.fold-{FOLD_VERSION}");
        assert!(client(&config).get("group.instance.id").unwrap().ends_with(&fold));
        config.group.instance_id = Some("one".into());
        assert_eq!(client(&config).get("group.instance.id"), Some(&*format!("one.fold-{FOLD_VERSION}")));
        assert_eq!(client(&config).get("client.id"), Some(&*live_client_id()));
        config.group.instance_id = Some(String::new());
        assert_eq!(client(&config).get("group.instance.id"), None, "no static membership");
    }
}
