//! With which version of the fold the live processors fold: their `client.id` carries it, and the brokers tell it of each member of the
//! group. A static member that has ended is told until its session has timed out.

use anyhow::{Context as _, bail};
use hookline_schemas::facts::FOLD_VERSION;
use hookline_service::kafka::{KafkaContext, ask};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::groups::GroupInfo;

use super::TIMEOUT;
use crate::config::ProcessorConfig;
use crate::consumer::settings::live_client_id;

/// Fails where a member of the group folds otherwise than this program: minima and maxima cannot take back what it writes.
pub fn check(consumer: &BaseConsumer<KafkaContext>, config: &ProcessorConfig) -> anyhow::Result<()> {
    let group = &*config.group_id();
    let list = ask(consumer, |consumer| consumer.fetch_group_list(Some(group), TIMEOUT));
    let list = list.with_context(|| format!("Kafka does not tell the members of the group {group}"))?;
    let members = list.groups().iter().filter(|found| found.name() == group).flat_map(GroupInfo::members);
    let own = live_client_id();
    let others: Vec<_> = members
        .filter(|member| member.client_id() != own)
        .map(|member| format!("{} at {}, member {}", member.client_id(), member.client_host(), member.id()))
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    bail!(
        "the group {group} has members that do not fold with version {FOLD_VERSION}, as this program does: {}; what they write cannot be \
         taken back from the table, so let all processors run this version first (theirs is in their client.id: {own}). A member that \
         has ended already is one until its group.session_timeout_ms, here {} ms, is over: then run the same command again",
        others.join("; "),
        config.group.session_timeout_ms
    )
}
