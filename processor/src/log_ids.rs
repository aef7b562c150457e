//! Which log the offsets of a topic belong to. A topic that is deleted and created again starts at offset 0, and so does
//! another cluster: their records are others, though topic, partition and offset are the same.

use std::time::{Duration, Instant};

use hookline_schemas::ids::Resource;
use hookline_schemas::topics::{Topic, Topics};
use hookline_service::kafka::KafkaContext;
use hookline_service::kafka_raw::topic_ids;
use hookline_service::shutdown::CancellationToken;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use serde::{Deserialize, Serialize};

use crate::retry::{Cancelled, until_cancelled};

/// How long the brokers may take for an answer; a cancelled writer waits for no more than one.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The log id of each topic: `{cluster id}/{topic id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogIds {
    video: String,
    image: String,
    audio: String,
    dead_letter: String,
}

impl LogIds {
    /// Asks the brokers. A topic that does not exist is an error.
    pub fn fetch(consumer: &BaseConsumer<KafkaContext>, topics: &Topics, timeout: Duration) -> KafkaResult<Self> {
        let timed_out = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        let cluster = consumer.client().fetch_cluster_id(timeout).ok_or(timed_out)?;
        let mut log_ids = Self::default();
        let names: Vec<&str> = Topic::ALL.iter().map(|topic| topic.name(topics)).collect();
        for (topic, id) in Topic::ALL.into_iter().zip(topic_ids(consumer.client(), &names, timeout)?) {
            *log_ids.of_mut(topic) = format!("{cluster}/{}", id?);
        }
        Ok(log_ids)
    }

    /// Knows one topic, for the rows of a log that may be gone.
    pub fn of_topic(topic: Topic, log_id: &str) -> Self {
        let mut log_ids = Self::default();
        log_id.clone_into(log_ids.of_mut(topic));
        log_ids
    }

    pub fn of(&self, topic: Topic) -> &str {
        match topic {
            Topic::Resource(Resource::Video) => &self.video,
            Topic::Resource(Resource::Image) => &self.image,
            Topic::Resource(Resource::Audio) => &self.audio,
            Topic::DeadLetter => &self.dead_letter,
        }
    }

    fn of_mut(&mut self, topic: Topic) -> &mut String {
        match topic {
            Topic::Resource(Resource::Video) => &mut self.video,
            Topic::Resource(Resource::Image) => &mut self.image,
            Topic::Resource(Resource::Audio) => &mut self.audio,
            Topic::DeadLetter => &mut self.dead_letter,
        }
    }
}

/// A topic is not the one any more that a session or a replay began with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the topic {topic} was deleted or made anew: it was {before} and is {now}")]
pub struct LogChanged {
    topic: String,
    before: String,
    now: String,
}

/// Why nothing can be said of the log that records were read from, or nothing good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Changed(#[from] LogChanged),
    #[error("Kafka did not tell the ids of the topics within {0:?}: {1}")]
    Unknown(Duration, KafkaError),
}

impl LogError {
    /// The cause of a consumer's end, in the metrics.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Changed(_) => "log_changed",
            Self::Unknown(..) => "watchdog",
        }
    }
}

/// Tells whether records that were read belong to the logs whose ids are written beside them.
///
/// A topic's id never comes back. So a topic that has the same id before a consumer begins and after a record was read had it
/// when the record was read, too. That holds as far as a broker that answers is not behind the one that the record came from.
pub struct LogWatch {
    consumer: BaseConsumer<KafkaContext>,
    topics: Topics,
    log_ids: LogIds,
    answer_timeout: Duration,
}

impl LogWatch {
    /// `log_ids` were asked for before anything was read. It gives up a question that the brokers do not answer for so long.
    pub fn new(
        consumer: BaseConsumer<KafkaContext>,
        topics: Topics,
        log_ids: LogIds,
        answer_timeout: Duration,
    ) -> Self {
        Self { consumer, topics, log_ids, answer_timeout }
    }

    pub fn log_ids(&self) -> &LogIds {
        &self.log_ids
    }

    /// Asks for the ids of topics from which records were read. Waits for the brokers; blocks its thread while it asks.
    pub async fn verify(
        &self,
        topics: &[Topic],
        cancel: &CancellationToken,
    ) -> Result<Result<(), LogError>, Cancelled> {
        let began = Instant::now();
        let retry = |error: &KafkaError| {
            tracing::warn!(%error, "Kafka does not tell the ids of the topics, without which a batch is not written");
            began.elapsed() < self.answer_timeout
        };
        Ok(match until_cancelled(cancel, async || self.changed(topics), retry).await? {
            Ok(None) => Ok(()),
            Ok(Some(changed)) => Err(changed.into()),
            Err(error) => Err(LogError::Unknown(self.answer_timeout, error)),
        })
    }

    /// Asks once for the id of every topic. A topic that is away is not noticed, because it may hold nothing.
    pub fn made_anew(&self) -> Option<LogChanged> {
        let changed = Topic::ALL.into_iter().filter_map(|topic| self.changed(&[topic]).ok()?);
        changed.into_iter().find(|changed| changed.now != GONE)
    }

    fn changed(&self, topics: &[Topic]) -> KafkaResult<Option<LogChanged>> {
        if topics.is_empty() {
            return Ok(None);
        }
        let names: Vec<&str> = topics.iter().map(|topic| topic.name(&self.topics)).collect();
        for (topic, id) in topics.iter().zip(topic_ids(self.consumer.client(), &names, TIMEOUT)?) {
            let now = match id {
                Ok(id) => id,
                Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                    GONE.into()
                }
                Err(error) => return Err(error),
            };
            let before = self.log_ids.of(*topic);
            if before.rsplit_once('/').is_none_or(|(_, before)| before != now) {
                let topic = topic.name(&self.topics).to_owned();
                return Ok(Some(LogChanged { topic, before: before.to_owned(), now }));
            }
        }
        Ok(None)
    }
}

/// Stands for the id of a topic that does not exist; an id is not empty.
const GONE: &str = "gone";
