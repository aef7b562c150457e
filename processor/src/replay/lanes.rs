//! Makes the readers of a replay that writes in place: for each source that is read, what reads it and what writes its records.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use hookline_schemas::time::CreatedHour;
use hookline_schemas::topics::{Topic, Topics};
use hookline_service::admin::Readiness;
use hookline_service::kafka::{KafkaContext, ask};
use rdkafka::consumer::BaseConsumer;
use tokio::runtime::Handle;

use super::TIMEOUT;
use super::inspect::Inspector;
use super::read::{Lane, Reader, Shared};
use super::select::Selection;
use super::sink::archive::ArchiveSink;
use super::sink::kafka::KafkaSink;
use super::source::SourceKind;
use super::source::archive::ArchiveSource;
use super::source::kafka::KafkaSource;
use crate::clickhouse::inserter::ClickHouse;
use crate::config::ProcessorConfig;
use crate::consumer::settings;
use crate::log_ids::{LogIds, LogWatch};
use crate::metrics::Metrics;
use crate::writer::Writer;
use crate::writer::insert::TableInserter;

/// The brokers, where the replay reads from them.
pub struct Kafka {
    pub consumer: BaseConsumer<KafkaContext>,
    pub log_ids: LogIds,
}

impl Kafka {
    /// Connects to the brokers, where the selection reads from them.
    pub fn connect(config: &ProcessorConfig, topics: &Topics, selection: &Selection) -> anyhow::Result<Option<Self>> {
        if !selection.reads(SourceKind::Kafka) {
            return Ok(None);
        }
        let consumer: BaseConsumer<_> = settings::replay(config)?.create_with_context(KafkaContext::new("replay"))?;
        // Asked for before anything else, so that a topic that is made anew meanwhile is noticed.
        let log_ids = ask(&consumer, |consumer| LogIds::fetch(consumer, topics, TIMEOUT));
        let log_ids = log_ids.with_context(|| {
            format!("Kafka at {} does not tell the ids of the topics", config.kafka.bootstrap_servers)
        })?;
        Ok(Some(Self { consumer, log_ids }))
    }

    /// The log id of a topic by its whole name.
    pub fn log_id(&self, topics: &Topics, name: &str) -> Option<String> {
        Topic::named(name, topics).map(|topic| self.log_ids.of(topic).to_owned())
    }
}

pub struct Lanes<'s> {
    pub config: &'s ProcessorConfig,
    pub metrics: &'s Metrics,
    pub kafka: Option<&'s Kafka>,
    /// Records with a dead letter that the table does not tell of.
    pub published: &'s HashSet<String>,
    pub clickhouse: &'s ClickHouse,
    pub shared: &'s Shared,
    pub runtime: &'s Handle,
}

impl<'s> Lanes<'s> {
    pub fn reader(&self) -> anyhow::Result<Reader<'s>> {
        let archive = self.shared.progress().asked.reads(SourceKind::Deliveries);
        Ok(Reader {
            kafka: self.kafka.map(|kafka| self.of_kafka(kafka)).transpose()?,
            archive: archive.then(|| self.of_archive()),
            shared: self.shared,
            runtime: self.runtime.clone(),
        })
    }

    fn of_kafka(&self, kafka: &Kafka) -> anyhow::Result<Lane<'s>> {
        let client = |name| anyhow::Ok(settings::replay(self.config)?.create_with_context(KafkaContext::new(name))?);
        let (topics, log_ids) = (self.shared.topics.clone(), kafka.log_ids.clone());
        let writer = Writer::new(
            &self.config.kafka,
            self.clickhouse.clone(),
            topics.clone(),
            LogWatch::new(client("topic ids")?, topics, log_ids, Duration::MAX),
            self.metrics.clone(),
            Readiness::waiting_for(&[]),
        )?;
        Ok(Lane {
            source: Box::new(KafkaSource::new(client("reader")?, self.shared.reading())),
            sink: Box::new(KafkaSink {
                writer,
                inspector: self.inspector(),
                shared: self.shared,
                published: self.published,
                already_published: HashSet::new(),
                dead_letter_log_id: kafka.log_ids.of(Topic::DeadLetter).to_owned(),
                runtime: self.runtime.clone(),
            }),
        })
    }

    fn of_archive(&self) -> Lane<'s> {
        let readiness = Readiness::waiting_for(&[]);
        Lane {
            source: Box::new(ArchiveSource::new(self.clickhouse.clone(), self.shared.reading(), self.runtime.clone())),
            sink: Box::new(ArchiveSink {
                tables: TableInserter::new(self.clickhouse.clone(), self.metrics.clone(), readiness),
                inspector: self.inspector(),
                shared: self.shared,
                runtime: self.runtime.clone(),
                jobs_kept_since: CreatedHour(0),
            }),
        }
    }

    fn inspector(&self) -> Inspector {
        Inspector::new(self.clickhouse.clone(), self.shared.cancel.clone())
    }
}
