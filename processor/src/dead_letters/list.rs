//! `hookline-processor dead-letters`: which dead letters there are, and why.

use hookline_schemas::topics::Topics;
use hookline_service::cli::{print_line, printable};
use hookline_service::shutdown::CancellationToken;
use indicatif::HumanCount;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::report::fitted;
use super::select::LetterSelection;
use super::tables::{Extent, Group, Tables};
use crate::clickhouse::inserter::ClickHouse;
use crate::config::ProcessorConfig;

/// Lists the dead letters by reason and source, with the latest of each.
///
/// It asks the table dead_letters, which the live group fills, and says how far that has the topic. A letter stays in the table
/// when it is sent back; how many were is told beside.
#[derive(Clone, Debug, clap::Args)]
pub struct DeadLettersArgs {
    #[command(flatten)]
    selection: LetterSelection,
    /// Only print how many there are
    #[arg(long)]
    count: bool,
    /// Show the bodies of the samples, too: they hold download URLs, which are secrets for a day
    #[arg(long, conflicts_with = "count")]
    body: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub async fn list(config: ProcessorConfig, args: DeadLettersArgs) -> anyhow::Result<()> {
    let topics = Topics::new(&config.kafka.topic_prefix)?;
    let now = OffsetDateTime::now_utc();
    let condition = args.selection.fixed(now)?.condition(topics.dead_letter(), now);
    config.clickhouse.answering_client().await?;
    let tables = Tables::new(ClickHouse::new(&config.clickhouse)?, CancellationToken::new());
    if args.count {
        let letters = config.clickhouse.within_timeout(tables.count(&condition)).await?;
        if args.json {
            print_line(json!({ "letters": letters }));
        } else {
            print_line(letters);
        }
        return Ok(());
    }
    let extents = config.clickhouse.within_timeout(tables.extents(topics.dead_letter())).await?;
    let groups = config.clickhouse.within_timeout(tables.groups(&condition, args.body)).await?;
    if args.json {
        print_line(to_json(&groups, &extents, now, args.body));
    } else {
        print_line(to_text(&groups, &extents, topics.dead_letter(), now));
    }
    Ok(())
}

fn date(milliseconds: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(milliseconds.div_euclid(1000)).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| milliseconds.to_string())
}

fn to_json(groups: &[Group], extents: &[Extent], now: OffsetDateTime, with_bodies: bool) -> serde_json::Value {
    let group = |group: &Group| {
        let mut sample = json!({
            "topic": group.topic, "partition": group.partition, "offset": group.offset, "event_type": group.event_type,
            "job_id": group.job_id, "detail": group.detail,
        });
        if with_bodies && let Some(sample) = sample.as_object_mut() {
            sample.insert("body".into(), json!(group.body));
        }
        json!({
            "reason": group.reason, "source": group.source, "letters": group.letters, "redriven": group.redriven,
            "first_received_at": date(group.first_received_ms), "last_received_at": date(group.last_received_ms), "sample": sample,
        })
    };
    let groups: Vec<_> = groups.iter().map(group).collect();
    json!({ "as_of": date(now.unix_timestamp() * 1000), "extents": extents, "groups": groups })
}

fn to_text(groups: &[Group], extents: &[Extent], topic: &str, now: OffsetDateTime) -> String {
    let mut lines = vec![format!("as of {}, when the table has", date(now.unix_timestamp() * 1000))];
    for Extent { log_id, partition, next_offset } in extents {
        let position = format!("  {topic}/{partition} up to {}", next_offset - 1);
        let log_id = fitted(&format!(" of {log_id}"), position.chars().count());
        lines.push(format!("{position}{log_id}"));
    }
    if extents.is_empty() {
        lines.push(format!("  nothing of {topic}"));
    }
    for group in groups {
        let source = if group.source.is_empty() { "no source" } else { &group.source };
        let (letters, redriven) = (HumanCount(group.letters), HumanCount(group.redriven));
        let head = format!("{}, {source}: {letters} letters, {redriven} redriven", group.reason);
        let (first, last) = (date(group.first_received_ms), date(group.last_received_ms));
        lines.push(String::new());
        lines.push(fitted(&head, 0));
        lines.push(format!("  received  {first} to {last}"));
        lines.push(format!(
            "  latest    {}",
            fitted(&format!("{}/{}/{}", group.topic, group.partition, group.offset), 12)
        ));
        let about = format!("{} {}", group.event_type, group.job_id);
        for text in [about.trim(), group.detail.trim()].into_iter().filter(|text| !text.is_empty()) {
            lines.push(format!("            {}", fitted(text, 12)));
        }
        if !group.body.is_empty() {
            lines.push(format!("            {}", printable(&group.body)));
        }
    }
    if groups.is_empty() {
        lines.push("no dead letter was selected".into());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Group {
        Group {
            reason: "stale".into(),
            source: "magichour".into(),
            letters: 4_120,
            redriven: 12,
            first_received_ms: 1_786_699_613_589,
            last_received_ms: 1_786_799_613_589,
            topic: "hookline.dead-letter".into(),
            partition: 1,
            offset: 42,
            event_type: "video.completed".into(),
            job_id: "j".repeat(128),
            detail: "signed \u{1b}[31m301 s ago ".repeat(20),
            body: String::new(),
        }
    }

    #[test]
    fn a_group_fits_into_80_columns_and_cannot_drive_a_terminal() {
        let now = OffsetDateTime::from_unix_timestamp(1_786_899_613).unwrap();
        let extent = Extent { log_id: "c".repeat(90), partition: 1, next_offset: 43 };
        let text = to_text(&[group()], &[extent], "hookline.dead-letter", now);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!text.contains('\u{1b}') && text.contains("\\u001b[31m"), "{text}");
        for part in [
            "as of 2026-08-16T17:00:13Z",
            "hookline.dead-letter/1 up to 42",
            "stale, magichour: 4,120 letters, 12 redriven",
            "received  2026-08-14T09:26:53Z to 2026-08-15T13:13:33Z",
            "latest    hookline.dead-letter/1/42",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        let none = to_text(&[], &[], "hookline.dead-letter", now);
        assert!(none.contains("nothing of hookline.dead-letter") && none.contains("no dead letter was selected"));
    }

    #[test]
    fn a_body_is_told_only_when_asked_for() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let told = |with_bodies| to_json(&[group()], &[], now, with_bodies)["groups"][0]["sample"].to_string();
        assert!(!told(false).contains("\"body\"") && told(true).contains("\"body\""));
    }
}
