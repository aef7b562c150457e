//! What a redrive and the list of dead letters ask ClickHouse, and what a redrive notes there.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context as _;
use clickhouse::{Client, Row};
use hookline_schemas::topics::{Offset, Partition};
use hookline_service::shutdown::CancellationToken;
use serde::{Deserialize, Serialize};

use super::identity::{Identity, LogPosition, parse_position};
use super::letter::{Letter, LetterRow};
use super::select::Condition;
use crate::clickhouse::inserter::ClickHouse;

/// A page names its letters' jobs and signatures; the default, 256 KiB, is too little.
const MAX_QUERY_BYTES: &str = "16777216";

#[derive(Clone)]
pub struct Tables {
    clickhouse: ClickHouse,
    cancel: CancellationToken,
}

/// A partition of the dead-letter topic, and the offsets in which it has letters that were selected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterRange {
    pub log_id: String,
    pub topic: String,
    pub partition: Partition,
    /// The next offset that is looked at; what is before it is done.
    pub next: Offset,
    /// The offset after the last letter.
    pub end: Offset,
    /// How many letters were selected.
    pub letters: u64,
}

/// The dead letters of one reason and source.
#[derive(Clone, Debug, Row, Deserialize)]
pub struct Group {
    pub reason: String,
    pub source: String,
    pub letters: u64,
    /// Letters that were sent back.
    pub redriven: u64,
    pub first_received_ms: i64,
    pub last_received_ms: i64,
    /// The latest letter of the group.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub event_type: String,
    pub job_id: String,
    pub detail: String,
    pub body: String,
}

/// How far the table has a partition of the dead-letter topic.
#[derive(Clone, Debug, Row, Deserialize, Serialize)]
pub struct Extent {
    pub log_id: String,
    pub partition: i32,
    /// The offset after the last row.
    pub next_offset: i64,
}

#[derive(Row, Deserialize)]
struct RangeRow {
    log_id: String,
    topic: String,
    partition: i32,
    first: i64,
    last: i64,
    letters: u64,
}

#[derive(Row, Deserialize)]
struct ArrivedRow {
    source: String,
    signature: String,
    received_ms: i64,
    redrives: u16,
    log_id: String,
    topic: String,
    partition: i32,
    offset: i64,
    origin: String,
    origin_log_id: String,
}

#[derive(Row, Deserialize)]
struct NotedRow {
    offset: i64,
    to_log_id: String,
    to_topic: String,
    to_partition: i32,
    to_offset: i64,
}

/// That a letter was sent back, and what it became.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize)]
pub struct RedriveRow {
    pub log_id: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub redrives: u16,
    pub to_log_id: String,
    pub to_topic: String,
    pub to_partition: i32,
    pub to_offset: i64,
    /// Unix milliseconds.
    pub redriven_at: i64,
}

impl RedriveRow {
    pub fn new(letter: &Letter, to: &LogPosition, redriven_at: i64) -> Self {
        let LogPosition { log_id, topic, partition, offset } = letter.position.clone();
        Self {
            log_id,
            topic,
            partition: partition.0,
            offset: offset.0,
            redrives: letter.redrives.saturating_add(1),
            to_log_id: to.log_id.clone(),
            to_topic: to.topic.clone(),
            to_partition: to.partition.0,
            to_offset: to.offset.0,
            redriven_at,
        }
    }
}

impl Tables {
    pub fn new(clickhouse: ClickHouse, cancel: CancellationToken) -> Self {
        Self { clickhouse, cancel }
    }

    /// Groups the letters by reason and source, the largest group first.
    pub async fn groups(&self, condition: &Condition, with_bodies: bool) -> anyhow::Result<Vec<Group>> {
        let body = if with_bodies { "toValidUTF8(letters.body)" } else { "''" };
        let latest = |value: &str| format!("argMax({value}, (letters.received_at, letters.partition, letters.offset))");
        let query = format!(
            "SELECT toString(letters.reason) AS reason, toString(letters.source) AS source, count() AS letters, \
             countIf((letters.log_id, letters.topic, letters.partition, letters.offset) IN \
             (SELECT log_id, topic, partition, offset FROM redrives)) AS redriven, \
             toUnixTimestamp64Milli(min(letters.received_at)) AS first_received_ms, \
             toUnixTimestamp64Milli(max(letters.received_at)) AS last_received_ms, {} AS topic, {} AS partition, {} AS offset, \
             {} AS event_type, {} AS job_id, {} AS detail, {} AS body FROM (SELECT * FROM dead_letters FINAL WHERE {}) AS letters \
             GROUP BY letters.reason, letters.source ORDER BY letters DESC, reason, source",
            latest("toString(letters.topic)"),
            latest("letters.partition"),
            latest("letters.offset"),
            latest("toString(letters.event_type)"),
            latest("letters.job_id"),
            latest("letters.detail"),
            latest(body),
            condition.sql,
        );
        self.ask(async |client| condition.bind(client.query(&query)).fetch_all().await).await
    }

    pub async fn count(&self, condition: &Condition) -> anyhow::Result<u64> {
        let query = format!("SELECT count() FROM dead_letters FINAL WHERE {}", condition.sql);
        self.ask(async |client| condition.bind(client.query(&query)).fetch_one().await).await
    }

    /// Tells how far the table has the topic; the live group may lag behind the topic.
    pub async fn extents(&self, topic: &str) -> anyhow::Result<Vec<Extent>> {
        const QUERY: &str = "SELECT toString(log_id) AS log_id, partition, max(offset) + 1 AS next_offset FROM dead_letters \
                             WHERE topic = ? GROUP BY log_id, partition ORDER BY log_id, partition";
        self.ask(async |client| client.query(QUERY).bind(topic).fetch_all().await).await
    }

    /// Fails where a table is missing that a redrive writes to at its end.
    pub async fn check(&self) -> anyhow::Result<()> {
        let query = "SELECT count() FROM (SELECT 1 FROM redrives LIMIT 1)";
        let asked = self.ask(async |client| client.query(query).fetch_one::<u64>().await).await;
        asked.map(drop).context("the table redrives cannot be read: `hookline-analytics migrate` makes it")
    }

    /// Finds where the selected letters lie.
    pub async fn ranges(&self, condition: &Condition) -> anyhow::Result<Vec<LetterRange>> {
        let query = format!(
            "SELECT toString(letters.log_id) AS log_id, toString(letters.topic) AS topic, partition, min(letters.offset) AS first, \
             max(letters.offset) AS last, count() AS letters FROM (SELECT log_id, topic, partition, offset FROM dead_letters \
             FINAL WHERE {}) AS letters GROUP BY letters.log_id, letters.topic, partition \
             ORDER BY log_id, topic, partition",
            condition.sql
        );
        let rows: Vec<RangeRow> =
            self.ask(async |client| condition.bind(client.query(&query)).fetch_all().await).await?;
        let range = |row: RangeRow| LetterRange {
            log_id: row.log_id,
            topic: row.topic,
            partition: Partition(row.partition),
            next: Offset(row.first),
            end: Offset(row.last + 1),
            letters: row.letters,
        };
        Ok(rows.into_iter().map(range).collect())
    }

    /// Reads the next letters of a range.
    pub async fn page(&self, range: &LetterRange, condition: &Condition, limit: u64) -> anyhow::Result<Vec<Letter>> {
        let query = format!(
            "SELECT toString(letters.log_id) AS log_id, toString(letters.topic) AS topic, partition, letters.offset AS offset, \
             toString(letters.source) AS source, toString(letters.reason) AS reason, origin, \
             toString(letters.origin_log_id) AS origin_log_id, toString(letters.key_name) AS key_name, signature, signed_at_text, \
             toUnixTimestamp(letters.first_signed_at) AS first_signed_at, redrives, \
             toUnixTimestamp64Milli(received_at) AS received_ms, body FROM (SELECT * FROM dead_letters FINAL WHERE log_id = ? \
             AND topic = ? AND partition = ? AND dead_letters.offset >= ? AND dead_letters.offset < ? AND {} \
             ORDER BY log_id, topic, partition, offset LIMIT ?) AS letters ORDER BY letters.offset",
            condition.sql
        );
        // The client takes a column of texts for texts; read as bytes they are the same, and need not be UTF-8.
        let ask = async |client: &Client| {
            let client = client.clone().with_validation(false);
            let query = client.query(&query).bind(&range.log_id).bind(&range.topic).bind(range.partition.0);
            condition.bind(query.bind(range.next.0).bind(range.end.0)).bind(limit).fetch_all::<LetterRow>().await
        };
        Ok(self.ask(ask).await?.into_iter().map(Letter::from).collect())
    }

    /// Finds which letters of a page, all of one partition, were sent back by what a redrive noted. Gives the latest of each.
    pub async fn noted(&self, letters: &[Letter]) -> anyhow::Result<HashMap<Offset, LogPosition>> {
        const QUERY: &str = "SELECT offset, toString(to_log_id) AS to_log_id, toString(to_topic) AS to_topic, to_partition, \
             to_offset FROM redrives WHERE log_id = ? AND topic = ? AND partition = ? AND offset >= ? AND offset <= ? \
             ORDER BY redrives.redriven_at";
        let (Some(first), Some(last)) = (letters.first(), letters.last()) else { return Ok(HashMap::new()) };
        let LogPosition { log_id, topic, partition, offset } = &first.position;
        let ask = async |client: &Client| {
            let query = client.query(QUERY).bind(log_id).bind(topic).bind(partition.0);
            query.bind(offset.0).bind(last.position.offset.0).fetch_all::<NotedRow>().await
        };
        let position = |row: NotedRow| {
            let (partition, offset) = (Partition(row.to_partition), Offset(row.to_offset));
            (Offset(row.offset), LogPosition { log_id: row.to_log_id, topic: row.to_topic, partition, offset })
        };
        Ok(self.ask(ask).await?.into_iter().map(position).collect())
    }

    /// Finds which of these deliveries the tables have already, and where: as a row of `deliveries`, or as another dead letter
    /// that was made of a record which had been sent back. Gives with each how often it had been sent back there.
    pub async fn arrived(&self, wanted: &BTreeMap<Identity, Wanted>) -> anyhow::Result<HashMap<Identity, Landing>> {
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let signatures: Vec<&str> = wanted.keys().map(|identity| &*identity.signature).collect();
        let jobs: Vec<&str> = wanted.values().map(|wanted| &*wanted.job_id).collect();
        let received = || wanted.keys().map(|identity| identity.received_ms);
        let signed = || wanted.values().map(|wanted| wanted.signed_at);
        let (first_received, last_received) = (received().min().unwrap_or(0), received().max().unwrap_or(0));
        let (first_signed, last_signed) = (signed().min().unwrap_or(0), signed().max().unwrap_or(0));
        const DELIVERIES: &str = "SELECT toString(deliveries.source) AS source, signature, toUnixTimestamp64Milli(received_at) AS \
             received_ms, toUInt16(65535) AS redrives, toString(deliveries.log_id) AS log_id, toString(deliveries.topic) AS topic, \
             partition, deliveries.offset AS offset, '' AS origin, '' AS origin_log_id FROM deliveries \
             WHERE job_id IN ? AND signature IN ? AND signed_at >= fromUnixTimestamp(?) AND signed_at <= fromUnixTimestamp(?) \
             ORDER BY log_id, topic, partition, offset";
        const DEAD_LETTERS: &str = "SELECT toString(dead_letters.source) AS source, signature, toUnixTimestamp64Milli(received_at) \
             AS received_ms, redrives, toString(dead_letters.log_id) AS log_id, toString(dead_letters.topic) AS topic, partition, \
             dead_letters.offset AS offset, origin, toString(dead_letters.origin_log_id) AS origin_log_id FROM dead_letters \
             WHERE redrives > 0 AND signature IN ? AND received_at >= fromUnixTimestamp64Milli(?, 'UTC') \
             AND received_at <= fromUnixTimestamp64Milli(?, 'UTC') ORDER BY redrives, log_id, topic, partition, offset";
        let dead_letters = self.ask(async |client| {
            let query = client.query(DEAD_LETTERS).bind(&signatures);
            query.bind(first_received).bind(last_received).fetch_all::<ArrivedRow>().await
        });
        let mut rows = dead_letters.await?;
        let deliveries = self.ask(async |client| {
            let query = client.query(DELIVERIES).bind(&jobs).bind(&signatures);
            query.bind(first_signed).bind(last_signed).fetch_all::<ArrivedRow>().await
        });
        rows.extend(deliveries.await?);
        let mut landings = HashMap::new();
        for row in rows {
            let (identity, landing) = landing(row);
            if wanted.contains_key(&identity) {
                landings.insert(identity, landing);
            }
        }
        Ok(landings)
    }

    /// Notes what became of letters. Rows that are there already are replaced.
    pub async fn note(&self, rows: &[RedriveRow]) -> anyhow::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.ask(async |client| {
            let mut insert = client.insert::<RedriveRow>("redrives").await?;
            for row in rows {
                insert.write(row).await?;
            }
            insert.end().await
        })
        .await
    }

    /// Runs a statement, again and again while ClickHouse does not answer or is busy.
    async fn ask<T>(
        &self,
        mut statement: impl AsyncFnMut(&Client) -> clickhouse::error::Result<T>,
    ) -> anyhow::Result<T> {
        let statement = async |client: &Client| {
            let client = client.clone().with_setting("max_query_size", MAX_QUERY_BYTES);
            statement(&client).await
        };
        Ok(self.clickhouse.query_until_cancelled(&self.cancel, statement).await??)
    }
}

/// What narrows the search for a delivery.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub job_id: String,
    /// Unix seconds.
    pub signed_at: u32,
}

/// The record that a delivery is in beside its dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// How often it had been sent back then. More than any number where it was processed.
    pub redrives: u16,
    pub position: LogPosition,
}

/// A dead letter was made of the record that its origin names.
fn landing(row: ArrivedRow) -> (Identity, Landing) {
    let identity = Identity { source: row.source, signature: row.signature, received_ms: row.received_ms };
    let position = match parse_position(&row.origin) {
        Some((topic, partition, offset)) => {
            LogPosition { log_id: row.origin_log_id, topic: topic.into(), partition, offset }
        }
        None => LogPosition {
            log_id: row.log_id,
            topic: row.topic,
            partition: Partition(row.partition),
            offset: Offset(row.offset),
        },
    };
    (identity, Landing { redrives: row.redrives, position })
}
