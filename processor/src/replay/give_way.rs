//! Live work goes first: a replay, or a rebuild, waits while the live group is behind, or while ClickHouse has so many parts that inserts would
//! soon be slowed down. It looks once a second, and goes on by itself.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use clickhouse::Row;
use hookline_schemas::topics::Topics;
use hookline_service::kafka::KafkaContext;
use hookline_service::shutdown::CancellationToken;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::clickhouse::inserter::{ClickHouse, ClickHouseError};
use crate::config::ProcessorConfig;
use crate::consumer::settings;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the servers may take for an answer. A server that gives none is not waited for.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A live group commits after each refresh of the roll-up, so it is always behind by as much, and by what inserts take.
const COMMIT_TAKES: Duration = Duration::from_secs(5);
/// The table whose parts are the nearest to `parts_to_delay_insert`, which is the server's or the table's own.
const PARTS: &str = "SELECT table, max(parts) AS parts, any(delay_at) AS delay_at FROM \
    (SELECT table, partition_id, count() AS parts FROM system.parts WHERE database = currentDatabase() AND active \
     GROUP BY table, partition_id) AS parts \
    INNER JOIN \
    (SELECT name AS table, \
        assumeNotNull(ifNull(toUInt64OrNull(extract(engine_full, 'parts_to_delay_insert = (\\\\d+)')), \
            (SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'parts_to_delay_insert'))) AS delay_at \
     FROM system.tables WHERE database = currentDatabase() AND name IN ('jobs', 'jobs_rebuild', 'deliveries', 'dead_letters', 'job_stats')) AS limits \
    USING table GROUP BY table ORDER BY parts / delay_at DESC LIMIT 1";

/// What a replay gives way to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveLoad {
    Lag { topic: String, partition: i32, records: i64, limit: Duration },
    Parts { table: String, parts: u64, delay_at: u64 },
}

impl fmt::Display for LiveLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lag { topic, partition, records, limit } => {
                let seconds = limit.as_secs();
                write!(
                    f,
                    "the live group is behind in {topic}/{partition} by {records} records and more than {seconds} s"
                )
            }
            Self::Parts { table, parts, delay_at } => {
                write!(
                    f,
                    "a partition of the table {table} has {parts} parts, and ClickHouse slows inserts down at {delay_at}"
                )
            }
        }
    }
}

/// Tells the readers of a replay whether they have to wait.
#[derive(Clone, Debug, Default)]
pub struct GiveWay(watch::Sender<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// What is waited for, and since when.
    now: Option<(LiveLoad, Instant)>,
    /// How long was waited before that.
    before: Duration,
}

impl GiveWay {
    pub fn to(&self) -> Option<LiveLoad> {
        self.0.borrow().now.as_ref().map(|(load, _)| load.clone())
    }

    /// How long the replay has waited, in all.
    pub fn waited(&self) -> Duration {
        let waiting = self.0.borrow();
        waiting.before + waiting.now.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }

    fn set(&self, load: Option<LiveLoad>) {
        self.0.send_modify(|waiting| match (waiting.now.take(), load) {
            (None, Some(load)) => {
                tracing::warn!(%load, "the replay waits for live work");
                waiting.now = Some((load, Instant::now()));
            }
            (Some((_, since)), Some(load)) => waiting.now = Some((load, since)),
            (Some((_, since)), None) => {
                tracing::info!("the replay goes on");
                waiting.before += since.elapsed();
            }
            (None, None) => {}
        });
    }

    /// Waits until nothing has to be given way to, or until `stop`.
    pub async fn wait(&self, stop: &CancellationToken) {
        let mut waiting = self.0.subscribe();
        tokio::select! {
            // The sender is this value, so it is there.
            _ = waiting.wait_for(|waiting| waiting.now.is_none()) => {}
            () = stop.cancelled() => {}
        }
    }
}

#[derive(Row, Deserialize)]
struct PartsRow {
    table: String,
    parts: u64,
    delay_at: u64,
}

/// Looks at the live group and at ClickHouse.
pub struct LiveLoadWatch {
    /// A consumer with the live group's id, for its committed offsets. It does not join the group.
    consumer: BaseConsumer<KafkaContext>,
    group_id: String,
    topics: Topics,
    clickhouse: ClickHouse,
    /// What the live group may be behind.
    limit: Duration,
    /// A look got no answer, which was said.
    has_failed: AtomicBool,
}

impl LiveLoadWatch {
    pub fn new(config: &ProcessorConfig, topics: &Topics, clickhouse: &ClickHouse) -> anyhow::Result<Self> {
        let mut client = settings::replay(config)?;
        client.set("group.id", config.group_id());
        Ok(Self {
            consumer: client.create_with_context(KafkaContext::new("live group"))?,
            group_id: config.group_id(),
            topics: topics.clone(),
            clickhouse: clickhouse.clone(),
            limit: COMMIT_TAKES + 2 * Duration::from_millis(config.batch.refresh_ms),
            has_failed: AtomicBool::new(false),
        })
    }

    /// Looks again and again until `done`.
    pub fn run(&self, give_way: &GiveWay, done: &CancellationToken, runtime: &Handle) {
        while runtime.block_on(async { tokio::time::timeout(LOOK_EVERY, done.cancelled()).await }).is_err() {
            self.look(give_way, runtime);
        }
    }

    pub fn look(&self, give_way: &GiveWay, runtime: &Handle) {
        let lag = self.lag().unwrap_or_else(|error| {
            self.say_once(&error, "Kafka does not tell how far the live group is; the replay does not wait for it");
            None
        });
        let load = lag.or_else(|| {
            runtime.block_on(self.parts()).unwrap_or_else(|error| {
                self.say_once(&error, "ClickHouse does not tell its parts; the replay does not wait for them");
                None
            })
        });
        give_way.set(load);
    }

    /// Says it at the first look that fails: a right that is missing, or a lost cluster, stays so.
    fn say_once(&self, error: &dyn fmt::Display, what: &str) {
        if !self.has_failed.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "{what}");
        }
    }

    /// The partition in which the live group is the furthest behind, if it is too far. A group without members does no work that
    /// could be starved.
    fn lag(&self) -> KafkaResult<Option<LiveLoad>> {
        let groups = self.consumer.fetch_group_list(Some(&self.group_id), TIMEOUT)?;
        if groups.groups().iter().all(|group| group.members().is_empty()) {
            return Ok(None);
        }
        let metadata = self.consumer.fetch_metadata(None, TIMEOUT)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let moment = i64::try_from(now.saturating_sub(self.limit).as_millis()).unwrap_or(i64::MAX);
        let (mut asked, mut times) = (TopicPartitionList::new(), TopicPartitionList::new());
        for topic in metadata.topics().iter().filter(|topic| self.topics.all().any(|name| name == topic.name())) {
            for partition in MetadataTopic::partitions(topic) {
                asked.add_partition(topic.name(), partition.id());
                times.add_partition_offset(topic.name(), partition.id(), Offset::Offset(moment))?;
            }
        }
        let committed = self.consumer.committed_offsets(asked, TIMEOUT)?;
        let late = self.consumer.offsets_for_times(times, TIMEOUT)?;
        let mut furthest = None;
        for element in committed.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let (low, high) = self.consumer.fetch_watermarks(topic, partition, TIMEOUT)?;
            let committed = if let Offset::Offset(committed) = element.offset() { committed.max(low) } else { low };
            // Nothing appended since that moment means that all there is was appended before.
            let late = late.find_partition(topic, partition).map(|element| element.offset());
            let late = if let Some(Offset::Offset(late)) = late { late } else { high };
            let records = high - committed;
            if committed < late && furthest.as_ref().is_none_or(|(_, _, most)| *most < records) {
                furthest = Some((topic.to_owned(), partition, records));
            }
        }
        let lag = |(topic, partition, records)| LiveLoad::Lag { topic, partition, records, limit: self.limit };
        Ok(furthest.map(lag))
    }

    /// The table that has the most parts of what it may have, if these are more than half.
    async fn parts(&self) -> Result<Option<LiveLoad>, ClickHouseError> {
        let asked = tokio::time::timeout(TIMEOUT, self.clickhouse.client().query(PARTS).fetch_optional::<PartsRow>());
        let most = async { asked.await.unwrap_or(Err(clickhouse::error::Error::TimedOut)) };
        let most = self.clickhouse.query(most).await?;
        let too_many = |row: &PartsRow| row.parts > row.delay_at / 2;
        let load = |row: PartsRow| LiveLoad::Parts { table: row.table, parts: row.parts, delay_at: row.delay_at };
        Ok(most.filter(too_many).map(load))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readers_wait_while_there_is_something_to_give_way_to() {
        let (give_way, stop) = (GiveWay::default(), CancellationToken::new());
        give_way.wait(&stop).await;
        give_way.set(Some(LiveLoad::Parts { table: "jobs".into(), parts: 6, delay_at: 10 }));
        let waiting = give_way.wait(&stop);
        tokio::pin!(waiting);
        let still = futures_poll(&mut waiting).await;
        assert!(still, "it waits");
        give_way.set(None);
        waiting.await;
        give_way.set(Some(LiveLoad::Parts { table: "jobs".into(), parts: 6, delay_at: 10 }));
        stop.cancel();
        give_way.wait(&stop).await;
    }

    /// Whether a future is not ready when it is asked once.
    async fn futures_poll(future: &mut (impl Future<Output = ()> + Unpin)) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
